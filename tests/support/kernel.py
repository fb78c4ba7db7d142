"""Real crashes: programs run to their death under a core_pattern of ours.

`full_core` lets the kernel write its own core file. `Installation` is a server of
ours with its client behind the kernel's pipe, all of it in a private directory.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import zstandard

import usercrash
from usercrash.report import Report, from_json
from usercrash.storage.reports import DATA
from usercrash.storage.store import Store
from usercrash.system.core_pattern import core_pattern_guard

from .build import Built

T = TypeVar("T")

SECONDS = 60.0
POLL_SECONDS = 0.005
SOURCES = Path(usercrash.__file__).parent.parent
# Our own recommended pattern; the client is named before it.
PATTERN = "--ids %P %I %s %d %F"
SERVER = "from usercrash.server import main; raise SystemExit(main())"
COMMAND = "from usercrash.cli import main; raise SystemExit(main())"


def _until(what: str, look: Callable[[], T | None]) -> T:
    """What `look` gives once it is not None; TimeoutError after SECONDS."""
    deadline = time.monotonic() + SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return found


def allow_cores() -> None:
    """In a child that is to crash: cores of any size."""
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def run_to_death(built: Built, place: Path) -> int:
    """Run the program until it is gone; gives its wait status as subprocess does (-N: signal N).

    A program with `delete` runs as a copy in `place`, which is removed when it is ready.
    """
    argv = list(built.argv)
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    if built.program.delete:
        argv[0] = os.fsencode(shutil.copy2(built.exe, place / built.exe.name))
    try:
        process = subprocess.Popen(
            argv, preexec_fn=allow_cores, cwd="/", pass_fds=(ready_write, go_read),
            env={"READY_FD": str(ready_write), "GO_FD": str(go_read), "SECRET_TOKEN": "hunter2"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ready_write)
        ready_write = -1
        try:
            if built.program.delete:
                if os.read(ready_read, 1) != b"r":
                    raise RuntimeError(f"{built.program.id} did not announce itself")
                os.unlink(argv[0])
                os.write(go_write, b"g")
            return process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()
    finally:
        for fd in (ready_read, ready_write, go_read, go_write):
            if fd >= 0:
                os.close(fd)


@contextmanager
def file_cores(place: Path) -> Iterator[None]:
    """Inside the `with`, the kernel writes its own cores to `place`/core.PID."""
    with core_pattern_guard(f"{place}/core.%P", 0):
        yield


def full_core(built: Built, place: Path) -> Path:
    """Crash the program; the kernel's own core of it, a file in `place`.

    The kernel asks its own questions first, so this is the core of a crash like the one that
    the pipe gets, not of the same one.
    """
    with file_cores(place):
        before = set(place.iterdir())
        status = run_to_death(built, place)
        cores = [path for path in set(place.iterdir()) - before if path.name.startswith("core.")]
    if len(cores) != 1:
        raise RuntimeError(f"{built.program.id}: wait status {status}, cores {cores}")
    return cores[0]


def command(*arguments: str | Path, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `usercrash ARGUMENTS…` of this source tree; its status, and its output as text."""
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    environment |= {"PYTHONPATH": str(SOURCES), "LC_ALL": "C.UTF-8"}
    if config is not None:
        environment["USERCRASH_CONFIG"] = str(config)
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True, text=True, timeout=SECONDS, check=False, env=environment,
    )  # fmt: skip


def analyze(core: Path, *arguments: str | Path, config: Path | None = None) -> Report:
    """The report of `usercrash analyze --json CORE`; RuntimeError with its words if it fails."""
    done = command("analyze", "--json", core, *arguments, config=config)
    if done.returncode or done.stderr:
        raise RuntimeError(f"usercrash analyze {core}: {done.returncode}\n{done.stderr}")
    return from_json(done.stdout.encode())


@dataclass(frozen=True, slots=True)
class Published:
    """A crash that came through: its report, its text, its event log lines and its raw minicore
    (`core` does not exist if there was none)."""

    report: Report
    text: str
    core: Path
    announced: dict[str, object]
    closed: dict[str, object]


def write_launcher(path: Path, module: str) -> Path:
    """An executable that runs `usercrash.MODULE:main` in an isolated interpreter without site,
    as an installed one does; what analysis needs is found at the end of its path."""
    packages = [str(SOURCES), *(entry for entry in sys.path if entry.endswith("-packages"))]
    path.write_text(
        f"#!{os.path.realpath(sys.executable)} -IS\n"
        "import sys\n"
        f"sys.path += {packages!r}\n"
        f"from usercrash.{module} import main\n"
        "sys.exit(main())\n"
    )
    path.chmod(0o755)
    return path


