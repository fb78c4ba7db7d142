"""What stands on the first screen: what died, why, and where, at 3 a.m. How much of it fits:
`screenful`."""

from __future__ import annotations

from typing import NamedTuple

from ..report import Process, Report, Signal, Thread
from .frames import thread_title
from .layout import BAD, CAUSE, DOUBT, Span, clean, duration, moment
from .variables import call_words

FRAMES = 14  # so that a typical first screen stays below 30 lines
DETAILS = 2
_CIRCLE = 6  # threads of a deadlock that are named
_HANDLED = 3  # signals whose handlers are told of
_WARNINGS = 3
_LINES_OF_COMMAND = 3
_LINES_OF_CALL = 2
_CERTAINTY = {"likely": " (likely)", "possible": " (possibly)"}
NOT_THE_SAME = "the file is not the one that was mapped: names, lines and frames may be wrong"
CUT_SHORT = "the file is cut short"  # a note's words
NAMED = "--exe "  # how a note names a program that somebody named
LIVE = "none"  # cause.kind of a process that did not crash


class Field(NamedTuple):
    """`Label    words`; without a label one more line of the field above. In a text it takes at
    most `lines` lines (0: as many as it needs)."""

    label: str
    parts: tuple[Span | str, ...]
    lines: int = 0


def shortened(field: Field, width: int) -> tuple[Span | str, ...]:
    """Its words, cut to the lines that it may take at that width."""
    limit = field.lines * (width - 9) - 4
    return tuple(
        part[:limit] + " ..." if field.lines and isinstance(part, str) and len(part) > limit
        else part
        for part in field.parts
    )  # fmt: skip


def title_words(report: Report) -> str:
    """`Crash of shelfd, pid 4242, by SIGSEGV`: what every view of the report begins with."""
    process = report.process
    name = clean(process.comm) or "a process"
    if is_live(report):
        return f"State of {name}, pid {process.pid}, which runs on"
    signal = f" by {report.signal.name}" if report.signal else ""
    return f"Crash of {name}, pid {process.pid},{signal}".rstrip(",")


def end_words(report: Report) -> list[str]:
    """Which report this is, who made it, and which crashes are equal to it."""
    lines = [f"Report {clean(report.id)}, {clean(report.generator)}"]
    if report.fingerprint is not None and not is_live(report):
        lines.append(f"Equal crashes have the fingerprint {clean(report.fingerprint.key)}")
    return lines


def fields(report: Report) -> list[Field]:
    """The facts of the first screen, the most important first."""
    return [
        *_why(report),
        *_arguments(report),
        *_signals(report),
        *_waits(report),
        *_program(report),
        _when(report),
        Field("User", (_user(report.process),)),
        *_warnings(report),
    ]


def is_live(report: Report) -> bool:
    """Whether the process did not crash: a dump on request."""
    return report.signal is None and (report.cause is None or report.cause.kind == LIVE)


def _why(report: Report) -> list[Field]:
    cause = report.cause
    if cause is None or is_live(report):
        return []  # the title says it
    doubt = _CERTAINTY.get(cause.certainty, "")
    found = [Field("Why", (Span(clean(cause.summary), CAUSE), Span(doubt, DOUBT)))]
    return found + [Field("", (clean(detail),)) for detail in cause.details[:DETAILS]]


def _arguments(report: Report) -> list[Field]:
    words = "" if is_live(report) else call_words(report)
    return [Field("Call", (words,), _LINES_OF_CALL)] if words else []


def _signals(report: Report) -> list[Field]:
    if report.signal is None:
        return []
    found = [Field("Signal", (signal_words(report.signal),))] + [
        Field("", (f"in the handler of: {signal_words(one.signal)}",))
        for one in report.handled_signals[:_HANDLED]
    ]
    left = len(report.handled_signals) - _HANDLED
    return [*found, Field("", (f"in {left:,} more handlers",))] if left > 0 else found


def _waits(report: Report) -> list[Field]:
    first = report.threads[0].waiting if report.threads else None
    found = [Field("Waiting", (clean(first.summary),))] if first and first.summary else []
    circles = deadlock_words(report)
    found += [Field("Deadlock", (Span(words, BAD),)) for words in circles[:DETAILS]]
    if len(circles) > DETAILS:
        found.append(Field("", (f"and {len(circles) - DETAILS:,} more such circles of threads",)))
    return found


def deadlock_words(report: Report) -> list[str]:
    """`thread 1 (a) waits for thread 2 (b), which waits for thread 1`, for each deadlock."""
    names = {thread.tid: thread_title(thread) for thread in report.threads}
    lines = []
    for circle in report.deadlocks:
        titles = [names.get(tid, str(tid)) for tid in circle[:_CIRCLE]]
        if len(circle) == 1:
            lines.append(f"thread {titles[0]} waits for a lock that it holds itself")
            continue
        if len(circle) > _CIRCLE:
            titles.append(f"{len(circle) - _CIRCLE:,} more")
        words = ", which waits for ".join(titles[1:])
        lines.append(f"thread {titles[0]} waits for {words}, which waits for {circle[0]}")
    return lines


