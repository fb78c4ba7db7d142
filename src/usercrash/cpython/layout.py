"""Which offsets an interpreter's structures have.

Up to 3.12 by its version (tables.py); from 3.13 on the interpreter says it itself
(struct _Py_DebugOffsets, the first member of _PyRuntime, Include/internal/pycore_runtime.h,
from 3.14 on pycore_debug_offsets.h).
"""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING
from .tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]

OLDEST, NEWEST = (3, 8), (3, 15)
COOKIE = b"xdebugpy"
_MAX_OFFSET = 1 << 20  # PyInterpreterState has 100 to 300 KiB
_MAX_THREAD = 4096
_WORD = Struct("<Q")

# The words behind the cookie and the version, by sections, each of which begins with its
# structure's size; "" is what nobody asks for here.
_HEAD = ("free_threaded",)
_RUNTIME = ("", "runtime_finalizing", "runtime_interpreters")
_GIL = ("", "", "", "", "interp_gil", "gil", "", "gil_locked", "gil_holder")
_THREAD = ("thread_size", "thread_prev", "thread_next", "thread_interp", "thread_frame",
           "thread_id", "thread_native_id", "", "")  # fmt: skip
_FRAME = ("frame_size", "frame_previous", "frame_code", "frame_last", "frame_locals", "frame_owner")
_WORDS_OF_FRAME = ("frame_previous", "frame_code", "frame_last")
_CODE = ("code_size", "code_filename", "code_name", "code_qualname", "code_lines",
         "code_first_line", "", "code_names", "", "code_instructions")  # fmt: skip
_TYPES = ("", "object_type", "", "type_name", "", "type_flags")
_TUPLE = ("", "tuple_items", "tuple_size", "", "", "")
_SET = ("", "", "", "")
_VALUES = ("", "", "", "", "float_value", "", "long_tag", "long_digits", "", "bytes_size",
           "bytes_data", "str_compact_end", "str_state", "str_length", "str_ascii")  # fmt: skip


def _interpreter(*first: str, more: int = 0) -> tuple[str, ...]:
    return ("", "interp_id", "interp_next", "interp_threads", *first, *_GIL, *[""] * more)


# 3.15 tells more of threads and types, and where a raised exception is.
_THREAD_315 = (*_THREAD[:5], "", "", "", *_THREAD[5:], "", "", "thread_raised", "",
               "handled_value")  # fmt: skip
_TYPES_315 = (*_TYPES, "", "", "", "")

# 3.14 had no thread-local bytecode in its first previews.
_FORMS = {
    (3, 13): (_HEAD + _RUNTIME + _interpreter() + _THREAD + _FRAME + _CODE + _TYPES + _TUPLE
             + _VALUES,),
    (3, 14): (
        _HEAD + _RUNTIME + _interpreter("", more=2) + _THREAD + (*_FRAME, "", "") + (*_CODE, "")
        + _TYPES + _TUPLE + _SET + _VALUES,
        _HEAD + _RUNTIME + _interpreter("") + _THREAD + (*_FRAME, "") + _CODE
        + _TYPES + _TUPLE + _SET + _VALUES,
    ),
    (3, 15): (
        _HEAD + _RUNTIME + _interpreter("", more=2) + _THREAD_315 + (*_FRAME, "", "")
        + (*_CODE, "") + _TYPES_315 + _TUPLE + _SET + _VALUES,
    ),
}  # fmt: skip


class Layout:
    """The offsets of one interpreter.

    `version` is PY_VERSION_HEX where it is known whole, else without the last two bytes;
    `at` has an offset by its name in tools/cpython_layouts.py; what the version has not is absent.
    """

    __slots__ = ("at", "free_threaded", "minor", "version")

    def __init__(self, version: int, at: dict[str, int], free_threaded: bool = False) -> None:
        self.version = version
        self.minor = (version >> 24, version >> 16 & 0xFF)
        self.at = at
        self.free_threaded = free_threaded

    @property
    def name(self) -> str:
        """`3.11.2`; `3.9` where no more is known."""
        major, minor = self.minor
        micro, level = self.version >> 8 & 0xFF, self.version >> 4 & 0xF
        if not level:
            return f"{major}.{minor}"
        suffix = {0xA: "a", 0xB: "b", 0xC: "rc"}.get(level, "")
        serial = f"{suffix}{self.version & 0xF}" if suffix else ""
        return f"{major}.{minor}.{micro}{serial}"


