"""RISC-V code: The RISC-V Instruction Set Manual volume I (jal, jalr, c.jal, c.jalr);
arch/riscv/kernel/signal.c, <asm/sigcontext.h>, <asm/ucontext.h> (signal frames)."""

from __future__ import annotations

from .machine_code import CodeFacts, Prologue, SignalFrame, signed


class _RiscV(CodeFacts):
    __slots__ = ()

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

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        return None


class _RiscV32(_RiscV):
    __slots__ = ()

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
    return (SignalFrame(_CODES, layout),)


FACTS = {
    "riscv32": _RiscV32(signal_frames=_frames(4), sigcontext_first=True),
    "riscv64": _RiscV(signal_frames=_frames(8), sigcontext_first=True),
}
