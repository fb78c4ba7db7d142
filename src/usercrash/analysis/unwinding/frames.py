"""What unwinding needs, memory; and gives: frames, how far to trust each, why a stack ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from ...elf.arch import Arch
from ..core.modules import Module

END_OF_STACK = "end of stack"

Registers = list[int | None]  # by Arch.numbers; None for what is not known


class Memory(Protocol):
    """Reads the process's memory: `read` gives fewer bytes where there is a gap; `window` the whole
    captured piece that holds an address."""

    def read(self, address: int, size: int) -> bytes: ...

    @property
    def window(self) -> Callable[[int], tuple[int, memoryview] | None]: ...


class Trust(StrEnum):
    """How a frame was found, the best first."""

    CONTEXT = "context"
    CFI = "cfi"
    FRAME_POINTER = "frame-pointer"
    CALL_RECOVERY = "call-recovery"
    SCAN = "scan"
    TAIL_CALL = "tail-call"  # not found on the stack: debug information proves that it was there


# What recovery gives: the caller's registers and how they were found, or why the stack ends.
Caller = tuple[Registers, Trust] | str


@dataclass(frozen=True, slots=True)
class UnwindLimits:
    """`frames` are kept (and the outermost 64 beyond); `total` are counted at most; `seconds`
    is the time for one stack; `registers` is the number of frames whose registers are kept."""

    frames: int = 50_000
    total: int = 4_000_000
    seconds: float = 3.0
    registers: int = 512


class RawFrame(NamedTuple):
    """One frame. `lookup_pc` is the address to look names up at (pc − 1 for a caller, for a call
    may be its function's last instruction); `cfa` is 0 where it is not known.

    `signal_frame`: the kernel's trampoline, `<signal handler called>`. `exact`: pc is where the
    thread really stood (the first frame, one interrupted by a signal).
    """

    pc: int
    lookup_pc: int
    sp: int
    cfa: int
    trust: Trust
    signal_frame: bool
    values: tuple[int | None, ...]  # by Arch.numbers, empty where not kept
    exact: bool = False

    def registers(self, arch: Arch) -> dict[str, int]:
        """What is known of its registers: all of an exact frame, else those that calls keep."""
        kept = (*arch.callee_saved, arch.sp, arch.pc)
        return {
            name: value
            for name, number in arch.numbers.items()
            if number < len(self.values)
            and (value := self.values[number]) is not None
            and (self.exact or name in kept)
        }


@dataclass(slots=True)
class Stack:
    """A thread's frames, innermost first, and why there are no more.

    `total` is the number of frames found; where that is more than len(frames), the outermost
    stand in `tail` and those between are only counted. `complete` means that it ended where
    stacks end.
    """

    frames: list[RawFrame]
    end: str
    total: int
    tail: list[RawFrame]

    @property
    def complete(self) -> bool:
        return self.end == END_OF_STACK


def no_way(module: Module | None, pc: int) -> str:
    """Why a stack ends where neither call frame information nor anything else leads on."""
    if module is None:
        return f"no CFI for {pc:#x}, which lies in no module"
    return f"no CFI for {pc:#x} in {module.name}"
