"""From an interpreter's runtime to the frames of its threads.

Up to 3.10 a frame is an object, and each runs in an evaluation loop of its own
(Include/frameobject.h); from 3.11 on it lies in a stack of the thread's own, and a loop runs
many of them (Include/internal/pycore_frame.h): such a run ends at a frame with `is_entry`
(3.11), or before a frame of the loop's own on the native stack (3.12 and later).
"""

from __future__ import annotations

import time
from _struct import Struct

from ..model.types import TYPE_CHECKING
from .find import is_place
from .frames import FrameReader
from .objects import Objects

if TYPE_CHECKING:
    from .find import Found
    from .frames import Code, Frame
    from .layout import Layout, Read
    from .objects import Text
    from .values import Value

_WORD = Struct("<Q")
_MAX_INTERPRETERS = 64
GIL_CONDITION = 48  # bytes of a pthread_cond_t
_LOCKED_TO_CONDITION = 16  # in struct _gil_runtime_state (pycore_gil.h), of all versions and builds
_MAX_HANDLED = 64  # levels of exceptions that are being handled


class Limits:
    """Bounds of a walk: threads, frames of the first and of each other thread and of all together,
    seconds (0: none). With `variables` the values of the innermost frames' are read, too."""

    __slots__ = ("first", "frames", "others", "seconds", "threads", "variables")

    def __init__(
        self,
        *,
        threads: int = 2000,
        first: int = 20_000,
        others: int = 1000,
        frames: int = 40_000,
        seconds: float = 0.0,
        variables: bool = False,
    ) -> None:
        self.threads = threads
        self.first = first
        self.others = others
        self.frames = frames
        self.seconds = seconds
        self.variables = variables


class Run:
    """Frames [start, end) that one native evaluation loop runs; `stack` is an address in that
    loop's native frame, 0 where it is not known."""

    __slots__ = ("end", "stack", "start")

    def __init__(self, start: int, end: int, stack: int) -> None:
        self.start = start
        self.end = end
        self.stack = stack


class Raised:
    """An exception: its type's name, its text where that is a str; `handled` while the program
    deals with it."""

    __slots__ = ("handled", "name", "text")

    def __init__(self, name: bytes, text: Text | None, handled: bool) -> None:
        self.name = name
        self.text = text
        self.handled = handled


class Thread:
    """A thread: `state` is its PyThreadState, as far as it is known, at `address`; `native_id` the
    kernel's thread id in the process's own namespace (0 up to 3.10), `pthread` its pthread_t.
    `frames` are innermost first; `end` says why there are no more ("": the stack ends there);
    `variables` has those of the first frames, where they were asked for."""

    __slots__ = (
        "address", "end", "exception", "frames", "holds_gil", "interpreter", "native_id", "pthread",
        "runs", "state", "variables",
    )  # fmt: skip

    def __init__(
        self, address: int, state: bytes, interpreter: int, native_id: int, pthread: int
    ) -> None:
        self.address = address
        self.state = state
        self.interpreter = interpreter
        self.native_id = native_id
        self.pthread = pthread
        self.frames: list[Frame] = []
        self.runs: list[Run] = []
        self.end = ""
        self.holds_gil = False
        self.exception: Raised | None = None
        self.variables: list[list[tuple[Text, Value]]] = []


class Walked:
    """What was found: `interpreters` are their ids, `codes` what the frames run; `notes` what
    could not be read. `gils` has where threads wait for a GIL (its condition variable, of
    GIL_CONDITION bytes), and the address of the PyThreadState that has it (0: none)."""

    __slots__ = ("codes", "cut", "finalizing", "gils", "interpreters", "layout", "notes", "threads")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.interpreters: list[int] = []
        self.threads: list[Thread] = []
        self.codes: dict[int, Code | None] = {}
        self.gils: dict[int, int] = {}
        self.finalizing = False
        self.cut = False  # there was no time for all
        self.notes: list[str] = []


