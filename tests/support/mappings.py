"""More mappings for a process than the system allows, for a while."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usercrash.system import guardian

LIMIT = Path("/proc/sys/vm/max_map_count")


@contextmanager
def many_mappings(count: int = 80_000) -> Iterator[None]:
    """vm.max_map_count inside the `with`. Put back on every way out: a guardian does it when
    this process is killed."""
    before = LIMIT.read_text().strip()
    pidfd = os.pidfd_open(os.getpid())
    with tempfile.TemporaryFile() as lock:
        keeper = subprocess.Popen(
            [sys.executable, "-IS", guardian.__file__, str(lock.fileno()), str(pidfd),
             f"{LIMIT}={before}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(lock.fileno(), pidfd),
            start_new_session=True,
        )  # fmt: skip
    os.close(pidfd)
    assert keeper.stdin is not None and keeper.stdout is not None
    with keeper.stdin, keeper.stdout:
        try:
            assert keeper.stdout.readline() == b"ready\n"
            LIMIT.write_text(str(count))
            yield
        finally:
            keeper.stdin.close()
            keeper.wait(60)
    assert LIMIT.read_text().strip() == before
