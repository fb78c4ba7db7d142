"""Programs for other machines: Debian's cross compilers, qemu's user mode, and a core of the crash.

qemu writes cores for some targets only, and without NT_FILE. So it is driven by the gdb
remote protocol to the fatal signal, where registers and the auxiliary vector are asked for; memory
is read in qemu's own process, the layout taken from its log (`-d page`). The core is laid
out as the kernel's: elf_gregset_t by the architecture's table, files and what their
pages hold left out, each thread's NT_PRSTATUS behind another.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.elf.arch import Arch, arch_of
from usercrash.elf.headers import (
    NT_AUXV,
    NT_FILE,
    NT_FPREGSET,
    NT_PRPSINFO,
    NT_PRSTATUS,
    NT_SIGINFO,
)
from usercrash.model.snapshot import ElfNote

from .build import need
from .gdb_remote import Remote

PROGRAMS = Path(__file__).parent.parent / "cross"
_PAGE = 4096
_BASE_32 = 1 << 40  # where a 32-bit program's address 0 lies in qemu
_FATAL = {4: 4, 5: 5, 6: 6, 8: 8, 10: 7, 11: 11, 12: 31}  # gdb's numbers and Linux's
_PT_LOAD, _PT_NOTE = 1, 4


@dataclass(frozen=True, slots=True)
class Target:
    """A machine: its compilers' prefix, qemu's name, where its libraries are, and its ELF identity
    (machine, class, byte order, flags). `registers` maps our names to qemu's where they
    differ; `numbers` has the places of registers, in words, among all of qemu's where it does not
    describe them. `packages` are Debian's."""

    name: str
    triple: str
    qemu: str
    machine: int
    elf_class: int
    order: str = "<"
    flags: int = 0
    compiler: tuple[str, ...] = ()
    registers: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    signals: dict[int, int] = field(default_factory=dict)  # gdb's to the machine's, if not as x86

    @property
    def arch(self) -> Arch:
        found = arch_of(self.machine, self.elf_class, self.order, self.flags)
        assert found is not None, self.name
        return found

    @property
    def sysroot(self) -> Path:
        return Path("/usr") / self.triple

    @property
    def package(self) -> str:
        return f"gcc-{self.triple}"


AARCH64 = Target("aarch64", "aarch64-linux-gnu", "aarch64", 183, 2, registers={"pstate": "cpsr"})
ARM = Target("arm", "arm-linux-gnueabihf", "arm", 40, 1)
RISCV64 = Target("riscv64", "riscv64-linux-gnu", "riscv64", 243, 2, registers={"s0": "fp"})

_POWER = {"nip": "pc"}
PPC64LE = Target("ppc64le", "powerpc64le-linux-gnu", "ppc64le", 21, 2, registers=_POWER)
PPC64 = Target("ppc64", "powerpc64-linux-gnu", "ppc64", 21, 2, ">", registers=_POWER)
PPC = Target("ppc", "powerpc-linux-gnu", "ppc", 20, 1, ">", registers=_POWER)
S390X = Target("s390x", "s390x-linux-gnu", "s390x", 22, 2, ">")
M68K = Target("m68k", "m68k-linux-gnu", "m68k", 4, 1, ">")

# qemu does not describe the registers of MIPS and SPARC; these number signals as gdb does.
_AS_GDB = {10: 10, 12: 12}
_BEHIND = {"status": 32, "lo": 33, "hi": 34, "badvaddr": 35, "cause": 36, "pc": 37}


def _mips(
    name: str, triple: str, elf_class: int, order: str, flags: int = 0,
    compiler: tuple[str, ...] = (),
) -> Target:  # fmt: skip
    arch = arch_of(8, elf_class, order, flags)
    assert arch is not None
    numbers = {arch.dwarf_registers[number]: number for number in range(32)} | _BEHIND
    return Target(
        name, triple, name, 8, elf_class, order, flags, compiler,
        numbers=numbers, signals=_AS_GDB,
    )  # fmt: skip


MIPS = _mips("mips", "mips-linux-gnu", 1, ">")
MIPS64EL = _mips("mips64el", "mips64el-linux-gnuabi64", 2, "<")
MIPSN32EL = _mips("mipsn32el", "mips64el-linux-gnuabi64", 1, "<", 0x20, ("-mabi=n32",))


