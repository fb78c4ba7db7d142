"""Call frame instructions: from an entry's program to the row of rules at one pc.

Sources: DWARF 5 section 6.4.2; DW_CFA_GNU_* (GCC), DW_CFA_MIPS_advance_loc8, AArch64's ABI
supplement (pointer authentication), LLVM's address spaces. What is malformed, and what has operands
of unknown length, raises `FormatError`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import FormatError
from .encodings import Buffer, PointerBases, fixed, pointer, sleb, uleb

# Kinds of register rules (DWARF 5 section 6.4.1); a register without a rule keeps its value.
UNDEFINED, SAME, OFFSET, VAL_OFFSET, REGISTER, EXPRESSION, VAL_EXPRESSION = range(7)

Rule = tuple[int, int | bytes]
Rules = dict[int, Rule]

_MAX_REGISTER = 1024  # higher numbers are consumed and forgotten
_MAX_STATES = 512  # DW_CFA_remember_state within each other
_MAX_COPIED = 1 << 18  # rules that all DW_CFA_remember_state of one entry copy together
_MAX_PROGRAM = 1 << 16  # bytes of instructions of one entry: it is run anew for each new pc
_ADVANCE = {0x02: ("B", 1), 0x03: ("H", 2), 0x04: ("I", 4), 0x1D: ("Q", 8)}
_SPARC = frozenset((2, 18, 43))  # EM_SPARC, EM_SPARC32PLUS, EM_SPARCV9


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the operands of a section's instructions are to be read: the byte order, where a
    target of DW_CFA_set_loc is encoded and relative to what, the machine (e_machine)."""

    order: str
    address_size: int
    encoding: int
    bases: PointerBases
    machine: int = 0


class State:
    """The rules as they stand at one place of a program. The CFA is `register` + `offset`, or
    the value of `expression` where that is not None; `register` −1: none yet."""

    __slots__ = ("expression", "offset", "register", "rules")

    def __init__(self, register: int, offset: int, expression: bytes | None, rules: Rules) -> None:
        self.register = register
        self.offset = offset
        self.expression = expression
        self.rules = rules

    def copy(self) -> State:
        """The same rules, to be changed on their own."""
        return State(self.register, self.offset, self.expression, self.rules.copy())


