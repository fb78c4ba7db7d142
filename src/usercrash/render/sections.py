"""The sections of a report behind the first screen, each a function of paper and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..report import OpenFile, Package, Process, Report, Thread
from .first import NOT_THE_SAME
from .frames import base_name, full_stack_lines, other_threads, thread_title, titles
from .layout import (
    BAD,
    DIM,
    FUNCTION,
    PLACE,
    Paper,
    Span,
    clean,
    columns,
    digits,
    duration,
    moment,
    size,
)
from .memory import memory, stack_memory

MAX_REGISTER_THREADS = 64
_LABEL = 13
_WITH_ACCESS = ("file", "device", "memfd", "directory", "other")  # kinds opened for something


def explanation(paper: Paper, report: Report) -> None:
    """The cause in full, and the program's last words."""
    cause = report.cause
    if cause is None or not (cause.abort_message or len(cause.details) > 2):
        return
    paper.heading("Cause")
    paper.line(f"  {clean(cause.summary)}", indent=4)
    for detail in cause.details:
        paper.line(f"  {clean(detail)}", indent=4)
    if cause.abort_message:
        paper.line(f"  message: {clean(cause.abort_message)}", indent=4)


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
        register_lines(paper, report.threads[0])


def register_lines(paper: Paper, thread: Thread) -> None:
    """Registers in columns, as many as the width holds."""
    wide = max((len(name) for name in thread.registers), default=0)
    cells = [
        f"{clean(name):>{wide}} {digits(value):>16}" for name, value in thread.registers.items()
    ]
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
    for label, words in _process_fields(report):
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


def _process_fields(report: Report) -> list[tuple[str, str]]:
    who, system = report.process, report.system
    kept = [
        ("Name", clean(who.comm)),
        ("Ids", _ids(who)),
        ("Executable", clean(who.exe) + (" (deleted)" if who.exe_deleted else "")),
        ("Directory", clean(who.cwd)),
        ("Root", clean(who.root) if who.root not in ("", "/") else ""),
        ("Users", _users(who)),
        ("Groups", " ".join(str(group) for group in who.groups)),
        ("Capabilities", clean(who.capabilities)),
        ("Security", _security(who)),
        ("Started", moment(who.start_time) if who.start_time else ""),
        ("Ran", duration(who.uptime_seconds) if who.uptime_seconds is not None else ""),
        ("State", clean(who.state)),
        ("Threads", str(who.threads_total or "")),
        ("Memory", _memory_words(who)),
        ("OOM score", "" if who.oom_score is None else str(who.oom_score)),
        ("Unit", clean(who.unit)),
        ("Container", clean(who.container)),
        ("Traced by", "" if who.tracer_pid is None else f"pid {who.tracer_pid}"),
        ("Noticed", f"{clean(report.event.source)}, dump mode {clean(report.event.dump_mode)}"),
        ("Host", clean(system.hostname)),
        ("Kernel", clean(f"{system.kernel} {system.architecture}".strip())),
        ("Boot", clean(system.boot_id)),
    ]
    if system.uptime_seconds is not None:
        kept.append(("Host ran", duration(system.uptime_seconds)))
    return kept


def _ids(who: Process) -> str:
    parts = [f"pid {who.pid}", f"thread {who.tid}"]
    if who.ppid is not None:
        parts.append(f"parent {who.ppid}")
    if who.namespace_pid is not None:
        parts.append(f"in its namespace pid {who.namespace_pid}")
    return ", ".join(parts)


def _users(who: Process) -> str:
    words = []
    for label, real, effective in (("uid", who.uid, who.euid), ("gid", who.gid, who.egid)):
        if real is not None:
            words.append(f"{label} {real}")
        if effective is not None:
            words.append(f"effective {label} {effective}")
    if who.login_uid is not None:
        words.append(f"logged in as uid {who.login_uid}")
    if who.session_id is not None:
        words.append(f"session {who.session_id}")
    return ", ".join(words)


