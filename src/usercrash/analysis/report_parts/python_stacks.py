"""The Python frames of the threads: read from the interpreter's own structures (cpython/), and
tied to the native frames that run them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from ... import report
from ...cpython.find import Found, find, identify
from ...cpython.frames import Code, Frame
from ...cpython.lines import line_of
from ...cpython.objects import Text
from ...cpython.values import Value
from ...cpython.walk import GIL_CONDITION, Limits, Raised, Thread, Walked, walk
from ..core.core_threads import CoreThread
from ..core.image import CoreImage
from ..core.modules import ModuleTable
from ..explain.waits import InterpreterLock
from ..facts.secrets import MASK, is_secret_name, mask_assignment
from ..facts.texts import json_cost, safe
from ..unwinding.frames import END_OF_STACK, RawFrame, Stack
from .cycles import find_cycles, kept_numbers, without_rounds
from .stacks import Named

FACT = b"@cpython"
LOOP = "_PyEval_EvalFrameDefault"
_STAGE = "python"
_MAX_NAME = 300
_MAX_FILE = 1024
_MAX_VALUE = 400
_FIRST_FRAMES, _LAST_FRAMES = 200, 56
_FRAME_COST = 150  # bytes of JSON and text beside the names
_WINDOW = 1 << 16  # bytes of a native loop's stack that are looked through
_SECONDS = 2.0


class PythonStacks:
    """The Python stacks of one process. `interpreters` is empty where it runs none."""

    def __init__(
        self, image: CoreImage, modules: ModuleTable, read: Callable[[int, int], bytes],
        budget: int, *, variables: bool = False,
    ) -> None:  # fmt: skip
        """`budget`: bytes of JSON and text that all frames together may take."""
        self._variables = variables
        self._image = image
        self._modules = modules
        self._read = read
        self._notes = image.notes
        self._budget = budget
        self._lines: dict[tuple[int, int | None], int | None] = {}
        self._walked: Walked | None = None
        self._by_tid: dict[int, list[Thread]] = {}
        self._by_pointer: dict[int, list[Thread]] = {}
        self.interpreters: list[report.Interpreter] = []
        self.locks: list[InterpreterLock] = []  # the GILs
        found = self._find()
        if found is not None:
            self._walk(found)

    def _find(self) -> Found | None:
        arch = self._image.arch
        if arch.long != 8 or arch.order != "<":
            return None  # offsets are known for 64-bit machines that are little-endian
        words = self._image.facts.get(FACT, b"").split(b" ", 2)
        if len(words) == 3:
            try:
                return self._by_fact(int(words[0], 16), int(words[1], 16), words[2])
            except ValueError:
                self._notes.add(_STAGE, "where its interpreter is", "the fact makes no sense")
        if self._image.facts:
            return None  # capture has looked, and kept nothing
        modules = {module.start: module for module in self._modules if module.elf is not None}
        main = [module for module in modules.values() if module.main]
        named = [one for one in modules.values() if b"python" in one.path.rpartition(b"/")[2]]
        chosen = {module.start: module.path for module in (*main, *named)}

        def symbol(start: int, name: bytes) -> int:
            found = modules[start].addresses_of(name)
            return found[0] if len(found) == 1 else 0

        return find(self._read, [(path, start) for start, path in chosen.items()], symbol)

    def _by_fact(self, runtime: int, version: int, path: bytes) -> Found:
        return identify(self._read, path, runtime, version)

    def _walk(self, found: Found) -> None:
        name = found.path.decode("utf-8", "backslashreplace")
        if found.layout is None:
            self._notes.add(_STAGE, f"the interpreter in {name}", found.why)
            return
        crashing = self._image.threads[0]
        first = crashing.tid, crashing.registers.get("fs_base", 0)
        walked = walk(self._read, found, first, Limits(seconds=_SECONDS, variables=self._variables))
        if walked is None or not walked.interpreters:
            return
        self._walked = walked
        self.locks = _gils(walked)
        for why in walked.notes:
            self._notes.add(_STAGE, "its threads", why)
        for thread in walked.threads:
            if thread.native_id:
                self._by_tid.setdefault(thread.native_id, []).append(thread)
            if thread.pthread:
                self._by_pointer.setdefault(thread.pthread, []).append(thread)
        interpreter = report.Interpreter(
            language="python",
            version=walked.layout.name,
            module=safe(name, _MAX_FILE),
            interpreters=sorted(walked.interpreters),
            threads=len(walked.threads),
            finalizing=walked.finalizing,
        )
        self.interpreters.append(interpreter)

    # --- one thread ---

    def of(
        self,
        thread: CoreThread,
        stack: Stack,
        named: Named,
        function: Callable[[RawFrame], str | None],
    ) -> list[report.InterpretedStack]:
        """The Python stacks of a thread (more than one where it works for several interpreters).
        `function` names a native frame."""
        if self._walked is None:
            return []
        pointer = thread.registers.get("fs_base", 0)
        states = self._by_tid.get(thread.tid) or self._by_pointer.get(pointer, [])
        if not states and len(self._image.threads) == len(self._walked.threads) == 1:
            states = self._walked.threads  # (pthread_t is not known of all machines)
        several = len([one for one in states if one.frames]) > 1
        found = []
        for state in states:
            if not state.frames and (several or state.exception is None) and state is not states[0]:
                continue
            places = self._places(state, stack, named, function, alone=not several)
            found.append(self._stack(state, places))
        return found

    def _stack(self, state: Thread, native: dict[int, int]) -> report.InterpretedStack:
        """`native`: the report index of the native frame that runs a frame, by its number."""
        walked = self._walked
        assert walked is not None
        keys: dict[tuple[int, int | None, bool], int] = {}
        numbers = [
            keys.setdefault((frame.code.address if frame.code else 0, frame.last, frame.entry),
                            len(keys))
            for frame in state.frames
        ]  # fmt: skip
        cycles = find_cycles(numbers)
        frames = []
        spans = [*without_rounds(cycles, len(state.frames))]
        for number in kept_numbers(spans, _FIRST_FRAMES, _LAST_FRAMES):
            values = state.variables[number] if number < len(state.variables) else []
            frame = self._frame(number, state.frames[number], native.get(number), values)
            if frame is None:
                break
            frames.append(frame)
        raised = state.exception
        return report.InterpretedStack(
            language="python",
            version=walked.layout.name,
            interpreter=state.interpreter,
            frames=frames,
            frames_total=len(state.frames),
            folds=[report.Fold(start=c.start, length=c.length, times=c.times) for c in cycles],
            end=state.end,
            holds_lock=state.holds_gil,
            exception=_exception(raised) if raised else None,
        )

    def _frame(
        self, number: int, frame: Frame, native: int | None, values: list[tuple[Text, Value]]
    ) -> report.InterpretedFrame | None:
        code = frame.code
        assert code is not None
        name = safe((code.qualified or code.name).decode(), _MAX_NAME)
        file = safe(_path(code.file.decode()), _MAX_FILE)
        shown = [_variable(*one) for one in values]
        self._budget -= _FRAME_COST + json_cost(name) + json_cost(file)
        self._budget -= sum(30 + json_cost(one.name) + json_cost(one.value) for one in shown)
        if self._budget < 0:
            return None
        return report.InterpretedFrame(
            index=number, function=name, file=file, line=frame.line or self._line(code, frame.last),
            entry=frame.entry, native=native, variables=shown,
        )  # fmt: skip

    def _line(self, code: Code, last: int | None) -> int | None:
        key = code.address, last
        if key not in self._lines:
            line = None
            if code.lines is not None and last is not None and self._walked is not None:
                line = line_of(self._walked.layout.minor, code.lines, code.first_line, last)
            self._lines[key] = line
        return self._lines[key]

    # --- which native frame runs them ---

    def _places(
        self,
        state: Thread,
        stack: Stack,
        named: Named,
        function: Callable[[RawFrame], str | None],
        *,
        alone: bool,
    ) -> dict[int, int]:
        """The report index of the native frame by the number of the Python frame that it runs;
        `alone`: no other interpreter's frames are on this stack."""
        loops, unknown = [], []
        behind = stack.total - len(stack.tail)
        for number, frame in [*enumerate(stack.frames), *enumerate(stack.tail, behind)]:
            name = function(frame)
            if name is None:
                unknown.append((number, frame))
            elif name.partition(".")[0] == LOOP:
                loops.append((number, frame))
        if any(run.stack for run in state.runs):
            pairs = _by_address(state, loops + unknown)
        else:
            pairs = self._by_order(state, loops, stack, alone=alone)
        return {
            frame: named.index_of(number)
            for run, number in pairs
            for frame in range(state.runs[run].start, state.runs[run].end)
        }

    def _by_order(
        self, state: Thread, loops: list[tuple[int, RawFrame]], stack: Stack, *, alone: bool
    ) -> list[tuple[int, int]]:
        """(run, native frame) up to 3.10, where each loop runs one frame: a loop has that frame's
        address in its part of the stack, or in a register that what it called has saved."""
        pairs: list[tuple[int, int]] = []
        at = 0
        inner = stack.frames[0].sp if stack.frames else 0
        complete = alone and not state.end and stack.end == END_OF_STACK and not stack.tail
        if complete and len(loops) == len(state.runs):
            return [(run, number) for run, (number, _) in enumerate(loops)]
        if stack.total != len(stack.frames) + len(stack.tail):
            loops = [loop for loop in loops if loop[0] < len(stack.frames)]
        for run, frames in enumerate(state.runs):
            word = state.frames[frames.start].address.to_bytes(8, "little")
            while at < len(loops):
                number, frame = loops[at]
                at += 1
                low, inner = inner, frame.cfa
                size = min(max(frame.cfa - low, 0), _WINDOW)
                if word in self._read(frame.cfa - size, size):
                    pairs.append((run, number))
                    break
            else:
                break
        return pairs


