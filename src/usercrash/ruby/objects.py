"""Strings, symbols and instruction sequences of CRuby in memory: what a call is named after, and
where it stands."""

from __future__ import annotations

from _struct import Struct

from ..interpreter_calls import is_place, word_at
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from ..interpreter_calls import Read

_WORD, _INT = Struct("<Q"), Struct("<I")
MAX_NAME = 512
MAX_PATH = 4096
_MAX_CODE = 1 << 24  # words of an instruction sequence

# rb_symbols_t (symbol.h): last_id, a table, and an array of arrays of (string, symbol)
_LAST_ID, _IDS, _SYMBOLS_SIZE = 0, 16, 24
_IDS_OF_ONE, _WORDS_OF_ID = 512, 2  # ID_ENTRY_UNIT, ID_ENTRY_SIZE (symbol.c)
_SYMBOL_ID, _SYMBOL_SIZE = 32, 40  # struct RSymbol (symbol.h)

# struct succ_index_table (iseq.c): how many entries of the table of lines begin up to an index.
# For the first 54 indexes the counts themselves, nine of 7 bits in a word; then blocks of 512
# indexes: a count, seven counts of 9 bits from the block's start, and a bit for each index.
_DIRECT, _IN_WORD, _DIRECT_BITS = 54, 9, 7
_BLOCK, _BLOCK_BITS, _COUNT_BITS = Struct("<IxxxxQ8Q"), 512, 9


class Sequence:
    """An instruction sequence (rb_iseq_t): its `label` and `path`, where its code lies and how many
    words it has; whether it is `compiled` to machine code."""

    __slots__ = ("body", "code", "compiled", "label", "path", "size")

    def __init__(
        self, label: bytes, path: bytes, code: int, size: int, body: bytes, *, compiled: bool
    ) -> None:
        self.label = label
        self.path = path
        self.code = code
        self.size = size
        self.body = body
        self.compiled = compiled


