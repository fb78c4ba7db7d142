"""Power code: Power ISA book I (branches), arch/powerpc/kernel/signal_{32,64}.c and
<asm/sigcontext.h> (signal frames)."""

from __future__ import annotations

from typing import ClassVar

from .machine_code import CodeFacts, EntryFrame, Read, SignalFrame, Stub, signed

_ADDI, _CONDITIONAL, _BRANCH = 14, 16, 18  # primary opcodes of addi, bc and b
_SAVES_TABLE, _MTCTR_R12, _BCTR = 0xF8410018, 0x7D8903A6, 0x4E800420
_MFLR_R0, _BLR = 0x7C0802A6, 0x4E800020


class _Power(CodeFacts):
    __slots__ = ()
    wide: ClassVar[bool] = True

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

    def stub(self, read: Read, pc: int, table: int) -> Stub | None:
        """std r2,24(r1); addis r12,r2,high, where it is far; ld r12,low; mtctr r12; bctr (the ELF
        v2 ABI, whose r2 is `table`)."""
        for start in range(pc, pc - 20, -4) if table and self.order == "little" else ():
            code = read(start, 20)
            words = [self.instruction(code, at) for at in range(0, len(code), 4)]
            if words[:1] != [_SAVES_TABLE]:
                continue
            slot, rest = table, words[1:]
            if rest[:1] and rest[0] >> 16 == 0x3D82:
                slot += signed(rest.pop(0), 16) << 16
            base = 0xE982 if len(rest) == len(words) - 1 else 0xE98C
            if rest[1:3] != [_MTCTR_R12, _BCTR] or rest[0] >> 16 != base or rest[0] & 3:
                return None
            last = start + 4 * (len(words) - len(rest) + 2)
            return Stub(start, slot + signed(rest[0], 16)) if pc <= last else None
        return None

    def entry_frame(self, code: bytes) -> EntryFrame | None:
        size, gone, moved = 0, False, False
        saved: dict[str, int] = {}
        store, update, link_at = (62, 62, 16) if self.wide else (36, 37, 4)
        for at in range(0, len(code) - 3, 4):
            word = self.instruction(code, at)
            opcode, register, base = word >> 26, word >> 21 & 31, word >> 16 & 31
            kind = word & 3 if self.wide else 0
            distance = signed(word & ~3 if self.wide else word, 16)
            if word == _MFLR_R0:
                moved = True
            elif base == 1 and register == 1 and opcode == update and kind == int(self.wide):
                size, gone = size or -distance, False  # stdu, stwu
            elif base == 1 and register == 1 and opcode == _ADDI:
                gone = True
            elif word == _BLR:
                gone = False  # one way out; what is behind it has the frame still
            elif base == 1 and opcode == store and not kind:  # std, stw
                if register >= 14:
                    saved.setdefault(f"r{register}", distance - size)
                elif register == 0 and moved and distance - size == link_at:
                    saved["lr"] = link_at
        if gone:
            return None
        return EntryFrame(size, saved, chained=size != 0)


class _Power32(_Power):
    __slots__ = ()
    wide = False


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
        # 128 bytes of stack frame; ucontext, its sigcontext at 168; there gp_regs at 64. (QEMU 7
        # aligns both to 16 bytes.)
        codes = (code(_LI_RT_SIGRETURN, _SC), code(_DROP64, _LI_RT_SIGRETURN, _SC))
        frames: tuple[SignalFrame, ...] = (
            SignalFrame(codes, _registers(128 + 168 + 64, 8)),
            SignalFrame(codes, _registers(128 + 176 + 72, 8)),
        )
    else:
        # 64 bytes of stack frame; sigcontext, 32; mcontext. With siginfo: 80; siginfo, 128;
        # ucontext, its mcontext at 192
        frames = (
            SignalFrame((code(_LI_SIGRETURN, _SC),), _registers(64 + 32, 4)),
            SignalFrame((code(_LI_RT_SIGRETURN, _SC),), _registers(80 + 128 + 192, 4), 80),
        )
    return (_Power if wide else _Power32)(signal_frames=frames, order="big" if big else "little")


FACTS = {
    "ppc64le": _facts("little", True),
    "ppc64": _facts("big", True),
    "ppc": _facts("big", False),
}