def walk(
    read: Read, found: Found, first: tuple[int, int] = (0, 0), limits: Limits | None = None
) -> Walked | None:
    """The interpreter's threads, the one that crashed before all others: `first` are its thread id
    and its thread pointer. None where the layout is not known."""
    if found.layout is None:
        return None
    return _Walk(Objects(read, found.layout), found.runtime, limits or Limits()).run(first)


class _Walk:
    def __init__(self, objects: Objects, runtime: int, limits: Limits) -> None:
        self._objects = objects
        self._word = objects.word
        self._at = objects.layout.at
        self._runtime = runtime
        self._limits = limits
        self._until = time.monotonic() + limits.seconds if limits.seconds else 0.0
        self._walked = Walked(objects.layout)
        self._seen: set[int] = set()  # thread states
        self._frames = FrameReader(objects, self._walked.codes)
        known = ("thread_prev", "thread_next", "thread_interp", "thread_frame", "thread_cframe",
                 "thread_id", "thread_native_id", "thread_raised_type", "thread_raised",
                 "thread_handled")  # fmt: skip
        self._cframe_size = self._at.get("cframe_previous", 0) + 8
        self._size = max(self._at.get(name, 0) for name in known) + 8

    def run(self, first: tuple[int, int]) -> Walked:
        walked, word = self._walked, self._word
        walked.finalizing = bool(word(self._runtime + self._at["runtime_finalizing"]))
        self._gil(self._runtime, "runtime_gil_holder", "runtime_gil_locked")
        interpreter = word(self._runtime + self._at["runtime_interpreters"])
        seen: set[int] = set()
        while interpreter:
            if not is_place(interpreter) or interpreter in seen or len(seen) >= _MAX_INTERPRETERS:
                walked.notes.append("the list of interpreters is damaged or too long")
                break
            seen.add(interpreter)
            number = word(interpreter + self._at["interp_id"])
            walked.interpreters.append((number or 0) & 0xFFFFFFFF)
            gil = word(interpreter + self._at["interp_gil"]) if "interp_gil" in self._at else None
            if gil and is_place(gil):
                self._gil(gil, "gil_holder", "gil_locked")
            self._list_threads(interpreter, walked.interpreters[-1])
            interpreter = word(interpreter + self._at["interp_next"])
        threads = walked.threads
        threads.sort(key=lambda one: not self._is(one, first))  # stable
        self._stacks(first)
        return walked

    @staticmethod
    def _is(thread: Thread, first: tuple[int, int]) -> bool:
        tid, pointer = first
        return bool(tid and thread.native_id == tid) or bool(pointer and thread.pthread == pointer)

    def _gil(self, base: int, holder: str, locked: str) -> None:
        if holder in self._at:
            at = base + self._at[locked]
            held = self._objects.read(at, 4) == b"\1\0\0\0"
            thread = self._word(base + self._at[holder]) or 0
            self._walked.gils[at + _LOCKED_TO_CONDITION] = thread if held else 0

    def _list_threads(self, interpreter: int, number: int) -> None:
        at, walked = self._at, self._walked
        thread = self._word(interpreter + at["interp_threads"])
        while thread:
            state = self._objects.read(thread, self._size) if is_place(thread) else b""
            if len(state) < self._size or thread in self._seen or (
                _of(state, at["thread_interp"]) != interpreter
            ):  # fmt: skip
                walked.notes.append("the list of threads is damaged")
                return
            if len(walked.threads) >= self._limits.threads:
                walked.notes.append(f"more than {self._limits.threads} threads")
                return
            self._seen.add(thread)
            native = _of(state, at["thread_native_id"]) if "thread_native_id" in at else 0
            own = native & 0xFFFFFFFF, _of(state, at["thread_id"])
            one = Thread(thread, state, number, *own)
            one.holds_gil = thread in walked.gils.values()
            walked.threads.append(one)
            thread = _of(state, at["thread_next"])

    def _stacks(self, first: tuple[int, int]) -> None:
        limits = self._limits
        left = limits.frames
        for thread in self._walked.threads:
            if self._late():
                thread.end = "no time left"
                self._walked.cut = True
                continue
            most = limits.first if self._is(thread, first) else limits.others
            self._stack(thread, min(most, left))
            left -= len(thread.frames)
            thread.exception = self._exception(thread.state)
            if limits.variables:
                self._variables(thread, first)

    def _variables(self, thread: Thread, first: tuple[int, int]) -> None:
        from .values import FRAMES_OF_FIRST, FRAMES_OF_OTHERS, variables

        most = FRAMES_OF_FIRST if self._is(thread, first) else FRAMES_OF_OTHERS
        for frame in thread.frames[:most]:
            if not self._late():
                thread.variables.append(variables(self._objects, frame))

    def _late(self) -> bool:
        return bool(self._until) and time.monotonic() > self._until

    def _stack(self, thread: Thread, most: int) -> None:
        at, word, frames = self._at, self._word, self._frames
        cframe = 0
        if "thread_frame" in at:
            frame: int | None = _of(thread.state, at["thread_frame"])
        else:
            cframe = _of(thread.state, at["thread_cframe"])
            frame = word(cframe + at["cframe_frame"]) if is_place(cframe) else None
        seen: set[int] = set()
        start = checked = 0
        while frame:
            frame = frames.follow(frame, thread.frames, seen, most)
            count = len(thread.frames)
            if not frame:
                break
            # (a loop's own frame stands beside one that it runs: more of them are damage)
            late = len(seen) - checked > 200 and self._late()
            if count >= most or len(seen) > 2 * most or late:
                self._walked.cut |= late
                thread.end = f"only {count:,} frames were read"
                break
            if len(seen) - checked > 200:
                checked = len(seen)
            if frame in seen:
                thread.end = "the frames run in a circle"
                break
            seen.add(frame)
            one = frames.frame(frame)
            if one is None:
                there = len(self._objects.read(frame, 8)) == 8
                thread.end = f"no {'frame' if there else 'memory'} at {frame:#x}"
                break
            if one.code is None:  # a loop's own frame
                self._end_run(thread, start, frame)
                start = len(thread.frames)
            else:
                thread.frames.append(one)
                if one.entry:
                    loop, cframe = self._loop(cframe, seen)
                    self._end_run(thread, start, loop)
                    start = len(thread.frames)
            frame = one.previous
        if frame is None:
            thread.end = "its frames cannot be read"
        self._end_run(thread, start, 0)

    def _loop(self, cframe: int, seen: set[int]) -> tuple[int, int]:
        """The _PyCFrame (on the native stack) of the loop that ran the frames up to here, and the
        next outer one; 0 where that is not sure. One that has no frame of its own yet shows that
        of its caller."""
        at = self._at
        if "cframe_frame" not in at or not is_place(cframe):
            return 0, 0
        data = self._objects.read(cframe, self._cframe_size)
        if len(data) < self._cframe_size or _of(data, at["cframe_frame"]) not in seen:
            return 0, 0
        return cframe, _of(data, at["cframe_previous"])

    @staticmethod
    def _end_run(thread: Thread, start: int, stack: int) -> None:
        if start < len(thread.frames):
            thread.frames[-1].entry = True
            thread.runs.append(Run(start, len(thread.frames), stack))

    def _exception(self, state: bytes) -> Raised | None:
        """The exception that the thread raises, else the one that it handles."""
        at, word, objects = self._at, self._word, self._objects
        if "thread_raised" not in at:
            return None
        kind = _of(state, at["thread_raised_type"]) if "thread_raised_type" in at else 0
        value: int | None = _of(state, at["thread_raised"])
        if (value or kind) and (found := objects.exception(value or 0, kind)):
            return Raised(*found, handled=False)
        item: int | None = _of(state, at["thread_handled"]) if "thread_handled" in at else 0
        for _ in range(_MAX_HANDLED):
            if not item or not is_place(item):
                break
            value = word(item + at["handled_value"])
            if found := objects.exception(value or 0):
                return Raised(*found, handled=True)
            item = word(item + at["handled_previous"])
        return None


def _of(data: bytes, offset: int) -> int:
    """The word at an offset."""
    value: int = _WORD.unpack_from(data, offset)[0]
    return value