def _security(who: Process) -> str:
    words = [clean(who.security_label)] if who.security_label else []
    if who.seccomp:
        words.append(f"seccomp {clean(who.seccomp)}")
    if who.no_new_privileges is not None:
        words.append(f"no_new_privs {'on' if who.no_new_privileges else 'off'}")
    return ", ".join(words)


def _memory_words(who: Process) -> str:
    pairs = (("resident", who.memory_resident), ("peak", who.memory_peak),
             ("virtual", who.memory_virtual), ("swapped", who.memory_swapped))  # fmt: skip
    return ", ".join(f"{label} {size(value)}" for label, value in pairs if value)


def log(paper: Paper, report: Report) -> None:
    """What was logged about it last."""
    for source, title in (("kernel", "Kernel log"), ("journal", "Journal")):
        lines = [line for line in report.log if line.source == source]
        if lines:
            paper.heading(f"{title}, the last lines about it")
            for line in lines:
                paper.line(f"  {clean(line.text)}", indent=6)


def open_files(paper: Paper, report: Report) -> None:
    """Open descriptors, each with what it is."""
    if not report.open_files:
        return
    paper.heading(f"Open files ({len(report.open_files):,})")
    for file in report.open_files:
        head = f"{file.fd:>5}  {clean(file.kind):<9} "
        paper.fixed_then(head, _file_words(file), 17)


def _file_words(file: OpenFile) -> str:
    words = clean(file.target)
    if file.deleted:
        words += " (deleted)"
    flags = clean(file.flags)
    if file.kind == "socket" and file.detail:
        words = clean(file.detail)  # the inode number says nothing beside it
    elif file.detail:
        words += f"  {clean(file.detail)}"
    if file.kind not in _WITH_ACCESS:
        flags = flags.partition(", ")[2]
    extra = [flags] if flags else []
    if file.position:
        extra.append(f"at {file.position}")
    return words + (f"  [{', '.join(extra)}]" if extra else "")


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
        words = [f"build-id {module.build_id}" if module.build_id else "no build-id"]
        if module.soname:
            words.append(f"soname {clean(module.soname)}")
        if module.package is not None:
            words.append(_package_words(module.package))
        if module.file:
            words.append(f"read by {clean(module.file)}" if module.file != "none" else "no file")
        if module.symbols:
            words.append(f"names from {clean(module.symbols)}")
        paper.line(Span("      " + ", ".join(words), DIM), indent=8)


def _package_words(package: Package) -> str:
    about = ", ".join(filter(None, (clean(package.type), clean(package.architecture))))
    words = f"package {clean(package.name)} {clean(package.version)}".rstrip()
    return words + (f" ({about})" if about else "")


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
    for row in report.maps:
        start = int(row.start, 16)
        if not told and fault is not None and fault < start:
            _fault_line(paper, fault, previous, start)
            told = True
        mark = "---> " if row.fault else "     "
        head = f"{mark}{digits(row.start)}-{digits(row.end)} {clean(row.permissions)} "
        head += f"{digits(row.offset):>8} "
        name = clean(row.path) + (" (deleted)" if row.deleted else "")
        if row.path == path and columns(head) + columns(name) > paper.width:
            name = clean(base_name(row.path))  # the whole path stands above
        path = row.path
        if row.fault and fault is not None:
            name += f"  <- {fault:#x}, +{fault - start:#x}"
        paper.fixed_then(head, name.strip(), 12, BAD if row.fault else "")
        previous = int(row.end, 16)
    if not told and fault is not None:
        _fault_line(paper, fault, previous, None)


def _fault_line(paper: Paper, fault: int, previous: int, following: int | None) -> None:
    if previous == 0:
        where = "before the first mapping"
    elif following is None:
        where = "after the last mapping"
    else:
        where = f"between: {fault - previous:#x} past the one, {following - fault:#x} before"
        where += " the other"
    paper.line(Span(f"---> {fault:#x} is {where}", BAD), indent=5)


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
    crashing_stack,
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
