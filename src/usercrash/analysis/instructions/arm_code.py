"""ARM and Thumb code: Arm Architecture Reference Manual, A32 and T32 (branches with link);
arch/arm/kernel/signal.c, <asm/sigcontext.h>, <asm/ucontext.h> (signal frames).

Whether the code before a return address is ARM or Thumb said the address's bit 0, which is gone:
both are tried. Instructions are little-endian from ARMv6 on, whatever the data are (BE8).
"""

from __future__ import annotations

from .arm_frames import begins_frame, entry_frame
from .machine_code import CodeFacts, EntryFrame, Linkage, Read, SignalFrame, signed

_MASK = (1 << 32) - 1
_STUB = 4 * 4  # bytes of a stub of the procedure linkage table
_PUSHES_LINK = 0xE52DE004  # str lr, [sp, -4]!
_ANY_DISTANCE = 0xFFFFF000
_BY_IP, _BY_LR = 0xE5BCF000, 0xE5BEF000  # ldr pc, [ip, n]!; ldr pc, [lr, n]!
_ADDS_TO_IP = (0xE28FC000, 0xE28CC000)  # add ip, pc, n; add ip, ip, n
# ldr lr, [pc, n]; add lr, pc, lr; add lr, pc, n; add lr, lr, n
_COUNTS_IN_LR = (0xE59FE000, 0xE08FE000, 0xE28FE000, 0xE28EE000)


def _next_other(words: list[int], inside: tuple[int, ...]) -> int | None:
    """The first instruction that is none of these with whatever distance."""
    return next((word for word in words if word & _ANY_DISTANCE not in inside), None)


class _Arm(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        if address & 3 == 0:
            found = _arm_call(self.instruction(before, len(before) - 4), address)
            if found is not None:
                return found
        return _thumb_call(before, address)

    def linkage(self, read: Read, pc: int) -> Linkage | None:
        """Stubs are ARM code: additions to ip, and a jump through where it points. The head of the
        table, by which they go to the dynamic linker at first, pushes the return address and
        counts in its register from then on."""
        words = [self.instruction(read(pc + at, 4), 0) for at in range(-_STUB, _STUB, 4)]
        ahead, behind = words[_STUB // 4 :], words[_STUB // 4 - 1 :: -1]
        for jump, inside in ((_BY_IP, _ADDS_TO_IP), (_BY_LR, _COUNTS_IN_LR)):
            pushes = ahead[:1] == [_PUSHES_LINK]
            last = _next_other(ahead[pushes:], inside)
            if last is None or last & _ANY_DISTANCE != jump:
                continue
            pushed = not pushes and jump == _BY_LR
            if pushed and _next_other(behind, inside) != _PUSHES_LINK:
                return None
            return (0, 4) if pushed else (None, 0)
        return None

    def entry_frame(self, code: bytes) -> EntryFrame | None:
        return entry_frame(code)

    def begins_frame(self, code: bytes) -> bool:
        return begins_frame(code)


def _arm_call(word: int, address: int) -> int | None:
    if word >> 28 == 0xF:  # blx to Thumb code: bit 24 is half a word
        if word >> 25 == 0x7D:
            return address + 4 + 4 * signed(word, 24) + 2 * (word >> 24 & 1) & _MASK
        return None
    if word >> 24 & 0xF == 0xB:  # bl
        return address + 4 + 4 * signed(word, 24) & _MASK
    if word & 0x0FFFFFF0 == 0x012FFF30:  # blx register
        return 0
    if word & 0x0C10F000 == 0x0410F000:  # ldr pc, behind a mov lr, pc
        return 0
    return None


def _thumb_call(before: bytes, address: int) -> int | None:
    low = int.from_bytes(before[-2:], "little")
    high = int.from_bytes(before[-4:-2], "little") if len(before) >= 4 else 0
    if high >> 11 == 0x1E and low & 0xC000 == 0xC000:
        sign = high >> 10 & 1
        first, second = (low >> bit & 1 ^ sign ^ 1 for bit in (13, 11))
        offset = sign << 24 | first << 23 | second << 22 | (high & 0x3FF) << 12
        if low >> 12 & 1:  # bl
            offset |= (low & 0x7FF) << 1
            return address + signed(offset, 25) & _MASK
        if low & 1 == 0:  # blx to ARM code
            offset |= (low >> 1 & 0x3FF) << 2
            return (address & ~3) + signed(offset, 25) & _MASK
    if low & 0xFF87 == 0x4780:  # blx register
        return 0
    return None


# struct sigcontext: trap_no, error_code, oldmask, r0 to r15
_REGISTERS = (*(f"r{number}" for number in range(13)), "sp", "lr", "pc")
_UCONTEXT = 5 * 4  # flags, link, stack
_INFO = 128


def _layout(start: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, start + _UCONTEXT + 12 + 4 * at) for at, name in enumerate(_REGISTERS))


def _codes(number: int) -> tuple[bytes, ...]:
    """mov r7, number; svc 0, and the OABI's svc with the number; both in Thumb code, too."""
    n = bytes([number])
    return (
        n + b"\x70\xa0\xe3\x00\x00\x00\xef",
        n + b"\x70\xa0\xe3" + n + b"\x00\x90\xef",
        n + b"\x27\x00\xdf",
        b"\x4f\xf0" + n + b"\x07\x00\xdf",
    )


_FACTS = _Arm(
    signal_frames=(
        SignalFrame(_codes(119), _layout(0)),  # sigreturn
        SignalFrame(_codes(173), _layout(_INFO), siginfo=0),  # rt_sigreturn
    ),
    sigcontext_first=True,
    frame_record=(0, 4),
)

FACTS = {"arm": _FACTS, "armeb": _FACTS}