def _sparc() -> Target:
    arch = arch_of(43, 2, ">")
    assert arch is not None
    numbers = {name: number for number, name in arch.dwarf_registers.items() if number < 32}
    # in words of 8 bytes: 32 floating-point registers have 4 bytes each
    numbers |= {"pc": 64, "npc": 65, "tstate": 66}
    return Target(
        "sparc64", "sparc64-linux-gnu", "sparc64", 43, 2, ">", numbers=numbers, signals=_AS_GDB
    )


def _sparc32() -> Target:
    arch = arch_of(18, 1, ">")
    assert arch is not None
    numbers = {name: number for number, name in arch.dwarf_registers.items() if number < 32}
    numbers |= {"y": 64, "psr": 65, "wim": 66, "tbr": 67, "pc": 68, "npc": 69}
    return Target(
        "sparc", "sparc64-linux-gnu", "sparc32plus", 18, 1, ">", compiler=("-m32",),
        numbers=numbers, signals=_AS_GDB,
    )  # fmt: skip


SPARC64, SPARC = _sparc(), _sparc32()

TARGETS = {
    target.name: target
    for target in (
        AARCH64, ARM, RISCV64, PPC64LE, PPC64, PPC, S390X, MIPS, MIPS64EL, MIPSN32EL,
        SPARC64, SPARC, M68K,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Crashed:
    """A program that ran to its fatal signal: its file, its core, what it ran on."""

    target: Target
    program: Path
    core: Path


@cache
def _cache_dir() -> Path:
    base = Path(tempfile.gettempdir()) / f"usercrash-cross-programs-{os.geteuid()}"
    base.mkdir(mode=0o755, exist_ok=True)
    if base.stat().st_uid != os.geteuid() or base.is_symlink():
        raise PermissionError(f"{base} belongs to somebody else")
    return base


def compile_for(target: Target, source: Path | str, *flags: str, strip: bool = False) -> Path:
    """The program of a source (a file of tests/cross, or text), compiled once for each content.

    ToolMissingError if there is no compiler, RuntimeError with its words.
    """
    text = (PROGRAMS / source).read_text() if isinstance(source, Path) else source
    words = (target.compiler, flags, strip, text)
    digest = hashlib.sha256(repr((target.name, words)).encode()).hexdigest()[:16]
    place = _cache_dir() / f"{target.name}-{digest}"
    program = place / "program"
    if program.exists():
        return program
    part = Path(tempfile.mkdtemp(dir=_cache_dir()))
    part.chmod(0o755)
    (part / "program.c").write_text(text)
    command = [
        need(f"{target.triple}-gcc", target.package), *target.compiler, "-g", *flags,
        "-o", "program", "program.c", "-lpthread",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=part, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    if strip:
        subprocess.run([f"{target.triple}-strip", "program"], cwd=part, check=True)
    try:
        part.rename(place)
    except OSError:  # another test process was faster
        assert program.exists()
    return program


def crash(target: Target, program: Path, place: Path, *arguments: str) -> Crashed:
    """Run a program under qemu to its fatal signal; its core is `place`/core."""
    door, log = place / "door", place / "pages"
    base = _BASE_32 if target.elf_class == 1 else 0
    command = [
        need(f"qemu-{target.qemu}", "qemu-user"), "-g", str(door), "-d", "page", "-D", str(log),
        *(["-B", hex(base)] if base else []), "-L", str(target.sysroot), str(program), *arguments,
    ]  # fmt: skip
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        remote = Remote(door)
        try:
            signal, thread = remote.run()
            while signal not in _FATAL:
                signal, thread = remote.run(signal)
            machine_signal = target.signals.get(signal, _FATAL[signal])
            core = place / "core"
            # where crash.c reads from, or calls
            fault = 64 if "jump" in arguments else 16
            core.write_bytes(_Core(target, remote, process.pid, log, base, fault).make(
                program, machine_signal, thread))  # fmt: skip
        finally:
            remote.close()
    finally:
        process.kill()
        process.wait()
    return Crashed(target, program, core)


class _Core:
    """A core being made of a stopped program."""

    def __init__(
        self, target: Target, remote: Remote, pid: int, log: Path, base: int, fault: int
    ) -> None:
        self.target = target
        self.arch = target.arch
        self.remote = remote
        self.pid = pid
        self.base = base
        self.fault = fault
        self.ranges = _guest_ranges(log)
        self.rows = sorted(_mapped_files(pid, base, self.ranges))
        self.letter = "Q" if self.arch.long == 8 else "I"

    def make(self, program: Path, signal: int, thread: str) -> bytes:
        notes = self._notes(program, signal, thread)
        return self._laid_out(b"".join(map(self._note, notes)), self._loads())

    # --- notes ---

    def _note(self, note: ElfNote) -> bytes:
        parts = (note.owner + b"\0", note.desc)
        head = struct.pack(f"{self.arch.order}3I", len(parts[0]), len(parts[1]), note.type)
        return head + b"".join(part + b"\0" * (-len(part) & 3) for part in parts)

    def _notes(self, program: Path, signal: int, thread: str) -> list[ElfNote]:
        threads = [thread, *(other for other in self.remote.threads() if other != thread)]
        statuses = [
            self._status(one, self.pid + at, 0 if at else signal) for at, one in enumerate(threads)
        ]
        order = self.arch.order
        # si_signo, si_errno, si_code (MIPS: code first); what else there is qemu does not tell
        code = (0, 1 if signal != 6 else -6)
        head = code[::-1] if self.target.machine == 8 else code
        info = struct.pack(f"{order}iii", signal, *head).ljust(128, b"\0")
        more = b""
        if signal == 6:
            more = struct.pack(f"{order}iI", self.pid, os.geteuid())
        elif signal == 11:
            more = self.fault.to_bytes(self.arch.long, self.arch.byte_order)
        fields = 16 if self.arch.long == 8 else 12
        info = info[:fields] + more + info[fields + len(more) :]
        auxv = self.remote.document("auxv:read:")
        return [
            statuses[0],
            *self._floats(thread),
            self._psinfo(program),
            ElfNote(b"CORE", NT_SIGINFO, info),
            ElfNote(b"CORE", NT_AUXV, auxv),
            ElfNote(b"CORE", NT_FILE, self._file_note()),
            *statuses[1:],
        ]

    def _status(self, thread: str, tid: int, signal: int) -> ElfNote:
        self.remote.ask(f"Hg{thread}")
        arch = self.arch
        numbers = self.target.numbers or self.remote.register_numbers()
        desc = bytearray(arch.prstatus_size)
        struct.pack_into(f"{arch.order}H", desc, arch.prstatus_signal, signal)
        struct.pack_into(f"{arch.order}I", desc, arch.prstatus_tid, tid)
        at = arch.prstatus_offset
        for name in arch.prstatus_registers:
            value = self._register(self.target.registers.get(name, name), numbers)
            whole = int.from_bytes(value, arch.byte_order)
            desc[at : at + arch.word] = whole.to_bytes(16, "little")[: arch.word][
                :: 1 if arch.order == "<" else -1
            ]
            at += arch.word
        return ElfNote(b"CORE", NT_PRSTATUS, bytes(desc))

    def _register(self, name: str, numbers: dict[str, int]) -> bytes:
        """A register's bytes; where qemu does not describe registers, from all of them at once."""
        number = numbers.get(name)
        if number is None:
            return b""
        if not self.target.numbers:
            return self.remote.register(number)
        every = bytes.fromhex(self.remote.ask("g").decode().replace("x", "0"))
        return every[number * self.arch.word : (number + 1) * self.arch.word]

    def _floats(self, thread: str) -> list[ElfNote]:
        """NT_FPREGSET, where unwinding may need it."""
        start, names = self.arch.float_registers
        if not names:
            return []
        self.remote.ask(f"Hg{thread}")
        numbers = self.remote.register_numbers()
        values = b"".join(self.remote.register(numbers[name]) for name in names)
        return [ElfNote(b"CORE", NT_FPREGSET, bytes(start) + values)]

    def _psinfo(self, program: Path) -> ElfNote:
        """struct elf_prpsinfo (<linux/elfcore.h>); the oldest ABIs have user ids of 16 bits."""
        head = struct.pack(f"{self.arch.order}4B", 0, 82, 0, 0)
        small = self.arch.name in ("arm", "armeb", "m68k", "s390", "sparc")
        flags = bytes(8 + 4) if self.arch.long == 8 else bytes(4)
        ids = bytes(4 if small else 8)
        pids = struct.pack(f"{self.arch.order}4i", self.pid, 1, self.pid, self.pid)
        names = program.name.encode()[:15].ljust(16, b"\0") + os.fsencode(program)[:79].ljust(
            80, b"\0"
        )
        return ElfNote(b"CORE", NT_PRPSINFO, head + flags + ids + pids + names)

    def _file_note(self) -> bytes:
        rows = self.rows
        head = struct.pack(f"{self.arch.order}2{self.letter}", len(rows), _PAGE)
        table = b"".join(
            struct.pack(f"{self.arch.order}3{self.letter}", start, end, offset // _PAGE)
            for start, end, offset, _ in rows
        )
        return head + table + b"".join(path + b"\0" for *_, path in rows)

    # --- memory ---

    def _loads(self) -> list[tuple[int, int, int, bytes]]:
        """(start, end, flags, contents): read-only pages of files only with their ELF header."""
        cuts = {edge for start, end, *_ in self.rows for edge in (start, end)}
        result = []
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            for low, high, flags in self.ranges:
                edges = [low, *sorted(edge for edge in cuts if low < edge < high), high]
                for start, end in pairwise(edges):
                    file = any(row[0] <= start < row[1] for row in self.rows)
                    size = end - start
                    if file and not flags & 2:
                        head = any(row[0] == start and row[2] == 0 for row in self.rows)
                        size = _PAGE if head else 0
                    result.append((start, end, flags, self._read(memory, start, size)))
        return result

    def _read(self, memory: io.FileIO, start: int, size: int) -> bytes:
        if not size:
            return b""
        try:
            return os.pread(memory.fileno(), size, start + self.base)
        except OSError:
            return b""  # without any access, as a guard is

    def _laid_out(self, notes: bytes, loads: list[tuple[int, int, int, bytes]]) -> bytes:
        order, wide = self.arch.order, self.target.elf_class == 2
        ident = b"\x7fELF" + bytes((self.target.elf_class, 1 if order == "<" else 2, 1))
        header = struct.Struct(f"{order}16sHHI3{'Q' if wide else 'I'}I6H")
        segment = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        count = 1 + len(loads)
        at = header.size + segment.size * count
        head = header.pack(
            ident, 4, self.target.machine, 1, 0, header.size, 0, self.target.flags, header.size,
            segment.size, count, 0, 0, 0,
        )  # fmt: skip
        table = body = b""
        rows = [(_PT_NOTE, 0, 0, 0, notes), *(
            (_PT_LOAD, flags, start, end - start, contents)
            for start, end, flags, contents in loads
        )]  # fmt: skip
        for kind, flags, address, size, contents in rows:
            place = (at, address, 0, len(contents), size)
            fields = (kind, flags, *place, 1) if wide else (kind, *place, flags, 1)
            table += segment.pack(*fields)
            body += contents
            at += len(contents)
        return head + table + body


def _guest_ranges(log: Path) -> list[tuple[int, int, int]]:
    """(start, end, flags of a program header) from the last table of pages in qemu's log."""
    text = log.read_text().rpartition("size")[2]
    rows = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) [0-9a-f]+ ([r-])([w-])([x-])$", text, re.MULTILINE)
    result = []
    for start, end, *letters in rows:
        bits = zip(letters, (4, 2, 1), strict=True)
        flags = sum(bit for letter, bit in bits if letter != "-")
        result.append((int(start, 16), int(end, 16), flags))
    return result


def _mapped_files(
    pid: int, base: int, ranges: list[tuple[int, int, int]]
) -> Iterator[tuple[int, int, int, bytes]]:
    """The ELF files that the program has mapped: (start, end, offset, path) of each segment."""
    found: dict[bytes, int] = {}
    inside = [(start, end) for start, end, _ in ranges]
    for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines():
        parts = line.split(None, 5)
        if len(parts) < 6 or parts[5][:1] != b"/" or int(parts[2], 16):
            continue
        start = int(parts[0].partition(b"-")[0], 16) - base
        if any(low <= start < high for low, high in inside):
            found.setdefault(parts[5], start)
    for path, start in found.items():
        data = Path(os.fsdecode(path)).read_bytes()
        if data[:4] == b"\x7fELF":
            yield from _segments(ElfFile(data), start, path)


def _segments(elf: ElfFile, start: int, path: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    bias = start - (elf.loads[0].vaddr & -_PAGE)
    for load in elf.loads:
        end = load.vaddr + load.filesz + _PAGE - 1 & -_PAGE
        yield (load.vaddr & -_PAGE) + bias, end + bias, load.offset & -_PAGE, path