def signal_words(signal: Signal) -> str:
    """`11 SIGSEGV (segmentation fault), code 1 SEGV_MAPERR at 0x10`, sender, call."""
    meaning, _, code_meaning = signal.description.partition(": ")
    parts = [f"{signal.number} {clean(signal.name)}" + (f" ({clean(meaning)})" if meaning else "")]
    if signal.code is not None:
        parts.append(f"code {signal.code} {clean(signal.code_name)}".rstrip())
    if signal.fault_address is not None:
        parts[-1] += f" at {signal.fault_address}"
    elif code_meaning and signal.sender is None:
        parts.append(clean(code_meaning))
    if signal.system_call is not None:
        parts.append(f"system call {signal.system_call.number} {clean(signal.system_call.name)}")
    if signal.sender is not None:
        name = f" ({clean(signal.sender.comm)})" if signal.sender.comm else ""
        parts.append(f"sent by pid {signal.sender.pid}{name}, uid {signal.sender.uid}")
    return ", ".join(parts)


def _program(report: Report) -> list[Field]:
    process, found = report.process, []
    if process.exe:
        deleted = Span(" (deleted since it was started)" if process.exe_deleted else "", BAD)
        found.append(Field("Program", (clean(process.exe), deleted)))
    command = " ".join(clean(argument) for argument in process.cmdline)
    if command and command != clean(process.exe):
        found.append(Field("Command", (command,), _LINES_OF_COMMAND))
    if process.unit or process.container:
        words = [clean(process.unit)] if process.unit else []
        if process.container and clean(process.container) not in clean(process.unit):
            words.append(f"container {clean(process.container)[:12]}")
        found.append(Field("Unit", (", ".join(words),)))
    return found


def _when(report: Report) -> Field:
    process = report.process
    words = moment(report.event.time) if report.event.time else "unknown: the core does not tell"
    if process.uptime_seconds is not None:
        words += f", {duration(process.uptime_seconds)} after it started"
    if report.system.hostname:
        words += f", on {clean(report.system.hostname)}"
    return Field("When", (words,))


def _user(process: Process) -> str:
    if process.uid is None:
        return "unknown"
    words = f"uid {process.uid}"
    if process.euid not in (None, process.uid):
        words += f" (effective {process.euid})"
    if process.gid is not None:
        words += f", gid {process.gid}"
        if process.egid not in (None, process.gid):
            words += f" (effective {process.egid})"
    if process.namespace_pid is not None:
        words += f"; its own namespace knows it as pid {process.namespace_pid}"
    return words


def _warnings(report: Report) -> list[Field]:
    found = []
    if not report.complete:
        words = "this report is incomplete; the notes at its end say why"
        found.append(Field("Note", (Span(words, BAD),)))
    forced = next((module for module in report.modules if module.forced), None)
    if forced is not None:
        found.append(Field("Warning", (Span(f"{clean(forced.path)}: {NOT_THE_SAME}", BAD),)))
    for words in _missing(report)[:_WARNINGS]:
        found.append(Field("Warning", (Span(words, BAD),)))
    return found


def _missing(report: Report) -> list[str]:
    """What is not there that the stack on this screen would need: part of the core, the program
    that was named, the files of its functions."""
    words = []
    if any(note.stage == "core" and note.why == CUT_SHORT for note in report.notes):
        words.append("the core is cut short: memory, and with it frames, may be missing")
    for note in report.notes:
        if note.stage == "modules" and note.what.startswith(NAMED):
            why = clean(note.why.removeprefix("refused: "))
            words.append(f"{clean(note.what)} is not used: {why}")
    wanted = _wanted(report.threads[0]) if report.threads else {}
    for note in report.notes:
        for module, lacking in wanted.items():
            # (below a sysroot the file has a longer name than the module)
            if note.stage == "modules" and note.what.endswith(module):
                words.append(f"no {lacking} from {clean(note.what)}: {clean(note.why)}")
    return list(dict.fromkeys(words))


def stack_title(report: Report) -> str:
    """`Stack of thread 4244 (worker-2), one of 4`; there must be one."""
    total = report.process.threads_total or len(report.threads)
    words = f"Stack of thread {thread_title(report.threads[0])}"
    return words + (f", one of {total:,}" if total > 1 else "")


def own_frame(report: Report) -> int | None:
    """The index of the innermost function that counts for the fingerprint, if the program ended
    itself: what that one called is much the same in every such crash."""
    if report.cause is None or report.cause.kind != "abort":
        return None
    return report.fingerprint.first if report.fingerprint is not None else None


def _wanted(thread: Thread) -> dict[str, str]:
    """The modules without whose files functions have no names, or the stack does not go on; and
    which of it."""
    found = {}
    if thread.frames and thread.stack_end.startswith("no CFI"):
        found[thread.frames[-1].module] = "call frames"
    found |= {frame.module: "names" for frame in thread.frames if frame.function is None}
    return {module: lacking for module, lacking in found.items() if module and module[0] == "/"}