class Installation:
    """A server and a client of ours in a private directory; nothing outside it is touched
    but core_pattern, and that only inside `receiving`."""

    def __init__(self, settings: str = "") -> None:
        self._stack = ExitStack()
        # Short: the kernel keeps 127 bytes of core_pattern.
        self.place = Path(tempfile.mkdtemp(prefix="uc-"))
        self._stack.callback(shutil.rmtree, self.place, True)
        self.run = self.place / "run"
        self.reports = self.place / "reports"
        self.state = self.place / "state"
        self.config = self.place / "conf"
        self.config.write_text(
            f'[paths]\nreports = "{self.reports}"\nrun = "{self.run}"\nstate = "{self.state}"\n'
            f'cache = "{self.place}/cache"\n{settings}'
        )
        self.client = write_launcher(self.place / "c", "client")
        self.server: subprocess.Popen[bytes] | None = None
        self._read_before: dict[object, Published] = {}

    def __enter__(self) -> Installation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop_server()
        finally:
            self._stack.close()

    @property
    def pattern(self) -> str:
        return f"|{self.client} --run {self.run} --config {self.config} {PATTERN}"

    @property
    def server_log(self) -> str:
        """What the server has said on standard output and error so far."""
        log = self.place / "server.log"
        return log.read_text("utf-8", "backslashreplace") if log.exists() else ""

    def start_server(self, python_path: str = "") -> None:
        """Start the server and wait for its readiness notification. `python_path` goes before
        our sources: a test's own sitecustomize."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            name = self.place / "notify"
            name.unlink(missing_ok=True)
            notify.bind(str(name))
            notify.settimeout(0.1)
            with open(self.place / "server.log", "ab") as log:
                self.server = subprocess.Popen(
                    [sys.executable, "-c", SERVER, "--config", str(self.config)],
                    env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(name),
                         "PYTHONPATH": f"{python_path}:{SOURCES}".lstrip(":")},
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                )  # fmt: skip
            server = self.server

            def ready() -> bool | None:
                if server.poll() is not None:
                    raise RuntimeError(f"the server ended: {server.returncode}\n{self.server_log}")
                try:
                    return True if b"READY=1" in notify.recv(4096) else None
                except TimeoutError:
                    return None

            _until("readiness of the server", ready)

    def stop_server(self, number: int = signal.SIGTERM) -> int:
        """End the server with a signal; gives its exit status, 0 if there is none."""
        if self.server is None:
            return 0
        server, self.server = self.server, None
        server.send_signal(number)
        try:
            return server.wait(SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            return server.wait()

    @property
    def socket_pattern(self) -> str:
        return f"@@{self.run}/coredump.sock"

    @contextmanager
    def receiving(self, pipe_limit: int = 1000, entrance: str = "pipe") -> Iterator[None]:
        """Inside the `with`, every crash of the machine comes here, through this entrance."""
        pattern = self.socket_pattern if entrance == "socket" else self.pattern
        with core_pattern_guard(pattern, pipe_limit):
            yield

    def events(self) -> list[dict[str, object]]:
        """The lines of the event log."""
        try:
            lines = (self.state / "events.jsonl").read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line]

    def wait_pid(self, pid: int) -> Published:
        """The crash of this process, once it is published; TimeoutError with all that is known."""
        return self._wait(f"report of process {pid}", lambda item: item.report.process.pid == pid)

    def wait_exe(self, exe: Path) -> Published:
        """The crash of a process of this program, once it is published; TimeoutError as above."""
        return self._wait(f"report of {exe}", lambda item: _is(item.report, exe))

    def _wait(self, what: str, wanted: Callable[[Published], bool]) -> Published:
        def look() -> Published | None:
            return next((item for item in self.published() if wanted(item)), None)

        try:
            return _until(what, look)
        except TimeoutError as error:
            known = f"server: {self.server_log}\nevents: {self.events()}"
            raise TimeoutError(f"{error}; {known}") from None

    def published(self) -> Iterator[Published]:
        """All crashes that the event log calls closed with a slot, and that stand there, or stood
        there when we looked."""
        announced = {}
        for line in self.events():
            if line["what"] == "announced":
                announced[line["id"]] = line
            elif "slot" in line and line["id"] in announced:
                if line["id"] not in self._read_before:
                    item = self._read(announced[line["id"]], line)
                    if item is None:
                        continue
                    self._read_before[line["id"]] = item
                yield self._read_before[line["id"]]

    def _read(self, announced: dict[str, object], closed: dict[str, object]) -> Published | None:
        store = Store(str(self.reports))
        try:
            data = store.read_json(int(str(closed["slot"])))
            text = store.read_text(int(str(closed["slot"])))
        finally:
            store.close()
        report = from_json(data) if data is not None else None
        if report is None or report.id != closed["id"]:
            return None  # the slot has gone to a later crash
        core = self.place / f"{closed['id']}.core"
        if not core.exists():
            packed = self.reports / DATA / f"{closed['id']}.core.zst"
            if packed.exists():
                unpack = zstandard.ZstdDecompressor().decompressobj()
                core.write_bytes(unpack.decompress(packed.read_bytes()))
        return Published(report, text.decode(), core, announced, closed)

    def crash(self, built: Built) -> Published:
        """Crash the program once; RuntimeError if it did not die, TimeoutError without a report."""
        known = {item.report.id for item in self.published()}
        run_to_death(built, self.place)
        return self._wait(
            f"report of {built.program.id}",
            lambda item: item.report.id not in known and _is(item.report, built.exe),
        )


def _is(report: Report, exe: Path) -> bool:
    """Whether the report is of this program: crashes of others come here too, and of a process
    that was killed in the meantime there is little to know."""
    who = report.process
    return Path(who.exe).name == exe.name if who.exe else who.comm == exe.name[:15]
