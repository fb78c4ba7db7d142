"""SPARC code: The SPARC Architecture Manual (CALL, JMPL, Tcc), arch/sparc/kernel/signal_{32,64}.c
(signal frames). Return addresses are those behind the call's delay slot."""

from __future__ import annotations

from .machine_code import CodeFacts, SignalFrame, signed


class _Sparc(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        word = self.instruction(before, len(before) - 8)
        if word >> 30 == 1:  # call
            return address - 8 + 4 * signed(word, 30)
        return 0 if word & 0xFFF80000 == 0x9FC00000 else None  # jmpl …, %o7

    def returned(self, before: bytes) -> bool:
        return self.instruction(before, 0) & 0xC1F80000 == 0x81C80000  # return


_GLOBALS_OUTS = (*(f"g{number}" for number in range(8)), *(f"o{number}" for number in range(6)),
                 "sp", "o7")  # fmt: skip
_LOCALS_INS = (*(f"l{number}" for number in range(8)), *(f"i{number}" for number in range(6)),
               "fp", "i7")  # fmt: skip


def _trampoline(number: int, trap: int) -> tuple[bytes]:
    # mov number, %g1; ta trap
    return ((0x82102000 | number).to_bytes(4, "big") + (0x91D02000 | trap).to_bytes(4, "big"),)


def _registers(bias: int, word: int, base: int, others: int) -> tuple[tuple[str, int], ...]:
    """The interrupted function's window at the stack pointer, the rest in a pt_regs at `base`
    whose pc is the word number `others` and whose u_regs begin at `base` + 4 words in the old
    layout (psr, pc, npc, y first)."""
    first = 4 if others == 1 else 0
    window = ((name, bias + word * at) for at, name in enumerate(_LOCALS_INS))
    rest = ((name, bias + base + word * (first + at)) for at, name in enumerate(_GLOBALS_OUTS))
    pc = bias + base + word * others
    return (*window, *rest, ("pc", pc), ("npc", pc + word))


FACTS = {
    # struct sparc_stackf of 192 bytes, siginfo; u_regs, tstate, tpc
    "sparc64": _Sparc(
        signal_frames=(
            SignalFrame(_trampoline(101, 0x6D), _registers(2047, 8, 192 + 128, 17), 2047 + 192),
        ),
        order="big",
    ),
    # 96 bytes, with siginfo 128 more; psr, pc, npc, y, u_regs
    "sparc": _Sparc(
        signal_frames=(
            SignalFrame(_trampoline(216, 0x10), _registers(0, 4, 96, 1)),
            SignalFrame(_trampoline(101, 0x10), _registers(0, 4, 96 + 128, 1)),
        ),
        order="big",
    ),
}
