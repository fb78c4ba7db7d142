"""Call frame information: CIEs, FDEs and the row of rules for one pc.

Sources: DWARF 5 section 6.4 (`.debug_frame`), LSB Core 5.0 section 10.6 (`.eh_frame`,
its augmentations `zPLRS`), and GCC's DW_CFA_GNU_* extensions. Addresses are
link-time ones. What is malformed raises `FormatError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import FormatError
from .encodings import Buffer, PointerBases, fixed, pointer, pointer_size, sleb, uleb

# Kinds of register rules (DWARF 5 section 6.4.1); a register without a rule keeps its value.
UNDEFINED, SAME, OFFSET, VAL_OFFSET, REGISTER, EXPRESSION, VAL_EXPRESSION = range(7)

Rule = tuple[int, int | bytes]

_MAX_REGISTER = 1024  # higher numbers are consumed and forgotten
_MAX_STATES = 512  # DW_CFA_remember_state within each other
_MAX_PROGRAM = 1 << 20  # bytes of instructions of one FDE


@dataclass(slots=True)
class Row:
    """How to get from a frame to its caller at one pc.

    The CFA is `cfa_register` + `cfa_offset`, or the value of `cfa_expression` where that is
    not None. `rules` by DWARF register number.
    """

    cfa_register: int
    cfa_offset: int
    cfa_expression: bytes | None
    rules: dict[int, Rule]
    return_column: int
    signal_frame: bool


@dataclass(slots=True)
class Cie:
    """A common information entry; `program` is the range of its initial instructions."""

    code_align: int
    data_align: int
    return_column: int
    program: tuple[int, int]
    address_size: int
    encoding: int = 0  # of pc_begin (augmentation R)
    augmented: bool = False  # augmentation z: FDEs carry a length
    signal_frame: bool = False  # augmentation S
    initial: _State | None = None  # the state after `program`, once it has been run


@dataclass(slots=True)
class Fde:
    """A frame description entry: the code [start, end) and its instructions' range."""

    start: int
    end: int
    cie: Cie
    program: tuple[int, int]


@dataclass(slots=True)
class _State:
    cfa_register: int = -1
    cfa_offset: int = 0
    cfa_expression: bytes | None = None
    rules: dict[int, Rule] = field(default_factory=dict)

    def copy(self) -> _State:
        return _State(self.cfa_register, self.cfa_offset, self.cfa_expression, dict(self.rules))


