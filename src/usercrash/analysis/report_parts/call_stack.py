"""The calls of an interpreter of Perl, PHP or Ruby: read from its own structures (perl/, php/,
ruby/), and tied to the native loops that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from ... import report
from ...interpreter_calls import Found, Frame, Walked
from ...perl import walk as perl
from ...php import walk as php
from ...ruby import walk as ruby
from ..core.core_threads import CoreThread
from ..core.image import CoreImage
from ..core.modules import ModuleTable
from ..facts.texts import json_cost, safe
from ..unwinding.frames import END_OF_STACK, RawFrame, Stack
from .cycles import find_cycles, kept_numbers, without_rounds
from .stacks import Named

if TYPE_CHECKING:
    from ...interpreter_calls import Read, Symbol

_MAX_NAME, _MAX_FILE = 300, 1024
_FIRST_FRAMES, _LAST_FRAMES = 200, 56
_FRAME_COST = 150  # bytes of JSON and text beside the names
_SECONDS = 2.0
_UNNAMED = "(without a name)"
_MAIN = -1  # for the pointer of the main thread, if only that one is read
_POINTER = "fs_base"  # the register with the thread pointer, on the only machine that is known


class Runtime(NamedTuple):
    """How a language's interpreter is read: the native function that runs its code, the names of
    its modules, the walk: what each thread calls, by its thread pointer, that of `first` before all
    others."""

    language: str
    loop: str
    is_module: Callable[[bytes], bool]
    known: Callable[[bytes, int, tuple[int, int, int], int], Found]
    find: Callable[[Read, Iterable[tuple[bytes, int]], Symbol], Found | None]
    walk: Callable[[Read, Found, int], dict[int, Walked]]


def _walk_perl(read: Read, found: Found, first: int) -> dict[int, Walked]:
    walked = perl.walk(read, found, seconds=_SECONDS)
    return {_MAIN: walked} if walked is not None else {}


def _walk_php(read: Read, found: Found, first: int) -> dict[int, Walked]:
    walked = php.walk(read, found, seconds=_SECONDS)
    return {_MAIN: walked} if walked is not None else {}


def _walk_ruby(read: Read, found: Found, first: int) -> dict[int, Walked]:
    return ruby.walk(read, found, seconds=_SECONDS, first=first)


RUNTIMES = (
    Runtime("perl", "Perl_runops_standard", perl.is_perl, perl.known, perl.find, _walk_perl),
    Runtime("php", "execute_ex", php.is_php, php.known, php.find, _walk_php),
    Runtime("ruby", "rb_vm_exec", ruby.is_ruby, ruby.known, ruby.find, _walk_ruby),
)


class CallStack:
    """The stacks of one process's threads. `interpreters` is empty where it runs none."""

    def __init__(
        self, runtime: Runtime, image: CoreImage, modules: ModuleTable, read: Read, budget: int
    ) -> None:
        """`budget`: bytes of JSON and text that all frames together may take."""
        self._runtime = runtime
        self._stage = runtime.language
        self._budget = budget
        self._read = read
        self._image = image
        self._modules = modules
        self._version = ""
        self._walked: dict[int, Walked] = {}
        self.interpreters: list[report.Interpreter] = []
        found = self._find()
        if found is not None:
            self._walk(found)

    def _find(self) -> Found | None:
        image = self._image
        if image.arch.long != 8 or image.arch.order != "<":
            return None
        words = image.facts.get(b"@" + self._stage.encode(), b"").split(b" ", 3)
        if len(words) == 4:
            try:
                major, minor, patch = (int(word) for word in words[1].split(b"."))
                where, mark = int(words[0], 16), int(words[2], 16)
                return self._runtime.known(words[3], where, (major, minor, patch), mark)
            except ValueError:
                image.notes.add(self._stage, "where its interpreter is", "the fact makes no sense")
        if image.facts:
            return None  # capture has looked, and kept nothing
        is_own = self._runtime.is_module
        modules = {one.start: one for one in self._modules if one.elf and is_own(one.path)}

        def symbol(start: int, name: bytes) -> int:
            found = modules[start].addresses_of(name)
            return found[0] if len(found) == 1 else 0

        return self._runtime.find(
            self._read, [(one.path, start) for start, one in modules.items()], symbol
        )

    def _walk(self, found: Found) -> None:
        path = safe(found.path.decode("utf-8", "backslashreplace"), _MAX_FILE)
        self._version = ".".join(str(number) for number in found.version)
        if found.layout is None:
            why = f"version {self._version} is not known in a build of this kind"
            self._image.notes.add(self._stage, f"the interpreter in {path}", why)
            return
        first = self._image.threads[0].registers.get(_POINTER, 0) if self._image.threads else 0
        self._walked = self._runtime.walk(self._read, found, first)
        if self._walked:
            self.interpreters.append(
                report.Interpreter(
                    language=self._stage,
                    version=self._version,
                    module=path,
                    threads=len(self._walked),
                )
            )

    def of(
        self, thread: CoreThread, stack: Stack, named: Named,
        function: Callable[[RawFrame], str | None], *, main: bool,
    ) -> list[report.InterpretedStack]:  # fmt: skip
        """The stack of a thread; `main`: it is the first one. `function` names a native frame."""
        own = _MAIN if main and _MAIN in self._walked else thread.registers.get(_POINTER, 0)
        walked = self._walked.get(own)
        if walked is None or not walked.frames:
            return []
        native = self._places(walked, stack, named, function)
        keys: dict[tuple[bytes, bytes, int, bool], int] = {}
        numbers = [
            keys.setdefault((one.name, one.file, one.line, one.entry), len(keys))
            for one in walked.frames
        ]
        cycles = find_cycles(numbers)
        frames = []
        spans = [*without_rounds(cycles, len(walked.frames))]
        for number in kept_numbers(spans, _FIRST_FRAMES, _LAST_FRAMES):
            frame = self._frame(number, walked.frames[number], native.get(number))
            if frame is None:
                break
            frames.append(frame)
        return [
            report.InterpretedStack(
                language=self._stage,
                version=self._version,
                frames=frames,
                frames_total=len(walked.frames),
                folds=[report.Fold(start=c.start, length=c.length, times=c.times) for c in cycles],
                end=walked.end,
                holds_lock=walked.holds_lock,
            )
        ]

    def _frame(self, number: int, one: Frame, native: int | None) -> report.InterpretedFrame | None:
        name = safe(one.name.decode("utf-8", "backslashreplace"), _MAX_NAME) or _UNNAMED
        file = safe(one.file.decode("utf-8", "backslashreplace"), _MAX_FILE)
        self._budget -= _FRAME_COST + json_cost(name) + json_cost(file)
        if self._budget < 0:
            return None
        return report.InterpretedFrame(
            index=number, function=name, file=file, line=one.line or None, entry=one.entry,
            native=native,
        )  # fmt: skip

    def _places(
        self, walked: Walked, stack: Stack, named: Named,
        function: Callable[[RawFrame], str | None],
    ) -> dict[int, int]:  # fmt: skip
        """The report index of the loop's native frame by the number of the frame that it runs;
        only where there are exactly as many loops as C code has entered the language."""
        if walked.end or stack.end != END_OF_STACK or stack.tail:
            return {}
        loop = self._runtime.loop
        loops = [number for number, one in enumerate(stack.frames) if function(one) == loop]
        if len(loops) != len(walked.runs):
            return {}
        places: dict[int, int] = {}
        start = 0
        for end, number in zip(walked.runs, loops, strict=True):
            places.update(dict.fromkeys(range(start, end), named.index_of(number)))
            start = end
        return places
