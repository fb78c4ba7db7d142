"""The sections of a report behind the first screen, each a function of paper and report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from ..report import Cause, Report, Thread
from . import excerpts
from .first import DETAILS, NOT_THE_SAME
from .frames import base_name, full_stack_lines, other_threads, thread_title, titles
from .layout import (
    BAD,
    DIM,
    FUNCTION,
    PLACE,
    PLAIN,
    Paper,
    Span,
    clean,
    columns,
    digits,
)
from .memory import memory, stack_memory
from .variables import variables
from .words import (
    blamed,
    fault_place,
    file_words,
    module_words,
    process_fields,
    register_rows,
    thread_stacks,
)

MAX_REGISTER_THREADS = 64
LOGS = (
    ("kernel", "Kernel log, the last lines about it"),
    ("journal", "Journal, the last lines about it"),
    ("stderr", "Standard error, its last lines"),
)  # LogLine.source, and the heading
_LABEL = 13


def explanation(paper: Paper, report: Report) -> None:
    """The cause in full, and the program's last words."""
    cause = report.cause
    if cause is None or not has_more(cause):
        return
    paper.heading("Cause")
    paper.line(f"  {clean(cause.summary)}", indent=4)
    for detail in cause.details:
        paper.line(f"  {clean(detail)}", indent=4)
    if cause.abort_message:
        paper.line(f"  message: {clean(cause.abort_message)}", indent=4)
    if cause.evidence:
        paper.line("  It rests on:")
    for one in cause.evidence:
        meaning = f", {clean(one.meaning)}" if one.meaning else ""
        paper.line(f"    {clean(one.what)}: {clean(one.value)}{meaning}", indent=6)


def has_more(cause: Cause) -> bool:
    """Whether there is more to say of the cause than the first screen does."""
    return bool(cause.abort_message or cause.evidence or len(cause.details) > DETAILS)


def crashing_stack(paper: Paper, report: Report) -> None:
    """The crashing thread's stack with addresses."""
    if report.threads and report.threads[0].frames:
        thread = report.threads[0]
        paper.heading(f"Stack of thread {thread_title(thread)}, with addresses")
        full_stack_lines(paper, thread, report.handled_signals)


def registers(paper: Paper, report: Report) -> None:
    """The crashing thread's registers."""
    if report.threads and report.threads[0].registers:
        paper.heading(f"Registers of thread {thread_title(report.threads[0])}")
        register_lines(paper, report.threads[0], blamed(report))


