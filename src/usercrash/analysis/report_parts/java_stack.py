"""What a Java virtual machine said of its end: the Java frames of the thread that brought it down,
tied to the native frames that run them, and why it aborted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ... import report
from ..core.image import CoreImage
from ..core.modules import ModuleTable
from ..facts.hs_err import HsErr, JavaFrame, NativeFrame, parse_hs_err
from ..facts.texts import safe

FACT = b"@hs_err"
LANGUAGE = "java"
_LIBRARY = "libjvm.so"
_FIRST, _LAST = 200, 56
_MAX_NAME, _MAX_WORDS = 300, 600
_COMPILERS = {"c1": "compiled by C1", "c2": "compiled by C2", "jvmci": "compiled by JVMCI"}


class JavaStack:
    """What the file of one process says. `error` is None where there is none of its own."""

    def __init__(self, image: CoreImage, modules: ModuleTable) -> None:
        self.error: HsErr | None = None
        self._starts: dict[str, list[int]] = {}  # where a library is loaded, by its file's name
        data = image.facts.get(FACT, b"")
        if not data:
            return
        found = parse_hs_err(data)
        own = image.threads[0].tid if image.threads else 0
        if found is None:
            image.notes.add("java", "its error file", "is of no known form")
        elif not own or found.tid != own:
            image.notes.add("java", "its error file", f"tells of thread {found.tid}")
        else:
            self.error = found
            self._libraries(modules)

    def _libraries(self, modules: ModuleTable) -> None:
        for module in modules:
            name = module.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace")
            self._starts.setdefault(name, []).append(module.start)

    def interpreters(self, modules: ModuleTable) -> list[report.Interpreter]:
        """The machine itself, if the file tells of it."""
        if self.error is None:
            return []
        for module in modules:
            path = module.path.decode("utf-8", "backslashreplace")
            if path.rpartition("/")[2] == _LIBRARY:
                version = safe(self.error.version, 64)
                return [report.Interpreter(language=LANGUAGE, version=version, module=safe(path))]
        return []

    def of(self, frames: Sequence[report.Frame]) -> list[report.InterpretedStack]:
        """The Java stack of the crashing thread, whose native frames these are."""
        error = self.error
        if error is None or not (error.java or error.thread):
            return []
        native = self._places(frames)
        kept = range(len(error.java))
        shown = [*kept[:_FIRST], *kept[max(_FIRST, len(kept) - _LAST) :]]
        return [
            report.InterpretedStack(
                language=LANGUAGE,
                version=safe(error.version, 64),
                frames=[_frame(at, error.java[at], native.get(at)) for at in shown],
                frames_total=len(error.java),
                end="the file of the Java virtual machine has no more" if error.cut else "",
                thread=safe(error.thread, _MAX_NAME),
            )
        ]

    def _places(self, frames: Sequence[report.Frame]) -> Mapping[int, int]:
        """The index of the native frame for each Java frame: that of its own code where there are
        exactly as many frames outside of all files as the machine says, else that of the
        machine's function that entered Java."""
        error = self.error
        assert error is not None
        places: dict[int, int] = {}
        outer = self._entries(frames)
        start = 0
        for at, frame in enumerate(error.java):
            if not frame.entry:
                continue
            caller = next(outer, None)
            if caller is None:
                break
            count = at + 1 - start
            made = 0
            while made < caller and _is_made(frames[caller - 1 - made]):
                made += 1
            for number in range(count):
                own = caller - count + number if made == count else caller
                places[start + number] = frames[own].index
            start = at + 1
        last = _made_end(frames)
        if not places and error.java and last and error.java[0].pc in (0, int(last.pc, 16)):
            places[0] = last.index
        return places

    def _entries(self, frames: Sequence[report.Frame]) -> Iterator[int]:
        """The positions of the frames that entered Java, innermost first."""
        error = self.error
        assert error is not None
        found, at = [], 0
        for inner, outer in zip(error.stack, error.stack[1:], strict=False):
            if not (isinstance(inner, JavaFrame) and inner.entry):
                continue
            if not isinstance(outer, NativeFrame):
                break
            at = self._find(outer, frames, at)
            if at < 0:
                break
            found.append(at)
            at += 1
        return iter(found)

    def _find(self, wanted: NativeFrame, frames: Sequence[report.Frame], start: int) -> int:
        pcs = {base + wanted.offset for base in self._starts.get(wanted.library, [])}
        numbers = range(start, len(frames))
        return next((n for n in numbers if int(frames[n].pc, 16) in pcs), -1)

    def cause(self, found: report.Cause, signal: report.Signal | None) -> report.Cause:
        """The cause, with what the machine says of it."""
        error = self.error
        if error is None or signal is None or signal.name != "SIGABRT":
            return found
        words = _why(error)
        if found.kind != "abort":  # (what the handled signal's frame showed is better)
            details = [*found.details, safe(words, _MAX_WORDS)]
            return msgspec.structs.replace(found, details=details)
        details = [f"So says the file that the machine wrote, of its {error.thread or 'thread'}."]
        return msgspec.structs.replace(
            found, summary=safe(words, _MAX_WORDS), certainty="likely",
            reason="java-signal" if error.signal else "java-fatal",
            details=[*(safe(one, _MAX_WORDS) for one in details), *found.details],
        )  # fmt: skip


def _why(error: HsErr) -> str:
    if not error.signal:
        text = f": {error.message}" if error.message else ""
        return f"the Java virtual machine ended itself, {error.title}{text}"
    words = f"the Java virtual machine caught {error.signal}"
    if error.address is not None:
        words += f" at address {error.address:#x}"
    if error.problem:
        words += f" in {' '.join(error.problem.split())}"
    return f"{words}, and aborted"


def _made_end(frames: Sequence[report.Frame]) -> report.Frame | None:
    """The frame with which a stack ends that could not be followed through made code: of all that
    is Java it is the innermost."""
    if not frames or not _is_made(frames[-1]) or (len(frames) > 1 and _is_made(frames[-2])):
        return None
    return frames[-1]


def _is_made(frame: report.Frame) -> bool:
    """Whether it is code that lies in no file."""
    return frame.module is None and not frame.signal_frame


def _frame(index: int, frame: JavaFrame, native: int | None) -> report.InterpretedFrame:
    words = []
    if frame.bytecode is not None:
        words.append(f"bytecode {frame.bytecode}")
    if frame.compiler:
        words.append(_COMPILERS.get(frame.compiler, frame.compiler))
    if frame.stub:
        words.append("of the machine itself")
    return report.InterpretedFrame(
        index=index, function=safe(frame.function, _MAX_NAME), file="", line=None,
        entry=frame.entry, native=native, detail=safe(", ".join(words), _MAX_NAME),
    )  # fmt: skip
