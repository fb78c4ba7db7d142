"""A core of a program that stands still under qemu.

It is laid out as the kernel of its machine would: elf_gregset_t by the architecture's table,
files and what their pages hold left out, each thread's NT_PRSTATUS behind another.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.elf.headers import (
    NT_AUXV,
    NT_FILE,
    NT_FPREGSET,
    NT_PRPSINFO,
    NT_PRSTATUS,
    NT_SIGINFO,
)
from usercrash.model.snapshot import ElfNote

from .cross_targets import Target
from .gdb_remote import Remote

_PAGE = 4096
_PT_LOAD, _PT_NOTE = 1, 4


class ProgramCore:
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
