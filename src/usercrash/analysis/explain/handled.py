"""Signals whose handlers were running: read from the frames that the kernel built for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...elf.arch import Arch
from ..facts.signals import SigInfo, code_words, decode_siginfo, of_machine
from ..instructions.machine_code import MAX_TRAMPOLINE, code_facts
from ..unwinding.unwind import RawFrame
from .scene import Handled

MAX_HANDLED = 8
_SIGINFO_SIZE, _USED = 128, 48
# By Arch.name: where all handlers have one form of frame, and the siginfo_t in it is written only
# for those with SA_SIGINFO (setup_rt_frame() in arch/x86 and arch/arm64). Elsewhere there is a
# form without it, or it is always written.
_SOMETIMES_WRITTEN = frozenset(("x86_64", "x32", "aarch64", "aarch64_be"))


def handled_signals(
    frames: Sequence[RawFrame],
    indexes: Sequence[int],
    arch: Arch,
    registers: dict[str, int],
    read: Callable[[int, int], bytes],
) -> list[Handled]:
    """The handled signals on a stack, innermost first. `indexes` are the frames' report indexes;
    `registers` supply what a signal does not save (segment bases). A signal of number 0 is one
    of which the stack does not tell which it is."""
    result: list[Handled] = []
    for at, frame in enumerate(frames):
        if not frame.signal_frame or at + 1 >= len(frames):
            continue
        info = _info(frame, arch, read)
        if info is not None and info.number:
            info = of_machine(info, arch)
        values = frames[at + 1].registers(arch)
        if info is None or not values:
            continue  # not the layout that we know, or too deep: say nothing
        result.append(Handled(info, registers | values, indexes[at + 1]))
        if len(result) == MAX_HANDLED:
            break
    return result


def _is_filled(data: bytes, info: SigInfo, arch: Arch) -> bool:
    """Whether the kernel wrote the siginfo_t, or left the place as it was. Behind the 48 bytes that
    it uses it writes zeros (since 4.20, copy_siginfo_to_user() in kernel/signal.c), as between the
    numbers and what follows them."""
    if arch.name not in _SOMETIMES_WRITTEN:
        return True
    if len(data) < _SIGINFO_SIZE or any(data[_USED:]):
        return False
    if arch.long == 8 and any(data[12:16]):
        return False
    general = of_machine(info, arch)
    return general is not None and bool(code_words(general.number, general.code or 0))


def _info(frame: RawFrame, arch: Arch, read: Callable[[int, int], bytes]) -> SigInfo | None:
    """What the kernel's frame says of the signal: the siginfo_t, or its number only."""
    facts = code_facts(arch)
    layouts = facts.signal_frames_of(read(frame.pc, MAX_TRAMPOLINE)) if facts is not None else []
    if not layouts:
        return None
    layout = layouts[0]
    if layout.siginfo >= 0:
        data = read(frame.sp + layout.siginfo, _SIGINFO_SIZE)
        info = decode_siginfo(data, arch.long, arch.order, arch.code_first, arch.signals)
        return info if info is not None and _is_filled(data, info, arch) else SigInfo(0)
    number = 0
    if layout.number >= 0:
        number = int.from_bytes(read(frame.sp + layout.number, 4), arch.byte_order)
    return SigInfo(number) if 1 <= number <= 64 else None
