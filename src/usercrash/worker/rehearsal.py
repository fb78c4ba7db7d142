"""A crash that is none, for a worker that has just been forked.

Its pages are the server's until it writes to them, and to count a reference is to write. On most
machines the first crash after a start is the one that matters: so the copying of those
pages (2 to 3 ms) is done before, on a process of our own that stands still.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable

from ..capture import (  # noqa: F401  (for some crashes)
    fault_file,
    hs_err,
    interpreters,
    made_code,
    node_report,
    own_files,
    perf_map,
    pieces,
    runtime_files,
    unwind_tables,
)
from ..capture.procfs import read_at
from ..elf.arch import PROGRAMS, Arch, arch_of
from ..elf.corewriter import write_core
from ..elf.headers import NT_AUXV, NT_PRSTATUS
from ..model.event import DUMP_MODE_USER, SOURCE_SOCKET, CrashEvent
from ..model.notes import NoteLog
from ..model.snapshot import ElfNote, Snapshot
from ..model.types import Pid, Tid
from ..perl import walk as _perl  # noqa: F401  (for some crashes)
from ..php import walk as _php  # noqa: F401
from ..ruby import walk as _ruby  # noqa: F401
from .handshake import KERNEL, MARK, REQUEST, WAIT
from .peer import Peer

# All of them are imported now, in the server: not while a process is held.
_ARCHES = [arch_of(*kind) for kind in PROGRAMS.get(os.uname().machine, ())]
_SIGSEGV = 11

Collect = Callable[[socket.socket, Peer], object]


def rehearse(collect: Collect) -> None:
    """Run `collect` on a child of ours, as if the kernel were dumping it. OSError as it comes."""
    stay, go = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(stay)
        os.close(go)
        raise
    if child == 0:
        os.close(go)
        os.read(stay, 1)
        os._exit(0)
    try:
        os.close(stay)
        ours, kernel = socket.socketpair()
        with ours, kernel:
            kernel.sendall(REQUEST.pack(REQUEST.size, REQUEST.size, KERNEL | WAIT) + MARK.pack(0))
            kernel.sendall(_core(child))
            collect(ours, Peer(child, os.pidfd_open(child), DUMP_MODE_USER, _SIGSEGV, b"rehearsal"))
    finally:
        os.close(go)
        os.waitpid(child, 0)


def _core(pid: int) -> bytes:
    """The head of a core of this process, which stands in a system call."""
    arch = _ARCHES[0] if _ARCHES else None
    notes = [] if arch is None else [ElfNote(b"CORE", NT_PRSTATUS, _prstatus(arch, pid))]
    notes.append(ElfNote(b"CORE", NT_AUXV, read_at(None, b"/proc/%d/auxv" % pid)))
    event = CrashEvent(SOURCE_SOCKET, time.time_ns(), Pid(pid), Tid(pid), _SIGSEGV)
    machine, elf_class = (arch.machine, arch.elf_class) if arch else (0, 2)
    return b"".join(write_core(Snapshot(event, machine, elf_class, notes, [], {}, [], NoteLog())))


def _prstatus(arch: Arch, pid: int) -> bytes:
    """struct elf_prstatus with what /proc/PID/syscall shows: its last numbers are sp and pc."""
    words = read_at(None, b"/proc/%d/syscall" % pid).split()
    place = {arch.sp: words[-2], arch.pc: words[-1]} if len(words) > 2 else {}
    data = bytearray(arch.prstatus_size)
    struct.pack_into("<h", data, arch.prstatus_signal, _SIGSEGV)
    struct.pack_into("<i", data, arch.prstatus_tid, pid)
    for number, name in enumerate(arch.prstatus_registers):
        value = int(place.get(name, b"0"), 16)
        at = arch.prstatus_offset + number * arch.word
        data[at : at + arch.word] = value.to_bytes(arch.word, "little")
    return bytes(data)
