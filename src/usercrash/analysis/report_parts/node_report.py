"""What Node.js said of its end: the message of its last diagnostic report, and the JavaScript stack
in it. Where Node.js ended itself it is the thread's own; else it is that of an error: where that
was made, not where the thread stands."""

from __future__ import annotations

import msgspec

from ... import report
from ..core.image import CoreImage
from ..core.modules import ModuleTable
from ..facts.node_report import TRIGGERS_OF_AN_END, NodeReport, parse_node_report
from ..facts.texts import safe

FACT = b"@node_report"
LANGUAGE = "javascript"
_SECONDS = 60.0  # an older one may be of something else
_SLACK = 5.0  # when the crash was heard of, and when a clock was set
_MAX_WORDS = 600
_MAX_NAME, _MAX_FILE = 300, 1024
_CALLS = 8  # that the cause tells
_FRAMES = 10  # Node.js lists no more of a thread (kMaxFrameCountForLogging)
_NAMES = (b"node", b"nodejs")


class NodeEnd:
    """The last report of one process. `report` is None where there is none of its end."""

    def __init__(self, image: CoreImage) -> None:
        self.report: NodeReport | None = None
        self.age = 0.0  # seconds between the report and the crash
        data = image.facts.get(FACT, b"")
        if not data:
            return
        found = parse_node_report(data)
        if found is None or image.event is None:
            image.notes.add("javascript", "the report of Node.js", "is of no known form")
            return
        age = image.event.time_ns / 1e9 - found.seconds
        if -_SLACK <= age <= _SECONDS:
            self.report = found
            self.age = max(age, 0.0)

    def interpreters(self, modules: ModuleTable) -> list[report.Interpreter]:
        """Node.js, if it wrote a report."""
        if self.report is None:
            return []
        version = safe(self.report.header.nodejsVersion.removeprefix("v"), 64)
        for module in modules:
            name = module.path.rpartition(b"/")[2]
            if name in _NAMES or name.startswith(b"libnode.so"):
                path = safe(module.path.decode("utf-8", "backslashreplace"))
                return [report.Interpreter(language=LANGUAGE, version=version, module=path)]
        return []

    def stacks(self) -> list[report.InterpretedStack]:
        """The JavaScript stack of the thread that ended the process; empty where the report tells
        of none."""
        told = self.report
        if told is None or told.header.trigger not in TRIGGERS_OF_AN_END or not told.calls:
            return []
        calls = told.calls[:_FRAMES]
        return [
            report.InterpretedStack(
                language=LANGUAGE,
                version=safe(told.header.nodejsVersion.removeprefix("v"), 64),
                frames=[_frame(index, call) for index, call in enumerate(calls)],
                frames_total=len(calls),
                end="Node.js lists no more" if len(calls) == _FRAMES else "",
            )
        ]

    def cause(self, found: report.Cause, signal: report.Signal | None) -> report.Cause:
        """The cause, with what Node.js said."""
        if self.report is None or signal is None:
            return found
        ended = self.report.header.trigger in TRIGGERS_OF_AN_END and signal.name == "SIGABRT"
        if not ended or found.kind != "abort" or found.reason not in ("", "abort", "raised"):
            details = [*found.details, self._words(), *self._details()]
            return msgspec.structs.replace(found, details=details)
        memory = self.report.header.trigger == "OOMError"
        words = f"Node.js ended itself: {self.report.header.event}"
        return msgspec.structs.replace(
            found, summary=safe(words, _MAX_WORDS), certainty="likely",
            reason="javascript-memory" if memory else "javascript-fatal",
            details=[*self._details(), "So says the report that it wrote.", *found.details],
        )  # fmt: skip

    def _words(self) -> str:
        assert self.report is not None
        header = self.report.header
        what = header.event if header.trigger in TRIGGERS_OF_AN_END else self.report.message
        words = f"Node.js reported ({header.trigger}, {self.age:.1f} s before)"
        return safe(f"{words}: {what or header.event}", _MAX_WORDS)

    def _details(self) -> list[str]:
        """The calls of the error that was reported, or how full the heap was."""
        told = self.report
        assert told is not None
        trigger, heap = told.header.trigger, told.javascriptHeap
        calls = [] if trigger in TRIGGERS_OF_AN_END else told.calls
        lines = calls[:_CALLS]
        if len(calls) > _CALLS:
            lines.append(f"... and {len(calls) - _CALLS} further calls")
        if trigger == "OOMError" and heap.usedMemory > 0 and heap.memoryLimit > 0:
            used, limit = (value / 1e6 for value in (heap.usedMemory, heap.memoryLimit))
            lines.append(f"V8's heap: {used:.1f} MB in use, at most {limit:.1f} MB")
        return [safe(line, _MAX_WORDS) for line in lines]


def _frame(index: int, call: str) -> report.InterpretedFrame:
    """A call as Node.js writes it: `at name (file:line:column)`, or `at file:line:column`."""
    text = call.removeprefix("at ")
    name, _, place = text.partition(" (") if text.endswith(")") else ("", "", text)
    file, line, column, *_ = *place.removesuffix(")").rsplit(":", 2), "", ""
    if not all(one.isascii() and one.isdigit() and len(one) < 10 for one in (line, column)):
        name, file, line = text, "", "0"
    return report.InterpretedFrame(
        index=index,
        function=safe(name or "(anonymous)", _MAX_NAME),
        file=safe(file, _MAX_FILE),
        line=int(line) or None,
    )
