"""The small encodings of DWARF and `.eh_frame`: LEB128 and DW_EH_PE pointers.

Sources: DWARF 5 section 7.6; LSB Core 5.0 section 10.5 (DW_EH_PE). All functions
take any bytes, and raise `FormatError` where they end too early or say the impossible.
"""

from __future__ import annotations

import struct

from ...errors import FormatError

Buffer = bytes | memoryview

DW_EH_PE_omit = 0xFF
DW_EH_PE_absptr, DW_EH_PE_uleb128, DW_EH_PE_sleb128 = 0x00, 0x01, 0x09
DW_EH_PE_pcrel, DW_EH_PE_textrel, DW_EH_PE_datarel = 0x10, 0x20, 0x30
DW_EH_PE_funcrel, DW_EH_PE_aligned = 0x40, 0x50
DW_EH_PE_indirect = 0x80

_FIXED = {  # format: (struct letter, size)
    0x02: ("H", 2),
    0x03: ("I", 4),
    0x04: ("Q", 8),
    0x0A: ("h", 2),
    0x0B: ("i", 4),
    0x0C: ("q", 8),
}
_MAX_LEB = 19  # bytes: 128 bits are more than anything needs


def uleb(data: Buffer, position: int) -> tuple[int, int]:
    """(value, position behind it) of an unsigned LEB128 number."""
    value = shift = 0
    try:
        for at in range(position, position + _MAX_LEB):
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at + 1
            shift += 7
    except IndexError:
        raise FormatError("LEB128 number cut short") from None
    raise FormatError("LEB128 number too long")


def sleb(data: Buffer, position: int) -> tuple[int, int]:
    """(value, position behind it) of a signed LEB128 number."""
    value, end = uleb(data, position)
    bits = 7 * (end - position)
    if value >> (bits - 1):
        value -= 1 << bits
    return value, end


def fixed(data: Buffer, position: int, letter: str) -> int:
    """One number in `struct`'s format letter (with its byte order)."""
    try:
        value: int = struct.unpack_from(letter, data, position)[0]
    except (struct.error, OverflowError):
        raise FormatError("number cut short") from None
    return value


def initial_length(data: Buffer, at: int, order: str) -> tuple[int, bool]:
    """(bytes that follow, whether offsets have 64 bits) of a unit's first field."""
    size = fixed(data, at, order + "I")
    if size == 0xFFFFFFFF:
        return fixed(data, at + 4, order + "Q"), True
    if size >= 0xFFFFFFF0:
        raise FormatError("unit length of a reserved kind")
    return size, False


class PointerBases:
    """What relative pointers are relative to: `section` is the address of the data's first
    byte, `text`, `data` and `function` those of DW_EH_PE_textrel, datarel and funcrel."""

    __slots__ = ("data", "function", "order", "section", "text", "word")

    def __init__(
        self, section: int, word: int = 8, order: str = "<", *, text: int = 0, data: int = 0,
        function: int = 0,
    ) -> None:  # fmt: skip
        self.section = section
        self.word = word
        self.order = order
        self.text = text
        self.data = data
        self.function = function


def pointer_size(encoding: int, word: int) -> int:
    """Bytes that a pointer of this encoding takes; 0 for LEB128, where each is different."""
    form = encoding & 0x0F
    if form == DW_EH_PE_absptr:
        return word
    return _FIXED[form][1] if form in _FIXED else 0


def pointer(data: Buffer, position: int, encoding: int, bases: PointerBases) -> tuple[int, int]:
    """(value, position behind it) of a DW_EH_PE pointer.

    The value of an indirect pointer is the address of the word that holds it: the caller
    says whether it can read that. A zero of any relative form stays zero (null).
    """
    if encoding == DW_EH_PE_omit:
        return 0, position
    base = encoding & 0x70
    if base == DW_EH_PE_aligned:
        position += -(bases.section + position) % bases.word
        return _number(data, position, DW_EH_PE_absptr, bases)
    value, end = _number(data, position, encoding, bases)
    if value == 0:
        return 0, end
    if base == DW_EH_PE_pcrel:
        value += bases.section + position
    elif base == DW_EH_PE_textrel:
        value += bases.text
    elif base == DW_EH_PE_datarel:
        value += bases.data
    elif base == DW_EH_PE_funcrel:
        value += bases.function
    elif base != 0:
        raise FormatError(f"pointer encoding {encoding:#x}")
    return value & (1 << 8 * bases.word) - 1, end


def _number(data: Buffer, position: int, encoding: int, bases: PointerBases) -> tuple[int, int]:
    """(number, position behind it) as the lower half of an encoding says."""
    form = encoding & 0x0F
    if form == DW_EH_PE_absptr:
        letter, size = "Q" if bases.word == 8 else "I", bases.word
    elif form == DW_EH_PE_uleb128:
        return uleb(data, position)
    elif form == DW_EH_PE_sleb128:
        return sleb(data, position)
    elif form in _FIXED:
        letter, size = _FIXED[form]
    else:
        raise FormatError(f"pointer encoding {encoding:#x}")
    return fixed(data, position, bases.order + letter), position + size