def _gils(walked: Walked) -> list[InterpreterLock]:
    """Where threads wait for a GIL, and who holds it."""
    threads = {thread.address: thread for thread in walked.threads}
    found = []
    for start, state in walked.gils.items():
        holder = threads.get(state)
        ids = (holder.native_id, holder.pthread) if holder is not None else (0, 0)
        found.append(InterpreterLock("Python's GIL", start, GIL_CONDITION, *ids))
    return found


def _by_address(state: Thread, loops: list[tuple[int, RawFrame]]) -> list[tuple[int, int]]:
    """(run, native frame): the interpreter keeps a structure in each loop's native frame."""
    by_sp = sorted((frame.sp, frame.cfa, number) for number, frame in loops)
    starts = [row[0] for row in by_sp]
    pairs = []
    for run, frames in enumerate(state.runs):
        index = bisect_right(starts, frames.stack) - 1
        if frames.stack and index >= 0 and frames.stack < by_sp[index][1]:
            pairs.append((run, by_sp[index][2]))
    return pairs


def _variable(name: Text, value: Value) -> report.Variable:
    """A variable; not the value of one whose name sounds like a secret."""
    text = name.decode()
    written = value.written().encode("utf-8", "backslashreplace")
    if is_secret_name(text.encode("utf-8", "backslashreplace")) and value.kind != b"NoneType":
        written = MASK
    shown = mask_assignment(written).decode("utf-8", "backslashreplace")
    return report.Variable(name=safe(text, _MAX_NAME), value=safe(shown, _MAX_VALUE))


def _exception(raised: Raised) -> report.InterpretedException:
    text = None
    if raised.text is not None:
        data = raised.text.decode().encode("utf-8", "backslashreplace")
        text = mask_assignment(data).decode("utf-8", "backslashreplace")
    return report.InterpretedException(
        type=safe(raised.name.decode("utf-8", "backslashreplace"), _MAX_NAME),
        text=None if text is None else safe(text),
        handled=raised.handled,
    )


def _path(text: str) -> str:
    """A file's name, of which bytes that are not UTF-8 stand as `\\xNN`."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text
