"""What stands on a page behind its first screen: the sections of the text, in its order.

A section of the text that has no template here is shown as its lines. To give it one: a
template, and a function in OWN that makes what the template shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from ...report import Report
from .. import excerpts as text_excerpts
from .. import memory as text_memory
from .. import sections as text
from .. import variables as text_variables
from ..first import NOT_THE_SAME, own_frame
from ..frames import thread_title
from ..layout import HEADING, PLAIN, Line, Paper, Span, clean, digits, number_of
from ..words import fault_place, file_words, module_words, process_fields, thread_stacks
from . import memory as page_memory
from .memory_map import draw
from .stacks import first_rows, other_stacks

MOST = 1_000  # of a list
_MOST_EXCERPTS = 20
_NEAR = 25  # mappings, on both sides of one that is worth a look
_UNFOLDED = 3  # functions whose variables are seen at once
_WIDTH = 100  # columns, for what is set in columns by the text

T = TypeVar("T")


class Section(NamedTuple):
    """A section of a page: `name` is its anchor and, in short, its title; `data` is what its
    template shows."""

    name: str
    title: str
    template: str
    data: object

    @property
    def short_title(self) -> str:
        """As the list of the sections has it."""
        return self.name.replace("-", " ").capitalize()


class Bounded(NamedTuple):
    """The first of a list, and how many more there are."""

    items: Sequence[object]
    left: int


def sections(report: Report) -> list[Section]:
    """All that have something to show."""
    links = page_memory.Links(report)
    found = []
    for section in text.ALL:
        make = OWN.get(section)
        one = _as_lines(section, report) if make is None else make(report, links)
        if one is not None:
            found.append(one)
    return found


def bounded(items: Sequence[T], most: int = MOST) -> Bounded:
    """At most that many."""
    return Bounded(items[:most], max(0, len(items) - most))


class _Unwrapped(Paper):
    """Lines as long as they are: a browser knows how wide it is."""

    def line(self, *parts: Span | str, indent: int = 8) -> None:
        self.lines.append(tuple(Span(p) if isinstance(p, str) else p for p in parts))

    def fixed_then(self, head: str, foreign: str, indent: int = 8, style: str = PLAIN) -> None:
        self.line(head, Span(foreign, style))


def _as_lines(section: Callable[[Paper, Report], None], report: Report) -> Section | None:
    """A section without a template: its headings, and its lines as they are in the text."""
    paper = _Unwrapped(_WIDTH)
    section(paper, report)
    parts: list[tuple[str, list[Line]]] = []
    lines = iter(paper.lines)
    for line in lines:
        if len(line) == 1 and line[0].style == HEADING:
            parts.append((line[0].text, []))
            next(lines, None)  # what underlines it
        elif parts or line:
            if not parts:
                parts.append((section.__name__.replace("_", " ").capitalize(), []))
            parts[-1][1].append(line)
    if not parts:
        return None
    shown = [(title, bounded(lines)) for title, lines in parts]
    return Section(section.__name__.replace("_", "-"), shown[0][0], "lines.html", shown)


# --- those with templates ---


def _explanation(report: Report, links: page_memory.Links) -> Section | None:
    cause = report.cause
    if cause is None or not text.has_more(cause):
        return None
    data = {
        "cause": cause,
        "details": bounded(cause.details),
        "evidence": bounded(cause.evidence),
    }
    return Section("cause", "Cause", "explanation.html", data)


class Excerpt(NamedTuple):
    """Lines of the source, as the text has them."""

    title: str
    doubts: list[str]
    rows: list[tuple[int, str, bool]]


def excerpts(report: Report) -> list[Excerpt]:
    """The source of each frame that has some, the innermost first."""
    return [
        Excerpt(text_excerpts.excerpt_title(report, one), text_excerpts.excerpt_doubts(one),
                text_excerpts.excerpt_rows(one)[:MOST])
        for one in report.excerpts[:_MOST_EXCERPTS]
    ]  # fmt: skip


def _source(report: Report, links: page_memory.Links) -> Section | None:
    """What does not stand on the first screen."""
    rows = excerpts(report)[1:]
    return Section("source", "Source of its callers", "source.html", rows) if rows else None


def _crashing_stack(report: Report, links: page_memory.Links) -> Section | None:
    if not report.threads or not report.threads[0].frames:
        return None
    title = f"Stack of thread {thread_title(report.threads[0])}, with addresses"
    return Section("addresses", title, "addresses.html", first_rows(report))


class _FrameOfVariables(NamedTuple):
    title: Sequence[Span]
    lines: Bounded
    open: bool


def _variables(report: Report, links: page_memory.Links) -> Section | None:
    frames = text_variables.frames_with_variables(report)
    own = own_frame(report) or 0  # (before it stands what ended the program)
    unfolded = [frame.index for frame in frames if frame.index >= own][:_UNFOLDED]
    shown = [
        _FrameOfVariables(
            text_variables.frame_spans(frame),
            bounded([text_variables.variable_spans(one) for one in frame.variables]),
            frame.index in unfolded,
        )
        for frame in frames
    ]
    return Section("variables", "Variables", "variables.html", bounded(shown)) if shown else None


def _registers(report: Report, links: page_memory.Links) -> Section | None:
    found = page_memory.registers(report, links)
    if not found:
        return None
    title = f"Registers of thread {thread_title(report.threads[0])}"
    return Section("registers", title, "registers.html", found)


def _code(report: Report, links: page_memory.Links) -> Section | None:
    rows = [
        (f"c-{number_of(one.address) or 0:x}", digits(one.address), bytes_apart(one.data),
         one.text or "(no instruction)", one.current, one.note)
        for one in report.code[:MOST]
    ]  # fmt: skip
    data = Bounded(rows, len(report.code) - len(rows))
    return Section("code", "Code around the pc", "code.html", data) if rows else None


def bytes_apart(data: str) -> str:
    """`48 89 e5` of 4889e5."""
    return " ".join(data[at : at + 2] for at in range(0, len(data), 2))


def _memory(report: Report, links: page_memory.Links) -> Section | None:
    found = page_memory.dumps(report)
    data = Bounded(found, len(report.memory) - len(found))
    return Section("memory", "Memory near registers", "memory.html", data) if found else None


def _stack_memory(report: Report, links: page_memory.Links) -> Section | None:
    words = page_memory.stack_words(report, links)
    left = len(report.stack_memory) - len(words)
    title = "Stack memory, from the stack pointer up"
    data = Bounded(words, left)
    return Section("stack-memory", title, "stack_memory.html", data) if words else None


def _threads(report: Report, links: page_memory.Links) -> Section | None:
    if len(report.threads) < 2:
        return None
    title = f"Other threads ({len(report.threads) - 1:,})"
    return Section("other-threads", title, "threads.html", other_stacks(report))


def _log(report: Report, links: page_memory.Links) -> Section | None:
    parts = []
    for source, title in text.LOGS:
        lines = [line.text for line in report.log if line.source == source]
        if lines:
            parts.append((title, bounded(lines)))
    return Section("log", "Log", "log.html", parts) if parts else None


def _process(report: Report, links: page_memory.Links) -> Section | None:
    who = report.process
    facts = [(label, words) for label, words in process_fields(report) if words]
    data = {
        "facts": facts,
        "cgroup": bounded(who.cgroup),
        "arguments": bounded(who.cmdline if len(who.cmdline) > 1 else []),
        "limits": bounded(who.limits),
        "environment": bounded(who.environment),
        "auxiliary": bounded(list(who.auxiliary_vector.items())),
    }
    return Section("process", "Process", "process.html", data)


def _open_files(report: Report, links: page_memory.Links) -> Section | None:
    files = [(file.fd, file.kind, file_words(file)) for file in report.open_files[:MOST]]
    if not files:
        return None
    title = f"Open files ({len(report.open_files):,})"
    data = Bounded(files, len(report.open_files) - len(files))
    return Section("open-files", title, "open_files.html", data)


def _modules(report: Report, links: page_memory.Links) -> Section | None:
    rows = [
        (f"{digits(one.start)}-{digits(one.end)}",
         clean(one.path) + (" (deleted)" if one.deleted else ""),
         NOT_THE_SAME if one.forced else "", module_words(one))
        for one in report.modules[:MOST]
    ]  # fmt: skip
    if not rows:
        return None
    data = Bounded(rows, len(report.modules) - len(rows))
    return Section("modules", f"Modules ({len(report.modules):,})", "modules.html", data)


def _other_registers(report: Report, links: page_memory.Links) -> Section | None:
    shown = [thread for thread in report.threads[1:] if thread.registers]
    if not shown:
        return None
    rows = [
        (f"Thread {thread_title(one)}", page_memory.register_cells(one, links))
        for one in shown[: text.MAX_REGISTER_THREADS]
    ]  # fmt: skip
    data = Bounded(rows, len(shown) - len(rows))
    title = "Registers of the other threads"
    return Section("other-registers", title, "other_registers.html", data)


def _notes(report: Report, links: page_memory.Links) -> Section | None:
    rows = [f"{clean(one.stage)}: {clean(one.what)}: {clean(one.why)}" for one in report.notes]
    title = "Notes: what could not be had, and why"
    return Section("notes", title, "notes.html", bounded(rows)) if rows else None


# --- the memory map ---


class MapRow(NamedTuple):
    """A mapping, or with only `note` what stands between two of them."""

    anchor: str = ""
    range: str = ""
    permissions: str = ""
    offset: str = ""
    name: str = ""
    fault: str = ""
    note: str = ""


def _maps(report: Report, links: page_memory.Links) -> Section | None:
    if not report.maps:
        return None
    drawing = draw(report)
    rows = _map_rows(report)
    shown = {row.anchor for row in rows}
    title = f"Memory map ({len(report.maps):,} mappings)"
    data = {"drawing": drawing, "rows": rows, "anchors": shown}
    return Section("memory-map", title, "maps.html", data)


def _map_rows(report: Report) -> list[MapRow]:
    address = report.signal.fault_address if report.signal else None
    fault = number_of(address) if address is not None else None
    told = fault is None or any(row.fault for row in report.maps)
    wanted = _worth_a_look(report, fault)
    rows: list[MapRow] = []
    previous = left = 0
    stacks = thread_stacks(report)
    for number, one in enumerate(report.maps):
        start = number_of(one.start) or 0
        if not told and fault is not None and fault < start:
            rows.append(MapRow(fault=fault_place(fault, previous, start)))
            told = True
        previous = number_of(one.end) or 0
        if number not in wanted:
            left += 1
            continue
        if left:
            rows.append(MapRow(note=f"… {left:,} mappings left out: see the JSON"))
            left = 0
        at = f"{fault:#x}, +{fault - start:#x}" if one.fault and fault is not None else ""
        name = stacks.get(one.start) or clean(one.path) + (" (deleted)" if one.deleted else "")
        rows.append(
            MapRow(
                f"map-{number}", f"{digits(one.start)}-{digits(one.end)}", one.permissions,
                digits(one.offset), name, at,
            )
        )  # fmt: skip
    if left:
        rows.append(MapRow(note=f"… {left:,} mappings left out: see the JSON"))
    if not told and fault is not None:
        rows.append(MapRow(fault=fault_place(fault, previous, None)))
    return rows


def _worth_a_look(report: Report, fault: int | None) -> set[int]:
    """The indexes of the mappings to show: all, or of very many the first ones and the neighbours
    of those that the fault address or a register points into."""
    if len(report.maps) <= MOST:
        return set(range(len(report.maps)))
    registers = report.threads[0].registers.values() if report.threads else ()
    values = sorted({fault or 0, *(number_of(value) or 0 for value in islice(registers, 256))})
    wanted = set(range(MOST // 2))
    for number, one in enumerate(report.maps):
        start, end = number_of(one.start) or 0, number_of(one.end) or 0
        if any(start <= value < end for value in values):
            wanted.update(range(max(0, number - _NEAR), number + _NEAR + 1))
        elif fault is not None and fault < start and number - 1 not in wanted:
            below = report.maps[number - 1] if number else None
            if below is None or (number_of(below.end) or 0) <= fault:
                wanted.update(range(max(0, number - _NEAR), number + _NEAR + 1))
    return wanted


_Make = Callable[[Report, page_memory.Links], Section | None]

OWN: Mapping[Callable[[Paper, Report], None], _Make] = {
    text.explanation: _explanation,
    text_excerpts.source: _source,
    text.crashing_stack: _crashing_stack,
    text_variables.variables: _variables,
    text.registers: _registers,
    text.code: _code,
    text_memory.memory: _memory,
    text_memory.stack_memory: _stack_memory,
    text.threads: _threads,
    text.log: _log,
    text.process: _process,
    text.open_files: _open_files,
    text.modules: _modules,
    text.maps: _maps,
    text.other_registers: _other_registers,
    text.notes: _notes,
}
