"""What is concluded from a report whose other parts are there: waits, deadlocks, fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ... import report
from ...elf.arch import Arch
from ..core.core_threads import CoreThread
from ..explain.fingerprint import fingerprint
from ..explain.waits import InterpreterLock, ObjectAt, WaitingThread, deadlocks, waits
from ..facts.texts import safe

MAX_DEADLOCKS = 100


def with_waits(
    built: report.Report,
    threads: Sequence[CoreThread],
    arch: Arch,
    read: Callable[[int, int], bytes],
    control_block: Callable[[CoreThread], int],
    object_at: ObjectAt,
    interpreter_locks: Sequence[InterpreterLock],
) -> report.Report:
    """The report with what its threads (`threads` of the core, in the same order) wait for.
    `object_at` and `interpreter_locks`: as `waits` has them."""
    seen = [
        WaitingThread(
            shown.tid, thread.tid, shown.name, thread.registers, shown.frames, control_block(thread)
        )
        for thread, shown in zip(threads, built.threads, strict=False)
    ]
    found = waits(seen, arch, read, built.open_files, object_at, interpreter_locks)
    replace = msgspec.structs.replace
    return replace(
        built,
        threads=[
            shown if one is None else replace(shown, waiting=_safe(one))
            for shown, one in zip(built.threads, found, strict=True)
        ],
        deadlocks=deadlocks(seen, found)[:MAX_DEADLOCKS],
    )


def _safe(waiting: report.Waiting) -> report.Waiting:
    return msgspec.structs.replace(waiting, summary=safe(waiting.summary, 300))


def with_fingerprint(built: report.Report) -> report.Report:
    """The report with what equal crashes have in common."""
    program = (built.process.exe or built.process.comm).rpartition("/")[2]
    thread = built.threads[0] if built.threads else None
    found = fingerprint(built.signal, built.cause, program, thread)
    found = msgspec.structs.replace(
        found, sort=safe(found.sort, 200), frames=[safe(name, 256) for name in found.frames]
    )
    return msgspec.structs.replace(built, fingerprint=found)