class Objects:
    """The objects of one interpreter, each read once."""

    def __init__(self, read: Read, layout: dict[str, int], symbols: int) -> None:
        """`symbols`: the address of its table of symbols, 0 if that is not known."""
        self._read = read
        self._at = layout
        self._symbols = symbols
        self._sequences: dict[int, Sequence | None] = {}
        self._lines: dict[tuple[int, int], int] = {}
        self._ids: dict[int, bytes] = {}

    def sequence(self, address: int) -> Sequence | None:
        """The instruction sequence at an address, None where there is none."""
        if address not in self._sequences:
            self._sequences[address] = self._sequence(address)
        return self._sequences[address]

    def _sequence(self, address: int) -> Sequence | None:
        at = self._at
        if self.imemo(address) != at["imemo_iseq"]:
            return None
        place = word_at(self._read, address + at["iseq_body"])
        body = self._read(place, at["body_bytes"]) if is_place(place) else b""
        if len(body) < at["body_bytes"]:
            return None
        code = _WORD.unpack_from(body, at["body_code"])[0]
        size = _INT.unpack_from(body, at["body_size"])[0]
        label = self.string(_WORD.unpack_from(body, at["body_label"])[0], MAX_NAME)
        path = self._path(_WORD.unpack_from(body, at["body_path"])[0])
        if label is None or path is None or not is_place(code) or not 0 < size <= _MAX_CODE:
            return None
        compiled = is_place(_WORD.unpack_from(body, at["body_compiled"])[0] & -8)
        return Sequence(label, path, code, size, body, compiled=compiled)

    def _path(self, address: int) -> bytes | None:
        """Of a path, or of an array of it and the real path (pathobj_path() in vm_core.h)."""
        path = self.string(address, MAX_PATH)
        return path if path is not None else self.string(self._item(address, 0), MAX_PATH)

    def line(self, sequence: Sequence, index: int) -> int:
        """The line of the instruction that has the word at this index; 0 if it is not known."""
        key = sequence.code, index
        if key not in self._lines:
            self._lines[key] = self._line(sequence.body, index)
        return self._lines[key]

    def _line(self, body: bytes, index: int) -> int:
        at = self._at
        count = _INT.unpack_from(body, at["body_line_count"])[0]
        number = 1 if count == 1 else self._rank(body, index) if count else 0
        if not 0 < number <= count:
            return 0
        entries = _WORD.unpack_from(body, at["body_lines"])[0]
        place = entries + (number - 1) * at["line_size"]
        data = self._read(place, 4) if is_place(entries) else b""
        line: int = _INT.unpack(data)[0] if len(data) == 4 else 0
        return line if line < 1 << 31 else 0

    def _rank(self, body: bytes, index: int) -> int:
        """How many entries begin up to an index; 0 if that is not to be read."""
        table = _WORD.unpack_from(body, self._at["body_line_index"])[0]
        if not is_place(table):
            return 0
        if index < _DIRECT:
            word = word_at(self._read, table + index // _IN_WORD * 8)
            return word >> index % _IN_WORD * _DIRECT_BITS & (1 << _DIRECT_BITS) - 1
        number, bit = divmod(index - _DIRECT, _BLOCK_BITS)
        data = self._read(table + _DIRECT // _IN_WORD * 8 + number * _BLOCK.size, _BLOCK.size)
        if len(data) < _BLOCK.size:
            return 0
        base, counts, *words = _BLOCK.unpack(data)
        part, bit = divmod(bit, 64)
        inner = counts >> (part - 1) * _COUNT_BITS & (1 << _COUNT_BITS) - 1 if part else 0
        among: int = words[part] & (2 << bit) - 1
        rank: int = base + inner + among.bit_count()
        return rank

    def method_name(self, entry: int) -> bytes:
        """The name under which a method was defined, by what an environment says of its method: an
        entry, or special variables with it; b"" where it is not known."""
        at = self._at
        if self.imemo(entry) == at["imemo_svar"]:
            entry = word_at(self._read, entry + at["svar_method"])
        if self.imemo(entry) != at["imemo_method"]:
            return b""
        definition = word_at(self._read, entry + at["entry_definition"])
        size = at["definition_size"]
        data = self._read(definition, size) if is_place(definition) else b""
        if len(data) < size:
            return b""
        return self.name_of(_WORD.unpack_from(data, at["definition_id"])[0])

    def name_of(self, number: int) -> bytes:
        """The text of an ID, b"" where it is not known (get_id_serial_entry() in symbol.c)."""
        if number not in self._ids:
            self._ids[number] = self._name_of(number)
        return self._ids[number]

    def _name_of(self, number: int) -> bytes:
        at = self._at
        table = self._read(self._symbols, _SYMBOLS_SIZE) if is_place(self._symbols) else b""
        if len(table) < _SYMBOLS_SIZE:
            return b""
        serial = number if number <= at["id_last_operator"] else number >> at["id_shift"]
        if not 0 < serial <= _INT.unpack_from(table, _LAST_ID)[0]:
            return b""
        block, rest = divmod(serial, _IDS_OF_ONE)
        names = self._item(_WORD.unpack_from(table, _IDS)[0], block)
        text, symbol = (self._item(names, rest * _WORDS_OF_ID + one) for one in (0, 1))
        if not self._is_symbol_of(symbol, number):
            return b""
        return self.string(text, MAX_NAME) or b""

    def _is_symbol_of(self, symbol: int, number: int) -> bool:
        """Whether a symbol is the one of an ID: each entry says itself which one it is for."""
        at = self._at
        if symbol == number << at["symbol_shift"] | at["symbol_flag"]:
            return True
        data = self._object(symbol, at["type_symbol"])
        return data is not None and _WORD.unpack_from(data, _SYMBOL_ID)[0] == number

    def string(self, address: int, most: int) -> bytes | None:
        """The text of a String, None where there is none that is so short."""
        at = self._at
        data = self._object(address, at["type_string"])
        if data is None:
            return None
        flags = _WORD.unpack_from(data)[0]
        if not flags & at["string_noembed"]:
            size = (flags & at["string_length_mask"]) >> at["string_length_shift"]
            start = at["string_embedded"]
            return data[start : start + size] if start + size <= len(data) else None
        size = _WORD.unpack_from(data, at["string_length"])[0]
        text = b""
        if size <= most:
            text = self._read(_WORD.unpack_from(data, at["string_pointer"])[0], size)
        return text if len(text) == size else None

    def _item(self, address: int, index: int) -> int:
        """What an Array has at an index, 0 where there is none."""
        at = self._at
        data = self._object(address, at["type_array"])
        if data is None:
            return 0
        flags = _WORD.unpack_from(data)[0]
        if flags & at["array_embed"]:
            count = (flags & at["array_length_mask"]) >> at["array_length_shift"]
            start = address + at["array_embedded"]
        else:
            count = _WORD.unpack_from(data, at["array_length"])[0]
            start = _WORD.unpack_from(data, at["array_pointer"])[0]
        return word_at(self._read, start + index * 8) if index < count and is_place(start) else 0

    def imemo(self, address: int) -> int:
        """Which kind of internal object lies at an address, -1 if none does."""
        at = self._at
        flags = word_at(self._read, address) if is_place(address) else 0
        if flags & at["type_mask"] != at["type_imemo"]:
            return -1
        return flags >> at["imemo_shift"] & at["imemo_mask"]

    def _object(self, address: int, kind: int) -> bytes | None:
        """An object of a type; None where there is none."""
        at = self._at
        data = self._read(address, at["object_size"]) if is_place(address) else b""
        if len(data) < at["object_size"] or data[0] & at["type_mask"] != kind:
            return None
        return data
