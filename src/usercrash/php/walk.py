"""From an interpreter to its calls: executor_globals.current_execute_data and what called it, as
debug_backtrace() goes (zend_fetch_debug_backtrace in zend_builtin_functions.c)."""

from __future__ import annotations

import time
from _struct import Struct

from ..interpreter_calls import MAX_MODULES, MOST, Found, Frame, Walked, is_place, word_at
from ..model.types import TYPE_CHECKING
from .layout import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..interpreter_calls import Read, Symbol

GLOBALS, REGISTRY = b"executor_globals", b"module_registry"
MAIN, INCLUDED = b"{main}", b"(included file or eval)"
_WORD, _INT = Struct("<Q"), Struct("<I")
_MAX_NAME = 512
_MAX_FILE = 4096
_MAX_VERSION = 32
# HashTable (zend_types.h): arData, and a pointer as the first word of each Bucket
_DATA = 16
# zend_module_entry (zend_modules.h), whose head has been so since PHP 5.3: size, zend_api,
# zend_debug, zts; `version`
_MODULE_SIZE, _API, _FLAGS, _VERSION = 168, 4, 8, 88


def is_php(path: bytes) -> bool:
    """Whether a module's name is that of an interpreter."""
    return path.rpartition(b"/")[2].startswith((b"php", b"libphp"))


def known(path: bytes, address: int, version: tuple[int, int, int], api: int) -> Found:
    """An interpreter whose executor_globals are there; `api`: the number of its interface."""
    layout = TABLES.get(version[:2])
    return Found(path, address, version, api, layout if layout and layout["api"] == api else None)


def find(read: Read, modules: Iterable[tuple[bytes, int]], symbol: Symbol) -> Found | None:
    """The interpreter among `modules` (path, start address), None if there is none that runs, or
    only one with threads (ZTS) or for debugging."""
    for path, start in [module for module in modules if is_php(module[0])][:MAX_MODULES]:
        place, registry = symbol(start, GLOBALS), symbol(start, REGISTRY)
        if not place or not registry:
            continue
        entry = _word(read, _word(read, registry + _DATA))
        head = read(entry, _FLAGS + 2) if is_place(entry) else b""
        if len(head) < _FLAGS + 2 or head[_FLAGS:] != b"\0\0":
            continue
        if int.from_bytes(head[:2], "little") != _MODULE_SIZE:
            continue
        text = read(_word(read, entry + _VERSION), _MAX_VERSION).partition(b"\0")[0]
        numbers = text.partition(b"-")[0].split(b".")
        if len(numbers) == 3 and all(one.isdigit() for one in numbers):
            major, minor, patch = (int(one) for one in numbers)
            api = _INT.unpack_from(head, _API)[0]
            return known(path, place, (major, minor, patch), api)
    return None


def walk(read: Read, found: Found, most: int = MOST, seconds: float = 0.0) -> Walked | None:
    """The calls of the interpreter, at most so many, and what can be read in so many seconds (0: no
    bound); None where it runs nothing, or its structures are not as they should be."""
    if found.layout is None or not is_place(found.address):
        return None
    return _Walk(read, found.layout, most, seconds).run(found.address)


def _word(read: Read, address: int) -> int:
    return word_at(read, address) if is_place(address) else 0


class _Walk:
    def __init__(self, read: Read, layout: dict[str, int], most: int, seconds: float) -> None:
        self._read = read
        self._at = layout
        self._most = most
        self._until = time.monotonic() + seconds if seconds else 0.0
        self._texts: dict[int, bytes] = {}

    def run(self, address: int) -> Walked | None:
        at = self._at
        walked = Walked()
        execute = _word(self._read, address + at["current"])
        seen: set[int] = set()
        while execute:
            count = len(walked.frames)
            late = self._until and len(seen) % 64 == 63 and time.monotonic() > self._until
            # (those without a function are few, if nothing is amiss)
            if count >= self._most or len(seen) > 2 * self._most or late:
                walked.end = f"only {count:,} frames were read"
                break
            data = b""
            if is_place(execute) and execute not in seen:
                data = self._read(execute, at["execute_size"])
            if len(data) < at["execute_size"]:
                walked.end = "a frame is damaged"
                break
            seen.add(execute)
            execute = _WORD.unpack_from(data, at["previous"])[0]
            function = _WORD.unpack_from(data, at["func"])[0]
            if function:  # (else one that only holds others together)
                frame = self._frame(data, function, innermost=not count, outermost=not execute)
                if frame is None:
                    walked.end = "a function is damaged"
                    break
                walked.frames.append(frame)
                if frame.entry:
                    walked.runs.append(count + 1)
        return walked if walked.frames else None

    def _frame(
        self, execute: bytes, function: int, *, innermost: bool, outermost: bool
    ) -> Frame | None:
        at = self._at
        size = at["function_size"]
        kind = self._read(function + at["kind"], 1)[:1] if is_place(function) else b""
        if kind == bytes([at["internal"]]):
            return Frame(self._name(function), (b"", 0), entry=False)
        data = (
            self._read(function, size)
            if kind in (bytes([at["user"]]), bytes([at["eval"]]))
            else b""
        )
        if len(data) < size:
            return None
        named = _WORD.unpack_from(data, at["name"])[0]
        name = self._name(function) if named else MAIN if outermost else INCLUDED
        file = self._text(_WORD.unpack_from(data, at["file"])[0], _MAX_FILE)
        # (the innermost one's instruction may be in a register only)
        line = 0 if innermost else self._line(_WORD.unpack_from(execute, at["opline"])[0], data)
        entry = bool(_INT.unpack_from(execute, at["call_info"])[0] & at["top"])
        return Frame(name, (file, line), entry)

    def _line(self, instruction: int, function: bytes) -> int:
        """The line of an instruction that is one of the function's own, else 0."""
        at = self._at
        start = _WORD.unpack_from(function, at["opcodes"])[0]
        number, rest = divmod(instruction - start, at["op_size"])
        if rest or not 0 <= number < _INT.unpack_from(function, at["last"])[0]:
            return 0
        data = self._read(instruction + at["line"], 4) if is_place(instruction) else b""
        line: int = _INT.unpack(data)[0] if len(data) == 4 else 0
        return line

    def _name(self, function: int) -> bytes:
        """`Class::name`, b"" where it has none."""
        at = self._at
        name = self._text(_word(self._read, function + at["name"]), _MAX_NAME)
        scope = _word(self._read, function + at["scope"])
        owner = self._text(_word(self._read, scope + at["class_name"]), _MAX_NAME) if scope else b""
        return owner + b"::" + name if owner and name else name

    def _text(self, address: int, most: int) -> bytes:
        """The text of a zend_string; of a class without a name what stands before its first NUL."""
        if address not in self._texts:
            size = _word(self._read, address + self._at["length"])
            data = self._read(address + self._at["text"], size) if 0 < size <= most else b""
            self._texts[address] = data.partition(b"\0")[0] if len(data) == size else b""
        return self._texts[address]
