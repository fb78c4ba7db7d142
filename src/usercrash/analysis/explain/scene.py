"""What the cause is found from: the crashing thread and its surroundings, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...elf.arch import Arch
from ...function_identity import function_identity
from ...report import Cause, Evidence, Fold, Frame
from ..core.patterns import pattern_words
from ..core.places import Places
from ..facts.signals import SigInfo
from ..instructions.decoded import Decoded
from ..instructions.disassembly import X86
from ..unwinding.recursion import Recursion

_LONG_NAME = 60  # characters of a function's name in a cause
NULL_PAGE = 4096  # below it an address is a null pointer plus a small offset


@dataclass(frozen=True, slots=True)
class Handled:
    """A signal whose handler was running: what it was (number 0: not known), and the registers
    that it interrupted. `frame` is the index of the interrupted frame in the crashing thread's
    stack."""

    info: SigInfo
    registers: Mapping[str, int]
    frame: int


@dataclass(frozen=True, slots=True)
class MappedFile:
    """The file whose mapping a SIGBUS hit, as it was then: the type of its file system, its size
    and what is free there in bytes; None where that is not known."""

    kind: str = ""
    size: int | None = None
    free: int | None = None


def mapped_file(fact: bytes) -> MappedFile:
    """What the capture's fact `@fault_file` says: `TYPE SIZE FREE`."""
    parts = fact.split()
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return MappedFile()
    kind = parts[0].decode("ascii", "replace")
    return MappedFile(kind, int(parts[1][:20]), int(parts[2][:20]))


@dataclass(frozen=True, slots=True)
class Scene:
    """The moment of the crash. `info` is None for a live dump.

    `registers`, `frames` (of `frames_total`, those that are shown), `folds`, `recursion` and
    `handled` are the crashing thread's. `memory(address, size)` gives the known bytes up to the
    first gap; `executable` whether an address is code's; `decode` the instruction at the pc of
    such registers. `own_ids` are the ids of the process and its threads as it sees them itself
    (those of si_pid); `tcb` the thread control block's address (0: unknown); `limits` the soft
    limits by name; `sender_comm` the name of who sent the signal; `mapped_file` the file that a
    SIGBUS hit; `fills` what the allocator fills memory with (facts.allocators); `function_at` names
    the function that begins at an address ("": not known).
    """

    info: SigInfo | None
    arch: Arch
    registers: Mapping[str, int]
    memory: Callable[[int, int], bytes]
    executable: Callable[[int], bool]
    decode: Callable[[Mapping[str, int]], Decoded | None]
    places: Places
    frames: Sequence[Frame]
    folds: Sequence[Fold] = ()
    frames_total: int = 0
    own_ids: frozenset[int] = frozenset()
    main_thread: bool = True
    tcb: int = 0
    limits: Mapping[str, str] = field(default_factory=dict)
    abort_message: str | None = None
    sender_comm: str = ""
    handled: Sequence[Handled] = ()
    recursion: Recursion | None = None
    mapped_file: MappedFile = MappedFile()
    fills: Mapping[int, str] = field(default_factory=dict)
    function_at: Callable[[int], str] = lambda address: ""

    @property
    def pc(self) -> int:
        return self.registers.get(self.arch.pc, 0)

    @property
    def x86(self) -> bool:
        """Whether its code is x86, of 64 or of 32 bits."""
        return self.arch.name in X86

    @property
    def sp(self) -> int:
        return self.registers.get(self.arch.sp, 0)

    def pattern(self, value: int) -> str:
        """What a pointer's value gives away by itself (core.patterns); empty for nothing."""
        return pattern_words(value, self.arch.long, self.arch.order, self.fills)

    def word(self, address: int) -> int | None:
        """The word in memory at the address, None where it is not known."""
        data = self.memory(address, self.arch.word)
        return int.from_bytes(data, self.arch.byte_order) if len(data) == self.arch.word else None


def seen(what: str, value: int | str, meaning: str = "") -> Evidence:
    """One Evidence; numbers are shown as addresses are."""
    return Evidence(what=what, value=value if isinstance(value, str) else hex(value),
                    meaning=meaning)  # fmt: skip


def frame_sp(frame: Frame) -> int | None:
    """The stack pointer in the frame, None where it has none of its own."""
    return int(frame.sp, 16) if frame.sp is not None and not frame.inline else None


def frame_words(frame: Frame) -> str:
    """`function+0x1c at file.c:12`, or what is known of it; of a long name no arguments, or the
    line would say more of those than of what happened."""
    name = frame.function
    mangled = (frame.linkage_name or "").startswith(("_Z", "_R"))
    if name is not None and mangled and len(name) > _LONG_NAME:
        name = function_identity(name)
    if name is None:
        base = (frame.module or "").rpartition("/")[2]
        name = f"{base}+{frame.module_offset}" if base and frame.module_offset else frame.pc
    elif frame.offset is not None and frame.source is None:
        name += f"+{frame.offset:#x}"
    if frame.source is not None:
        name += f" at {frame.source.file.rpartition('/')[2]}:{frame.source.line}"
    return name


def cause(
    kind: str,
    summary: str,
    *details: str,
    reason: str = "",
    certainty: str = "certain",
    message: str | None = None,
    evidence: Sequence[Evidence] = (),
) -> Cause:
    """A Cause; empty details are left out."""
    return Cause(
        kind=kind,
        summary=summary,
        reason=reason,
        certainty=certainty,
        details=[detail for detail in details if detail],
        abort_message=message,
        evidence=list(evidence),
    )
