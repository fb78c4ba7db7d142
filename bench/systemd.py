"""systemd-coredump, also where systemd is not process 1: then systemd-socket-activate stands in
for its socket unit, and a journald of ours takes its record."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .collectors import Collector, Crash, Record, UnavailableError
from .packages import bytes_on_disk, find

_COREDUMP = Path("/run/systemd/coredump")
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_JOURNAL = Path("/run/systemd/journal")
_LOGS = Path("/run/log")
_STORAGE = Path("/var/lib/systemd/coredump")
_MESSAGE = "MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1"  # SD_MESSAGE_COREDUMP


class SystemdCoredump(Collector):
    """The whole core, compressed, and stacks by elfutils in the journal."""

    name = "systemd-coredump"
    pipe_limit = 16
    heavy = True

    def __init__(self, peers: Sequence[Path], place: Path) -> None:
        self._peers = peers
        self._log = place / "systemd.log"
        self._link = place / "systemd-coredump"
        self._activator: subprocess.Popen[bytes] | None = None
        self._undo = ExitStack()
        self.pattern = ""
        self.remark = ""

    def start(self) -> None:
        self._link.symlink_to(find("lib/systemd/systemd-coredump", self._peers))
        settings = find("usr/lib/sysctl.d/50-coredump.conf", self._peers).read_text()
        self.pattern, self.pipe_limit = shipped(settings, self._link)
        if not _STORAGE.exists():
            _STORAGE.mkdir(parents=True)
            self._undo.callback(shutil.rmtree, _STORAGE, True)
        self._undo.callback(_forget, set(_STORAGE.iterdir()))
        if not (_BOOTED.exists() and _COREDUMP.exists()):
            self._activate()

    def _activate(self) -> None:
        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            raise UnavailableError("needs systemd, or systemd-socket-activate")
        if not _COREDUMP.parent.exists():
            _COREDUMP.parent.mkdir()
            self._undo.callback(shutil.rmtree, _COREDUMP.parent, True)
        _COREDUMP.unlink(missing_ok=True)  # of one that was killed
        self._undo.callback(_COREDUMP.unlink, True)
        with open(self._log, "wb") as log:
            self._activator = subprocess.Popen(
                [activate, "--seqpacket", "--accept", f"--listen={_COREDUMP}", str(self._link)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            _until(_COREDUMP.exists)
        except TimeoutError as error:
            raise UnavailableError(f"its socket did not come up: {self._said()}") from error

    def _said(self) -> str:
        return self._log.read_text()[-300:] if self._log.exists() else "it said nothing"

    def stop(self) -> None:
        if self._activator is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._activator.pid, signal.SIGTERM)
            self._activator.wait()
        self._undo.close()

    @contextmanager
    def around(self) -> Iterator[None]:
        """Its journal, only while it is measured: other collectors would ask it, too."""
        daemon = Path("/lib/systemd/systemd-journald")
        if (_JOURNAL / "socket").exists():
            yield
            return
        if not daemon.exists():
            self.remark = "systemd-coredump had no journal to write to"
            yield
            return
        made = not _LOGS.exists()
        with subprocess.Popen(
            [daemon], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        ) as journald:  # fmt: skip
            try:
                _until(lambda: (_JOURNAL / "socket").exists())
                time.sleep(0.2)  # it reads the kernel's log first
                yield
            finally:
                journald.terminate()
                journald.wait()
                shutil.rmtree(_JOURNAL, ignore_errors=True)
                shutil.rmtree(_LOGS if made else _LOGS / "journal", ignore_errors=True)

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """It holds the process until its record is written."""
        mine = _stored([crash.pid])
        for path in mine:
            self.size = bytes_on_disk(path)
            path.unlink()
        if not mine:
            raise UnavailableError(f"it stored nothing: {self._said()}")
        return crash.hold

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """Its files, when their number grows no more; known are those in the journal, too."""
        begin = changed = time.monotonic_ns()
        last = -1
        while last < len(pids) and time.monotonic_ns() - begin < seconds * 1e9:
            if (now := len(_stored(pids))) != last:
                last, changed = now, time.monotonic_ns()
            elif time.monotonic_ns() - changed > 3e9:
                break
            time.sleep(0.05)
        stored = _stored(pids)
        known = {_pid_of(path) for path in stored} | _in_journal(pids)
        for path in stored:
            path.unlink()
        return Record(len(known), len(stored), changed)


def shipped(settings: str, program: Path) -> tuple[str, int]:
    """core_pattern and core_pipe_limit of its own sysctl file, with this path for the program's."""
    values = dict(
        line.removeprefix("kernel.").split("=", 1)
        for line in settings.splitlines()
        if line.startswith("kernel.")
    )
    _, space, arguments = values["core_pattern"].partition(" ")
    return f"|{program}{space}{arguments}", int(values["core_pipe_limit"])


def _stored(pids: Sequence[int]) -> list[Path]:
    wanted = set(map(str, pids))
    return [path for path in _STORAGE.iterdir() if _pid_of(path) in wanted]


def _pid_of(path: Path) -> str:
    """Of core.COMM.UID.BOOT.PID.TIME.zst."""
    return path.name.rsplit(".", 3)[-3] if path.name.count(".") >= 3 else ""


def _in_journal(pids: Sequence[int]) -> set[str]:
    if shutil.which("journalctl") is None:
        return set()
    place = ["-D", str(_LOGS / "journal")] if (_LOGS / "journal").exists() else []
    done = subprocess.run(
        ["journalctl", "-q", *place, "--no-pager", "-o", "cat", "--output-fields=COREDUMP_PID",
         "-b", _MESSAGE],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return set(done.stdout.split()) & set(map(str, pids))


def _forget(known: set[Path]) -> None:
    """Remove what it stored meanwhile: crashes of others came to it, too."""
    for path in set(_STORAGE.iterdir()) - known:
        path.unlink(missing_ok=True)


def _until(look: Callable[[], bool]) -> None:
    """TimeoutError if it does not become true within ten seconds."""
    deadline = time.monotonic() + 10
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)
