"""Python objects in memory: their types, and the text and bytes of the simple ones.

An object counts as what its type's name says, if the type is one of the interpreter's own:
its type is `type`, whose type is `type`. Of each name only the first such type is believed.
Layouts: Include/object.h, Include/cpython/unicodeobject.h, bytesobject.h, tupleobject.h.
"""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from .layout import Layout, Read

TOP = 1 << 47  # user space ends here at the latest, on the machines that are known
_MAX_TYPE_NAME = 200
_WORD = Struct("<Q")
_SIGNED = Struct("<q")
_HALF = Struct("<I")
_EXCEPTION = 1 << 30  # Py_TPFLAGS_BASE_EXC_SUBCLASS (Include/object.h)
MAX_TEXT = 1000  # characters of a name or a file's name
MAX_MESSAGE = 500


class Text:
    """The characters of a str as they lie in memory: `kind` bytes each; `cut` if there are more."""

    __slots__ = ("cut", "data", "kind")

    def __init__(self, kind: int, data: bytes, cut: bool) -> None:
        self.kind = kind
        self.data = data
        self.cut = cut

    def decode(self) -> str:
        """The text; what is no character as `\\x..`. (Not while a process is held: two of the three
        codecs would have to be imported.)"""
        if self.kind == 1:
            text = self.data.decode("latin-1")
        else:
            codec = "utf-16-le" if self.kind == 2 else "utf-32-le"
            try:
                text = self.data.decode(codec, "surrogatepass")
            except UnicodeDecodeError:
                text = self.data.decode(codec, "backslashreplace")
        return text + "…" if self.cut else text


class Objects:
    """The objects of one interpreter, read through `read`."""

    __slots__ = ("_at", "_names", "_shift", "_trusted", "_types", "layout", "read")

    def __init__(self, read: Read, layout: Layout) -> None:
        self.read = read
        self.layout = layout
        self._at = layout.at
        # `interned` has 2 bits; in free-threaded builds, from 3.14 on, a byte.
        self._shift = 8 if layout.free_threaded and layout.minor >= (3, 14) else 2
        self._names: dict[int, bytes] = {}  # of types, by their address
        self._trusted: dict[bytes, int] = {}  # the interpreter's own types
        self._types: dict[int, bool] = {}

    def word(self, address: int) -> int | None:
        """The word at an address, None where there is none."""
        data = self.read(address, 8)
        return _WORD.unpack(data)[0] if len(data) == 8 else None

    def type_of(self, address: int) -> int:
        """The address of an object's type, 0 for what can be no object."""
        if address % 8 or not 0 < address < TOP:
            return 0
        found = self.word(address + self._at["object_type"])
        return found if found and found % 8 == 0 and found < TOP else 0

    def type_name(self, kind: int) -> bytes:
        """The name of a type as it was defined, b"" if there is none that can be one."""
        name = self._names.get(kind)
        if name is None:
            name = self._names[kind] = self._read_name(kind)
        return name

    def _read_name(self, kind: int) -> bytes:
        if not kind:
            return b""
        pointer = self.word(kind + self._at["type_name"])
        if not pointer or pointer >= TOP:
            return b""
        name, end, _ = self.read(pointer, _MAX_TYPE_NAME).partition(b"\0")
        return name if end and name and min(name) > 32 else b""

    def is_a(self, address: int, name: bytes) -> bool:
        """Whether an object is of the interpreter's own type of this name."""
        kind = self.type_of(address)
        return bool(kind) and self.is_type(kind, name)

    def is_type(self, kind: int, name: bytes) -> bool:
        """Whether this is the interpreter's own type of this name."""
        known = self._trusted.get(name)
        if known is not None:
            return known == kind
        if self.type_name(kind) != name or not self._is_builtin(kind):
            return False
        self._trusted[name] = kind
        return True

    def _is_builtin(self, kind: int) -> bool:
        """Whether a type's type is `type`, the type of itself."""
        found = self._types.get(kind)
        if found is None:
            meta = self.type_of(kind)
            found = bool(meta) and self.type_name(meta) == b"type" and self.type_of(meta) == meta
            self._types[kind] = found
        return found

    # --- what they hold ---

    def text(self, address: int, limit: int = MAX_TEXT) -> Text | None:
        """The text of a str, at most `limit` characters; None if it is none."""
        at = self._at
        head = self.read(address, at["str_compact"]) if 0 < address < TOP else b""
        if len(head) < at["str_ascii"] or address % 8:
            return None
        if not self.is_type(_WORD.unpack_from(head, at["object_type"])[0], b"str"):
            return None
        length = _SIGNED.unpack_from(head, at["str_length"])[0]
        state = _HALF.unpack_from(head, at["str_state"])[0] >> self._shift
        kind, compact, ascii_only = state & 7, state >> 3 & 1, state >> 4 & 1
        if kind not in (1, 2, 4) or length < 0 or (ascii_only and kind != 1):
            return None
        start: int | None = address + at["str_ascii" if ascii_only else "str_compact"]
        if not compact:  # of a subclass, or of an old kind
            start = self.word(address + at["str_compact"])
        size = min(length, limit) * kind
        data = self.read(start, size) if start and start < TOP else b""
        return Text(kind, data, length > limit) if len(data) == size else None

    def contents(self, address: int, limit: int) -> bytes | None:
        """The contents of a bytes object; None if it is none, or larger than `limit`."""
        at = self._at
        if not self.is_a(address, b"bytes"):
            return None
        size = self.size(address)
        if size is None or size > limit:
            return None
        data = self.read(address + at["bytes_data"], size)
        return data if len(data) == size else None

    def size(self, address: int) -> int | None:
        """ob_size, the number of items of an object that has some."""
        data = self.read(address + self._at["object_size"], 8)
        size: int = _SIGNED.unpack(data)[0] if len(data) == 8 else -1
        return size if size >= 0 else None

    def items(self, address: int, limit: int) -> list[int] | None:
        """The addresses in a tuple, at most `limit`; None if it is none."""
        if not self.is_a(address, b"tuple"):
            return None
        size = self.size(address)
        if size is None:
            return None
        count = min(size, limit)
        data = self.read(address + self._at["tuple_items"], 8 * count)
        if len(data) < 8 * count:
            return None
        return [row[0] for row in _WORD.iter_unpack(data)]

    def exception(self, value: int, kind: int = 0) -> tuple[bytes, Text | None] | None:
        """An exception's type and, where its first argument is a str, that text; None if it is
        none. `kind`: its type, where the value may be a mere argument yet (up to 3.11)."""
        own = self.type_of(value) if value else 0
        if own and self._is_exception(own):
            arguments = self.word(value + self._at["exception_arguments"])
            first = self.items(arguments, 1) if arguments else None
            return self.type_name(own), self.text(first[0], MAX_MESSAGE) if first else None
        if kind and self._is_exception(kind):
            return self.type_name(kind), self.text(value, MAX_MESSAGE) if own else None
        return None

    def _is_exception(self, kind: int) -> bool:
        if "exception_arguments" not in self._at or kind % 8 or kind >= TOP:
            return False
        flags = self.word(kind + self._at["type_flags"])
        return flags is not None and bool(flags & _EXCEPTION) and bool(self.type_name(kind))