def by_version(version: int) -> Layout | None:
    """The layout of a version up to 3.12; None for others."""
    minor = (version >> 24, version >> 16 & 0xFF)
    if minor > (3, 12) or minor not in TABLES:
        return None
    return Layout(version, TABLES[minor])


def by_debug_offsets(read: Read, runtime: int) -> Layout | None:
    """The layout that the interpreter at `runtime` describes; None if it does not, or not in
    a form that is known."""
    head = read(runtime, 16)
    if len(head) < 16 or head[:8] != COOKIE:
        return None
    version = _WORD.unpack_from(head, 8)[0]
    forms = _FORMS.get((version >> 24, version >> 16 & 0xFF), ())
    for form in forms:
        data = read(runtime + 16, 8 * len(form))
        if len(data) < 8 * len(form):
            continue
        words = Struct(f"<{len(form)}Q").unpack(data)
        at = {name: value for name, value in zip(form, words, strict=True) if name}
        free_threaded = at.pop("free_threaded")
        if free_threaded <= 1 and _makes_sense(at):
            return Layout(version, _completed(at, version), bool(free_threaded))
    return None


def _makes_sense(at: dict[str, int]) -> bool:
    """Whether these can be offsets: small, aligned, and in the order that structures have."""
    if any(value >= _MAX_OFFSET for value in at.values()):
        return False
    bytewise = ("frame_owner", "code_first_line", "str_state", "thread_size", "frame_size",
                "code_size")  # fmt: skip
    if any(value % 8 for name, value in at.items() if name not in bytewise):
        return False
    return (
        at["object_type"] < at["tuple_size"] < at["tuple_items"] <= 64
        and at["str_length"] < at["str_state"] <= at["str_ascii"] - 4
        and at["str_ascii"] < at["str_compact_end"] <= 128
        and at["bytes_size"] < at["bytes_data"] <= 64
        and len({at[name] for name in _WORDS_OF_FRAME}) == len(_WORDS_OF_FRAME)
        and max(at[name] for name in _WORDS_OF_FRAME) <= at["frame_owner"] - 8
        and at["frame_owner"] < at["frame_locals"] < 256
        and at["code_filename"] < at["code_name"] < at["code_instructions"] < 1024
        and all(at[name] <= at["code_instructions"] - 8 for name in _CODE[1:-1] if name)
        and all(at[name] < _MAX_THREAD for name in _THREAD_315[1:] if name in at)
        and at["type_name"] < at["type_flags"] < 512
        and len({at[name] for name in ("thread_next", "thread_interp", "thread_frame")}) == 3
        and at["long_tag"] < at["long_digits"] <= 64
        and at["gil"] <= min(at["gil_locked"], at["gil_holder"])
    )


def _completed(at: dict[str, int], version: int) -> dict[str, int]:
    """In the words of tables.py, and with what the interpreter does not say: by the size of what
    each object begins with; of the table, where that agrees about threads."""
    found = dict(at)
    found["object_size"] = at["tuple_size"]
    found["str_compact"] = at["str_compact_end"] - 8  # PyUnicodeObject has one pointer more
    gil = found.pop("gil")
    found["gil_locked"] -= gil
    found["gil_holder"] -= gil
    found["dict_used"] = head = at["tuple_size"]  # the size of what each object begins with
    found["exception_arguments"] = head + 8
    table = TABLES.get((version >> 24, version >> 16 & 0xFF), {})
    threads = [name for name in table if name.startswith("thread_")]
    if table and all(table[name] == at[name] for name in threads if name in at):
        for name in (*threads, "handled_value", "handled_previous"):
            found.setdefault(name, table[name])
    return found
