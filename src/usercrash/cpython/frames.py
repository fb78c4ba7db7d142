"""One frame, and the code that it runs."""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING
from .find import is_place

if TYPE_CHECKING:
    from .objects import Objects, Text

MAX_LINES = 1 << 18  # bytes of one function's table of lines
_ALL_LINES = 4 << 20  # … and of those of all functions together
_MAX_CODES = 20_000
_WORD = Struct("<Q")
_INT = Struct("<i")
_PAGE = 4096
_OWNED_BY_LOOP = 3  # FRAME_OWNED_BY_CSTACK (3.12), FRAME_OWNED_BY_INTERPRETER (3.14) and higher
_MAX_OWNER = 8


class Code:
    """A code object. `lines` is co_linetable (co_lnotab up to 3.9), None where it cannot be read;
    `start` and `size` are those of its instructions, 0 where frames do not point into them.
    `names` is the address of the tuple of its variables' names, `variables` their number."""

    __slots__ = (
        "address", "file", "first_line", "lines", "name", "names", "qualified", "size", "start",
        "variables",
    )  # fmt: skip

    def __init__(self, address: int, name: Text, qualified: Text | None, file: Text) -> None:
        self.address = address
        self.name = name
        self.qualified = qualified
        self.file = file
        self.lines: bytes | None = None
        self.first_line = 0
        self.start = self.size = 0
        self.names = self.variables = 0


class Frame:
    """A frame: `code` None for an evaluation loop's own. `last` is the offset in bytes of the
    instruction in the code (-1 before the first; None where it is none), `line` a line that the
    frame itself has (0: none), `entry` whether the loop that runs it began with it."""

    __slots__ = ("address", "code", "entry", "last", "line", "previous")

    def __init__(self, address: int, previous: int, code: Code | None) -> None:
        self.address = address
        self.previous = previous
        self.code = code
        self.last: int | None = None
        self.line = 0
        self.entry = False


