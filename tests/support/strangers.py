"""Programs that nobody here wrote, started and at work."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.build import ToolMissingError, need
from tests.support.kernel import POLL_SECONDS, SECONDS

Process = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Stranger:
    """`start` gives a program that runs, in a directory of its own; `victim` the pid to kill;
    `threads` the fewest that it must have then."""

    name: str
    package: str
    start: Callable[[Path], Process]
    threads: int = 1
    victim: Callable[[Process], int] = lambda process: process.pid


def _spawn(place: Path, *command: str | Path, **more: object) -> Process:
    def allow_cores() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    environment = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "LC_ALL": "C",
        "HOME": str(place),
    }
    options: dict[str, object] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    options |= {"stderr": subprocess.DEVNULL, "cwd": place, "env": environment, **more}
    options["start_new_session"] = True
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        list(map(str, command)), preexec_fn=allow_cores, **options
    )


def _await_line(process: Process, text: bytes) -> Process:
    """Read its output until a line holds `text`."""
    assert process.stdout is not None
    seen = b""
    for line in process.stdout:
        seen += line
        if text in line:
            return process
    raise RuntimeError(f"{process.args!r} ended: {seen!r}")


def _saying_ready(*command: str) -> Callable[[Path], Process]:
    """A program that writes `ready` and then waits for its standard input."""

    def start(place: Path) -> Process:
        return _await_line(_spawn(place, *command), b"ready")

    return start


def _compressing(*command: str) -> Callable[[Path], Process]:
    """A compressor that has begun to write; we stop reading, so that it never ends."""

    def start(place: Path) -> Process:
        with open("/dev/urandom", "rb") as source:
            process = _spawn(place, *command, stdin=source)
        assert process.stdout is not None
        if not process.stdout.read(20):
            raise RuntimeError(f"{command} wrote nothing")
        return process

    return start


def _redis(place: Path) -> Process:
    process = _spawn(
        place, "redis-server", "--port", "0", "--unixsocket", place / "redis.sock", "--save", "",
        "--crash-log-enabled", "no",
    )  # fmt: skip
    return _await_line(process, b"eady to accept connections")


def _postgres_programs() -> Path:
    """Debian keeps every version's programs in a directory of its own, outside PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise ToolMissingError("postgres is not installed: apt-get install postgresql")
    return found[-1].parent


def _postgres(place: Path) -> Process:
    # It refuses to run as root.
    as_user: dict[str, object] = {"user": "postgres", "group": "postgres", "extra_groups": []}
    place.chmod(0o755)
    data = place / "data"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    programs = _postgres_programs()
    _spawn(data, programs / "initdb", "-D", data, "-N", "-A", "trust", **as_user).communicate()
    process = _spawn(
        data,
        programs / "postgres",
        "-D",
        data,
        "-k",
        data,
        "-h",
        "",
        stderr=subprocess.STDOUT,
        **as_user,
    )
    return _await_line(process, b"ready to accept connections")


def _nginx(place: Path) -> Process:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (place / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;\n"
        "events {}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {place}; }} }}\n"
    )
    process = _spawn(place, "nginx", "-p", place, "-c", place / "nginx.conf", "-e", place / "log")
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if client.recv(100).startswith(b"HTTP/1.1"):
                    return process
        except ConnectionRefusedError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(POLL_SECONDS)


def _worker(process: Process) -> int:
    """Its first child."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


THREADED_PYTHON = """
import sys, threading
event = threading.Event()
for number in range(3):
    threading.Thread(target=event.wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""

STRANGERS = [
    Stranger("bash", "bash", _saying_ready("bash", "-c", "f() { echo ready; read x; }; f")),
    Stranger("dash", "dash", _saying_ready("dash", "-c", "f() { echo ready; read x; }; f")),
    Stranger("zsh", "zsh", _saying_ready("zsh", "-fc", "f() { echo ready; read x; }; f")),
    Stranger("perl", "perl", _saying_ready("perl", "-e", "$|=1; print qq(ready\\n); <STDIN>")),
    Stranger("python3", "python3", _saying_ready("/usr/bin/python3", "-c", THREADED_PYTHON), 4),
    Stranger("redis-server", "redis-server", _redis, 4),
    Stranger("postgres", "postgresql", _postgres),
    Stranger("nginx", "nginx-light", _nginx),
    Stranger("nginx worker", "nginx-light", _nginx, 1, _worker),
    Stranger("xz", "xz-utils", _compressing("xz", "-0", "-T4", "-c"), 3),
    Stranger("pigz", "pigz", _compressing("pigz", "-p", "4", "-c"), 3),
]


@contextmanager
def running(stranger: Stranger, place: Path) -> Iterator[int]:
    """The stranger at work: the pid to kill; it and its children end on the way out."""
    if stranger.start is not _postgres:
        need(stranger.name.removeprefix("busy ").split()[0], stranger.package)
    process = stranger.start(place)
    try:
        yield stranger.victim(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            # Its children too: a web server's workers outlive their master.
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait(SECONDS)
