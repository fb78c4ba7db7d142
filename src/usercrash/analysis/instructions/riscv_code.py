"""RISC-V code: The RISC-V Instruction Set Manual volume I (jal, jalr, c.jal, c.jalr);
arch/riscv/kernel/signal.c, <asm/sigcontext.h>, <asm/ucontext.h> (signal frames)."""

from __future__ import annotations

from .machine_code import CodeFacts, EntryFrame, Read, SignalFrame, Stub, signed


class _RiscV(CodeFacts):
    __slots__ = ()
    word = 8

    def call_target(self, before: bytes, address: int) -> int | None:
        word = self.instruction(before, len(before) - 4)
        if word & 0xFFF == 0x0EF:  # jal ra
            return address - 4 + _jal_offset(word) & (1 << 64) - 1
        if word & 0x7FFF == 0x00E7:  # jalr ra, which an auipc of the same register may precede
            first = self.instruction(before, len(before) - 8)
            register = word >> 15 & 31
            if first & 0x7F == 0x17 and first >> 7 & 31 == register and register:
                far = signed(first & ~0xFFF, 32) + signed(word >> 20, 12)
                return address - 8 + far & (1 << 64) - 1
            return 0
        half = int.from_bytes(before[-2:], "little")
        if half & 0xF07F == 0x9002 and half >> 7 & 31:  # c.jalr
            return 0
        return None

    def stub(self, read: Read, pc: int, table: int) -> Stub | None:
        """auipc t3; ld t3 (lw with 32 bits); jalr t1, t3."""
        for start in range(pc, pc - 12, -4):
            code = read(start, 12)
            page, load, jump = (self.instruction(code, at) for at in (0, 4, 8))
            kind = 0xE3E03 if self.word == 8 else 0xE2E03
            if page & 0xFFF == 0xE17 and load & 0xFFFFF == kind and jump == 0xE0367:
                far = signed(page & ~0xFFF, 32) + signed(load >> 20, 12)
                return Stub(start, start + far & (1 << 8 * self.word) - 1)
        return None

    def jump_target(self, before: bytes, address: int) -> int | None:
        word = self.instruction(before, len(before) - 4)
        half = word >> 16
        mask = (1 << 8 * self.word) - 1
        long, short = word & 0xFFF == 0x06F, half & 0xE003 == 0xA001  # jal zero, c.j
        if long and short:  # the bytes of one may be in the other
            return None
        if long:
            return address - 4 + _jal_offset(word) & mask
        if short:
            return address - 2 + _short_offset(half) & mask
        first = self.instruction(before, len(before) - 8)
        register = word >> 15 & 31
        if word & 0x7FFF == 0x0067 and first & 0xFFF == (register << 7 | 0x17) and register:
            far = signed(first & ~0xFFF, 32) + signed(word >> 20, 12)
            return address - 8 + far & mask  # auipc; jalr zero
        return None

    def entry_frame(self, code: bytes) -> EntryFrame | None:
        made = _Making(self.word)
        at = 0
        while at + 1 < len(code):
            half = int.from_bytes(code[at : at + 2], "little")
            if half & 3 != 3:
                going = made.short(half)
                at += 2
            else:
                going = made.long(self.instruction(code, at))
                at += 4
            if not going:
                break
        return EntryFrame(made.size, made.saved, made.fp)

    def begins_frame(self, code: bytes) -> bool:
        made = _Making(self.word)
        half = int.from_bytes(code[:2], "little")
        if half & 3 == 3:
            made.long(self.instruction(code, 0))
        else:
            made.short(half)
        return made.size > 0


