"""AArch64 code: Arm Architecture Reference Manual, A64 (branches with link);
arch/arm64/kernel/signal.c, <asm/sigcontext.h>, <asm/ucontext.h> (signal frames).

Instructions are little-endian whatever the data are."""

from __future__ import annotations

from .machine_code import CodeFacts, EntryFrame, Linkage, Read, SignalFrame, Stub, signed

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

    def jump_target(self, before: bytes, address: int) -> int | None:
        word = self.instruction(before, len(before) - 4)
        return address - 4 + 4 * signed(word, 26) & (1 << 64) - 1 if word >> 26 == 5 else None  # b

    def linkage(self, read: Read, pc: int) -> Linkage | None:
        """Stubs are adrp, ldr, add, br (a nop or a check of a signature among them). The head of
        the table, by which they go to the dynamic linker at first, is the same but that it pushes
        the return address before, beside an address of the table."""
        ahead, behind = read(pc, _STUB), read(pc - _STUB, _STUB)
        words = [self.instruction(ahead, at) for at in range(0, len(ahead), 4)]
        pushes = words[:1] == [_PUSHES_LINK]
        if _next_other(words[pushes:]) != _JUMPS:
            return None
        words = [self.instruction(behind, at) for at in range(len(behind) - 4, -1, -4)]
        return (8, 16) if not pushes and _next_other(words) == _PUSHES_LINK else (None, 0)

    def stub(self, read: Read, pc: int, table: int) -> Stub | None:
        """adrp and ldr say where the word is; a mark for branches may come before."""
        for start in range(pc, pc - _STUB, -4):
            code = read(start, _STUB)
            words = [self.instruction(code, at) for at in range(0, len(code), 4)]
            at = 4 if words[:1] == [_BRANCH_TARGET] else 0
            page, load = [*words[at // 4 :], 0, 0][:2]
            if page & 0x9F00001F != 0x90000010 or load & 0xFFC003FF != 0xF9400211:
                continue
            if not at and self.instruction(read(start - 4, 4), 0) == _BRANCH_TARGET:
                continue  # it begins there
            jump = next((at for at, word in enumerate(words) if word == _JUMPS), 0)
            if pc > start + 4 * jump or _next_other(words[at // 4 :]) != _JUMPS:
                return None
            pages = signed(page >> 5 << 2 | page >> 29 & 3, 21) << 12
            return Stub(start, (start + at & -4096) + pages + 8 * (load >> 10 & 0xFFF))
        return None

    def entry_frame(self, code: bytes) -> EntryFrame | None:
        size, fp = 0, None
        saved: dict[str, int] = {}
        for at in range(0, len(code) - 3, 4):
            word = self.instruction(code, at)
            first, second, base = word & 31, word >> 10 & 31, word >> 5 & 31
            if word & 0x7C000000 == 0x14000000 or word & 0xFE000000 == 0xD6000000:
                break  # b, bl, br, blr, ret: the frame is made by then
            if base != _SP:
                continue
            if word & 0xFF8003E0 == 0xD10003E0 and first == _SP:  # sub sp, sp, n (lsl 12)
                size += (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
            elif word & 0xFF8003E0 == 0x910003E0:  # add rd, sp, n
                if first == _SP:
                    break  # that undoes it
                if first == 29:
                    fp = (word >> 10 & 0xFFF) - size
            elif word & 0xFE400000 == 0xA8000000:  # stp of two registers of 64 bits
                step = 8 * signed(word >> 15, 7)
                writes, after = word >> 23 & 1, not word >> 24 & 1
                if writes:
                    size -= step
                place = -size if writes or after else step - size
                _note(saved, first, place)
                _note(saved, second, place + 8)
            elif word & 0xFFE00C00 == 0xF8000C00:  # str rt, [sp, n]!
                size -= signed(word >> 12, 9)
                _note(saved, first, -size)
            elif word & 0xFFC00000 == 0xF9000000:  # str rt, [sp, n]
                _note(saved, first, 8 * (word >> 10 & 0xFFF) - size)
        return EntryFrame(size, saved, fp)

    def begins_frame(self, code: bytes) -> bool:
        word = self.instruction(code, 0)
        # stp x29, x30, [sp, -n]!; str x30, [sp, -n]!
        return word & 0xFFC07FFF == 0xA9807BFD or word & 0xFFF00FFF == 0xF8100FFE


_SP = 31
_STUB = 6 * 4  # bytes of a stub of the procedure linkage table
_BRANCH_TARGET = 0xD503245F  # bti c
_PUSHES_LINK, _JUMPS = 0xA9BF7BF0, 0xD61F0220  # stp x16, x30, [sp, -16]!; br x17
_IN_STUB = (  # instruction, mask
    (0x90000010, 0x9F00001F), (0xF9400211, 0xFFC003FF), (0x91000210, 0xFFC003FF),
    (0xD503201F, 0xFFFFF01F),
)  # fmt: skip


def _next_other(words: list[int]) -> int | None:
    """The first instruction that is none of those in the middle of a stub."""
    for word in words:
        if not any(word & mask == value for value, mask in _IN_STUB):
            return word
    return None


_SAVED = frozenset(range(19, 31))


def _note(saved: dict[str, int], register: int, place: int) -> None:
    if register in _SAVED:  # the first place counts: later stores are the function's work
        saved.setdefault(f"x{register}", place)


# struct rt_sigframe: siginfo; ucontext: flags, link and stack before the signal mask of 128
# bytes; then, aligned to 16, the sigcontext: fault_address, regs[31], sp, pc
_CONTEXT = 128 + 176
_REGISTERS = (*(f"x{number}" for number in range(31)), "sp", "pc")
_FACTS = _AArch64(
    signal_frames=(
        SignalFrame(
            (b"\x68\x11\x80\xd2\x01\x00\x00\xd4",),  # mov x8, 139 (rt_sigreturn); svc 0
            tuple((name, _CONTEXT + 8 + 8 * at) for at, name in enumerate(_REGISTERS)),
            siginfo=0,
        ),
    ),
    sigcontext_first=True,
    frame_record=(0, 8),
)

FACTS = {"aarch64": _FACTS, "aarch64_be": _FACTS}
