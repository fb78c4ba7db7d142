"""Call frame information: CIEs, FDEs and the row of rules for one pc.

Sources: DWARF 5 section 6.4 (`.debug_frame`), LSB Core 5.0 section 10.6 (`.eh_frame`,
its augmentations `zPLRS`). Addresses are link-time ones. What is malformed raises
`FormatError`. The instructions are in `cfi_program`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...errors import FormatError
from .cfi_program import (
    EXPRESSION,
    OFFSET,
    REGISTER,
    SAME,
    UNDEFINED,
    VAL_EXPRESSION,
    VAL_OFFSET,
    Dialect,
    Program,
    Rule,
    State,
)
from .encodings import Buffer, PointerBases, fixed, pointer, pointer_size, sleb, uleb

__all__ = [
    "EXPRESSION", "OFFSET", "REGISTER", "SAME", "UNDEFINED", "VAL_EXPRESSION", "VAL_OFFSET",
    "Cie", "Fde", "FrameSection", "Row", "Rule",
]  # fmt: skip

_MAX_AUGMENTATION = 32
_PLAIN = 0x1B  # pcrel sdata4: how nearly all `.eh_frame` name their code


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
    injected: bool = False  # its caller did not call it: it goes on where the return address says
    bare: bool = False  # the entry has no instructions: it says nothing but how functions begin


@dataclass(slots=True)
class Cie:
    """A common information entry; `program` is the range of its initial instructions.

    `encoding` is that of addresses, `augmented` says that FDEs carry a length (z),
    `segment_size` is the size of the segment selector before an address.
    """

    code_align: int
    data_align: int
    return_column: int
    program: tuple[int, int]
    address_size: int
    segment_size: int = 0
    encoding: int = 0
    augmented: bool = False
    signal_frame: bool = False
    dialect: Dialect | None = None
    initial: State | None = None  # the state after `program`, once it has been run


@dataclass(slots=True)
class Fde:
    """A frame description entry: the code [start, end) and its instructions' range."""

    start: int
    end: int
    cie: Cie
    program: tuple[int, int]


class FrameSection:
    """The bytes of one `.eh_frame` or `.debug_frame`, and how to read its entries.

    `address` is the link-time address of `data[0]`, `text` and `data_base` what else encoded
    pointers may be relative to, `machine` the e_machine for which instructions mean what they do.
    """

    def __init__(
        self, data: Buffer, address: int, *, debug_frame: bool = False, word: int = 8,
        order: str = "<", text: int = 0, data_base: int = 0, machine: int = 0,
    ) -> None:  # fmt: skip
        self.data = memoryview(data)  # (what is cut from it is no copy)
        self.address = address
        self.debug_frame = debug_frame
        self.word = word
        self.order = order
        self.machine = machine
        self.bases = PointerBases(address, word, order, text=text, data=data_base)
        self._cies: dict[int, Cie] = {}
        self._plain: dict[int, Cie] = {}  # those with which `_plain_fde` may be used
        self._unpack_plain = struct.Struct(order + "IIiI").unpack_from
        self._mask = (1 << 8 * word) - 1

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

    # --- CIEs ---

    def cie(self, offset: int) -> Cie:
        """The CIE at `offset`, parsed once."""
        found = self._cies.get(offset)
        if found is None:
            found = self._cies[offset] = self._parse_cie(offset)
            if not self.debug_frame and found.augmented and found.encoding == _PLAIN:
                self._plain[offset] = found
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
        augmentation = bytes(data[at + 1 : at + 2 + _MAX_AUGMENTATION]).partition(b"\0")[0]
        if len(augmentation) > _MAX_AUGMENTATION:
            raise FormatError("CIE augmentation too long")
        at += len(augmentation) + 2
        address_size, segment_size = self.word, 0
        if version == 4:
            address_size, segment_size = fixed(data, at, "B"), fixed(data, at + 1, "B")
            if address_size not in (2, 4, 8) or segment_size > 8:
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
        cie = Cie(code_align, data_align, column, (at, end), address_size, segment_size)
        if augmentation and augmentation != b"armcc+":  # (ARM's compiler; it adds no data)
            self._augment(cie, augmentation, at, end)
        cie.dialect = self._dialect(cie)
        return cie

    def _dialect(self, cie: Cie) -> Dialect:
        encoding = cie.encoding
        if self.debug_frame:
            encoding = {2: 0x02, 4: 0x03, 8: 0x04}[cie.address_size]
        return Dialect(self.order, cie.address_size, encoding, self.bases, self.machine)

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

    # --- FDEs ---

    def fde(self, offset: int) -> Fde:
        """The FDE at `offset`; FormatError if there is none."""
        if offset < 0:
            raise FormatError("FDE before the section's begin")
        found = self._plain_fde(offset)
        if found is not None:
            return found
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

    def _plain_fde(self, offset: int) -> Fde | None:
        """The FDE at `offset` in the common case: 32-bit, pcrel sdata4, a CIE that is known."""
        try:
            length, distance, begin, size = self._unpack_plain(self.data, offset)
            cie = self._plain.get(offset + 4 - distance)
            end = offset + 4 + length
            at = offset + 16
            skip = self.data[at]
        except (struct.error, IndexError, OverflowError):
            return None
        at += skip + 1
        if cie is None or begin == 0 or length > 0xFFFFFFF0 or skip > 0x7F:
            return None
        if not at <= end <= len(self.data):
            return None
        start = self.address + offset + 8 + begin & self._mask
        return Fde(start, start + size, cie, (at, end))

    def code_range(self, cie: Cie, at: int) -> tuple[int, int, int]:
        """(start, position behind, length) of the code of an FDE whose pc_begin is at `at`."""
        at += cie.segment_size  # (flat address spaces only: the selector says nothing)
        if self.debug_frame:
            size = cie.address_size
            letter = self.order + {2: "H", 4: "I", 8: "Q"}[size]
            start = fixed(self.data, at, letter)
            length = fixed(self.data, at + size, letter)
            return start, at + 2 * size, length
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
        dialect = cie.dialect or self._dialect(cie)
        initial = cie.initial
        if initial is None:
            initial = State(-1, 0, None, {})
            program = Program(self.data, *cie.program, cie.code_align, cie.data_align, dialect)
            initial = cie.initial = program.run(initial, {}, 0, 0)
        program = Program(self.data, *fde.program, cie.code_align, cie.data_align, dialect)
        state = program.run(initial.copy(), initial.rules, fde.start, pc)
        if state.register < 0 and state.expression is None:
            raise FormatError("no rule for the CFA")
        return Row(
            state.register, state.offset, state.expression,
            state.rules, cie.return_column, cie.signal_frame, bare=not any(program.code),
        )  # fmt: skip
