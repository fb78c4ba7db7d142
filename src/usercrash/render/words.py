"""The facts of a report in words, for every view that shows them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise

from ..report import Module, OpenFile, Package, Process, Report, Thread
from .layout import clean, duration, moment, number_of, size

_WITH_ACCESS = ("file", "device", "memfd", "directory", "other")  # kinds opened for something


def process_fields(report: Report) -> list[tuple[str, str]]:
    """Labels and words, which are empty where nothing is known."""
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


def file_words(file: OpenFile) -> str:
    """`/var/log/x (deleted)  [write, append, at 1234]`."""
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


def module_words(module: Module) -> str:
    """Its build-id, package, and where its contents and names came from."""
    words = [f"build-id {module.build_id}" if module.build_id else "no build-id"]
    if module.soname:
        words.append(f"soname {clean(module.soname)}")
    if module.package is not None:
        words.append(_package_words(module.package))
    if module.file:
        words.append(f"read by {clean(module.file)}" if module.file != "none" else "no file")
    if module.symbols:
        words.append(f"names from {clean(module.symbols)}")
    return ", ".join(words)


def _package_words(package: Package) -> str:
    about = ", ".join(filter(None, (clean(package.type), clean(package.architecture))))
    words = f"package {clean(package.name)} {clean(package.version)}".rstrip()
    return words + (f" ({about})" if about else "")


def fault_place(fault: int, previous: int, following: int | None) -> str:
    """Where an address lies that no mapping holds: `previous` is the end of the mapping below it
    (0: there is none), `following` the start of the one above."""
    if previous == 0:
        where = "before the first mapping"
    elif following is None:
        where = "after the last mapping"
    else:
        where = f"between: {fault - previous:#x} past the one, {following - fault:#x} before"
        where += " the other"
    return f"{fault:#x} is {where}"


def thread_stacks(report: Report) -> dict[str, str]:
    """`stack of thread 12` for the mappings without a name that are such, by their starts: one
    thread's stack pointer is in it, and a guard lies directly below."""
    guarded = {
        row.start: row
        for below, row in pairwise(report.maps)
        if not row.path and below.end == row.start and not below.permissions.strip("-ps")
    }
    ranges = sorted((int(row.start, 16), int(row.end, 16), row.start) for row in guarded.values())
    found: dict[str, list[int]] = {}
    for thread in report.threads:
        sp = next((number_of(frame.sp) for frame in thread.frames if frame.sp is not None), None)
        at = bisect_right(ranges, (sp, 1 << 64, "")) - 1 if sp is not None else -1
        if sp is not None and at >= 0 and sp < ranges[at][1]:
            found.setdefault(ranges[at][2], []).append(thread.tid)
    return {start: f"stack of thread {tids[0]}" for start, tids in found.items() if len(tids) == 1}


def blamed(report: Report) -> dict[str, str]:
    """The crashing thread's registers that the cause rests on, and what it says of each."""
    if report.cause is None or not report.threads:
        return {}
    registers = report.threads[0].registers
    return {one.what: one.meaning for one in report.cause.evidence if one.what in registers}


def register_rows(thread: Thread, blamed: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(name, value, note), those that are `blamed` first, with why."""
    rows = []
    for name, value in thread.registers.items():
        notes = (blamed.get(name, ""), thread.register_notes.get(name, ""))
        rows.append((name, value, "; ".join(dict.fromkeys(note for note in notes if note))))
    return sorted(rows, key=lambda row: row[0] not in blamed)
