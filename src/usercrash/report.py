"""The report: one versioned model, from which every view is rendered.

JSON is the canonical form; its schema (docs/report.schema.json) is generated
from these classes. Addresses are strings like "0x7f12"; sizes are bytes; times are
ISO 8601 with a zone. Text that was not UTF-8 in the process holds `\\xNN`, and its
exact bytes stand in `raw_bytes`, base64, under the JSON pointer of the field.
"""

from __future__ import annotations

import re

import msgspec

from .report_interpreted import (
    Fold,
    InterpretedException,
    InterpretedFrame,
    InterpretedStack,
    Interpreter,
    Variable,
)
from .report_memory import Hex, Instruction, Map, MemoryBlock, Module, Package, StackWord

__all__ = [
    "Fold", "Hex", "Instruction", "InterpretedException", "InterpretedFrame", "InterpretedStack",
    "Interpreter", "Map", "MemoryBlock", "Module", "Package", "StackWord", "Variable",
]  # fmt: skip

VERSION = 1

# In UTF-8, what JSON lets stand and a terminal may obey: DEL, the controls U+0080 to U+009F (one
# of them begins escape sequences), marks and overrides of the direction, separators of lines. And
# what nobody sees: the soft hyphen, spaces and joiners of no width, tags.
_STEERING = re.compile(
    rb"\x7f|\xc2[\x80-\x9f\xad]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf"
    rb"|\xf3\xa0[\x80\x81][\x80-\xbf]"
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """When and how we heard of the crash; `source` is a word of model.event.SOURCE_*."""

    time: str
    source: str
    dump_mode: str = "unknown"  # "user", "root-only" or "unknown"


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, as the process saw it: a 32-bit process on 64 bits has `architecture` i386,
    `address_bytes` 4. `byte_order` is "little" or "big"; both say how to read memory."""

    hostname: str = ""
    kernel: str = ""
    architecture: str = ""
    boot_id: str = ""
    byte_order: str = "little"
    address_bytes: int = 8
    page_size: int | None = None
    uptime_seconds: float | None = None  # of the machine, at the crash


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    soft: str
    hard: str
    unit: str = ""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Who died. `tid` is the crashing thread; ids are those of the initial namespaces,
    as far as we have them from there (a plain core file knows only the process's own).

    `comm` is the process's name (its main thread's), `thread_name` that of the crashing
    thread. `uid` and `gid` are the real ids.
    """

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
    unit: str = ""  # the systemd unit that the cgroup path names
    container: str = ""  # the container id that the cgroup path names
    limits: list[Limit] = []
    environment: list[str] = []  # NAME=value; values of secrets are masked
    start_time: str = ""
    uptime_seconds: float | None = None
    threads_total: int | None = None
    memory_peak: int | None = None  # VmHWM, bytes
    memory_resident: int | None = None  # VmRSS, bytes
    memory_virtual: int | None = None  # VmSize, bytes
    memory_swapped: int | None = None  # VmSwap, bytes
    oom_score: int | None = None
    login_uid: int | None = None  # the user who logged in (audit), whatever the uid is now
    session_id: int | None = None  # the audit session
    tracer_pid: int | None = None  # who traced it, where somebody did
    seccomp: str = ""
    capabilities: str = ""
    no_new_privileges: bool | None = None
    security_label: str = ""
    auxiliary_vector: dict[str, Hex] = {}


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """The process that sent the signal (si_pid, si_uid)."""

    pid: int
    uid: int
    comm: str = ""


class SystemCall(msgspec.Struct, frozen=True, kw_only=True):
    """The system call that SIGSYS refused; `name` is empty where we do not know the number."""

    number: int
    name: str


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """siginfo, decoded. `code` is None where the dump has no siginfo; `fault_address` is
    there only where the kernel gave one that means something."""

    number: int
    name: str
    code: int | None
    code_name: str
    fault_address: Hex | None = None
    sender: Sender | None = None
    system_call: SystemCall | None = None
    description: str = ""


class HandledSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal whose handler was still running: `frame` is the index, in the crashing thread's
    stack, of the frame that it interrupted."""

    frame: int
    signal: Signal


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the cause rests on: `what` it is (a register, the instruction, a mapping …),
    its `value`, and what that means, if that is not plain."""

    what: str
    value: str
    meaning: str = ""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why it died, in one line. `kind` is a word for machines, `reason` a finer one (both are
    listed in docs/report.md), `certainty` how sure we are, `details` further lines, the most
    useful first, `evidence` what it rests on. `abort_message` is what the C library kept of the
    program's last words."""

    kind: str
    summary: str
    reason: str = ""
    certainty: str = "certain"  # "certain", "likely", "possible" or "unknown"
    details: list[str] = []
    abort_message: str | None = None
    evidence: list[Evidence] = []


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What crashes of the same kind in the same functions have in common, over builds and machines:
    `key`, 16 hex digits, made of `sort` (signal, and how it was aborted) and `frames` (the
    functions that count, innermost first); keys of different `version` do not compare.
    docs/fingerprint.md has the rules. `first`, which is not part of it, is the index of the
    crashing thread's innermost frame that counts and whose source is no library's, if any is."""

    version: int
    key: str
    sort: str
    frames: list[str]
    first: int | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the source; `column` (from 1) where debug information tells it."""

    file: str
    line: int
    column: int | None = None


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One function of a stack, innermost first. Inlined functions are frames of their own
    (`inline` true) that share pc and trust with the real frame that follows them.

    `trust`: context, cfi, frame-pointer, call-recovery or scan; or tail-call for a function that
    ended with a jump into the frame before it: it is no more on the stack (no sp), debug
    information shows that it was there. `by_tail_call`: such functions stood between this frame and
    its caller, and it cannot be told which. `variables`, of the crashing thread's innermost frames:
    parameters, then locals, those of the innermost block first.
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
    by_tail_call: bool = False
    variables: list[Variable] = []


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The system call that a thread is in: `call` is its name ("" where we do not know the number),
    `arguments` are its six registers. `summary` says what it waits for there, `kind` what sort of
    thing that is: lock, condition, semaphore, barrier, futex, thread, descriptor, queue, time,
    child, signal; both are empty for a call that is not known to wait. `holder` is the `tid` of the
    thread that holds the lock, or whose end is waited for."""

    number: int
    call: str
    arguments: list[Hex]
    kind: str = ""
    summary: str = ""
    holder: int | None = None


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """`frames` may be fewer than `frames_total` (what the size budget allowed: the innermost
    and the outermost ones, and of a long cycle the first rounds; `index` tells the gap). `tid`
    is the id in the initial namespace where we know it. `stack_end` says why the stack ends
    where it does. `register_notes` say of registers where they point (symbol, block of the heap,
    frame of which stack, mapping; the text there) or what their bits mean; of many threads only the
    first ones have them."""

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
    waiting: Waiting | None = None
    register_notes: dict[str, str] = {}
    interpreted: list[InterpretedStack] = []


class Excerpt(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of the source around a frame of the crashing thread (`frame` is its index, with
    `language` in the interpreted stack of that language): `lines` from number `first` on;
    `line` is that of the frame. `file` is where the source was found. `newer`: it was changed after
    the program's file was made; `by_name`: nothing but the file's last name is what debug
    information says."""

    frame: int
    file: str
    line: int
    first: int
    lines: list[str]
    newer: bool = False
    by_name: bool = False
    language: str = ""


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


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was logged about the process; `source` is "kernel", "journal" or "stderr" (what
    it wrote to standard error, where `usercrash run` could see that)."""

    source: str
    text: str


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
    code: list[Instruction] = []
    log: list[LogLine] = []
    stack_memory: list[StackWord] = []
    handled_signals: list[HandledSignal] = []
    fingerprint: Fingerprint | None = None
    deadlocks: list[list[int]] = []  # circles of threads: each waits for what the next one holds
    interpreters: list[Interpreter] = []
    excerpts: list[Excerpt] = []
    raw_bytes: dict[str, str] = {}


def to_json(report: Report) -> bytes:
    """The report as JSON (UTF-8), one line, with nothing in it that steers a terminal."""
    data = msgspec.json.encode(report)
    if data.isascii() and b"\x7f" not in data:
        return data
    return _STEERING.sub(_as_escape, data)


def _as_escape(found: re.Match[bytes]) -> bytes:
    """A character as JSON's escape; one beyond 65535 takes two of them."""
    units = found[0].decode().encode("utf-16-be")
    return b"".join(
        b"\\u%04x" % int.from_bytes(units[at : at + 2]) for at in (0, 2)[: len(units) // 2]
    )


def from_json(data: bytes) -> Report:
    """The report of its JSON; msgspec.ValidationError names the first wrong field."""
    return msgspec.json.decode(data, type=Report)
