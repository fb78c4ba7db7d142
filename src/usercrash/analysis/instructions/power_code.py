"""Power code: Power ISA book I (branches), arch/powerpc/kernel/signal_{32,64}.c and
<asm/sigcontext.h> (signal frames)."""

from __future__ import annotations

from .machine_code import CodeFacts, Prologue, SignalFrame, signed

_CONDITIONAL, _BRANCH = 16, 18  # primary opcodes of bc and b


class _Power(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        word = self.instruction(before, len(before) - 4)
        if not word & 1:  # LK: sets the link register
            return None
        opcode = word >> 26
        if opcode in (_CONDITIONAL, _BRANCH):
            distance = signed(word & ~3, 26 if opcode == _BRANCH else 16)
            target = distance if word & 2 else address - 4 + distance
            return target if target != address else None  # bcl 20,31,$+4 asks where it is
        # bclr, bcctr
        return 0 if word & 0xFC0007FF in (0x4C000021, 0x4C000421) else None

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        return None


def _registers(base: int, word: int) -> tuple[tuple[str, int], ...]:
    """A pt_regs at `base`: 32 general registers, nip, msr, orig_r3, ctr, link."""
    return (
        *((f"r{number}", base + number * word) for number in range(32)),
        ("nip", base + 32 * word), ("ctr", base + 35 * word), ("lr", base + 36 * word),
    )  # fmt: skip


# li r0,sigreturn or rt_sigreturn; sc. The kernel's own trampoline drops a stack frame before.
_LI_SIGRETURN, _LI_RT_SIGRETURN, _SC = 0x38000077, 0x380000AC, 0x44000002
_DROP64 = 0x38210080  # addi r1,r1,128


def _facts(order: str, wide: bool) -> _Power:
    big = order == "big"

    def code(*words: int) -> bytes:
        return b"".join(word.to_bytes(4, "big" if big else "little") for word in words)

    if wide:
        # 128 bytes of stack frame; ucontext, its sigcontext at 168; there gp_regs at 64
        codes = (code(_LI_RT_SIGRETURN, _SC), code(_DROP64, _LI_RT_SIGRETURN, _SC))
        frames: tuple[SignalFrame, ...] = (SignalFrame(codes, _registers(128 + 168 + 64, 8)),)
    else:
        # 64 bytes of stack frame; sigcontext, 32; mcontext. With siginfo: 80; siginfo, 128;
        # ucontext, its mcontext at 192
        frames = (
            SignalFrame((code(_LI_SIGRETURN, _SC),), _registers(64 + 32, 4)),
            SignalFrame((code(_LI_RT_SIGRETURN, _SC),), _registers(80 + 128 + 192, 4)),
        )
    return _Power(signal_frames=frames, order="big" if big else "little")


FACTS = {
    "ppc64le": _facts("little", True),
    "ppc64": _facts("big", True),
    "ppc": _facts("big", False),
}
