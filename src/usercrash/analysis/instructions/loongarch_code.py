"""LoongArch code: LoongArch Reference Manual volume 1 (BL, JIRL),
arch/loongarch/kernel/signal.c and <asm/sigcontext.h> (signal frame)."""

from __future__ import annotations

from ...elf.arch.loongarch import ARCH
from .machine_code import CodeFacts, SignalFrame, signed


class _LoongArch(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        word = self.instruction(before, len(before) - 4)
        if word >> 26 == 0x15:  # bl: the distance's upper 10 bits stand below its lower 16
            return address - 4 + 4 * signed((word & 0x3FF) << 16 | word >> 10 & 0xFFFF, 26)
        if word >> 26 == 0x13 and word & 31 == 1:  # jirl ra, …
            return 0
        return None


# struct rt_sigframe: siginfo of 128 bytes, ucontext; its sigcontext (sc_pc, sc_regs) at 176
_CONTEXT = 128 + 176

FACTS = {
    "loongarch64": _LoongArch(
        signal_frames=(
            SignalFrame(
                tuple(
                    move.to_bytes(4, "little") + (0x002B0000).to_bytes(4, "little")  # syscall 0
                    for move in (0x02822C0B, 0x03822C0B)  # addi.w, ori a7, zero, 139 (rt_sigreturn)
                ),
                (
                    ("pc", _CONTEXT),
                    *(
                        (ARCH.dwarf_registers[number], _CONTEXT + 8 + 8 * number)
                        for number in range(1, 32)
                    ),
                ),
                0,
            ),
        ),
        sigcontext_first=True,
    )
}
