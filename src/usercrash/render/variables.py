"""Arguments and local variables of the crashing thread's functions."""

from __future__ import annotations

import re

from ..library_sources import is_library_source
from ..report import Frame, Report, Variable
from .frames import file_of, function_words, short_functions, source_forms
from .layout import DIM, FUNCTION, PLACE, Paper, Span, clean, columns

_SYSTEM = ("/lib", "/usr/lib", "[vdso]", "[vsyscall]")
_CLOSURE = "__closure"  # what a lambda has captured, as compilers call it
OPTIMIZED_OUT = "<optimized out>"
_TITLE = 60  # columns of a function's name above its variables, if it can be shortened
_ARGUMENTS = 12  # of a call that is written in a line
_SHORT = 40  # characters of a value in such a line
_TEXT = re.compile(r'0x[0-9a-f]+ (→ )?(?P<text>".*)', re.DOTALL)


def variables(paper: Paper, report: Report) -> None:
    """All that the report has of them, by frame."""
    frames = frames_with_variables(report)
    if not frames:
        return
    paper.heading("Variables")
    for frame in frames:
        paper.line(*frame_spans(frame), indent=6)
        for variable in frame.variables:
            paper.line("    ", *variable_spans(variable), indent=8)


def frames_with_variables(report: Report) -> list[Frame]:
    """The crashing thread's frames of which variables are known."""
    return [frame for frame in frames_of(report) if frame.variables]


def frame_spans(frame: Frame) -> list[Span]:
    """`#1 handle+0x4 at request.c:12`."""
    source = source_forms(frame)[-1]
    names = short_functions(function_words(frame))
    name = next((one for one in names if columns(one) <= _TITLE), names[-1])
    spans = [Span(f"#{frame.index} ", DIM), Span(name, FUNCTION)]
    return [*spans, Span(" at "), Span(source, PLACE)] if source else spans


def frames_of(report: Report) -> list[Frame]:
    """The crashing thread's frames."""
    return report.threads[0].frames if report.threads else []


def variable_spans(variable: Variable) -> list[Span]:
    """`int count = 3`, with what kind it is where that is no local."""
    kind = "" if variable.kind == "local" else f"  ({clean(variable.kind)})"
    return [
        Span(f"{clean(variable.type)} ", DIM),
        Span(clean(variable.name), FUNCTION),
        Span(f" = {clean(variable.value)}"),
        Span(kind, DIM),
    ]


def call_words(report: Report) -> str:
    """`handle(request = 0x7ffd…, depth = 0)`: the arguments of the innermost function that is no
    library's, nor one of those that end programs; "" where they are not known, and where that
    function is an interpreter's: its own arguments say nothing of the program that it runs."""
    mark = report.fingerprint
    first = (mark.first if mark is not None else None) or 0
    if first in _loops(report):
        return ""
    for frame in frames_of(report):
        if frame.index < first or (frame.module or "").startswith(_SYSTEM):
            continue
        if frame.index > first and is_library_source(file_of(frame)):
            continue  # (the first may be a library's: where there is nothing else)
        arguments = [
            one for one in frame.variables if one.kind == "parameter" and one.name != _CLOSURE
        ]
        if arguments:
            return _call(frame, arguments)
        if not frame.inline:
            break
    return ""


def _loops(report: Report) -> set[int | None]:
    """The crashing thread's frames that run functions of an interpreter's."""
    stacks = report.threads[0].interpreted if report.threads else []
    return {frame.native for stack in stacks for frame in stack.frames} - {None}


def _call(frame: Frame, arguments: list[Variable]) -> str:
    if all(one.value == OPTIMIZED_OUT for one in arguments):
        return ""
    name = short_functions(clean(frame.function or "?"))[-1]
    words = [f"{clean(one.name)} = {_short(one.value)}" for one in arguments[:_ARGUMENTS]]
    more = ["..."] if len(arguments) > _ARGUMENTS else []
    return f"{name}({', '.join([*words, *more])})"


def _short(value: str) -> str:
    """A value without what it points to, cut; of a text that it points to no more than that."""
    told = _TEXT.fullmatch(value)
    text = clean(told["text"] if told else value.partition(" → ")[0])
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
