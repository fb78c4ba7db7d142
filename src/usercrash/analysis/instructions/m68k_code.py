"""m68k code: M68000 Family Programmer's Reference Manual (BSR, JSR, LINK, RTS),
arch/m68k/kernel/signal.c, <asm/sigcontext.h> and <asm/ucontext.h> (signal frames)."""

from __future__ import annotations

from .machine_code import CodeFacts, Prologue, SignalFrame, signed


class _M68k(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        if len(before) >= 6:
            opcode, rest = before[-6:-4], before[-4:]
            distance = signed(int.from_bytes(rest, "big"), 32)
            if opcode == b"\x61\xff":  # bsr.l
                return address - 4 + distance
            if opcode == b"\x4e\xb9":  # jsr address
                return distance & 0xFFFFFFFF
        if len(before) >= 4:
            opcode, rest = before[-4:-2], before[-2:]
            distance = signed(int.from_bytes(rest, "big"), 16)
            if opcode in (b"\x61\x00", b"\x4e\xba"):  # bsr.w; jsr (d,pc)
                return address - 2 + distance
            # jsr (d,an), (d,an,xn), (d,pc,xn)
            if opcode[0] == 0x4E and (0xA8 <= opcode[1] <= 0xB7 or opcode[1] == 0xBB):
                return 0
        if len(before) >= 2:
            if before[-2] == 0x61 and before[-1] not in (0x00, 0xFF):  # bsr.s
                return address + signed(before[-1], 8)
            if before[-2] == 0x4E and 0x90 <= before[-1] <= 0x97:  # jsr (an)
                return 0
        return None

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        if at.startswith((b"\x4e\x56", b"\x48\x0e", b"\x4e\x75")):  # link fp; rts
            return 0, None
        return None


_DATA = tuple(f"d{number}" for number in range(8))
_ADDRESS = (*(f"a{number}" for number in range(6)), "fp", "sp")

# The stack pointer stands behind pretcode. Without siginfo: number, code, pointer, 8 bytes of
# code, one word of the mask; then struct sigcontext. With it: number, two pointers, 8 bytes of
# code, siginfo; then struct ucontext, its registers at 24. (QEMU has its code elsewhere.)
_RETCODE = 8


def _plain(code: int) -> SignalFrame:
    context = 16 + code
    # mask, usp, d0, d1, a0, a1, sr, pc
    layout = (("sp", 4), ("d0", 8), ("d1", 12), ("a0", 16), ("a1", 20), ("pc", 26))
    return SignalFrame(
        (b"\x70\x77\x4e\x40",),  # moveq #119,d0; trap #0
        tuple((name, context + distance) for name, distance in layout),
        number=0,
    )


def _with_info(code: int) -> SignalFrame:
    info = 12 + code
    context = info + 128 + 24
    return SignalFrame(
        (b"\x70\x52\x46\x00\x4e\x40",),  # moveq #82,d0; not.b d0 (173); trap #0
        tuple((name, context + 4 * at) for at, name in enumerate((*_DATA, *_ADDRESS, "pc"))),
        siginfo=info,
    )


FACTS = {
    "m68k": _M68k(
        signal_frames=(_plain(_RETCODE), _with_info(_RETCODE), _plain(0), _with_info(0)),
        frame_makers=(b"\x4e\x56", b"\x48\x0e"),
        order="big",
    )
}
