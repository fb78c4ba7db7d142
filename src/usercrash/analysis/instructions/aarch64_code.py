"""AArch64 code: Arm Architecture Reference Manual, A64 (branches with link);
arch/arm64/kernel/signal.c, <asm/sigcontext.h>, <asm/ucontext.h> (signal frames).

Instructions are little-endian whatever the data are."""

from __future__ import annotations

from .machine_code import CodeFacts, Prologue, SignalFrame, signed

_BLR, _BLR_SIGNED = 0xD63F0000, 0xD63F0800  # the latter: braa and its relatives


class _AArch64(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        if address & 3:
            return None
        word = self.instruction(before, len(before) - 4)
        if word >> 26 == 0x25:  # bl
            return address - 4 + 4 * signed(word, 26) & (1 << 64) - 1
        if word & 0xFFFFFC1F == _BLR or word & 0xFEFFF800 == _BLR_SIGNED:
            return 0
        return None

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        return None


# struct rt_sigframe: siginfo; ucontext: flags, link and stack before the signal mask of 128
# bytes; then, aligned to 16, the sigcontext: fault_address, regs[31], sp, pc
_CONTEXT = 128 + 176
_REGISTERS = (*(f"x{number}" for number in range(31)), "sp", "pc")
_FACTS = _AArch64(
    signal_frames=(
        SignalFrame(
            (b"\x68\x11\x80\xd2\x01\x00\x00\xd4",),  # mov x8, 139 (rt_sigreturn); svc 0
            tuple((name, _CONTEXT + 8 + 8 * at) for at, name in enumerate(_REGISTERS)),
        ),
    ),
    sigcontext_first=True,
)

FACTS = {"aarch64": _FACTS, "aarch64_be": _FACTS}
