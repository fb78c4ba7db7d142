"""What is measured: collectors of crashes, each behind a core_pattern of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.kernel import Installation

REPORT_SECONDS = 60.0


class UnavailableError(Exception):
    """This collector cannot be run here; says why."""


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash as the harness saw it: times in ns, `fault`, `waited` of CLOCK_MONOTONIC,
    `fault_realtime` of CLOCK_REALTIME."""

    pid: int
    fault: int
    fault_realtime: int
    waited: int

    @property
    def hold(self) -> float:
        """Milliseconds from the fault to the return of the parent's wait."""
        return (self.waited - self.fault) / 1e6


class Subject(Protocol):
    """A collector. `core_limit` is the crasher's RLIMIT_CORE; `heavy`: its work grows with the
    memory, so that it is not run as often."""

    name: str
    pattern: str
    pipe_limit: int
    core_limit: int
    heavy: bool

    def start(self) -> None:
        """Make it ready; UnavailableError says why it cannot be."""

    def stop(self) -> None:
        """End everything that `start` began, remove all that it left."""

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """Milliseconds from the fault to the complete report; None where it makes none."""


class Floor:
    """No dump at all: what the death of such a process takes by itself."""

    name = "no dump"
    pattern = "core"
    pipe_limit = 0
    core_limit = 0
    heavy = False

    def start(self) -> None:
        return

    def stop(self) -> None:
        return

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        return None


class Usercrash:
    """Our server, warm, and our client behind the kernel's pipe."""

    name = "usercrash, pipe"
    pipe_limit = 1000
    core_limit = -1
    heavy = False

    def __init__(self) -> None:
        self.installation: Installation | None = None
        self.pattern = ""

    def start(self) -> None:
        self.installation = Installation()
        self.installation.start_server()
        self.pattern = self.installation.pattern

    def stop(self) -> None:
        if self.installation is not None:
            self.installation.__exit__(None, None, None)

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """The event log says when the report was published."""
        assert self.installation is not None
        deadline = time.monotonic() + REPORT_SECONDS
        while time.monotonic() < deadline:
            lines = self.installation.events()
            ids = {line["id"] for line in lines if line.get("pid") == str(crash.pid)}
            for line in lines:
                if line["what"] == "closed" and line["id"] in ids:
                    if line["outcome"] != "published":
                        raise RuntimeError(f"crash of {crash.pid}: {line}")
                    return (int(str(line["at"])) - crash.fault_realtime) / 1e6
            time.sleep(0.01)
        raise RuntimeError(f"no report of {crash.pid}: {self.installation.server_log}")


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

    def __init__(self, peers: list[Path], place: Path) -> None:
        self.peers = peers
        self.place = place / "minicoredumper"
        self.pattern = ""

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
            shutil.rmtree(path)
        return crash.hold


class SystemdCoredump:
    """The whole core, compressed, and stacks by elfutils for the journal. Without systemd as
    process 1, systemd-socket-activate stands in for its socket unit."""

    name = "systemd-coredump"
    pipe_limit = 16  # its own sysctl file
    core_limit = -1
    heavy = True
    SOCKET = Path("/run/systemd/coredump")
    STORAGE = Path("/var/lib/systemd/coredump")

    def __init__(self, peers: list[Path], place: Path) -> None:
        self.peers = peers
        self.log = place / "systemd.log"
        self.link = place / "systemd-coredump"
        self.pattern = ""
        self.activator: subprocess.Popen[bytes] | None = None
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
        deadline = time.monotonic() + 10
        while not self.SOCKET.exists():
            if time.monotonic() > deadline or self.activator.poll() is not None:
                raise UnavailableError(f"its socket did not come up: {self.log.read_text()}")
            time.sleep(0.01)

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
            path.unlink()
        if not mine:
            raise UnavailableError(f"it stored nothing: {self.log.read_text()[-300:]}")
        return crash.hold


class Gdb:
    """The kernel's whole core in a file, then gdb for the stacks of all threads: what a script
    around core files does, and the reference usercrash in principle."""

    name = "core file, gdb"
    pipe_limit = 0
    core_limit = -1
    heavy = True

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
        core.unlink()
        if "fault" not in output:
            raise RuntimeError(f"gdb did not name the function:\n{output}")
        return crash.hold + (end - begin) / 1e6


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
