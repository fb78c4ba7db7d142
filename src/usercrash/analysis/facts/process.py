"""Who died: the report's `process` and `system`, from /proc facts and, without them
(a core of the kernel or of gdb), from what the core's own notes say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from ... import report
from ...elf.arch import Arch
from ...elf.headers import AT_EGID, AT_EUID, AT_GID, AT_UID
from ...model.event import DUMP_MODE_ROOT, DUMP_MODE_USER, SOURCE_CORE, CrashEvent
from ...model.maps import split_deleted
from ...model.notes import NoteLog
from . import proc_texts as f
from .secrets import mask_cmdline, mask_environment
from .texts import Texts, json_cost

MAX_ARGUMENTS_COST = 256 << 10
MAX_ENVIRONMENT_COST = 1 << 20
_DUMP_MODES = {DUMP_MODE_USER: "user", DUMP_MODE_ROOT: "root-only"}


@dataclass(frozen=True, slots=True)
class Identity:
    """What the core itself says of the process, for where /proc facts are missing.

    `comm` and `args` are PRPSINFO's (the name, at most 80 bytes of the command line),
    `exe` the path of the mapping that holds AT_PHDR, `execfn` the string at AT_EXECFN.
    """

    pid: int
    tid: int
    comm: bytes = b""
    args: bytes = b""
    exe: bytes = b""
    execfn: bytes = b""
    auxv: dict[int, int] = field(default_factory=dict)


def event_time(event: CrashEvent | None, zone: tzinfo = UTC) -> datetime | None:
    """When we heard of the crash, to the microsecond; None if nobody wrote it down."""
    if event is None or not 0 < event.time_ns < 1 << 62:
        return None
    seconds, rest = divmod(event.time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, zone) + timedelta(microseconds=rest // 1000)


def build_event(event: CrashEvent | None, zone: tzinfo = UTC) -> report.Event:
    """The report's `event`; `time` is empty for a core file that does not tell."""
    time = event_time(event, zone)
    return report.Event(
        time=time.isoformat(timespec="microseconds") if time else "",
        source=event.source if event and event.source else SOURCE_CORE,
        dump_mode=_DUMP_MODES.get(event.dump_mode, "unknown") if event else "unknown",
    )


def build_system(facts: dict[bytes, bytes], arch: Arch, texts: Texts) -> report.System:
    """The report's `system`."""
    page_size = f.number(facts.get(b"@page_size"))
    return report.System(
        hostname=texts.text(facts.get(b"@hostname", b"").strip(), "/system/hostname", 256),
        kernel=texts.text(facts.get(b"@kernel", b"").strip(), "/system/kernel", 512),
        architecture=arch.name,
        byte_order=arch.byte_order,
        address_bytes=arch.long,
        boot_id=texts.text(facts.get(b"@boot_id", b"").strip(), "/system/boot_id", 64),
        page_size=page_size,
        uptime_seconds=uptime(facts),
    )


def uptime(facts: dict[bytes, bytes]) -> float | None:
    """Seconds since boot (the first number of /proc/uptime)."""
    words = facts.get(b"@uptime", b"").split()
    try:
        seconds = float(words[0].decode("ascii")) if words else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e11 else None


def build_process(
    facts: dict[bytes, bytes],
    identity: Identity,
    event: CrashEvent | None,
    texts: Texts,
    notes: NoteLog,
    zone: tzinfo = UTC,
) -> report.Process:
    """The report's `process`: facts where they are, the core's notes where they are not."""
    status = f.parse_status(facts.get(b"status", b""))
    stat = f.parse_stat(facts.get(b"stat", b""))
    auxv = identity.auxv
    uids = f.ids(status.get(b"Uid")) or [auxv[k] for k in (AT_UID, AT_EUID) if k in auxv]
    gids = f.ids(status.get(b"Gid")) or [auxv[k] for k in (AT_GID, AT_EGID) if k in auxv]
    exe, deleted = split_deleted(facts.get(b"exe", b""))
    if not exe:
        exe, deleted = split_deleted(identity.exe or identity.execfn)
    cgroup = f.parse_cgroup(facts.get(b"cgroup", b""))[:64]
    unit, container = f.cgroup_names(cgroup)
    started, age = _start(facts, event, zone)
    return report.Process(
        pid=identity.pid,
        tid=identity.tid,
        comm=texts.text(_comm(facts, identity), "/process/comm"),
        exe=texts.text(exe, "/process/exe"),
        exe_deleted=deleted,
        cmdline=_cmdline(facts, identity, texts, notes),
        uid=uids[0] if uids else None,
        gid=gids[0] if gids else None,
        euid=uids[1] if len(uids) > 1 else None,
        egid=gids[1] if len(gids) > 1 else None,
        groups=f.ids(status.get(b"Groups"))[:1024],
        thread_name=texts.text(thread_name(facts, identity.tid), "/process/thread_name"),
        ppid=f.number(status.get(b"PPid")) if b"PPid" in status else stat.ppid if stat else None,
        namespace_pid=_namespace_pid(status, identity.pid),
        cwd=texts.text(facts.get(b"cwd", b""), "/process/cwd"),
        root=texts.text(facts.get(b"root", b""), "/process/root"),
        state=texts.text(status.get(b"State", stat.state if stat else b""), "/process/state", 64),
        cgroup=[texts.text(line, f"/process/cgroup/{i}", 1024) for i, line in enumerate(cgroup)],
        unit=texts.text(unit, "/process/unit", 256),
        container=texts.text(container, "/process/container", 256),
        limits=_limits(facts, texts),
        environment=_environment(facts, texts, notes),
        start_time=started,
        uptime_seconds=age,
        threads_total=f.number(status.get(b"Threads")),
        memory_peak=f.kilobytes(status.get(b"VmHWM")),
        memory_resident=f.kilobytes(status.get(b"VmRSS")),
        memory_virtual=f.kilobytes(status.get(b"VmSize")),
        memory_swapped=f.kilobytes(status.get(b"VmSwap")),
        oom_score=f.number(facts.get(b"oom_score")),
        login_uid=_audit_id(facts.get(b"loginuid")),
        session_id=_audit_id(facts.get(b"sessionid")),
        tracer_pid=f.number(status.get(b"TracerPid")) or None,
        seccomp=f.seccomp_words(status),
        capabilities=f.capability_names(status.get(b"CapEff")),
        no_new_privileges={b"0": False, b"1": True}.get(status.get(b"NoNewPrivs", b"")),
        security_label=_label(facts, texts),
        auxiliary_vector={
            f.auxv_name(key): f"{value:#x}" for key, value in list(auxv.items())[:64] if key
        },
    )


