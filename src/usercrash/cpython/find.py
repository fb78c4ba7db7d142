"""Where in a process an interpreter is, and of which version."""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING
from .layout import COOKIE, NEWEST, OLDEST, Layout, by_debug_offsets, by_version
from .objects import TOP, Objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .layout import Read

    Symbol = Callable[[int, bytes], int]  # of the module that begins there; 0 if it has none

RUNTIME, VERSION = b"_PyRuntime", b"Py_Version"
# Functions that a version brought, each in a part that every interpreter has: what tells those
# apart that have no Py_Version (3.11 brought it). Names of files do not: a program may have the
# interpreter linked into itself.
_NEW_FUNCTIONS = (
    (b"PyModule_AddObjectRef", 0x030A0000),
    (b"PyFrame_GetBack", 0x03090000),
    (b"PyCode_NewWithPosOnlyArgs", 0x03080000),
)
_MAX_MODULES = 16  # that are asked for symbols
_HALF = Struct("<I")


class Found:
    """An interpreter: its `path`, the address of its _PyRuntime; `layout` None where it is of a
    version that is not known (`why`)."""

    __slots__ = ("layout", "path", "runtime", "why")

    def __init__(self, path: bytes, runtime: int, layout: Layout | None, why: str) -> None:
        self.path = path
        self.runtime = runtime
        self.layout = layout
        self.why = why


def find(read: Read, modules: Iterable[tuple[bytes, int]], symbol: Symbol) -> Found | None:
    """The interpreter among `modules` (path, start address; the executable first), None if there
    is none. A libpython is looked at before the executable, which may be a mere stub."""
    ranked = sorted(modules, key=lambda module: _rank(module[0]))
    for path, start in ranked[:_MAX_MODULES]:
        runtime = symbol(start, RUNTIME)
        if runtime:
            at = symbol(start, VERSION)
            number = read(at, 4) if at else b""
            version = _HALF.unpack(number)[0] if len(number) == 4 else _oldest(symbol, start)
            return identify(read, path, runtime, version)
    return None


def _oldest(symbol: Symbol, start: int) -> int:
    """The version without its last two bytes, by the functions that there are; 0 before 3.8."""
    return next((version for name, version in _NEW_FUNCTIONS if symbol(start, name)), 0)


def _rank(path: bytes) -> int:
    base = path.rpartition(b"/")[2]
    return 0 if base.startswith(b"libpython3") else 1 if base.startswith(b"python3") else 2


def is_worth_asking(path: bytes) -> bool:
    """Whether a module's name is that of an interpreter (other names: only the executable)."""
    return _rank(path) < 2


def identify(read: Read, path: bytes, runtime: int, version: int = 0) -> Found:
    """What is known of the interpreter whose _PyRuntime is at `runtime`; `version` as in
    PY_VERSION_HEX, without the last two bytes where that is all that is known, 0 if nothing is."""
    if runtime % 8 or not 0 < runtime < TOP:
        return Found(path, runtime, None, "its _PyRuntime lies nowhere")
    if read(runtime, 8) == COOKIE:
        layout = by_debug_offsets(read, runtime)
        return Found(path, runtime, layout, "" if layout else "it describes itself in no known way")
    minor = (version >> 24, version >> 16 & 0xFF)
    if not version:
        return Found(path, runtime, None, "its version is not known")
    if minor[0] != 3 or not OLDEST <= minor <= NEWEST:
        return Found(path, runtime, None, f"version {minor[0]}.{minor[1]} is not known")
    layout = by_version(version)
    if layout is not None and is_sensible(read, runtime, layout):
        return Found(path, runtime, layout, "")
    return Found(path, runtime, None, "its structures are not as in any known version")


def is_sensible(read: Read, runtime: int, layout: Layout) -> bool:
    """Whether the structures at `runtime` are of this layout: each interpreter's threads say that
    they are its own, and a thread's frame is a frame of code."""
    at = layout.at
    objects = Objects(read, layout)
    interpreter = objects.word(runtime + at["runtime_interpreters"])
    if interpreter == 0:
        return True  # not begun yet, or ended
    if interpreter is None or not is_place(interpreter):
        return False
    thread = objects.word(interpreter + at["interp_threads"])
    if thread == 0:
        return True
    if thread is None or not is_place(thread):
        return False
    if objects.word(thread + at["thread_interp"]) != interpreter:
        return False
    if layout.minor > (3, 10):
        return True
    frame = objects.word(thread + at["thread_frame"])
    if frame == 0:
        return True
    if frame is None or not objects.is_a(frame, b"frame"):
        return False
    code = objects.word(frame + at["frame_code"])
    return code is not None and objects.is_a(code, b"code")


def is_place(address: int) -> bool:
    """Whether a structure may lie there."""
    return address % 8 == 0 and 4096 <= address < TOP
