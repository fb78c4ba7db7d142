"""Lines of the source around frames."""

from __future__ import annotations

from ..report import Excerpt, Report
from .frames import function_words, short_functions
from .interpreted import language_mark
from .layout import BAD, DIM, Paper, Span, clean, columns

_TITLE_COLUMNS, _NAME_COLUMNS = 62, 24  # behind `Source of #12 `, and ` at `


def excerpt_title(report: Report, one: Excerpt) -> str:
    """`#1 list_sum+0x2c at /home/me/src/list.c:44`; of a long path the end."""
    number = language_mark(one.language) if one.language else f"#{one.frame}"
    name = _function(report, one)
    path = clean(one.file)
    parts = path.rsplit("/", 2)
    forms = [
        f"{form}:{one.line}" for form in dict.fromkeys((path, "/".join(parts[-2:]), parts[-1]))
    ]
    most = _TITLE_COLUMNS - min(columns(name), _NAME_COLUMNS)
    place = next((form for form in forms if columns(form) <= most), forms[-1])
    room = max(_TITLE_COLUMNS - columns(place), _NAME_COLUMNS)
    forms_of_name = short_functions(name)
    name = next((form for form in forms_of_name if columns(form) <= room), forms_of_name[-1])
    if columns(name) > room:
        name = name[: room - 3] + "..."
    return " ".join(word for word in (number, name, "at", place) if word)


def _function(report: Report, one: Excerpt) -> str:
    """The function of its frame, "" where that is not in the report."""
    for thread in report.threads[:1]:
        for stack in thread.interpreted:
            for own in stack.frames:
                if stack.language == one.language and own.index == one.frame:
                    return clean(own.function)
        for frame in thread.frames:
            if not one.language and frame.index == one.frame:
                return function_words(frame)
    return ""


def excerpt_doubts(one: Excerpt) -> list[str]:
    """What makes it less than certain that these are the lines that were compiled."""
    doubts = ["changed after the program was built"] if one.newer else []
    return doubts + (["found by its last name alone"] if one.by_name else [])


def excerpt_rows(one: Excerpt, around: int | None = None) -> list[tuple[int, str, bool]]:
    """(number, text, whether it is the frame's), with `around` only so many lines on each side."""
    rows = [
        (number, clean(text), number == one.line)
        for number, text in enumerate(one.lines, one.first)
    ]
    return [row for row in rows if around is None or abs(row[0] - one.line) <= around]


def excerpt_lines(paper: Paper, one: Excerpt, around: int | None = None) -> None:
    """The lines with their numbers, the frame's marked; each in one line, cut where it is long."""
    rows = excerpt_rows(one, around)
    wide = max((len(str(number)) for number, _, _ in rows), default=0)
    for number, text, marked in rows:
        head = f"{' -->' if marked else '    '} {number:>{wide}}  "
        room = paper.width - len(head)
        while columns(text) > room:
            text = text[: min(len(text) - 1, room)]
        paper.line(Span(head, BAD if marked else DIM), Span(text, BAD if marked else ""))
    for doubt in excerpt_doubts(one):
        paper.line(Span(f"     ({doubt})", DIM))


def source(paper: Paper, report: Report) -> None:
    """The source where the crashing thread stood."""
    for one in report.excerpts:
        paper.heading(f"Source of {excerpt_title(report, one)}", one.file)
        excerpt_lines(paper, one)
