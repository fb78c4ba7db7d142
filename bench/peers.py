"""The peers: other collectors of crashes, from Debian's packages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .collectors import Crash, Record, UnavailableError


def _find(name: str, places: list[Path]) -> Path:
    for place in places:
        if (place / name).is_file():
            return place / name
    raise UnavailableError(f"{name} is not installed")


class Minicoredumper:
    """The chosen parts of the memory, in C, no names; as its package configures it."""

    name = "minicoredumper"
    pipe_limit = 1000
    core_limit = -1
    heavy = False

    size = 0

    def __init__(self, peers: list[Path], place: Path) -> None:
        self.peers = peers
        self.place = place / "minicoredumper"
        self.pattern = ""

    def around(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def start(self) -> None:
        program = _find("usr/sbin/minicoredumper", self.peers)
        recipe = _find("etc/minicoredumper/generic.recept.json", self.peers)
        self.place.mkdir()
        (self.place / "out").mkdir()
        shutil.copy(recipe, self.place)
        config = self.place / "cfg.json"
        config.write_text(
            json.dumps(
                {
                    "base_dir": str(self.place / "out"),
                    "watch": [{"recept": str(self.place / recipe.name)}],
                }
            )
        )
        # The kernel keeps 127 bytes of the pattern.
        link = self.place / "m"
        link.symlink_to(program)
        self.pattern = f"|{link} %P %u %g %s %t %h %e {config}"

    def stop(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """It writes no report, but a core, and that before it lets go."""
        if not any((self.place / "out").iterdir()):
            raise UnavailableError("it wrote nothing")
        for path in (self.place / "out").iterdir():
            self.size = _bytes_on_disk(path)
            shutil.rmtree(path)
        return crash.hold

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """One directory for each crash, whole when the process is let go."""
        wanted = set(map(str, pids))
        found = [path for path in (self.place / "out").iterdir() if any(path.iterdir())]
        known = sum(path.name.rpartition(".")[2] in wanted for path in found)
        for path in found:
            shutil.rmtree(path)
        return Record(known, known, 0.0)


class SystemdCoredump:
    """The whole core, compressed, and stacks by elfutils for the journal. Without systemd as
    process 1, systemd-socket-activate stands in for its socket unit."""

    name = "systemd-coredump"
    pipe_limit = 16  # its own sysctl file
    core_limit = -1
    heavy = True
    size = 0
    SOCKET = Path("/run/systemd/coredump")
    JOURNAL = Path("/run/systemd/journal")
    STORAGE = Path("/var/lib/systemd/coredump")

    def __init__(self, peers: list[Path], place: Path) -> None:
        self.peers = peers
        self.log = place / "systemd.log"
        self.link = place / "systemd-coredump"
        self.pattern = ""
        self.activator: subprocess.Popen[bytes] | None = None
        self.journal = False
        self.undo = ExitStack()

    def start(self) -> None:
        program = _find("lib/systemd/systemd-coredump", self.peers)
        self.link.symlink_to(program)
        self.pattern = f"|{self.link} %P %u %g %s %t 9223372036854775808 %h"
        if not self.STORAGE.exists():
            self.STORAGE.mkdir(parents=True)
            self.undo.callback(shutil.rmtree, self.STORAGE, True)
        self.undo.callback(self._forget, set(self.STORAGE.iterdir()))
        if not self.SOCKET.exists():
            self._activate()

    def _forget(self, known: set[Path]) -> None:
        """Remove what it stored meanwhile: crashes of others came to it, too."""
        for path in set(self.STORAGE.iterdir()) - known:
            path.unlink(missing_ok=True)

    def _activate(self) -> None:
        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            raise UnavailableError("needs systemd, or systemd-socket-activate")
        if not self.SOCKET.parent.exists():
            self.SOCKET.parent.mkdir()
            self.undo.callback(shutil.rmtree, self.SOCKET.parent, True)
        self.undo.callback(self.SOCKET.unlink, True)
        with open(self.log, "wb") as log:
            self.activator = subprocess.Popen(
                [activate, "--seqpacket", "--accept", f"--listen={self.SOCKET}", str(self.link)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            _until(self.SOCKET.exists)
        except TimeoutError as error:
            raise UnavailableError(f"its socket did not come up: {self.log.read_text()}") from error

    @contextmanager
    def around(self) -> Iterator[None]:
        """Its journal, only while it is measured: other collectors would ask it, too."""
        daemon = Path("/lib/systemd/systemd-journald")
        if (self.JOURNAL / "socket").exists() or not daemon.exists():
            yield
            return
        logs = Path("/run/log")
        made = not logs.exists()
        with subprocess.Popen(
            [daemon], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        ) as journald:  # fmt: skip
            try:
                _until(lambda: (self.JOURNAL / "socket").exists())
                self.journal = True
                yield
            finally:
                journald.terminate()
                journald.wait()
                shutil.rmtree(self.JOURNAL, ignore_errors=True)
                shutil.rmtree(logs if made else logs / "journal", ignore_errors=True)

    def stop(self) -> None:
        if self.activator is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.activator.pid, signal.SIGTERM)
            self.activator.wait()
        self.undo.close()

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """It holds the process until its record is written."""
        mine = [path for path in self.STORAGE.iterdir() if f".{crash.pid}." in path.name]
        for path in mine:
            self.size = _bytes_on_disk(path)
            path.unlink()
        if not mine:
            raise UnavailableError(f"it stored nothing: {self.log.read_text()[-300:]}")
        return crash.hold

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """Files that bear the pids, when their number grows no more."""
        begin, last, changed = time.monotonic(), -1, time.monotonic()
        while time.monotonic() - begin < seconds and time.monotonic() - changed < 3:
            mine = self._stored(pids)
            if len(mine) != last:
                last, changed = len(mine), time.monotonic()
            if last == len(pids):
                break
            time.sleep(0.05)
        for path in self._stored(pids):
            path.unlink()
        return Record(last, last, changed - begin)

    def _stored(self, pids: Sequence[int]) -> list[Path]:
        wanted = {str(pid) for pid in pids}
        return [path for path in self.STORAGE.iterdir() if wanted & set(path.name.split("."))]


class Gdb:
    """The kernel's whole core in a file, then gdb for the stacks of all threads: what a script
    around core files does, and the reference usercrash in principle."""

    name = "core file, gdb"
    pipe_limit = 0
    core_limit = -1
    heavy = True
    size = 0

    def around(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def __init__(self, place: Path) -> None:
        self.place = place / "cores"
        self.pattern = f"{self.place}/core.%P"

    def start(self) -> None:
        if shutil.which("gdb") is None:
            raise UnavailableError("gdb is not installed")
        self.place.mkdir()

    def stop(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        core = self.place / f"core.{crash.pid}"
        begin = time.monotonic_ns()
        output = gdb_stacks([str(exe), str(core)])
        end = time.monotonic_ns()
        self.size = _bytes_on_disk(core)
        core.unlink()
        if "fault" not in output:
            raise RuntimeError(f"gdb did not name the function:\n{output}")
        return crash.hold + (end - begin) / 1e6

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        raise UnavailableError("a file for each crash, and nobody who reads them")


def _bytes_on_disk(path: Path) -> int:
    """Of a file, or of all files in a directory."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(os.stat(one).st_blocks * 512 for one in files)


def _until(look: Callable[[], bool]) -> None:
    """TimeoutError if it does not become true within ten seconds."""
    deadline = time.monotonic() + 10
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def gdb_stacks(target: list[str]) -> str:
    """gdb's backtrace of all threads of a core or a process."""
    return subprocess.run(
        ["gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off",
         "-ex", "thread apply all bt", *target],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    ).stdout  # fmt: skip


def fetch_peers(place: Path) -> Path:
    """Fetch the packages of the peers and unpack them into a directory of ours, as two of
    them exclude each other as installed packages. UnavailableError if apt cannot."""
    root = place / "peers"
    root.mkdir()
    packages = ["minicoredumper", "systemd-coredump"]
    done = subprocess.run(
        ["apt-get", "download", "-q", *packages], cwd=root, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    archives = list(root.glob("*.deb"))
    if not archives:
        raise UnavailableError(f"apt-get download: {done.stderr.strip()[-200:]}")
    for archive in archives:
        subprocess.run(["dpkg", "-x", str(archive), str(root)], check=True)
    return root
