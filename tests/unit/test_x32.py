"""x32: hardly any kernel runs it, but any runs its code. A 64-bit program maps an x32 executable
below 4 GiB and jumps into it; its state at the fault becomes a core as x32 kernels lay it out."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from tests.support.analysed import analyse, their_groups
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.kernel import analyze
from tests.support.oracle import gdb_frames
from tests.support.spawn import compile_c

from usercrash.capture.live_notes import ProcessIds, file_note, prpsinfo, prstatus
from usercrash.elf.arch.x86_64 import X32
from usercrash.elf.corewriter import write_core
from usercrash.elf.headers import NT_AUXV, NT_SIGINFO
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.maps import Mapping
from usercrash.model.notes import NoteLog
from usercrash.model.snapshot import ElfNote, Load, Snapshot
from usercrash.model.types import Pid, Tid

LOADER = r"""
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
int main(int argc, char **argv) {
    struct stat state;
    int fd = open(argv[argc - 1], O_RDONLY);
    fstat(fd, &state);
    char *file = mmap(0, state.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    Elf32_Ehdr *header = (void *)file;
    Elf32_Phdr *rows = (void *)(file + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        unsigned start = rows[i].p_vaddr & ~4095U;
        if (rows[i].p_type != PT_LOAD) continue;
        mmap((void *)(long)start, rows[i].p_vaddr + rows[i].p_memsz - start,
             PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        memcpy((void *)(long)rows[i].p_vaddr, file + rows[i].p_offset, rows[i].p_filesz);
    }
    char *stack = mmap(0, 65536, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    __asm__ volatile("mov %0, %%rsp\n\tjmp *%1"
                     :: "r"(stack + 65536 - 64), "r"((long)header->e_entry));
}
"""

PROGRAM = r"""
#define KEEP __attribute__((noinline))
#define HERE __asm__ volatile("")
KEEP int third(int **p) { return *p[1]; }
KEEP int second(int **p, int n) {
    volatile int room[30] = {n};
    n += third(p);
    HERE;
    return n + room[3];
}
KEEP int first(int n) {
    int *nowhere[4] = {0, (int *)16, 0, 0};
    n += second(nowhere, n + 1);
    HERE;
    return n;
}
__asm__(".globl _start\n.type _start, @function\n_start:\n.cfi_startproc\n.cfi_undefined rip\n"
        "xor %ebp, %ebp\nmov $1, %edi\ncall first\nhlt\n.cfi_endproc\n.size _start, . - _start");
"""


def x32_core(place: Path, *flags: str) -> tuple[Path, Path]:
    """(The core, the x32 program) of a fault in PROGRAM."""
    program, source = place / "program", place / "program.c"
    source.write_text(PROGRAM)
    subprocess.run(
        [need("gcc", "gcc"), "-mx32", "-g", "-static", "-nostdlib", "-no-pie", "-fno-pie", *flags,
         "-o", str(program), str(source)],
        check=True,
    )  # fmt: skip
    loader = compile_c(place, "loader", LOADER)
    wide = analyse(gcore_at_fault([bytes(loader), bytes(program)], place / "wide"))
    registers = wide.image.threads[0].registers
    values = [registers[name] for name in X32.prstatus_registers]
    low = [(start, end) for start, end in wide.image.captured() if end <= 1 << 32]
    loads = [Load(start, wide.image.read(start, end - start), 7) for start, end in low]
    rows = [Mapping(start, end, b"rwxp", start - 0x400000, b"08:01", 9, bytes(program))
            for start, end in low if 0x400000 <= start < 0x500000]  # fmt: skip
    elf = program.read_bytes()
    entry, phoff, phnum = (*struct.unpack_from("<II", elf, 24), *struct.unpack_from("<H", elf, 44))
    auxv = struct.pack("<10I", 3, 0x400000 + phoff, 4, 32, 5, phnum, 9, entry, 0, 0)
    siginfo = struct.pack("<iiiI", 11, 0, 1, 16).ljust(128, b"\0")
    ids = ProcessIds(b"7 (x32) R 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0\n")
    notes = [
        prstatus(X32, 7, 11, siginfo, 0, ids, struct.pack("<27Q", *values)),
        prpsinfo(7, ids, 0, 0, b"program", 4),
        ElfNote(b"CORE", NT_SIGINFO, siginfo),
        ElfNote(b"CORE", NT_AUXV, auxv),
        file_note(rows, 4096, 4),
    ]
    event = CrashEvent(SOURCE_PIPE, 1, Pid(7), Tid(7), 11)
    core = place / "core"
    core.write_bytes(b"".join(write_core(Snapshot(event, 62, 1, notes, loads, {}, [], NoteLog()))))
    return core, program


def test_a_core_of_x32(tmp_path: Path) -> None:
    for number, flags in enumerate((("-O1", "-fomit-frame-pointer"), ("-O0",))):
        place = tmp_path / str(number)
        place.mkdir()
        core, program = x32_core(place, *flags)
        ours = analyse(core)
        assert ours.image.arch is X32 and len(core.read_bytes()) < 1 << 20
        stack = ours.stack()
        assert ours.names(stack) == ["third", "second", "first", "_start"]
        theirs = their_groups(gdb_frames(core, program)[7])
        assert [(pc, names[-1]) for pc, names in theirs] == [
            (frame.pc, name) for frame, name in zip(stack.frames, ours.names(stack), strict=True)
        ]


def test_the_report_of_x32(tmp_path: Path) -> None:
    core, _ = x32_core(tmp_path, "-O1")
    report = analyze(core)
    assert report.system.architecture == "x32"
    assert report.signal is not None and report.signal.fault_address == "0x10"
    assert report.cause is not None and report.cause.kind == "null-pointer"
    assert "read of 4 bytes at 0x10" in report.cause.summary
