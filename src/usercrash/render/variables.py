"""Arguments and local variables of the crashing thread's functions."""

from __future__ import annotations

from ..report import Frame, Report, Variable
from .frames import function_words, short_functions, source_forms
from .layout import DIM, FUNCTION, PLACE, Paper, Span, clean

_SYSTEM = ("/lib", "/usr/lib", "[vdso]", "[vsyscall]")
_ARGUMENTS = 12  # of a call that is written in a line
_SHORT = 40  # characters of a value in such a line


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
    spans = [Span(f"#{frame.index} ", DIM), Span(function_words(frame), FUNCTION)]
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
    library's, nor one of those that end programs; "" where they are not known."""
    mark = report.fingerprint
    first = (mark.first if mark is not None else None) or 0
    for frame in frames_of(report):
        if frame.index < first or (frame.module or "").startswith(_SYSTEM):
            continue
        arguments = [one for one in frame.variables if one.kind == "parameter"]
        if arguments:
            name = short_functions(clean(frame.function or "?"))[-1].removesuffix("(...)")
            words = [f"{clean(one.name)} = {_short(one.value)}" for one in arguments[:_ARGUMENTS]]
            more = ["..."] if len(arguments) > _ARGUMENTS else []
            return f"{name}({', '.join([*words, *more])})"
        if not frame.inline:
            break
    return ""


def _short(value: str) -> str:
    """A value without what it points to, cut."""
    text = clean(value.partition(" → ")[0])
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