def register_lines(
    paper: Paper, thread: Thread, blamed: Mapping[str, str] = MappingProxyType({})
) -> None:
    """The registers that there is something to say of, each in a line, those that the cause rests
    on first; then the others in columns, as many as the width holds."""
    wide = max((len(name) for name in thread.registers), default=0)
    cells = []
    for name, value, note in register_rows(thread, blamed):
        cell = f"{clean(name):>{wide}} {digits(value):>16}"
        if note:
            style = BAD if name in blamed else PLAIN
            paper.line(Span(f"  {cell}  ", style), Span(clean(note), style), indent=wide + 21)
        else:
            cells.append(cell)
    many = max(1, (paper.width - 2) // (wide + 19))
    for start in range(0, len(cells), many):
        paper.line("  " + "  ".join(cells[start : start + many]))


def code(paper: Paper, report: Report) -> None:
    """Instructions around the pc, the current one marked."""
    if not report.code:
        return
    paper.heading("Code around the pc")
    for instruction in report.code:
        data = " ".join(instruction.data[at : at + 2] for at in range(0, len(instruction.data), 2))
        mark = " --> " if instruction.current else "     "
        text = clean(instruction.text) or "(no instruction)"
        style = BAD if instruction.current else ""
        line = f"{mark}{digits(instruction.address):>16}  {data:<23}  {text}"
        paper.line(Span(line, style), indent=30)
        if instruction.note:
            paper.line(Span(f"{'':30}; {clean(instruction.note)}", style or DIM), indent=32)


def kernel_stacks(paper: Paper, report: Report) -> None:
    """Where in the kernel each thread was, equal ones together."""
    stacks: dict[tuple[str, ...], list[Thread]] = {}
    for thread in report.threads:
        if thread.kernel_stack:
            stacks.setdefault(tuple(thread.kernel_stack), []).append(thread)
    if not stacks:
        return
    paper.heading("Kernel stacks")
    for functions, threads in stacks.items():
        words = f"Thread{'s' if len(threads) > 1 else ''} {titles(threads)}"
        paper.line(Span(words, FUNCTION))
        for function in functions:
            paper.line(f"    {clean(function)}")


def threads(paper: Paper, report: Report) -> None:
    """All other threads' stacks."""
    if len(report.threads) > 1:
        paper.heading(f"Other threads ({len(report.threads) - 1:,})")
        other_threads(paper, report)


def other_registers(paper: Paper, report: Report) -> None:
    """Registers of the other threads, of the first ones if they are many."""
    shown = [thread for thread in report.threads[1:] if thread.registers]
    if not shown:
        return
    paper.heading("Registers of the other threads")
    for thread in shown[:MAX_REGISTER_THREADS]:
        paper.line(Span(f"Thread {thread_title(thread)}", FUNCTION))
        register_lines(paper, thread)
    if len(shown) > MAX_REGISTER_THREADS:
        paper.line(f"... of {len(shown) - MAX_REGISTER_THREADS:,} more threads: see the JSON")


def process(paper: Paper, report: Report) -> None:
    """Who it was: ids, places, limits, environment."""
    who = report.process
    paper.heading("Process")
    for label, words in process_fields(report):
        if words:
            paper.field(label, words, label_width=_LABEL)
    for number, line in enumerate(who.cgroup):
        paper.field("Cgroup" if number == 0 else "", clean(line), label_width=_LABEL)
    if len(who.cmdline) > 1:
        paper.heading("Arguments")
        for number, argument in enumerate(who.cmdline):
            paper.line(f"{number:>4}  {clean(argument)}", indent=6)
    if who.limits:
        paper.heading("Limits (soft, hard)")
        for limit in who.limits:
            name, soft = clean(limit.name), clean(limit.soft)
            paper.line(f"  {name:<22} {soft:>20} {clean(limit.hard):>20} {clean(limit.unit)}")
    if who.environment:
        paper.heading("Environment")
        for variable in who.environment:
            paper.line(f"  {clean(variable)}", indent=6)
    if who.auxiliary_vector:
        paper.heading("Auxiliary vector")
        for name, value in who.auxiliary_vector.items():
            paper.line(f"  {clean(name):<22} {value:>20}")


def log(paper: Paper, report: Report) -> None:
    """What was logged about it last."""
    for source, title in LOGS:
        lines = [line for line in report.log if line.source == source]
        if lines:
            paper.heading(title)
            for line in lines:
                paper.line(f"  {clean(line.text)}", indent=6)


def open_files(paper: Paper, report: Report) -> None:
    """Open descriptors, each with what it is."""
    if not report.open_files:
        return
    paper.heading(f"Open files ({len(report.open_files):,})")
    for file in report.open_files:
        head = f"{file.fd:>5}  {clean(file.kind):<9} "
        paper.fixed_then(head, file_words(file), 17)


def modules(paper: Paper, report: Report) -> None:
    """Loaded files with build-ids and where their names came from."""
    if not report.modules:
        return
    paper.heading(f"Modules ({len(report.modules):,})")
    for module in report.modules:
        head = f"{digits(module.start)}-{digits(module.end)} "
        name = clean(module.path) + (" (deleted)" if module.deleted else "")
        paper.fixed_then(head, name, 6, PLACE)
        if module.forced:
            paper.line(Span("      " + NOT_THE_SAME, BAD), indent=8)
        paper.line(Span(f"      {module_words(module)}", DIM), indent=8)


def maps(paper: Paper, report: Report) -> None:
    """The memory map, the fault address marked where it lies, before, between or after."""
    if not report.maps:
        return
    paper.heading(f"Memory map ({len(report.maps):,} mappings)")
    address = report.signal.fault_address if report.signal else None
    fault = int(address, 16) if address is not None else None
    told = fault is None or any(row.fault for row in report.maps)
    previous = 0
    path = ""
    stacks = thread_stacks(report)
    for row in report.maps:
        start = int(row.start, 16)
        if not told and fault is not None and fault < start:
            paper.line(Span(f"---> {fault_place(fault, previous, start)}", BAD), indent=5)
            told = True
        mark = "---> " if row.fault else "     "
        head = f"{mark}{digits(row.start)}-{digits(row.end)} {clean(row.permissions)} "
        head += f"{digits(row.offset):>8} "
        name = clean(row.path) + (" (deleted)" if row.deleted else "")
        name = name or stacks.get(row.start, "")
        if row.path == path and row.path and columns(head) + columns(name) > paper.width:
            name = clean(base_name(row.path))  # the whole path stands above
        path = row.path
        if row.fault and fault is not None:
            name += f"  <- {fault:#x}, +{fault - start:#x}"
        paper.fixed_then(head, name.strip(), 12, BAD if row.fault else "")
        previous = int(row.end, 16)
    if not told and fault is not None:
        paper.line(Span(f"---> {fault_place(fault, previous, None)}", BAD), indent=5)


def notes(paper: Paper, report: Report) -> None:
    """What could not be had, and why."""
    if report.notes:
        paper.heading("Notes: what could not be had, and why")
        for note in report.notes:
            words = f"{clean(note.stage)}: {clean(note.what)}: {clean(note.why)}"
            paper.line(f"  {words}", indent=4)


# In the order of the report.
ALL: Sequence[Callable[[Paper, Report], None]] = (
    explanation,
    excerpts.source,
    crashing_stack,
    variables,
    registers,
    code,
    memory,
    stack_memory,
    threads,
    kernel_stacks,
    log,
    process,
    open_files,
    modules,
    maps,
    other_registers,
    notes,
)
