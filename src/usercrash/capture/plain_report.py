"""The report without names, made of what capture knows: published if analysis fails.

Text for people, in the same order as the full report: what died and of which
signal, registers, raw stack, the other threads, process, files, memory map, notes.
Every control character is escaped: nothing that a process says can imitate the report's own lines.
"""

from __future__ import annotations

from ..elf.arch import arch_of
from ..elf.headers import NT_PRSTATUS
from ..model.maps import find_mapping, parse_maps
from ..model.types import TYPE_CHECKING
from .procfs import status_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.arch import Arch
    from ..model.maps import Mapping
    from ..model.snapshot import Load, Snapshot

_STACK_WORDS = 128
_MAX_THREADS = 1000
_MAX_LINES = 5000
_MAX_STRING = 32 << 10

# signal(7), x86 and ARM numbers; the ones that dump core.
_SIGNALS = {3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
            11: "SIGSEGV", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS"}  # fmt: skip


def plain_report(snapshot: Snapshot) -> bytes:
    """The report as UTF-8 text."""
    arch = arch_of(snapshot.machine, snapshot.elf_class)
    mappings = parse_maps(snapshot.facts.get(b"maps", b""))
    lines = [*_summary(snapshot)]
    if arch:
        lines += _threads(snapshot, arch, mappings)
    else:
        lines += ["", f"Registers: none (ELF machine {snapshot.machine})"]
    lines += _process(snapshot)
    lines += _table("Open files", _open_files(snapshot))
    maps = snapshot.facts.get(b"maps", b"").split(b"\n")[:-1]
    lines += _table("Memory map", [escape(line) for line in maps])
    lines += _notes(snapshot)
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def escape(raw: bytes) -> str:
    """Bytes as one line of printable text: what is not UTF-8 and printable appears as \\xNN,
    and so does what reorders or hides text on a screen."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escape_one(character) for character in text)


def _escape_one(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    raw = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\x{byte:02x}" for byte in raw)


def _summary(snapshot: Snapshot) -> Iterator[str]:
    event, facts = snapshot.event, snapshot.facts
    comm = facts.get(b"comm", b"").removesuffix(b"\n") or event.name
    name = _SIGNALS.get(event.signal, f"signal {event.signal}")
    yield f"{escape(comm) or 'a process'} (pid {event.pid}, thread {event.tid}): {name}"
    yield ""
    yield "This report has no function names: only what was collected from the process."
    yield f"Time (ns since 1970): {event.time_ns}"
    yield f"Heard of through: {event.source}"
    if exe := facts.get(b"exe"):
        yield f"Executable: {escape(exe)}"
    yield f"Machine: {escape(facts.get(b'@hostname', b''))}, {escape(facts.get(b'@kernel', b''))}"


def _threads(snapshot: Snapshot, arch: Arch, mappings: list[Mapping]) -> Iterator[str]:
    count = 0
    for note in snapshot.elf_notes:
        if note.type != NT_PRSTATUS or note.owner != b"CORE":
            continue
        count += 1
        if count > _MAX_THREADS:
            yield f"(threads after the first {_MAX_THREADS} left out)"
            return
        try:
            _, tid, registers = arch.parse_prstatus(note.desc)
        except ValueError as error:
            yield f"Thread: {error}"
            continue
        if count == 1:
            yield from _crashing(snapshot, arch, tid, registers, mappings)
            yield from ("", "Other threads:")
        else:
            pc, sp = registers[arch.pc], registers[arch.sp]
            where = _where(pc, mappings)
            yield f"  {tid} {_name(snapshot, tid)} pc {pc:#x}{where} sp {sp:#x}"


def _name(snapshot: Snapshot, tid: int) -> str:
    return escape(snapshot.facts.get(b"task/%d/comm" % tid, b"").removesuffix(b"\n"))


def _crashing(
    snapshot: Snapshot, arch: Arch, tid: int, registers: dict[str, int], mappings: list[Mapping]
) -> Iterator[str]:
    yield ""
    yield f"Registers of thread {tid} {_name(snapshot, tid)}:"
    width = arch.word * 2
    for name, value in registers.items():
        yield f"  {name:8} {value:0{width}x}{_where(value, mappings)}"
    yield ""
    yield "Stack:"
    sp = registers[arch.sp]
    data = _memory(snapshot.loads, sp, _STACK_WORDS * arch.word)
    for start in range(0, len(data) - arch.word + 1, arch.word):
        value = int.from_bytes(data[start : start + arch.word], "little")
        yield f"  {sp + start:0{width}x}  {value:0{width}x}{_where(value, mappings)}"
    if not data:
        yield "  (not captured)"


def _memory(loads: list[Load], address: int, size: int) -> bytes:
    for load in loads:
        if load.address <= address < load.address + len(load.data):
            start = address - load.address
            return load.data[start : start + size]
    return b""


def _where(value: int, mappings: list[Mapping]) -> str:
    mapping = find_mapping(mappings, value)
    if mapping is None or not mapping.path:
        return ""
    return f"  {escape(mapping.path)}+{value - mapping.start + mapping.offset:#x}"


def _process(snapshot: Snapshot) -> Iterator[str]:
    facts = snapshot.facts
    yield from ("", "Process:")
    for label, name in (("command line", b"cmdline"), ("directory", b"cwd"), ("root", b"root")):
        if value := facts.get(name):
            words = value[:_MAX_STRING].rstrip(b"\0").split(b"\0")
            yield f"  {label}: " + " ".join(escape(word) for word in words)
    status = facts.get(b"status", b"")
    for key in (b"PPid", b"Uid", b"Gid", b"Groups", b"NSpid", b"Threads", b"VmHWM", b"VmRSS",
                b"Seccomp", b"CapEff"):  # fmt: skip
        if value := status_field(status, key):
            yield f"  {key.decode()}: " + escape(value.replace(b"\t", b" "))
    for name in (b"cgroup", b"limits"):
        if value := facts.get(name):
            yield f"  {name.decode()}:"
            for line in value.splitlines()[:100]:
                yield "    " + escape(line)


def _open_files(snapshot: Snapshot) -> list[str]:
    found = []
    for name, value in snapshot.facts.items():
        if name.startswith(b"fd/") and name[3:].isdigit():
            found.append((int(name[3:]), escape(value)))
    return [f"{number}: {target}" for number, target in sorted(found)]


def _notes(snapshot: Snapshot) -> Iterator[str]:
    yield from ("", "What could not be had:")
    for note in snapshot.notes:
        text = f"{note.stage}: {note.what}: {note.why}"
        yield "  " + escape(text.encode("utf-8", "surrogateescape"))
    if not snapshot.notes:
        yield "  nothing is missing"


def _table(title: str, rows: list[str]) -> Iterator[str]:
    yield from ("", f"{title}:")
    for row in rows[:_MAX_LINES]:
        yield "  " + row
    if len(rows) > _MAX_LINES:
        yield f"  ({len(rows) - _MAX_LINES} further lines left out)"