class Program:
    """The instructions in `data[at:end]`, with the factors of their CIE."""

    __slots__ = ("code", "code_align", "data_align", "dialect", "start")

    def __init__(
        self, data: Buffer, at: int, end: int, code_align: int, data_align: int, dialect: Dialect
    ) -> None:
        if end - at > _MAX_PROGRAM:
            raise FormatError("frame entry too long")
        self.code = bytes(data[at:end])
        self.start = at
        self.code_align = code_align
        self.data_align = data_align
        self.dialect = dialect

    def run(self, state: State, initial: Rules, location: int, pc: int) -> State:
        """The state of the row that holds at `pc`, for code that begins at `location`; `state`
        is changed (and after DW_CFA_restore_state another one is returned)."""
        try:
            return self._run(state, initial, location, pc)
        except IndexError:
            raise FormatError("frame entry cut short") from None

    def _run(self, state: State, initial: Rules, location: int, pc: int) -> State:
        # (The common instructions stand here themselves: a call for each costs more than they do,
        # and an entry is run anew for each new pc.)
        code, data_align, code_align = self.code, self.data_align, self.code_align
        saved: list[State] = []
        copied = 0
        rules = state.rules
        at, end = 0, len(code)
        while at < end:
            op = code[at]
            at += 1
            if op >= 0x40:
                low = op & 0x3F
                if op < 0x80:  # advance_loc
                    location += low * code_align
                    if location > pc:
                        break
                elif op < 0xC0:  # offset
                    value = code[at]
                    at += 1
                    if value >= 0x80:
                        value, at = uleb(code, at - 1)
                    rules[low] = (OFFSET, value * data_align)
                else:
                    _restore(rules, initial, low)
            elif op == 0x0E:  # def_cfa_offset
                value = code[at]
                at += 1
                if value >= 0x80:
                    value, at = uleb(code, at - 1)
                state.offset = value
            elif op == 0x00:  # nop
                continue
            elif op in _ADVANCE or op == 0x01:
                location, at = self._advance(op, at, location)
                if location > pc:
                    break
            elif op == 0x0A:  # remember_state
                copied += len(rules)
                if len(saved) >= _MAX_STATES or copied > _MAX_COPIED:
                    raise FormatError("too many remembered states")
                saved.append(state.copy())
            elif op == 0x0B:  # restore_state
                if not saved:
                    raise FormatError("restore without a remembered state")
                state = saved.pop()
                rules = state.rules
            else:
                at = self._instruction(op, at, state, initial)
        return state

    def _advance(self, op: int, at: int, location: int) -> tuple[int, int]:
        dialect = self.dialect
        if op == 0x01:  # set_loc
            bases = dialect.bases
            here = PointerBases(
                bases.section + self.start, bases.word, bases.order,
                text=bases.text, data=bases.data,
            )  # fmt: skip
            return pointer(self.code, at, dialect.encoding, here)
        letter, size = _ADVANCE[op]
        delta = fixed(self.code, at, dialect.order + letter)
        return location + delta * self.code_align, at + size

    def _instruction(self, op: int, at: int, state: State, initial: Rules) -> int:
        """The instructions that are not in `_run`; gives the next position."""
        code, data_align = self.code, self.data_align
        if 0x0C <= op <= 0x13 and op not in (0x10, 0x11):
            return self._cfa(op, at, state)
        if op == 0x2D and self.dialect.machine in _SPARC:
            _save_window(state.rules, self.dialect.bases.word)
        elif op in (0x2C, 0x2D):  # AArch64: negate_ra_state (_with_pc): the walk drops the bits
            pass
        elif op == 0x2E:  # GNU_args_size: of use only where exceptions are thrown
            _, at = uleb(code, at)
        elif op == 0x30 or op == 0x31:  # LLVM_def_aspace_cfa (_sf)
            at = self._cfa(0x0C if op == 0x30 else 0x12, at, state)
            space, at = uleb(code, at)
            if space:
                raise FormatError(f"a frame in address space {space}")
        else:
            register, at = uleb(code, at)
            if op == 0x06:  # restore_extended
                _restore(state.rules, initial, register)
            else:
                rule, at = self._rule(op, at, data_align)
                if register < _MAX_REGISTER:
                    state.rules[register] = rule
        return at

    def _cfa(self, op: int, at: int, state: State) -> int:
        """def_cfa and its kind."""
        code = self.code
        if op == 0x0F:  # def_cfa_expression
            state.expression, at = self._block(at)
            return at
        if op in (0x0C, 0x0D, 0x12):  # def_cfa, def_cfa_register, def_cfa_sf
            state.register, at = uleb(code, at)
            state.expression = None
        if op == 0x0C:
            state.offset, at = uleb(code, at)
        elif op in (0x12, 0x13):  # def_cfa_sf, def_cfa_offset_sf
            value, at = sleb(code, at)
            state.offset = value * self.data_align
        return at

    def _rule(self, op: int, at: int, data_align: int) -> tuple[Rule, int]:
        """The rule that an instruction's operands behind the register say."""
        code = self.code
        if op == 0x07:
            return (UNDEFINED, 0), at
        if op == 0x08:
            return (SAME, 0), at
        if op in (0x10, 0x16):  # expression, val_expression
            block, at = self._block(at)
            return (EXPRESSION if op == 0x10 else VAL_EXPRESSION, block), at
        if op == 0x09:  # register
            value, at = uleb(code, at)
            return (REGISTER, value), at
        if op in (0x05, 0x14, 0x2F):  # offset_extended, val_offset, GNU_negative_offset_extended
            value, at = uleb(code, at)
            value = -value if op == 0x2F else value
            return (VAL_OFFSET if op == 0x14 else OFFSET, value * data_align), at
        if op in (0x11, 0x15):  # offset_extended_sf, val_offset_sf
            value, at = sleb(code, at)
            return (OFFSET if op == 0x11 else VAL_OFFSET, value * data_align), at
        raise FormatError(f"call frame instruction {op:#x}")

    def _block(self, at: int) -> tuple[bytes, int]:
        size, at = uleb(self.code, at)
        block = self.code[at : at + size]
        if len(block) < size:
            raise FormatError("expression cut short")
        return block, at + size


def _restore(rules: Rules, initial: Rules, register: int) -> None:
    if register in initial:
        rules[register] = initial[register]
    else:
        rules.pop(register, None)


def _save_window(rules: Rules, word: int) -> None:
    """SPARC's DW_CFA_GNU_window_save: the caller's out registers are our in registers; its local
    and in registers lie at the CFA."""
    for number in range(8, 16):
        rules[number] = (REGISTER, number + 16)
    for number in range(16, 32):
        rules[number] = (OFFSET, (number - 16) * word)