class FrameSection:
    """The bytes of one `.eh_frame` or `.debug_frame`, and how to read its entries.

    `address` is the link-time address of `data[0]`, `bases` has what else encoded pointers
    may be relative to.
    """

    def __init__(
        self, data: Buffer, address: int, *, debug_frame: bool = False, word: int = 8,
        order: str = "<", text: int = 0, data_base: int = 0,
    ) -> None:  # fmt: skip
        self.data = data
        self.address = address
        self.debug_frame = debug_frame
        self.word = word
        self.order = order
        self.bases = PointerBases(address, word, order, text=text, data=data_base)
        self._cies: dict[int, Cie] = {}

    def entry(self, offset: int) -> tuple[int, int, int | None]:
        """(offset of the content behind the id, end of the entry, CIE's offset or None for a
        CIE) of the entry at `offset`. A terminator has the end `offset` + 4 and starts there."""
        length = fixed(self.data, offset, self.order + "I")
        at = offset + 4
        id_size = 4
        if length == 0:
            return at, at, None
        if length == 0xFFFFFFFF:
            length = fixed(self.data, at, self.order + "Q")
            at += 8
            id_size = 8 if self.debug_frame else 4
        end = at + length
        if end > len(self.data) or length < id_size:
            raise FormatError(f"frame entry at {offset:#x} of {length} bytes is cut short")
        identity = fixed(self.data, at, self.order + ("I" if id_size == 4 else "Q"))
        content = at + id_size
        if self.debug_frame:
            is_cie = identity == (1 << 8 * id_size) - 1
            return content, end, None if is_cie else identity
        return content, end, None if identity == 0 else at - identity

    def cie(self, offset: int) -> Cie:
        """The CIE at `offset`, parsed once."""
        found = self._cies.get(offset)
        if found is None:
            found = self._cies[offset] = self._parse_cie(offset)
        return found

    def _parse_cie(self, offset: int) -> Cie:
        if offset < 0:
            raise FormatError("CIE before the section's begin")
        at, end, owner = self.entry(offset)
        if owner is not None or at == end:
            raise FormatError(f"no CIE at {offset:#x}")
        data = self.data[:end]
        version = fixed(data, at, "B")
        if version not in (1, 3, 4):
            raise FormatError(f"CIE version {version}")
        text_end = at + 1
        while fixed(data, text_end, "B"):
            text_end += 1
            if text_end - at > 32:
                raise FormatError("CIE augmentation too long")
        augmentation = bytes(data[at + 1 : text_end])
        at = text_end + 1
        address_size = self.word
        if version == 4:
            address_size = fixed(data, at, "B")
            if address_size not in (4, 8) or fixed(data, at + 1, "B") != 0:
                raise FormatError("CIE with an odd address or segment size")
            at += 2
        if augmentation.startswith(b"eh"):  # GCC 2: a pointer stands here
            at += self.word
            augmentation = augmentation[2:]
        code_align, at = uleb(data, at)
        data_align, at = sleb(data, at)
        if version == 1:
            column, at = fixed(data, at, "B"), at + 1
        else:
            column, at = uleb(data, at)
        cie = Cie(code_align, data_align, column, (at, end), address_size)
        if augmentation:
            self._augment(cie, augmentation, at, end)
        return cie

    def _augment(self, cie: Cie, augmentation: bytes, at: int, end: int) -> None:
        """Take in the augmentation data at `at`, and move the program behind it."""
        if augmentation[:1] != b"z":
            raise FormatError(f"CIE augmentation {augmentation!r}")
        cie.augmented = True
        length, at = uleb(self.data, at)
        program = at + length
        if program > end:
            raise FormatError("CIE augmentation data cut short")
        cie.program = (program, end)
        for letter in augmentation[1:]:
            if letter == 0x52:  # R
                cie.encoding, at = fixed(self.data, at, "B"), at + 1
            elif letter == 0x53:  # S
                cie.signal_frame = True
            elif letter == 0x4C:  # L
                at += 1
            elif letter == 0x50:  # P: the personality routine, of no use here
                encoding = fixed(self.data, at, "B")
                _, at = pointer(self.data, at + 1, encoding, self.bases)
            elif letter in (0x42, 0x47):  # B, G: AArch64's pointer keys and memory tags
                continue
            else:
                break  # unknown: z says where it ends

    def fde(self, offset: int) -> Fde:
        """The FDE at `offset`; FormatError if there is none."""
        if offset < 0:
            raise FormatError("FDE before the section's begin")
        at, end, owner = self.entry(offset)
        if owner is None:
            raise FormatError(f"no FDE at {offset:#x}")
        cie = self.cie(owner)
        start, at, length = self.code_range(cie, at)
        if cie.augmented:
            size, at = uleb(self.data, at)
            at += size
        if at > end:
            raise FormatError("FDE cut short")
        return Fde(start, start + length, cie, (at, end))

    def code_range(self, cie: Cie, at: int) -> tuple[int, int, int]:
        """(start, position behind, length) of the code of an FDE whose pc_begin is at `at`."""
        if self.debug_frame:
            letter = self.order + ("Q" if cie.address_size == 8 else "I")
            start = fixed(self.data, at, letter)
            length = fixed(self.data, at + cie.address_size, letter)
            return start, at + 2 * cie.address_size, length
        if cie.encoding & 0x80:
            raise FormatError("FDE with an indirect address")
        start, at = pointer(self.data, at, cie.encoding, self.bases)
        length, at = pointer(self.data, at, cie.encoding & 0x0F, self.bases)
        size = pointer_size(cie.encoding, self.word)
        return start, at, length & ((1 << 8 * size) - 1) if size else length

    # --- rows ---

    def row(self, fde: Fde, pc: int) -> Row:
        """The rules that hold at `pc` (within `fde`)."""
        cie = fde.cie
        if cie.initial is None:
            state = _State()
            self._run(cie.program, state, state, cie, 0, 0)
            cie.initial = state
        state = self._run(fde.program, cie.initial.copy(), cie.initial, cie, fde.start, pc)
        if state.cfa_register < 0 and state.cfa_expression is None:
            raise FormatError("no rule for the CFA")
        return Row(
            state.cfa_register, state.cfa_offset, state.cfa_expression,
            state.rules, cie.return_column, cie.signal_frame,
        )  # fmt: skip

    def _run(
        self, program: tuple[int, int], state: _State, initial: _State, cie: Cie, location: int,
        pc: int,
    ) -> _State:  # fmt: skip
        """Run instructions up to the row that holds at `pc`; the state is changed in place
        (and another is returned after DW_CFA_restore_state)."""
        at, end = program
        if end - at > _MAX_PROGRAM:
            raise FormatError("frame entry too long")
        data = self.data
        saved: list[_State] = []
        code_align, data_align = cie.code_align, cie.data_align
        rules = state.rules
        while at < end:
            op = data[at]
            at += 1
            kind, low = op & 0xC0, op & 0x3F
            if kind == 0x40:
                location += low * code_align
                if location > pc:
                    break
            elif kind == 0x80:
                value, at = uleb(data, at)
                rules[low] = (OFFSET, value * data_align)
            elif kind == 0xC0:
                _restore(rules, initial.rules, low)
            elif op == 0x0E:  # def_cfa_offset
                state.cfa_offset, at = uleb(data, at)
            elif 0x01 <= op <= 0x04 or op == 0x1D:
                location, at = self._advance(op, at, location, cie)
                if location > pc:
                    break
            elif op == 0x0A:  # remember_state
                if len(saved) >= _MAX_STATES:
                    raise FormatError("too many remembered states")
                saved.append(state.copy())
            elif op == 0x0B:  # restore_state
                if not saved:
                    raise FormatError("restore without a remembered state")
                state = saved.pop()
                rules = state.rules
            else:
                at = self._instruction(op, at, state, initial, data_align)
        return state

    def _advance(self, op: int, at: int, location: int, cie: Cie) -> tuple[int, int]:
        if op == 0x01:  # set_loc
            if self.debug_frame:
                letter = self.order + ("Q" if cie.address_size == 8 else "I")
                return fixed(self.data, at, letter), at + cie.address_size
            return pointer(self.data, at, cie.encoding, self.bases)
        letter, size = {0x02: ("B", 1), 0x03: ("H", 2), 0x04: ("I", 4), 0x1D: ("Q", 8)}[op]
        delta = fixed(self.data, at, self.order + letter)
        return location + delta * cie.code_align, at + size

    def _instruction(
        self, op: int, at: int, state: _State, initial: _State, data_align: int
    ) -> int:
        """The instructions with operands that are not in `_run`; gives the next position."""
        data, rules = self.data, state.rules
        if op in (0x00, 0x2D):  # nop; GNU_window_save (AArch64: negate_ra_state)
            return at
        if op in (0x0C, 0x12):  # def_cfa, def_cfa_sf
            state.cfa_register, at = uleb(data, at)
            state.cfa_expression = None
            if op == 0x0C:
                state.cfa_offset, at = uleb(data, at)
            else:
                value, at = sleb(data, at)
                state.cfa_offset = value * data_align
        elif op == 0x0D:  # def_cfa_register
            state.cfa_register, at = uleb(data, at)
            state.cfa_expression = None
        elif op == 0x13:  # def_cfa_offset_sf
            value, at = sleb(data, at)
            state.cfa_offset = value * data_align
        elif op == 0x0F:  # def_cfa_expression
            state.cfa_expression, at = self._block(at)
        elif op == 0x2E:  # GNU_args_size
            _, at = uleb(data, at)
        else:
            register, at = uleb(data, at)
            if op == 0x06:  # restore_extended
                _restore(rules, initial.rules, register)
            else:
                rule, at = self._rule(op, at, data_align)
                if register < _MAX_REGISTER:
                    rules[register] = rule
        return at

    def _rule(self, op: int, at: int, data_align: int) -> tuple[Rule, int]:
        """The rule that an instruction's operands behind the register say."""
        data = self.data
        if op == 0x07:
            return (UNDEFINED, 0), at
        if op == 0x08:
            return (SAME, 0), at
        if op in (0x10, 0x16):  # expression, val_expression
            block, at = self._block(at)
            return (EXPRESSION if op == 0x10 else VAL_EXPRESSION, block), at
        if op == 0x09:  # register
            value, at = uleb(data, at)
            return (REGISTER, value), at
        if op in (0x05, 0x14, 0x2F):  # offset_extended, val_offset, GNU_negative_offset_extended
            value, at = uleb(data, at)
            value = -value if op == 0x2F else value
            return (VAL_OFFSET if op == 0x14 else OFFSET, value * data_align), at
        if op in (0x11, 0x15):  # offset_extended_sf, val_offset_sf
            value, at = sleb(data, at)
            return (OFFSET if op == 0x11 else VAL_OFFSET, value * data_align), at
        raise FormatError(f"call frame instruction {op:#x}")

    def _block(self, at: int) -> tuple[bytes, int]:
        size, at = uleb(self.data, at)
        block = bytes(self.data[at : at + size])
        if len(block) < size:
            raise FormatError("expression cut short")
        return block, at + size


def _restore(rules: dict[int, Rule], initial: dict[int, Rule], register: int) -> None:
    if register in initial:
        rules[register] = initial[register]
    else:
        rules.pop(register, None)