class FrameReader:
    """The frames of one interpreter; each code object is read once, and kept in `codes`."""

    __slots__ = (
        "_at", "_codes", "_entry", "_fields", "_objects", "_order", "_owned", "_page", "_page_at",
        "_size", "_table_bytes", "_tagged",
    )  # fmt: skip

    def __init__(self, objects: Objects, codes: dict[int, Code | None]) -> None:
        self._objects = objects
        self._at = at = objects.layout.at
        self._codes = codes
        self._owned = "frame_owner" in at
        more = ("frame_owner",) if self._owned else ("frame_trace", "frame_line")
        names = ("frame_previous", "frame_code", "frame_last", *more)
        self._size = max(at[name] for name in names) + 8 & -8
        self._tagged = ~3 if objects.layout.minor >= (3, 14) else -1  # _PyStackRef (3.14)
        self._table_bytes = 0
        self._entry = at.get("frame_entry", -1)
        words = ("frame_previous", "frame_code", "frame_last")
        self._fields, self._order = _three_words(*(at[name] for name in words))
        self._page = b""
        self._page_at = 0

    def frame(self, address: int) -> Frame | None:
        """The frame at an address, None if there is none."""
        if not is_place(address):
            return None
        if self._owned:
            return self._of_stack(address)
        data = self._objects.read(address, self._size)
        return self._of_object(address, data) if len(data) == self._size else None

    def _of_stack(self, address: int) -> Frame | None:
        """A frame of 3.11 and later (struct _PyInterpreterFrame). Most lie one below the other:
        a page that has had one is read whole."""
        data, offset, size = self._page, address - self._page_at, self._size
        if not 0 <= offset <= len(data) - size:
            if -_PAGE <= offset < len(data) + _PAGE:
                self._page_at = address & -_PAGE
                data = self._page = self._objects.read(self._page_at, _PAGE + size)
                offset = address - self._page_at
            if not 0 <= offset <= len(data) - size:
                data, offset = self._objects.read(address, size), 0
                if len(data) < size:
                    return None
                self._page, self._page_at = data, address
        words = self._fields.unpack_from(data, offset)
        previous, at_code, last = [words[number] for number in self._order]
        owner = data[offset + self._at["frame_owner"]]
        if owner >= _OWNED_BY_LOOP:
            return Frame(address, previous, None) if owner < _MAX_OWNER else None
        at_code &= self._tagged
        code = self._codes.get(at_code) or self.code(at_code)
        if code is None:
            return None
        frame = Frame(address, previous, code)
        last -= code.start
        if -2 <= last < code.size and last % 2 == 0:
            frame.last = last
        if self._entry >= 0:
            flag = data[offset + self._entry]
            if flag > 1:
                return None
            frame.entry = flag == 1
        return frame

    def follow(self, address: int, frames: list[Frame], seen: set[int], most: int) -> int:
        """Adds frames as long as they are of the common kind, on the page that was read last, of
        code that is known; gives the address of the first that is none of these."""
        if not self._owned:
            return address
        data, base, codes = self._page, self._page_at, self._codes
        unpack, (previous_at, code_at, last_at) = self._fields.unpack_from, self._order
        owner, entry, tagged = self._at["frame_owner"], self._entry, self._tagged
        end = len(data) - self._size
        while 0 <= (offset := address - base) <= end and len(frames) < most:
            words = unpack(data, offset)
            code = codes.get(words[code_at] & tagged)
            last = words[last_at]
            if (
                code is None or data[offset + owner] or (entry >= 0 and data[offset + entry])
                or address & 7 or address in seen
            ):  # fmt: skip
                break
            last -= code.start
            seen.add(address)
            frame = Frame(address, words[previous_at], code)
            if -2 <= last < code.size and not last & 1:
                frame.last = last
            frames.append(frame)
            address = frame.previous
        return address

    def _of_object(self, address: int, data: bytes) -> Frame | None:
        """A frame up to 3.10 (PyFrameObject)."""
        at = self._at
        if not self._objects.is_type(_WORD.unpack_from(data, at["object_type"])[0], b"frame"):
            return None
        code = self.code(_WORD.unpack_from(data, at["frame_code"])[0])
        if code is None:
            return None
        frame = Frame(address, _WORD.unpack_from(data, at["frame_previous"])[0], code)
        frame.entry = True
        last = _INT.unpack_from(data, at["frame_last"])[0]
        if self._objects.layout.minor >= (3, 10):
            last = 2 * last if last >= 0 else last  # counted in instructions
        if last >= -1:
            frame.last = last
        # While it is traced, a frame's line is its own: f_lineno (3.10: wherever it is not 0).
        line = _INT.unpack_from(data, at["frame_line"])[0]
        traced = _WORD.unpack_from(data, at["frame_trace"])[0]
        if line > 0 and (traced or self._objects.layout.minor >= (3, 10)):
            frame.line = line
        return frame

    def code(self, address: int) -> Code | None:
        """The code object at an address, None if there is none."""
        if address in self._codes:
            return self._codes[address]
        if len(self._codes) >= _MAX_CODES:
            return None
        found = self._codes[address] = self._read_code(address) if is_place(address) else None
        return found

    def _read_code(self, address: int) -> Code | None:
        objects, at = self._objects, self._at
        size = at.get("code_instructions", at["code_lines"] + 8)
        data = objects.read(address, size)
        if len(data) < size:
            return None
        if not objects.is_type(_WORD.unpack_from(data, at["object_type"])[0], b"code"):
            return None

        def pointer(name: str) -> int:
            value: int = _WORD.unpack_from(data, at[name])[0]
            return value

        name, file = objects.text(pointer("code_name")), objects.text(pointer("code_filename"))
        if name is None or file is None:
            return None
        qualified = objects.text(pointer("code_qualname")) if "code_qualname" in at else None
        code = Code(address, name, qualified, file)
        code.first_line = _INT.unpack_from(data, at["code_first_line"])[0]
        if "code_instructions" in at:
            units = _WORD.unpack_from(data, at["object_size"])[0]
            code.start, code.size = address + size, 2 * units if units < 1 << 31 else 0
        code.names = pointer("code_names")
        if self._table_bytes < _ALL_LINES:
            code.lines = objects.contents(pointer("code_lines"), MAX_LINES)
            self._table_bytes += len(code.lines or b"")
        return code


def _three_words(*offsets: int) -> tuple[Struct, list[int]]:
    """The layout of words at these offsets, and which of its values each is."""
    order = sorted(offsets)
    layout, end = "<", 0
    for offset in order:
        layout += f"{offset - end}xQ"
        end = offset + 8
    return Struct(layout), [order.index(offset) for offset in offsets]
