"""MIPS code: MIPS Architecture volume II (jumps with a delay slot, release 6 without),
arch/mips/kernel/signal{,_n32,_o32}.c and <asm/sigcontext.h> (signal frames)."""

from __future__ import annotations

from .machine_code import CodeFacts, EntryFrame, SignalFrame, signed

_OLD = ("zero", "at", "v0", "v1", "a0", "a1", "a2", "a3", "t0", "t1", "t2", "t3", "t4", "t5", "t6",
        "t7", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "t8", "t9", "k0", "k1", "gp", "sp",
        "s8", "ra")  # fmt: skip
_NEW = (*_OLD[:8], "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", *_OLD[16:])
_KEPT = frozenset((*(f"s{number}" for number in range(9)), "gp", "ra"))

_ADD_SP = (0x27BD0000, 0x67BD0000)  # addiu, daddiu sp, sp, …
_SP_LESS_REGISTER = tuple(0x03A0E800 | number << 16 | function for number in range(32)
                          for function in (0x23, 0x2F))  # fmt: skip  # subu, dsubu sp, sp, …
_JR_RA = 0x03E00008
_FP_IS_SP = (0x03A0F025, 0x03A0F021, 0x03A0F02D)  # move s8, sp: or, addu, daddu


class _Mips(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        if address & 1:
            return None  # MIPS16, microMIPS
        jump = self.instruction(before, len(before) - 8)
        if jump >> 26 == 3:  # jal, within the 256 MiB around its delay slot
            return (address - 4 & ~0x0FFFFFFF) | (jump & 0x03FFFFFF) << 2
        if jump & 0xFC1F07FF == 0x0000F809 & 0xFC1F07FF and jump >> 11 & 31 == 31:  # jalr
            return 0
        if jump & 0xFC1E0000 == 0x04100000:  # bltzal, bgezal (bal)
            return address - 4 + 4 * signed(jump, 16)
        compact = self.instruction(before, len(before) - 4)
        if compact >> 26 == 0x3A:  # balc
            return address + 4 * signed(compact, 26)
        if compact >> 21 == 0x7C0:  # jialc
            return 0
        return None

    def entry_frame(self, code: bytes) -> EntryFrame | None:
        size, pointed, gone = 0, False, -2
        saved: dict[str, int] = {}
        for at in range(0, len(code) - 3, 4):
            word = self.instruction(code, at)
            opcode, distance = word >> 26, signed(word, 16)
            if word & 0xFFFF0000 in _ADD_SP:
                if distance < 0 and not size:
                    size = -distance
                elif distance > 0:
                    gone = at  # on one way out; the code behind has the frame still
            elif word in _FP_IS_SP:
                pointed = True
            elif word in _SP_LESS_REGISTER:
                return None  # a frame of more than 32 KiB
            elif opcode in (0x2B, 0x3F) and word >> 21 & 31 == 29:  # sw, sd to the stack
                name = _OLD[word >> 16 & 31]
                if name in _KEPT:
                    saved.setdefault(name, distance)
        if gone == len(code) - 4:
            return EntryFrame(0, {})
        places = {name: at - size for name, at in saved.items()}
        return EntryFrame(size, places, -size if pointed else None)

    def begins_before(self, code: bytes) -> int | None:
        for at in range(len(code) - 4 & -4, -1, -4):
            word = self.instruction(code, at)
            if word & 0xFFFF0000 in _ADD_SP and signed(word, 16) < 0:
                return at
            if word == _JR_RA and at + 8 < len(code):
                return at + 8  # behind the delay slot of the function before
        return None


_SYSCALL = 0x0000000C
_LI_V0 = 0x24020000
# sigreturn and rt_sigreturn of o32; rt_sigreturn of n64 and n32 (<asm/unistd.h>)
_SIGRETURN, _RT_SIGRETURN, _RT_SIGRETURN64, _RT_SIGRETURN_N32 = 4119, 4193, 5211, 6211
_ARGUMENTS = 24  # four words for arguments, two unused
_INFO = 128


def _facts(order: str, abi: str) -> _Mips:
    big = order == "big"

    def code(number: int) -> tuple[bytes]:
        words = (_LI_V0 | number, _SYSCALL)
        return (b"".join(word.to_bytes(4, "big" if big else "little") for word in words),)

    if abi == "o32":
        # struct sigcontext: two words, sc_pc, sc_regs, of 64 bits each
        low = 4 if big else 0
        layout: tuple[tuple[str, int], ...]
        layout = (("pc", 8 + low), *((name, 16 + 8 * at + low) for at, name in enumerate(_OLD)))
        frames: tuple[SignalFrame, ...] = (
            SignalFrame(code(_SIGRETURN), _moved(layout, _ARGUMENTS)),
            SignalFrame(code(_RT_SIGRETURN), _moved(layout, _ARGUMENTS + _INFO + 24), _ARGUMENTS),
        )
    else:
        # sc_regs, 32 floating-point registers, hi and lo of all four accumulators, sc_pc
        layout = (*((name, 8 * at) for at, name in enumerate(_NEW)), ("pc", 72 * 8))
        number, context = (_RT_SIGRETURN64, 40) if abi == "n64" else (_RT_SIGRETURN_N32, 24)
        frames = (
            SignalFrame(code(number), _moved(layout, _ARGUMENTS + _INFO + context), _ARGUMENTS),
        )
    return _Mips(signal_frames=frames, order="big" if big else "little")


def _moved(layout: tuple[tuple[str, int], ...], base: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, base + distance) for name, distance in layout if name != "zero")


FACTS = {
    f"{name}{suffix}": _facts(order, abi)
    for order, suffix in (("big", ""), ("little", "el"))
    for name, abi in (("mips", "o32"), ("mipsn32", "n32"), ("mips64", "n64"))
}
