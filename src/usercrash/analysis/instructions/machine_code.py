"""What machine code tells the unwinder where call frame information is missing.

One `CodeFacts` for each architecture, in modules by family (`FACTS`, by Arch.name); only patterns
that compilers and C libraries really emit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Literal

from ...elf.arch import Arch

MAX_TRAMPOLINE = 16  # bytes of code that tell a signal trampoline

# Where the return address lies at an exact pc, by what stands around it: distance from the
# stack pointer to the return address, and to the saved frame pointer (None: still in its register).
Prologue = tuple[int, int | None]

# What a linker's stub has done at a pc in it: the distance from the stack pointer to the return
# address (None: it is in its register yet), and to the stack pointer that the caller will have.
Linkage = tuple[int | None, int]

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class SignalFrame:
    """What the kernel puts on the stack for a handler: `codes`: what the trampoline begins with
    that ends it; `registers`: (name, its distance from the stack pointer there). Of those
    without a distance the ones that calls keep are unchanged. `siginfo`: the distance of the
    siginfo_t, or, in frames without one, `number`: that of the signal's number; −1 where that is
    not known."""

    codes: tuple[bytes, ...]
    registers: tuple[tuple[str, int], ...]
    siginfo: int = -1
    number: int = -1


@dataclass(frozen=True, slots=True)
class EntryFrame:
    """What a function's first instructions did: `size` bytes of stack taken; `saved`: registers
    and their places, as the distance from the stack pointer before (most are negative); the
    others are still in place. `fp`: the frame pointer's, None where it was not set; `pointer`
    names it, where it is not the usual one. `chained`: the word at the stack pointer is the one
    before (a back chain)."""

    size: int
    saved: dict[str, int]
    fp: int | None = None
    pointer: str = ""
    chained: bool = False


@dataclass(frozen=True, slots=True)
class Stub:
    """A stub of the procedure linkage table: where it begins, the word of the global offset table
    that its jump reads (None: not by this part), and the number of its relocation among those of
    the table (None where its code does not have it)."""

    start: int
    slot: int | None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """`signal_frames`: by the code of their trampolines; `frame_makers`: how functions begin
    that use the frame pointer. `sigcontext_first`: the trampoline's own call frame information
    does not lead to the interrupted pc. `order`: that of bytes in code."""

    signal_frames: tuple[SignalFrame, ...]
    frame_makers: tuple[bytes, ...] = ()
    sigcontext_first: bool = False
    order: Literal["little", "big"] = "little"
    # Distances from the frame pointer to the caller's and to the return address, where calls leave
    # that in a register.
    frame_record: tuple[int, int] | None = None

    def signal_frames_of(self, code: bytes) -> list[SignalFrame]:
        """What the trampoline with this code may stand for, the likely one first; none for other
        code."""
        return [one for one in self.signal_frames if code.startswith(one.codes)]

    def returned(self, before: bytes) -> bool:
        """Whether the instruction in front has undone the frame and jumps only after the next."""
        return False

    def begins_before(self, code: bytes) -> int | None:
        """Where in the code the function may begin that the end lies in: the offset of the last
        instruction that makes a frame, or of what is behind a return. None if there is none."""
        return None

    def instruction(self, code: bytes, at: int) -> int:
        """The 4 bytes of code at `at` as a number, 0 where they are not whole."""
        word = code[at : at + 4] if at >= 0 else b""
        return int.from_bytes(word, self.order) if len(word) == 4 else 0

    def call_target(self, before: bytes, address: int) -> int | None:
        """If the bytes before `address` end with a call: its target, 0 for an indirect one.
        None if they do not."""
        raise NotImplementedError

    def may_jump(self, code: bytes, address: int, target: int) -> bool:
        """Whether there is a direct jump to `target` in the code at `address`: a tail call."""
        return False

    def jump_target(self, before: bytes, address: int) -> int | None:
        """If the bytes before `address` end with a direct jump: its target. None otherwise."""
        return None

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        """What the code around an exact pc says of a frame that is just being made or undone."""
        return None

    def linkage(self, read: Read, pc: int) -> Linkage | None:
        """Where the caller is to be found of a thread that stands in a linker's stub, which has no
        frame; None in all other code, and where nothing but the link register counts."""
        return None

    def stub(self, read: Read, pc: int, table: int) -> Stub | None:
        """The linker's stub one of whose instructions begins at `pc`, None in all other code.
        `table` is what stubs count from that find their words by a register, 0 where that is not
        known."""
        return None

    def called_slot(self, before: bytes, address: int, table: int) -> int | None:
        """If the bytes before `address` end with a call through a word at a fixed place: where
        that is. None otherwise."""
        return None

    def jumped_slot(self, before: bytes, address: int, table: int) -> int | None:
        """The same of a jump."""
        return None

    def entry_frame(self, code: bytes) -> EntryFrame | None:
        """The frame that a function has made whose code begins so, up to the pc or as much as is
        looked at; None where that is not understood."""
        return None

    def begins_frame(self, code: bytes) -> bool:
        """Whether the instruction at the begin of `code` is one that frames are begun with."""
        return False


# Architecture (Arch.name) and the module that has its facts.
_MODULES = {
    "i386": "i386_code",
    "aarch64": "aarch64_code",
    "aarch64_be": "aarch64_code",
    "arm": "arm_code",
    "armeb": "arm_code",
    "loongarch64": "loongarch_code",
    "m68k": "m68k_code",
    "mips": "mips_code",
    "mips64": "mips_code",
    "mips64el": "mips_code",
    "mipsel": "mips_code",
    "mipsn32": "mips_code",
    "mipsn32el": "mips_code",
    "ppc": "power_code",
    "ppc64": "power_code",
    "ppc64le": "power_code",
    "riscv32": "riscv_code",
    "riscv64": "riscv_code",
    "s390": "s390_code",
    "s390x": "s390_code",
    "sparc": "sparc_code",
    "sparc64": "sparc_code",
    "x32": "x86_64_code",
    "x86_64": "x86_64_code",
}


def signed(value: int, bits: int) -> int:
    """The number that the lowest `bits` of `value` are in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


@cache
def code_facts(arch: Arch) -> CodeFacts | None:
    """The facts for an architecture, None where there are none."""
    module = _MODULES.get(arch.name)
    if module is None:
        return None
    facts: CodeFacts = import_module(f"{__package__}.{module}").FACTS[arch.name]
    return facts