def _namespace_pid(status: dict[bytes, bytes], pid: int) -> int | None:
    """The process's pid in its own namespace, None where that is ours. `status` may be that of
    a thread, whose NSpid are the thread's own ids: these count only where it is the first one."""
    tgids, pids = f.ids(status.get(b"NStgid")), f.ids(status.get(b"NSpid"))
    if len(tgids) > 1:
        return tgids[-1]
    return pids[-1] if len(pids) > 1 and pids[0] == pid else None


def thread_name(facts: dict[bytes, bytes], tid: int) -> bytes:
    """A thread's name (`task/TID/comm`), without the newline that the kernel adds."""
    return facts.get(b"task/%d/comm" % tid, b"").removesuffix(b"\n")


def _comm(facts: dict[bytes, bytes], identity: Identity) -> bytes:
    """The process's name: its main thread's. PRPSINFO has it, too (fs/binfmt_elf.c asks the
    group leader)."""
    return (
        thread_name(facts, identity.pid)
        or facts.get(b"comm", b"").removesuffix(b"\n")
        or identity.comm
        or (identity.exe or identity.execfn).rpartition(b"/")[2]
    )


def _cmdline(
    facts: dict[bytes, bytes], identity: Identity, texts: Texts, notes: NoteLog
) -> list[str]:
    arguments = f.split_strings(facts.get(b"cmdline", b""))
    if not arguments:
        arguments = identity.args.split(b"\0", 1)[0].split()
    masked = mask_cmdline(arguments[:100_000])
    return _bounded(masked, "cmdline", "arguments", MAX_ARGUMENTS_COST, texts, notes)


def _environment(facts: dict[bytes, bytes], texts: Texts, notes: NoteLog) -> list[str]:
    variables = mask_environment(f.split_strings(facts.get(b"environ", b""))[:100_000])
    return _bounded(variables, "environment", "variables", MAX_ENVIRONMENT_COST, texts, notes)


def _bounded(
    items: list[bytes], name: str, what: str, budget: int, texts: Texts, notes: NoteLog
) -> list[str]:
    result: list[str] = []
    for number, item in enumerate(items):
        text = texts.text(item, f"/process/{name}/{number}")
        budget -= json_cost(text) + 4
        if budget < 0:
            notes.add("report", f"{len(items) - number} further {what}", "too long")
            break
        result.append(text)
    return result


def _limits(facts: dict[bytes, bytes], texts: Texts) -> list[report.Limit]:
    limits = []
    for number, row in enumerate(f.parse_limits(facts.get(b"limits", b""))[:32]):
        keys = ("name", "soft", "hard", "unit")
        cells = {
            key: texts.text(cell, f"/process/limits/{number}/{key}", 64)
            for key, cell in zip(keys, row, strict=True)
        }
        limits.append(report.Limit(**cells))
    return limits


def _audit_id(data: bytes | None) -> int | None:
    value = f.number(data)
    return value if value is not None and 0 <= value < 0xFFFFFFFF else None  # -1: not set


def _label(facts: dict[bytes, bytes], texts: Texts) -> str:
    return texts.text(facts.get(b"attr/current", b"").strip(b"\0\n "), "/process/security_label")


def _start(
    facts: dict[bytes, bytes], event: CrashEvent | None, zone: tzinfo
) -> tuple[str, float | None]:
    """(when it started, how many seconds it ran), from ticks after boot and the uptime."""
    stat = f.parse_stat(facts.get(b"stat", b""))
    # A thread's directory has the thread's own start: the leader's tells the process's.
    leader = f.parse_stat(facts.get(b"task/%d/stat" % event.pid, b"")) if event else None
    ticks = leader.start_ticks if leader else None
    if not ticks and event and event.start_ticks > 0:
        ticks = event.start_ticks
    if not ticks and stat:
        ticks = stat.start_ticks
    up, rate, now = uptime(facts), f.number(facts.get(b"@clk_tck")), event_time(event, zone)
    if not ticks or up is None or not rate or now is None or not 0 < ticks < 1 << 60 or rate < 0:
        return "", None
    age = max(0.0, round(up - ticks / rate, 2))
    try:
        return (now - timedelta(seconds=age)).isoformat(timespec="seconds"), age
    except OverflowError:
        return "", None
