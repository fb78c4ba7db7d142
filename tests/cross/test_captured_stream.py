"""Capture for machines that we do not have: the stream that their kernel would send, read as in a
crash; of the process's memory, the planned part; and what the minicore made of it gives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.analysed import Analysed, analyse, their_groups
from tests.support.cross import Crashed, compile_for, crash
from tests.support.cross_targets import TARGETS
from tests.support.oracle import gdb_frames
from usercrash.analysis.core.elf_notes import parse_auxv
from usercrash.analysis.explain.handled import handled_signals
from usercrash.capture.collect import take
from usercrash.capture.core_stream import Head, Stream
from usercrash.capture.kernel_dump import KernelDump
from usercrash.capture.pieces import joined
from usercrash.capture.plan import plan
from usercrash.capture.procfs import MapTable
from usercrash.elf.corewriter import write_core
from usercrash.elf.headers import NT_AUXV
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.snapshot import Snapshot
from usercrash.model.types import Pid, Tid

KERNEL_CODE = {"aarch64": b"[vdso]", "riscv64": b"[vdso]", "arm": b"[sigpage]"}

# A fault in a handler on a stack of its own, while another thread waits.
SOURCE = r"""
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#define KEEP __attribute__((noinline, noclone))
#define HERE __asm__ volatile("")
static int never[2];
KEEP int fault(int *where) { return *(volatile int *)where; }
static void handler(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    fault((int *)(long)number);
    HERE;
}
KEEP void interrupted(void) { raise(SIGUSR1); HERE; }
KEEP long waits(void) { char byte; long got = read(never[0], &byte, 1); HERE; return got; }
static void *worker(void *arg) { waits(); HERE; return arg; }
int main(void) {
    pthread_t thread;
    struct sigaction action = {0};
    stack_t other = {0};
    if (pipe(never) || pthread_create(&thread, 0, worker, 0)) return 1;
    other.ss_sp = malloc(1 << 20);
    other.ss_size = 1 << 20;
    sigaltstack(&other, 0);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGUSR1, &action, 0);
    interrupted();
    HERE;
    return 0;
}
"""


@dataclass(frozen=True, slots=True)
class Whole:
    """All of the process's memory, as capture sees it: pages of files, too."""

    core: Analysed

    def read(self, address: int, size: int) -> bytes:
        return self.core.memory.read(address, size)

    def pieces(self, address: int, size: int) -> list[tuple[int, bytes]]:
        found = []
        end = address + size
        while address < end:
            data = self.read(address, end - address)
            if data:
                found.append((address, data))
            address = (address + len(data)) // 64 * 64 + 64 if not data else address + len(data)
        return found


def captured(done: Crashed, whole: Analysed) -> Snapshot:
    """What capture makes of the stream."""
    stream = os.open(done.core, os.O_RDONLY)
    notes = NoteLog()
    event = CrashEvent(SOURCE_PIPE, 1, Pid(1), Tid(1), 11)
    target = KernelDump(stream, -1, event, Head(Stream(stream, 5.0), notes), notes)
    arch = target.arch
    assert arch is done.target.arch
    lines = []
    for m in whole.image.mappings:
        # qemu's page with the code that ends a handler: the kernel has it in the vdso
        path = m.path or (KERNEL_CODE[arch.name] if m.executable else b"")
        inode = 7 if path[:1] == b"/" else 0
        lines.append(b"%x-%x %s %08x 08:01 %d %s\n"
                     % (m.start, m.end, m.perms, m.offset, inode, path))  # fmt: skip
    facts = {b"maps": b"".join(lines)}
    maps = MapTable(facts[b"maps"])
    auxv = next(note.desc for note in target.first_notes() if note.type == NT_AUXV)
    memory = Whole(whole)
    ranges = plan(target.threads(), maps, parse_auxv(auxv, arch), memory.read, arch)
    pieces = take(memory, ranges, 64 << 20, float("inf"), notes)  # type: ignore[arg-type]
    target.release()
    assert list(notes) == []
    return Snapshot(
        event, target.machine, target.elf_class, target.elf_notes(), joined(pieces, maps), facts,
        [], notes,
    )  # fmt: skip


def minicore(done: Crashed, place: Path) -> tuple[Analysed, Analysed, Path]:
    """The whole core, what capture leaves of it, and where that is; both have the same stacks."""
    whole = analyse(done.core)
    small = place / "small"
    small.write_bytes(b"".join(write_core(captured(done, whole))))
    assert small.stat().st_size < 1 << 20
    ours = analyse(small)
    assert len(ours.image.threads) == len(whole.image.threads) == 2
    for number in range(2):
        frames = [(f.pc, f.sp, f.trust) for f in ours.stack(number).frames]
        assert frames == [(f.pc, f.sp, f.trust) for f in whole.stack(number).frames]
        assert ours.names(ours.stack(number)) == whole.names(whole.stack(number))
    return whole, ours, small


@pytest.mark.parametrize("name", ["aarch64", "riscv64", "arm"])
def test_other_debuggers_find_the_stacks_of_the_whole_core(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    done = crash(target, compile_for(target, Path("crash.c"), "-O2"), tmp_path, "thread")
    _, ours, small = minicore(done, tmp_path)
    assert ours.names(ours.stack())[:4] == ["leaf", "inner", "middle", "worker"]
    theirs, wanted = (
        gdb_frames(core, done.program, sysroot=target.sysroot) for core in (small, done.core)
    )
    assert theirs.keys() == wanted.keys()
    for tid, frames in theirs.items():
        # (Behind the end of a thread's stack gdb guesses from memory that only the whole core has.)
        found = their_groups(frames)
        assert found == their_groups(wanted[tid])[: len(found)]
    crashed = their_groups(theirs[ours.image.threads[0].tid])
    assert [names for _, names in crashed[:4]] == [("leaf",), ("inner",), ("middle",), ("worker",)]


def test_the_stack_that_a_handler_interrupted(tmp_path: Path) -> None:
    target = TARGETS["aarch64"]
    _, ours, _ = minicore(crash(target, compile_for(target, SOURCE, "-O1"), tmp_path), tmp_path)
    stack = ours.stack()
    names = ours.names(stack)
    (handled,) = handled_signals(
        stack.frames, range(len(stack.frames)), ours.image.arch, {}, ours.memory.read
    )
    assert (handled.info.number, handled.info.code) == (10, -6)  # SIGUSR1 by raise()
    assert handled.registers["pc"] == stack.frames[handled.frame].pc
    assert names[:2] == ["fault", "handler"]
    assert names[names.index("raise") :][:3] == ["raise", "interrupted", "main"]
    assert "waits" in ours.names(ours.stack(1))
