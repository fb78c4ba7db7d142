"""s390 code: z/Architecture Principles of Operation (BRAS, BRASL, BASR, SVC),
arch/s390/kernel/signal.c and <asm/sigcontext.h> (signal frames)."""

from __future__ import annotations

from .machine_code import CodeFacts, Linkage, Read, SignalFrame, Stub, signed

_LINK = 0xE0  # r14 as a call's first register


class _S390(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        if len(before) >= 6 and before[-6] == 0xC0 and before[-5] == _LINK | 5:  # brasl
            return address - 6 + 2 * signed(int.from_bytes(before[-4:], "big"), 32)
        if len(before) >= 4 and before[-4] == 0xA7 and before[-3] == _LINK | 5:  # bras
            return address - 4 + 2 * signed(int.from_bytes(before[-2:], "big"), 16)
        # basr, to a register's address (register 0 branches nowhere)
        if len(before) >= 2 and before[-2] == 0x0D and before[-1] & 0xF0 == _LINK:
            return 0 if before[-1] & 0x0F else None
        return None

    def jump_target(self, before: bytes, address: int) -> int | None:
        far, near = before[-6:-4] == b"\xc0\xf4", before[-4:-2] == b"\xa7\xf4"  # jg, j
        if far == near:  # the bytes of one may be in the other
            return None
        size = 4 if far else 2
        return address - size - 2 + 2 * signed(int.from_bytes(before[-size:], "big"), 8 * size)

    def linkage(self, read: Read, pc: int) -> Linkage | None:
        """A stub leaves stack and return address alone: larl, lg, br; basr, lgf, jg to the head
        of the table, which keeps two words in the caller's frame: stg, larl, mvc, lg, br."""
        for starts, kinds in ((_ENTRY, _ENTRY_CODE), (_HEAD, _HEAD_CODE)):
            for start in starts:
                code = read(pc - start, 26)
                if len(code) == 26 and all(
                    code.startswith(kind, at) for at, kind in zip(starts, kinds, strict=True)
                ):
                    return None, 0
        return None

    def stub(self, read: Read, pc: int, table: int) -> Stub | None:
        """larl says where the word is; behind the stub is the place of its relocation."""
        for at in _ENTRY:
            code = read(pc - at, 26)
            if len(code) == 26 and all(map(code.startswith, _ENTRY_CODE, _ENTRY)):
                return Stub(pc - at, pc - at + 2 * signed(int.from_bytes(code[2:6], "big"), 32))
        return None


# Where the instructions of stubs begin (64 bits), and what with.
_ENTRY = (0, 6, 12, 14, 16, 22)
_ENTRY_CODE = (b"\xc0\x10", b"\xe3\x10\x10\0\0\4", b"\7\xf1", b"\x0d\x10",
               b"\xe3\x10\x10\x0c\0\x14", b"\xc0\xf4")  # fmt: skip
_HEAD = (0, 6, 12, 18, 24)
_HEAD_CODE = (b"\xe3\x10\xf0\x38\0\x24", b"\xc0\x10", b"\xd2\7\xf0\x30\x10\x08",
              b"\xe3\x10\x10\x10\0\4", b"\7\xf1")  # fmt: skip


def _registers(base: int, word: int) -> tuple[tuple[str, int], ...]:
    """A _sigregs at `base`: psw, 16 general registers, 16 access registers of 32 bits, then the
    floating-point registers behind their control word."""
    general = ((f"r{number}", base + (2 + number) * word) for number in range(16))
    floats = ((f"f{number}", base + 18 * 8 + 64 + 8 + 8 * number) for number in range(16))
    return (("pswa", base + word), *general, *(floats if word == 8 else ()))


_SVC_SIGRETURN, _SVC_RT_SIGRETURN = b"\x0a\x77", b"\x0a\xad"


def _facts(word: int) -> _S390:
    # The handler's register save area; without siginfo a sigcontext (mask of 8 bytes, pointer)
    # and the registers; with it an instruction, siginfo, ucontext.
    area = 160 if word == 8 else 96
    info = area + 8 if word == 8 else area + 4
    context = info + 128 + 40 if word == 8 else info + 128 + 4 + 24
    return _S390(
        signal_frames=(
            SignalFrame((_SVC_SIGRETURN,), _registers(area + 16, word)),
            SignalFrame((_SVC_RT_SIGRETURN,), _registers(context, word), info),
        ),
        order="big",
    )


FACTS = {"s390x": _facts(8), "s390": _facts(4)}
