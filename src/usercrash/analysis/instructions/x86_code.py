"""x86 code, what is the same with 32 and 64 bits: Intel SDM volume 2 (calls, frames made)."""

from __future__ import annotations

from typing import ClassVar

from .machine_code import CodeFacts, Linkage, Prologue, Read, Stub

_PUSH, _POP, _RETURN = b"\x55", b"\x5d", b"\xc3"  # of the frame pointer
SYSCALL_INSTRUCTIONS = (b"\x0f\x05", b"\xcd\x80", b"\x0f\x34")  # syscall, int 0x80, sysenter
_RETURNS = (_RETURN, b"\xf2\xc3", b"\xf3\xc3")


class X86(CodeFacts):
    """`word`: bytes of a register; `endbr`: what an entry may begin with; `moves`: the forms of
    `mov` from the stack pointer to the frame pointer; `places`: the ModRM bits of a word of the
    global offset table; `entry`: what a stub pushes for each relocation before its own."""

    __slots__ = ()
    word: ClassVar[int]
    endbr: ClassVar[bytes]
    moves: ClassVar[tuple[bytes, ...]]
    places: ClassVar[tuple[int, ...]] = (0x05,)
    entry: ClassVar[int] = 1

    @classmethod
    def makers(cls) -> tuple[bytes, ...]:
        """How functions begin that use the frame pointer."""
        return tuple(entry + _PUSH + move for entry in (b"", cls.endbr) for move in cls.moves)

    def call_target(self, before: bytes, address: int) -> int | None:
        if len(before) >= 5 and before[-5] == 0xE8:
            return self._relative(before, address, 4)
        # FF /2 with its ModRM byte 2, 3, 4, 6 or 7 bytes before (Intel SDM vol. 2, CALL)
        for length in (2, 3, 4, 6, 7):
            if len(before) >= length and before[-length] == 0xFF:
                modrm = before[-length + 1]
                if modrm & 0x38 == 0x10 and _ff_length(before[-length:]) == length:
                    return 0
        return None

    def jump_target(self, before: bytes, address: int) -> int | None:
        far, near = before[-5:-4] == b"\xe9", before[-2:-1] == b"\xeb"
        if far == near:  # the bytes of one may be in the other: which it is cannot be told
            return None
        return self._relative(before, address, 4 if far else 1)

    def may_jump(self, code: bytes, address: int, target: int) -> bool:
        for at in range(1, len(code)):
            first, before = code[at - 1], code[at - 2] if at > 1 else 0
            size = 0
            if first == 0xE9 or (first & 0xF0 == 0x80 and before == 0x0F):  # jmp rel32, jcc rel32
                size = 4
            elif first == 0xEB or first & 0xF0 == 0x70:  # jmp rel8, jcc rel8
                size = 1
            end = at + size
            there = size and end <= len(code)
            if there and self._relative(code[at:end], address + end, size) == target:
                return True
        return False

    def _relative(self, before: bytes, address: int, size: int) -> int:
        """The place at the distance from `address` that the last `size` bytes before it are."""
        distance = int.from_bytes(before[-size:], "little", signed=True)
        return address + distance & (1 << 8 * self.word) - 1

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        if at.startswith(self.endbr):  # an entry
            return 0, None
        if at[:1] == _PUSH and at.startswith(self.moves, 1):
            return 0, None
        if before.endswith(_PUSH) and at.startswith(self.moves):
            return self.word, 0
        if at.startswith(_RETURNS):
            return 0, None
        if at.startswith(_POP + _RETURN):
            return self.word, 0
        return None

    # --- stubs of the procedure linkage table ---

    def linkage(self, read: Read, pc: int) -> Linkage | None:
        """As linkers write them that do not describe them (lld; the stubs for indirect functions
        in static programs): a jump through the global offset table, to the function or back to
        `push number; jmp` to the table's head, which pushes once more and jumps to the dynamic
        linker. A jump through a fixed place is a tail call elsewhere, too."""
        pushed = self._pushed(read, pc)
        return None if pushed is None else (pushed, pushed + self.word)

    def _pushed(self, read: Read, pc: int) -> int | None:
        """What lies above the return address in a stub, in bytes."""
        code, before = read(pc, 24), read(pc - 8, 8)
        if code.startswith(self.endbr):
            code, pc, before = code[4:], pc + 4, b""
        if self._through_table(code, 0x20):
            return 2 * self.word if self._through_table(before[-6:], 0x30) else 0
        if self._is_head(code):
            return self.word
        pushed = code[:1] == b"\x68"
        if not pushed and before[-5:-4] != b"\x68":
            return None
        at = 5 if pushed else 0
        at += code[at : at + 1] == b"\xf2"  # (bnd)
        if code[at : at + 1] != b"\xe9" or len(code) < at + 5:
            return None
        head = self._relative(code[at + 1 : at + 5], pc + at + 5, 4)
        return (0 if pushed else self.word) if self._is_head(read(head, 16)) else None

    def stub(self, read: Read, pc: int, table: int) -> Stub | None:
        """A jump through the table, `push number; jmp` to the head of the stubs, or both; stubs
        begin at multiples of 16, those that are never bound late at multiples of 8."""
        for start in {pc & -16, pc & -8}:
            code = read(start, 24)
            at = 4 if code.startswith(self.endbr) else 0
            begins = {0, at}
            slot = number = None
            if self._through_table(code[at:], 0x20):
                at += 6 + (code[at] == 0xF2)
                slot = self._slot(code[:at], start + at, table)
            if code[at : at + 1] == b"\x68":
                jump = at + 5 + (code[at + 5 : at + 6] == b"\xf2")
                head = self._relative(code[jump + 1 : jump + 5], start + jump + 5, 4)
                if code[jump : jump + 1] == b"\xe9" and self._is_head(read(head, 16)):
                    begins |= {at, at + 5}
                    number = int.from_bytes(code[at + 1 : at + 5], "little") // self.entry
            if (slot, number) != (None, None) and pc - start in begins:
                return Stub(start, slot, number)
        return None

    def called_slot(self, before: bytes, address: int, table: int) -> int | None:
        return self._through_word(before[-6:], 0x10, address, table)

    def jumped_slot(self, before: bytes, address: int, table: int) -> int | None:
        return self._through_word(before[-6:], 0x20, address, table)

    def _through_word(self, code: bytes, operation: int, address: int, table: int) -> int | None:
        """The word at a fixed place, or, with 32 bits, at a distance from any register: in 4 bytes
        though it would fit in one, or a negative one, as the linker's are; not that of a member."""
        if len(code) < 6 or code[0] != 0xFF or code[1] & 0x38 != operation:
            return None
        place = code[1] & 0xC7
        by_register = self.word == 4 and place & 0xC0 == 0x80 and place != 0x84
        if by_register and int.from_bytes(code[2:], "little", signed=True) >= 0x80:
            return None
        return self._slot(code, address, table) if by_register or place == 0x05 else None

    def _slot(self, before: bytes, address: int, table: int) -> int | None:
        """The word that the instruction before an address reads."""
        if before[-5] & 0x80:  # at a distance from a register
            return self._relative(before, table, 4) if table else None
        return self._relative(before, address if self.word == 8 else 0, 4)

    def _is_head(self, code: bytes) -> bool:
        return self._through_table(code, 0x30) and self._through_table(code[6:], 0x20)

    def _through_table(self, code: bytes, operation: int) -> bool:
        """Whether code begins with `jmp` (0x20) or `push` (0x30) of a word of the table."""
        code = code.removeprefix(b"\xf2")
        return code[:1] == b"\xff" and code[1:2] in {
            bytes((operation | place,)) for place in self.places
        }


def _ff_length(code: bytes) -> int:
    """The length of an FF /2 instruction (without prefixes) by its ModRM and SIB bytes."""
    mod, rm = code[1] >> 6, code[1] & 7
    if mod == 3:
        return 2
    length = 2
    if rm == 4:
        length += 1
        if mod == 0 and len(code) > 2 and code[2] & 7 == 5:
            length += 4
    if mod == 0 and rm == 5:
        length += 4
    return length + (0, 1, 4)[mod]
