"""Live processes whose programs, or whose code, have 32 bits."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.spawn import compile_c, running, state_of

from usercrash.capture.collect import collect
from usercrash.capture.live import LiveTarget
from usercrash.elf.corewriter import write_core
from usercrash.elf.headers import (
    EHDR32,
    NT_AUXV,
    NT_FILE,
    NT_PRPSINFO,
    NT_PRSTATUS,
    PHDR32,
)
from usercrash.errors import UsercrashError

# mov eax, 29 (pause of i386); int 0x80; jmp back: a whole 32-bit program.
I386_CODE = b"\xb8\x1d\0\0\0\xcd\x80\xeb\xf7"


@contextmanager
def pausing(program: Path, data: bytes) -> Iterator[int]:
    """The process id of a program made of these bytes, once it waits."""
    program.write_bytes(data)
    program.chmod(0o755)
    process = subprocess.Popen([program])
    try:
        while state_of(process.pid) != "S":
            os.sched_yield()
        yield process.pid
        while state_of(process.pid) != "S":
            os.sched_yield()
    finally:
        process.kill()
        process.wait()


def test_a_32_bit_program(tmp_path: Path, needs_32_bits: None) -> None:
    header = EHDR32.pack(
        b"\x7fELF\1\1\1".ljust(16, b"\0"), 2, 3, 1, 0x10054, 52, 0, 0, 52, 32, 1, 0, 0, 0
    )
    size = 84 + len(I386_CODE)
    segment = PHDR32.pack(1, 0, 0x10000, 0x10000, size, size, 5, 0x1000)
    with pausing(tmp_path / "i386", header + segment + I386_CODE) as pid:
        target = LiveTarget.stop(pid)
        notes = {note.type: note.desc for note in target.elf_notes()}
        registers = target.threads()[0].registers
        target.close()
    assert (target.machine, target.elf_class) == (3, 1)
    assert registers["eip"] == 0x10054 + 7
    assert (registers["cs"], registers["orig_eax"]) == (0x23, 29)
    assert [len(notes[kind]) for kind in (NT_PRSTATUS, NT_PRPSINFO)] == [144, 124]
    assert struct.unpack_from("<II", notes[NT_AUXV], len(notes[NT_AUXV]) - 16)[0] != 0
    assert notes[NT_AUXV][-8:] == bytes(8)
    assert notes[NT_FILE].endswith(b"i386\0")
    assert target.notes == []


# It returns into the 32-bit code segment: there, or in another thread, and waits.
MIXED = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static void *leave(void *code) {
    __asm__ volatile("pushq $0x23\n\tpush %0\n\tlretq" ::"r"(code));
    return 0;
}
int main(int argc, char **argv) {
    static const char wait32[] = "\xb8\x1d\0\0\0\xcd\x80\xeb\xf7";
    pthread_t thread;
    char *low = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    memcpy(low, wait32, sizeof wait32);
    write(1, "r", 1);
    if (argc < 2) leave(low);
    if (pthread_create(&thread, 0, leave, low)) return 1;
    for (;;) pause();
}
"""


def waits_in_32_bits(pid: int) -> None:
    """Until a thread of it is in pause(2), which is 29 there and 34 in 64-bit code."""
    while not any(
        Path(f"/proc/{pid}/task/{tid}/syscall").read_text().startswith("29 ")
        for tid in os.listdir(f"/proc/{pid}/task")
    ):
        os.sched_yield()


def test_a_64_bit_program_in_32_bit_code(tmp_path: Path, needs_32_bits: None) -> None:
    exe = compile_c(tmp_path, "mixed", MIXED)
    with running([exe]) as process:
        waits_in_32_bits(process.pid)
        target = LiveTarget.stop(process.pid)
        snapshot = collect(target)
        target.close()
    for file in snapshot.files:
        os.close(file.fd)
    ours = analyse(b"".join(write_core(snapshot)))
    assert (snapshot.machine, snapshot.elf_class) == (3, 2)
    registers = ours.image.threads[0].registers
    assert (registers["cs"], registers["orig_eax"]) == (0x23, 29)
    assert ours.image.read(registers["eip"] - 2, 4) == b"\xcd\x80\xeb\xf7"
    assert len(ours.modules) >= 4  # found through the 64-bit loader
    files = [module for module in ours.modules if module.path[:1] == b"/"]
    assert {module.how for module in files} == {"path"}  # 64-bit files, which are its own


def test_a_program_that_mixes_architectures_is_refused_and_runs_on(
    tmp_path: Path, needs_32_bits: None
) -> None:
    exe = compile_c(tmp_path, "mixed", MIXED)
    with running([exe, "thread"]) as process:
        waits_in_32_bits(process.pid)
        with pytest.raises(UsercrashError, match="code of another architecture"):
            LiveTarget.stop(process.pid)
        waits_in_32_bits(process.pid)
        while (state := state_of(process.pid)) != "S":  # (its first thread, too, sleeps again)
            assert state == "R"
            os.sched_yield()
