"""ARM and Thumb code: Arm Architecture Reference Manual, A32 and T32 (branches with link);
arch/arm/kernel/signal.c, <asm/sigcontext.h>, <asm/ucontext.h> (signal frames).

Whether the code before a return address is ARM or Thumb said the address's bit 0, which is gone:
both are tried. Instructions are little-endian from ARMv6 on, whatever the data are (BE8).
"""

from __future__ import annotations

from .arm_frames import begins_frame, entry_frame
from .machine_code import CodeFacts, EntryFrame, Linkage, Read, SignalFrame, Stub, signed

_MASK = (1 << 32) - 1
_STUB = 4 * 4  # bytes of a stub of the procedure linkage table
_PUSHES_LINK = 0xE52DE004  # str lr, [sp, -4]!
_FROM_THUMB = (b"\x78\x47\xfd\xe7", b"\x78\x47\xc0\x46")  # bx pc; and b.n there, or nop
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

    def jump_target(self, before: bytes, address: int) -> int | None:
        word = self.instruction(before, len(before) - 4)
        if address & 3 == 0 and word >> 24 == 0xEA:  # b
            return address + 4 + 4 * signed(word, 24) & _MASK
        high, low = word & 0xFFFF, word >> 16
        if high >> 11 == 0x1E and low & 0xD000 == 0x9000:  # b.w
            return address + _far(high, low) & _MASK
        return None

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

    def stub(self, read: Read, pc: int, table: int) -> Stub | None:
        """The word is at the sum; Thumb code comes in by two instructions before."""
        for start in range((pc & -4) + 4, (pc & -4) - _STUB, -4):
            code = read(start, _STUB)
            words = [self.instruction(code, at) for at in range(0, len(code), 4)]
            if words[:1] == [] or words[0] & _ANY_DISTANCE != _ADDS_TO_IP[0]:
                continue
            slot = start + 8
            for number, word in enumerate(words):
                if word & _ANY_DISTANCE == _BY_IP:
                    thumb = read(start - 4, 4) in _FROM_THUMB
                    begins = {start + 4 * one for one in range(number + 1)}
                    begins |= {start - 4, start - 2} if thumb else set()
                    if pc in begins:
                        return Stub(start - 4 * thumb, slot + (word & 0xFFF) & _MASK)
                if word & _ANY_DISTANCE != _ADDS_TO_IP[number > 0]:
                    break
                turned = 2 * (word >> 8 & 15)
                slot += (word & 0xFF) << (32 - turned) % 32
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


def _far(high: int, low: int) -> int:
    """The distance that b.w, bl and blx go."""
    sign = high >> 10 & 1
    first, second = (low >> bit & 1 ^ sign ^ 1 for bit in (13, 11))
    offset = sign << 24 | first << 23 | second << 22 | (high & 0x3FF) << 12 | (low & 0x7FF) << 1
    return signed(offset, 25)


def _thumb_call(before: bytes, address: int) -> int | None:
    low = int.from_bytes(before[-2:], "little")
    high = int.from_bytes(before[-4:-2], "little") if len(before) >= 4 else 0
    if high >> 11 == 0x1E and low & 0xD000 == 0xD000:  # bl
        return address + _far(high, low) & _MASK
    if high >> 11 == 0x1E and low & 0xD001 == 0xC000:  # blx to ARM code
        return (address & ~3) + _far(high, low) & _MASK
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