class _Making:
    """A frame being made, instruction after instruction."""

    def __init__(self, word: int) -> None:
        self.word = word
        self.size = 0
        self.fp: int | None = None
        self.saved: dict[str, int] = {}

    def short(self, half: int) -> bool:
        """Take in a compressed instruction; whether the frame may still be in the making."""
        if half & 0xEF83 == 0x6101:  # c.addi16sp
            step = (half >> 6 & 1) << 4 | (half >> 5 & 1) << 6 | (half >> 3 & 3) << 7
            return self._sp(signed(step | (half >> 2 & 1) << 5 | (half >> 12 & 1) << 9, 10))
        if half & 0xEF83 == 0x0101:  # c.addi sp
            return self._sp(signed((half >> 12 & 1) << 5 | half >> 2 & 31, 6))
        if half & 0xE003 == 0xE002 and self.word == 8:  # c.sdsp
            self._store(half >> 2 & 31, (half >> 10 & 7) << 3 | (half >> 7 & 7) << 6)
        elif half & 0xE003 == 0xC002 and self.word == 4:  # c.swsp
            self._store(half >> 2 & 31, (half >> 9 & 15) << 2 | (half >> 7 & 3) << 6)
        elif half & 0xE003 == 0x0000 and half >> 2 & 7 == 0 and half:  # c.addi4spn s0
            step = (half >> 7 & 15) << 6 | (half >> 11 & 3) << 4
            self.fp = (step | (half >> 5 & 1) << 3 | (half >> 6 & 1) << 2) - self.size
        # c.j, c.jr, c.jalr, c.jal (c.addiw of 64 bits has its number): the frame is made by then
        return half & 0xE003 != 0xA001 and half & 0xE07F != 0x8002

    def long(self, word: int) -> bool:
        """The same for an instruction of 32 bits."""
        if word & 0x7F in (0x6F, 0x67):  # jal, jalr
            return False
        if word & 0xFFFFF == 0x10113:  # addi sp, sp
            return self._sp(signed(word >> 20, 12))
        if word & 0xFFFFF == 0x10413:  # addi s0, sp
            self.fp = signed(word >> 20, 12) - self.size
        elif word & 0xFF07F == (0x13023 if self.word == 8 else 0x12023):  # sd, sw to sp
            self._store(word >> 20 & 31, signed(word >> 25, 7) << 5 | word >> 7 & 31)
        return True

    def _sp(self, step: int) -> bool:
        if step < 0:
            self.size -= step
        return step < 0

    def _store(self, register: int, place: int) -> None:
        name = _NAMES.get(register)
        if name is not None:
            self.saved.setdefault(name, place - self.size)


_NAMES = {
    1: "ra", 8: "s0", 9: "s1", **{number: f"s{number - 16}" for number in range(18, 28)},
}  # fmt: skip


class _RiscV32(_RiscV):
    __slots__ = ()
    word = 4

    def call_target(self, before: bytes, address: int) -> int | None:
        found = super().call_target(before, address)
        half = int.from_bytes(before[-2:], "little")
        if found is None and half & 0xE003 == 0x2001:  # c.jal, of 32 bits only
            return 0
        return found if found is None else found & (1 << 32) - 1


def _jal_offset(word: int) -> int:
    """The distance that a jal goes: its 20 bits stand in an order of their own."""
    offset = (word >> 31) << 20 | (word >> 12 & 0xFF) << 12
    offset |= (word >> 20 & 1) << 11 | (word >> 21 & 0x3FF) << 1
    return signed(offset, 21)


def _short_offset(half: int) -> int:
    """The distance that a c.j goes: its 11 bits, from bit 12 on, are these of it."""
    bits = (11, 4, 9, 8, 10, 6, 7, 3, 2, 1, 5)
    return signed(sum((half >> 12 - at & 1) << bit for at, bit in enumerate(bits)), 12)


_REGISTERS = (
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4",
    "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
    "t5", "t6",
)  # fmt: skip
# li a7, 139 (rt_sigreturn); ecall
_CODES = (b"\x93\x08\xb0\x08\x73\x00\x00\x00",)


def _frames(word: int) -> tuple[SignalFrame, ...]:
    # siginfo; ucontext: flags, link and stack before the signal mask of 128 bytes, then, aligned
    # to 16, the sigcontext
    context = 128 + (5 * word + 128 + 15 & ~15)
    layout = tuple((name, context + word * at) for at, name in enumerate(_REGISTERS))
    return (SignalFrame(_CODES, layout, siginfo=0),)


FACTS = {
    "riscv32": _RiscV32(signal_frames=_frames(4), sigcontext_first=True, frame_record=(-8, -4)),
    "riscv64": _RiscV(signal_frames=_frames(8), sigcontext_first=True, frame_record=(-16, -8)),
}
