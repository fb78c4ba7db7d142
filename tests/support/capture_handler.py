"""A core_pattern program that only captures: what KernelDump and collect() make of a crash.

Started by the kernel through a launcher that held.py writes, with the directory for results,
the mode and the ids. Modes, joined by `+`: `tee` keeps the kernel's whole core, too; `before`
and `during` stop before KernelDump.open and before collect(), until told to go on.
Nothing is imported that capture does not need: the times are part of the result.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _ask(place: str, stage: str) -> None:
    """Say that we have stopped, and wait until the test gives up its lock."""
    with open(f"{place}/stopped", "ab", buffering=0) as stopped:
        stopped.write(b".")
    with open(f"{place}/{stage}", "rb") as go:
        fcntl.flock(go, fcntl.LOCK_SH)


def _tee(path: str) -> Callable[[], None]:
    """From now on keep all that is read from descriptor 0; the result reads the rest."""
    real, kept = os.readv, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def readv(fd: int, buffers: Sequence[memoryview]) -> int:
        size = real(fd, buffers)
        if fd == 0:
            os.write(kept, buffers[0][:size])
        return size

    def rest() -> None:
        while data := os.read(0, 1 << 20):
            os.write(kept, data)

    setattr(os, "readv", readv)  # noqa: B010 (its real type has more forms)
    return rest


def main() -> None:
    began = time.monotonic_ns()
    while os.open("/dev/null", os.O_RDWR) <= 2:
        pass
    place, mode, *words = sys.argv[1:]
    from usercrash.capture.collect import collect
    from usercrash.capture.kernel_dump import KernelDump
    from usercrash.model.event import CrashEvent
    from usercrash.model.types import Pid, Tid

    imported = time.monotonic_ns()
    # %P %I %s %d %F of the full form, %p %s of the short one
    numbers = [int(word) if word else -1 for word in words]
    if len(numbers) == 2:
        numbers = [numbers[0], 0, numbers[1], -1, -1]
    pid, tid, signal, dump_mode, pidfd = numbers
    event = CrashEvent("core_pattern", time.time_ns(), Pid(pid), Tid(tid), signal, dump_mode)
    rest = _tee(f"{place}/{os.getpid()}.full") if "tee" in mode else None
    if "before" in mode:
        _ask(place, "before")
    started = time.monotonic_ns()
    target = KernelDump.open(0, event, pidfd)
    opened = time.monotonic_ns()
    proved = target.proc >= 0
    if "during" in mode:
        _ask(place, "during")
    if rest:
        rest()  # it is held nevertheless, until the last reader is gone
    collecting = time.monotonic_ns()
    snapshot = collect(target)
    collected = time.monotonic_ns()
    target.release()

    import json

    from usercrash.capture.plain_report import plain_report
    from usercrash.elf.corewriter import write_core

    name = f"{place}/{os.getpid()}"
    with open(f"{name}.core", "wb") as core:
        core.writelines(write_core(snapshot))
    with open(f"{name}.txt", "wb") as text:
        text.write(plain_report(snapshot))
    result = {
        "given": pid, "pid": event.pid, "tid": event.tid, "signal": event.signal,
        "start_ticks": event.start_ticks, "proved": proved,
        "machine": snapshot.machine, "class": snapshot.elf_class,
        "threads": [[thread.tid, thread.host_tid] for thread in target.threads()],
        "facts": {name.decode("latin-1"): value.decode("latin-1")
                  for name, value in snapshot.facts.items()},
        "files": [[file.path.decode("latin-1"), file.fd >= 0, os.fstat(file.fd).st_ino
                   if file.fd >= 0 else 0, file.inode] for file in snapshot.files],
        "loads": [[load.address, len(load.data), load.flags] for load in snapshot.loads],
        "notes": [[note.stage, note.what, note.why] for note in snapshot.notes],
        "ms": {"import": (imported - began) / 1e6, "open": (opened - started) / 1e6,
               "collect": (collected - collecting) / 1e6},
    }  # fmt: skip
    with open(f"{name}.part", "w") as part:
        json.dump(result, part)
    os.rename(f"{name}.part", f"{name}.json")
