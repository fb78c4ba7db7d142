"""The report: one versioned model, from which every view is rendered.

JSON is the canonical form; its schema (docs/report.schema.json) is generated
from these classes. Addresses are strings like "0x7f12"; sizes are bytes; times are
ISO 8601 with a zone. Text that was not UTF-8 in the process holds `\\xNN`, and its
exact bytes stand in `raw_bytes`, base64, under the JSON pointer of the field.
"""

from __future__ import annotations

import msgspec

VERSION = 1

Hex = str  # "0x…": an address or a register value


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """When and how we heard of the crash; `source` is a word of model.event.SOURCE_*."""

    time: str
    source: str
    dump_mode: str = "unknown"  # "user", "root-only" or "unknown"


class System(msgspec.Struct, frozen=True, kw_only=True):
    hostname: str = ""
    kernel: str = ""
    architecture: str = ""
    boot_id: str = ""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    soft: str
    hard: str
    unit: str = ""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Who died. `tid` is the crashing thread; ids are those of the initial namespaces."""

    pid: int
    tid: int
    comm: str
    exe: str
    cmdline: list[str]
    uid: int | None
    gid: int | None
    exe_deleted: bool = False
    thread_name: str = ""
    euid: int | None = None
    egid: int | None = None
    groups: list[int] = []
    ppid: int | None = None
    namespace_pid: int | None = None  # its pid inside its own namespace, where that differs
    cwd: str = ""
    root: str = ""
    state: str = ""
    cgroup: list[str] = []
    limits: list[Limit] = []
    environment: list[str] = []  # NAME=value; values of secrets are masked
    start_time: str = ""
    uptime_seconds: float | None = None
    threads_total: int | None = None
    memory_peak: int | None = None  # VmHWM, bytes
    memory_resident: int | None = None  # VmRSS, bytes
    seccomp: str = ""
    capabilities: str = ""
    security_label: str = ""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """The process that sent the signal (si_pid, si_uid)."""

    pid: int
    uid: int
    comm: str = ""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    name: str
    code: int | None
    code_name: str
    fault_address: Hex | None = None
    sender: Sender | None = None
    description: str = ""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why it died, in one line. `kind` is a word for machines, `certainty` how sure we are."""

    kind: str
    summary: str
    certainty: str = "certain"  # "certain", "likely" or "possible"
    details: list[str] = []
    abort_message: str | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    line: int


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One function of a stack, innermost first. Inlined functions are frames of their own
    (`inline` true) that share pc and trust with the real frame that follows them.

    `trust`: context, cfi, frame-pointer, call-recovery or scan.
    """

    index: int
    pc: Hex
    function: str | None
    linkage_name: str | None
    offset: int | None
    module: str | None
    module_offset: Hex | None
    build_id: str | None
    source: Source | None
    inline: bool
    trust: str
    signal_frame: bool = False
    sp: Hex | None = None


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """A cycle of a recursion: `length` frames from index `start` stand there `times` times."""

    start: int
    length: int
    times: int


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """`frames` may be fewer than `frames_total` (what the time and size budget allowed)."""

    tid: int
    name: str
    crashed: bool
    registers: dict[str, Hex]
    stack_end: str
    frames: list[Frame]
    frames_total: int = 0
    folds: list[Fold] = []
    kernel_stack: list[str] = []
    state: str = ""
    namespace_tid: int | None = None


class MemoryBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Memory near something: `data` is hex digits, two a byte; `gaps` lists [offset, length]
    of bytes that were not captured (they stand as zeros in `data`)."""

    label: str  # "rax", "pc", "stack" …
    address: Hex  # of the first byte
    center: Hex  # the value of the register
    data: str
    where: str = ""  # the mapping that holds it, for people
    gaps: list[list[int]] = []


class Module(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    start: Hex
    end: Hex
    build_id: str | None
    deleted: bool = False
    file: str = ""  # where its contents came from: "descriptor", "path", "memory", "none"
    symbols: str = ""  # where names came from: "debug file …", "symbol table", "none" …
    soname: str = ""


class Map(msgspec.Struct, frozen=True, kw_only=True):
    start: Hex
    end: Hex
    permissions: str
    offset: Hex
    path: str
    device: str = ""
    inode: int = 0
    deleted: bool = False
    fault: bool = False  # the fault address lies in it


class OpenFile(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: file, directory, device, pipe, socket, eventfd, epoll, memfd … ; `detail` says
    the rest for people (a socket's protocol, addresses and state, an eventfd's count …)."""

    fd: int
    target: str
    kind: str
    detail: str = ""
    deleted: bool = False
    flags: str = ""
    position: int | None = None


class NoteEntry(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    what: str
    why: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A crash, explained. `complete` is false when a stage failed; `notes` say which."""

    version: int
    id: str
    generator: str
    complete: bool
    event: Event
    system: System
    process: Process
    signal: Signal | None
    cause: Cause | None
    threads: list[Thread]
    memory: list[MemoryBlock]
    modules: list[Module]
    maps: list[Map]
    open_files: list[OpenFile]
    notes: list[NoteEntry]
    raw_bytes: dict[str, str] = {}


def to_json(report: Report) -> bytes:
    """The report as JSON (UTF-8), one line."""
    return msgspec.json.encode(report)


def from_json(data: bytes) -> Report:
    """The report of its JSON; msgspec.ValidationError names the first wrong field."""
    return msgspec.json.decode(data, type=Report)
