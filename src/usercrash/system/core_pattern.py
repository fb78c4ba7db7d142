"""core_pattern set for a while, and put back on every way out.

Only one process at a time may have it: the lock below is waited for. A guardian
process (guardian.py) restores the old values when this one is killed; when the
guardian is killed, this one restores; when both are, the next one to take the lock
finds the old values in the lock file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import UsercrashError
from . import sysctl

LOCK_PATH = "/run/usercrash-core-pattern.lock"
_MAX_RECORD = 4096  # bytes of the lock file that are looked at


@contextlib.contextmanager
def core_pattern_guard(
    pattern: str, pipe_limit: int, suid_dumpable: int | None = None
) -> Iterator[Mapping[str, str]]:
    """Set core_pattern and core_pipe_limit (and fs.suid_dumpable) inside a `with`.

    Gives the values from before, by the names of `sysctl`. Waits, without a limit, for
    another holder; a second guard inside the first waits for ever. UsercrashError if the
    kernel refuses or cuts a value, with the old ones restored.
    """
    sysctl.check_pattern(pattern)
    new = {sysctl.CORE_PATTERN: pattern, sysctl.CORE_PIPE_LIMIT: str(pipe_limit)}
    if suid_dumpable is not None:
        new[sysctl.SUID_DUMPABLE] = str(suid_dumpable)
    lock = _take_lock()
    try:
        old = _values_before(lock, new)
        _record(lock, old, new)
        guardian = _start_guardian(lock, old)
        try:
            # The pattern goes last: no crash meets it with the limit of before.
            for name in reversed(new):
                sysctl.write(name, new[name])
            yield old
        finally:
            try:
                for name, value in old.items():
                    sysctl.write(name, value)
                os.ftruncate(lock, 0)
            finally:
                _dismiss(guardian)
    finally:
        # Not only close: a child that was forked meanwhile shares the lock.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def is_held() -> bool:
    """Whether a guard is up at the moment: a further one would wait. (For a word to the user.)"""
    try:
        with open(LOCK_PATH, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # never used since boot, or not ours to look at
    return False


def _take_lock() -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        lock = os.open(LOCK_PATH, flags, 0o600)
    except OSError as error:
        hint = "only root may set core_pattern" if os.geteuid() else ""
        raise UsercrashError(f"cannot open {LOCK_PATH}: {error.strerror}", hint) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _values_before(lock: int, new: Mapping[str, str]) -> dict[str, str]:
    """What to restore: the values of now, or, if those are what a holder left that died
    together with its guardian, the ones that it had found."""
    now = {name: sysctl.read(name) for name in new}
    try:
        record = json.loads(os.pread(lock, _MAX_RECORD, 0) or b"{}")
        left, before = dict(record["new"]), dict(record["old"])
    except (ValueError, KeyError, TypeError):
        return now
    for name, value in before.items():
        if isinstance(value, str) and name in left and sysctl.read(name) == left[name]:
            now[name] = value
    return now


def _record(lock: int, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    text = json.dumps({"old": dict(old), "new": dict(new)}).encode("utf-8", "surrogateescape")
    os.ftruncate(lock, 0)
    os.pwrite(lock, text, 0)


def _start_guardian(lock: int, old: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the guardian and wait until it is ready; it shares the lock's description."""
    pidfd = os.pidfd_open(os.getpid())
    try:
        guardian = subprocess.Popen(
            [
                sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py")),
                str(lock), str(pidfd),
                *(f"{sysctl.path_of(name)}={value}" for name, value in old.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock, pidfd),
            cwd="/",
            env={},
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(pidfd)
    assert guardian.stdout is not None
    with guardian.stdout as answer:
        if answer.readline() != b"ready\n":
            _dismiss(guardian)
            raise UsercrashError("cannot start the process that restores core_pattern")
    return guardian


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    assert guardian.stdin is not None
    guardian.stdin.close()
    guardian.wait()
