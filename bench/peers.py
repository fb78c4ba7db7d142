"""The peers: minicoredumper, and tools on the kernel's own core file."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .collectors import Collector, Crash, Record, UnavailableError
from .packages import bytes_on_disk, find
from .results import MINICOREDUMPER


class Minicoredumper(Collector):
    """The chosen parts of the memory, in C, no names; as its package configures it."""

    name = MINICOREDUMPER
    pipe_limit = 1000

    def __init__(self, peers: Sequence[Path], place: Path) -> None:
        self._peers = peers
        self._place = place / "minicoredumper"
        self._out = self._place / "out"
        self.pattern = ""

    def start(self) -> None:
        program = find("usr/sbin/minicoredumper", self._peers)
        recipe = find("etc/minicoredumper/generic.recept.json", self._peers)
        self._out.mkdir(parents=True)
        shutil.copy(recipe, self._place)
        config = self._place / "cfg.json"
        watch = [{"recept": str(self._place / recipe.name)}]
        config.write_text(json.dumps({"base_dir": str(self._out), "watch": watch}))
        # The kernel keeps 127 bytes of the pattern.
        link = self._place / "m"
        link.symlink_to(program)
        self.pattern = f"|{link} %P %u %g %s %t %h %e {config}"

    def stop(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        """It writes a core and no report."""
        if not any(self._out.iterdir()):
            raise UnavailableError("it wrote nothing")
        for path in self._out.iterdir():
            self.size = bytes_on_disk(path)
            shutil.rmtree(path)
        return None

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """One directory for each crash, whole when the process is let go."""
        wanted = set(map(str, pids))
        found = [path for path in self._out.iterdir() if any(path.iterdir())]
        known = sum(path.name.rpartition(".")[2] in wanted for path in found)
        for path in found:
            shutil.rmtree(path)
        return Record(known, known, 0)


class CoreFile(Collector):
    """The kernel's whole core in a file, then a tool for the stacks of all threads: what a script
    around core files does, and, with gdb, the reference usercrash in principle."""

    pipe_limit = 0
    heavy = True

    def __init__(self, tool: str, place: Path) -> None:
        self.name = f"core file, {tool}"
        self.bursts = tool == "gdb"  # once is enough: nobody reads them meanwhile
        self._tool = tool
        self._place = place / f"cores-{tool}"
        self.pattern = f"{self._place}/core.%P"

    def start(self) -> None:
        if shutil.which(self._tool) is None:
            raise UnavailableError(f"{self._tool} is not installed")
        self._place.mkdir()

    def stop(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)

    def report_ms(self, crash: Crash, exe: Path) -> float | None:
        core = self._place / f"core.{crash.pid}"
        begin = time.monotonic_ns()
        output = core_stacks(self._tool, core, exe)
        end = time.monotonic_ns()
        self.size = bytes_on_disk(core)
        core.unlink()
        if "fault" not in output:
            raise RuntimeError(f"{self._tool} did not name the function:\n{output}")
        return crash.hold + (end - begin) / 1e6

    def record(self, pids: Sequence[int], seconds: float) -> Record:
        """A file for each crash, and nobody who reads them."""
        known = sum((self._place / f"core.{pid}").exists() for pid in pids)
        for path in self._place.iterdir():
            path.unlink()
        return Record(known, 0, 0)


def core_stacks(tool: str, core: Path, exe: Path) -> str:
    """The stacks of all threads in a core file, by gdb or eu-stack."""
    if tool == "gdb":
        return _output([*_GDB, str(exe), str(core)])
    return _output(["eu-stack", f"--core={core}", f"--executable={exe}"])


def live_stacks(tool: str, pid: int) -> str:
    """The stacks of all threads of a process, by gdb or eu-stack."""
    return _output([*(_GDB if tool == "gdb" else ["eu-stack"]), "-p", str(pid)])


_GDB = ["gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off", "-ex", "thread apply all bt"]


def _output(command: list[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    ).stdout
