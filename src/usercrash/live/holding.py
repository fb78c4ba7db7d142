"""What debugger and run do with a process that they hold: copy it, let it go."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..capture.collect import Limits, collect
from ..capture.live import LiveTarget
from ..capture.log_tail import add_log_tail
from ..config import Config
from ..elf.corewriter import write_core
from ..model.snapshot import Snapshot

if TYPE_CHECKING:
    from ..isolated_analysis import Analysed, View

_LATE_SECONDS = 0.05


def limits_of(config: Config) -> Limits:
    """The bounds of one capture, as configured."""
    capture = config.capture
    return Limits(
        max_memory=capture.max_memory_mb << 20,
        crashing_stack=capture.crashing_stack_mb << 20,
        other_stack=capture.other_stack_kb << 10,
        max_files=capture.max_files,
        seconds=capture.seconds,
        variables=config.python.variables,
    )


def snapshot_of(target: LiveTarget, limits: Limits, *, lives: bool) -> Snapshot:
    """The snapshot of a held process, which is let go whatever happens: as soon as its memory is
    copied if it `lives`, at the end if it is about to die.

    The fact `@stop_ns` says for how long it was held.
    """
    try:
        snapshot = collect(target, limits, release_early=lives)
    finally:
        target.close()
    snapshot.facts[b"@stop_ns"] = b"%d" % target.pause_ns
    add_log_tail(snapshot)
    return snapshot


def analyse(
    snapshot: Snapshot, config: Config, crash_id: str, view: View, sources: Sequence[str] = ()
) -> Analysed:
    """The report of a snapshot (`sources`: directories of source files); where nothing could be
    rendered, its text is what capture knows, without names, and `failure` says why."""
    from ..capture.plain_report import plain_report
    from ..isolated_analysis import Analysed
    from ..pipeline import report_snapshot

    try:
        analysed = report_snapshot(snapshot, config, crash_id, view, sources)
    except (ImportError, MemoryError, OSError) as error:
        analysed = Analysed(failure=f"{type(error).__name__}: {error}")
    if view.core and not analysed.core:
        analysed = replace(analysed, core=_compressed_core(snapshot))
    if analysed.text:
        return analysed
    return replace(analysed, text=plain_report(snapshot))


def _compressed_core(snapshot: Snapshot) -> bytes:
    try:
        from zstandard import ZstdCompressor
    except ImportError:
        return b""  # that it is missing is in the analysis's failure already
    return ZstdCompressor().compress(b"".join(write_core(snapshot)))


def with_late_release(target: LiveTarget, work: Callable[[], int]) -> int:
    """Do the work; gives its exit status. Threads of a released target that had not stopped are
    let go as soon as they do, meanwhile: only their tracer can do that, and that is this
    process, so the work is a child's then.
    """
    if not target.unreleased():
        return work()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _work_and_end(work)
    while target.unreleased():
        target.release_late(_LATE_SECONDS)
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _work_and_end(work: Callable[[], int]) -> None:
    status = 1
    try:
        status = work()
        sys.stdout.flush()
    except Exception as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)
