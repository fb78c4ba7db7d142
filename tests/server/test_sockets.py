"""The server's sockets: its own, and those that systemd passes (sd_listen_fds(3))."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_client import client
from tests.support.kernel import SERVER, SOURCES, Installation
from usercrash import protocol
from usercrash.errors import UsercrashError
from usercrash.server import sockets
from usercrash.server.sockets import Listeners, open_listeners
from usercrash.system import sysctl
from usercrash.system.entrance import KERNEL_SOCKET

SECONDS = 60.0
NAMES = (protocol.SOCKET_NAME, KERNEL_SOCKET)
KINDS = (socket.SOCK_SEQPACKET, socket.SOCK_STREAM)
# What systemd does: descriptors from 3 on, and variables for the very process that is started.
# Arguments: how many, their numbers, the command.
LAUNCHER = """\
import fcntl, os, sys
count = int(sys.argv[1])
copies = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 100) for word in sys.argv[2:2 + count]]
for number, copy in enumerate(copies, 3):
    os.dup2(copy, number)
    os.close(copy)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": "a:b"}
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""
# Says `ready` when the sockets are there, and ends with its standard input.
HOLDER = """\
import sys
from usercrash.server.sockets import open_listeners
listeners = open_listeners(sys.argv[1], True, print)
print("ready", flush=True)
sys.stdin.read()
"""


def nothing(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="uc-") as place:  # short: sun_path has 107 bytes
        yield f"{place}/run"


@pytest.fixture
def theirs(run: str) -> Iterator[list[socket.socket]]:
    """The two sockets as systemd makes them."""
    os.mkdir(run, 0o700)
    made = [listening(f"{run}/{name}", kind) for name, kind in zip(NAMES, KINDS, strict=True)]
    yield made
    for sock in made:
        sock.close()


def listening(path: str, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(path)
    sock.listen(7)
    return sock


def passed(monkeypatch: pytest.MonkeyPatch, *descriptors: int) -> None:
    """Let this process be one that systemd has started with these."""
    first = max(map(int, os.listdir("/proc/self/fd"))) + 1  # they stand without a gap
    copies = [fcntl.fcntl(number, fcntl.F_DUPFD, first) for number in descriptors]
    assert copies == list(range(first, first + len(copies)))
    monkeypatch.setattr(sockets, "_FIRST_DESCRIPTOR", copies[0])
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", str(len(copies)))


def inode(run: str, name: str) -> int:
    return os.stat(f"{run}/{name}").st_ino


def can_connect(run: str) -> bool:
    for name, kind in zip(NAMES, KINDS, strict=True):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.connect(f"{run}/{name}")
    return True


def holder(run: str) -> subprocess.Popen[str]:
    """Another server with the sockets in `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run], env={"PYTHONPATH": str(SOURCES)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


# -- its own --------------------------------------------------------------------------


def test_two_sockets_for_nobody_else(run: str) -> None:
    old = os.umask(0)
    try:
        made = open_listeners(run, True, nothing)
    finally:
        os.umask(old)
    assert os.stat(run).st_mode & 0o777 == 0o700
    for name in NAMES:
        assert os.stat(f"{run}/{name}").st_mode & 0o777 == 0o600
    assert made.kernel is not None and not made.adopted
    for sock, kind in zip((made.clients, made.kernel), KINDS, strict=True):
        assert sock.type == kind and not sock.getblocking() and not sock.get_inheritable()
    assert can_connect(run) and sorted(os.listdir(run)) == [*sorted(NAMES), "server.lock"]
    made.close()


def test_no_socket_for_the_kernel_where_none_is_wanted(run: str) -> None:
    made = open_listeners(run, False, nothing)
    assert made.kernel is None and not os.path.exists(f"{run}/{KERNEL_SOCKET}")
    made.close()


def test_one_server_at_a_time(run: str) -> None:
    other = holder(run)
    with pytest.raises(UsercrashError, match=f"another usercrash_s serves {run}"):
        open_listeners(run, True, nothing)
    end(other)
    open_listeners(run, True, nothing).close()


def test_children_of_a_killed_server_are_not_in_the_way(run: str) -> None:
    code = f"""
import os, time
from usercrash.server.sockets import open_listeners
listeners = open_listeners({run!r}, True, print)
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
os.read(0, 1)
print(listeners.replaced(), flush=True)
os.read(0, 1)
print(listeners.replaced(), flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCES)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def child_sees_another() -> str:
        assert process.stdout is not None and process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
        return process.stdout.readline()

    assert process.stdout is not None
    process.stdout.readline()
    process.wait()
    assert can_connect(run)  # the child has them still
    assert child_sees_another() == "False\n"
    made = open_listeners(run, True, nothing)
    assert child_sees_another() == "True\n"
    made.close()
    process.communicate()


def test_the_next_one_takes_the_paths_over(run: str) -> None:
    first = open_listeners(run, True, nothing)
    for name in NAMES:
        Path(f"{run}/{name}.new").touch()  # left by one that was killed at the wrong moment
    before = inode(run, KERNEL_SOCKET)
    second = open_listeners(run, True, nothing)  # (a process is not in its own way)
    assert inode(run, KERNEL_SOCKET) != before
    assert first.replaced() and not second.replaced()
    first.close()
    assert can_connect(run)
    os.unlink(f"{run}/{KERNEL_SOCKET}")
    assert second.replaced()
    second.close()


def test_a_directory_that_only_root_may_make(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "makedirs", denied)
    monkeypatch.setattr(os, "mkdir", denied)
    with pytest.raises(UsercrashError) as caught:
        open_listeners(run, True, print)
    assert str(caught.value) == (
        f"run directory {run}: Permission denied "
        "(it is root's, unless the configuration names another)"
    )


def test_directory_that_is_not_ours(run: str) -> None:
    os.symlink("/tmp", run)
    with pytest.raises(UsercrashError, match="is not a directory of our own"):
        open_listeners(run, True, nothing)
    os.unlink(run)
    os.makedirs(f"{run}/{KERNEL_SOCKET}.new/x")
    with pytest.raises(UsercrashError, match=f"run directory {run}: Is a directory"):
        open_listeners(run, True, nothing)


@pytest.mark.parametrize(("most", "said"), [("128", 1), ("4096", 0), ("?", 0)])
def test_backlog_that_the_kernel_cuts(
    run: str, most: str, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net/core").mkdir(parents=True)
    (tmp_path / "net/core/somaxconn").write_text(f"{most}\n")
    monkeypatch.setattr(sysctl, "_ROOT", str(tmp_path))
    lines: list[str] = []
    open_listeners(run, True, lines.append).close()
    assert len(lines) == said and all("net.core.somaxconn is 128" in line for line in lines)


# -- systemd's ------------------------------------------------------------------------


def test_adopted(run: str, theirs: list[socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [inode(run, name) for name in NAMES]
    passed(monkeypatch, theirs[1].fileno(), theirs[0].fileno())  # in any order
    made = open_listeners(run, True, nothing)
    assert not any(name.startswith("LISTEN_") for name in os.environ)
    assert made.adopted and made.kernel is not None
    for sock, kind in zip((made.clients, made.kernel), KINDS, strict=True):
        assert sock.type == kind and not sock.getblocking() and not sock.get_inheritable()
    assert can_connect(run)
    for sock in (made.clients, made.kernel):
        assert sock.accept()
    made.close()
    assert [inode(run, name) for name in NAMES] == before and can_connect(run)


def test_adopted_socket_is_replaced_when_another_server_has_it(
    run: str, theirs: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adopted_by_a_dead_server(run, theirs, monkeypatch)
    assert not made.replaced()  # nobody has: whoever is left serves on
    other = holder(f"{run}/../other")
    assert not made.replaced()
    end(other)
    second = launch(run, theirs, HOLDER, run)
    assert second.stdout is not None and second.stdout.readline() == "ready\n"
    assert made.replaced()
    end(second)
    assert not made.replaced()
    os.unlink(f"{run}/{KERNEL_SOCKET}")  # systemctl stop usercrash.socket
    assert made.replaced()
    made.close()


def adopted_by_a_dead_server(
    run: str, theirs: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> Listeners:
    """As one of its workers has them: without the lock."""
    passed(monkeypatch, *(sock.fileno() for sock in theirs))
    made = open_listeners(run, True, nothing)
    fcntl.lockf(made.lock, fcntl.LOCK_UN)
    return made


def test_only_one_of_them(
    run: str, theirs: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed(monkeypatch, theirs[0].fileno())
    before = inode(run, protocol.SOCKET_NAME)
    os.unlink(f"{run}/{KERNEL_SOCKET}")
    made = open_listeners(run, True, nothing)
    assert inode(run, protocol.SOCKET_NAME) == before and not made.adopted
    assert can_connect(run)
    made.close()


def test_kernels_socket_that_is_not_wanted(
    run: str, theirs: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed(monkeypatch, *(sock.fileno() for sock in theirs))
    made = open_listeners(run, False, nothing)
    assert made.kernel is None and can_connect(run)
    made.close()


def test_for_another_process(
    run: str, theirs: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed(monkeypatch, *(sock.fileno() for sock in theirs))
    monkeypatch.setenv("LISTEN_PID", "1")
    before = inode(run, KERNEL_SOCKET)
    made = open_listeners(run, True, nothing)
    assert not made.adopted and inode(run, KERNEL_SOCKET) != before
    assert "LISTEN_FDS" not in os.environ
    made.close()


@pytest.mark.parametrize(
    "kind", ["type", "place", "name", "file", "inet", "twice", "connected", "unbound"]
)
def test_wrong_ones(kind: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir(run, 0o700)
    made: list[socket.socket] = []
    other: list[int] = []
    if kind == "type":
        made = [listening(f"{run}/{protocol.SOCKET_NAME}", socket.SOCK_STREAM)]
    elif kind == "place":
        made = [listening(f"{run}/../{KERNEL_SOCKET}", socket.SOCK_STREAM)]
    elif kind == "name":
        made = [listening(f"{run}/x.sock", socket.SOCK_STREAM)]
    elif kind == "file":
        other = [os.open("/dev/null", os.O_RDONLY)]
    elif kind == "inet":
        made = [socket.create_server(("127.0.0.1", 0))]
    elif kind == "twice":
        one = listening(f"{run}/{KERNEL_SOCKET}", socket.SOCK_STREAM)
        made = [one, one.dup()]
    elif kind == "connected":
        one = socket.socket(socket.AF_UNIX)
        one.bind(f"{run}/{KERNEL_SOCKET}")
        made = [one]
    else:
        made = [socket.socket(socket.AF_UNIX)]
    passed(monkeypatch, *(sock.fileno() for sock in made), *other)
    with pytest.raises(UsercrashError, match=r"that was passed to us: .*usercrash\.socket must"):
        open_listeners(run, True, nothing)
    for sock in made:
        sock.close()


@pytest.mark.parametrize("count", ["", "-1", "two", "100000000"])
def test_wrong_number(count: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    with pytest.raises(UsercrashError, match="is not a number of sockets"):
        open_listeners(run, True, nothing)


def launch(
    run: str, theirs: list[socket.socket], code: str, *arguments: str
) -> subprocess.Popen[str]:
    """A Python program with these sockets, as systemd starts it."""
    numbers = [sock.fileno() for sock in theirs]
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(len(numbers)), *map(str, numbers),
         sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"]}, pass_fds=numbers,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_who_comes_while_the_server_restarts_waits_for_it() -> None:
    with Installation() as place:
        place.run.mkdir(mode=0o700)
        theirs = [
            listening(f"{place.run}/{name}", kind) for name, kind in zip(NAMES, KINDS, strict=True)
        ]
        for _ in range(2):
            early = client(place, "announce", "grant")
            assert select.select([theirs[0]], (), (), SECONDS)[0]
            server = launch(str(place.run), theirs, SERVER, "--config", str(place.config))
            assert early.wait(SECONDS) == 0
            server.terminate()
            said, _ = server.communicate(timeout=SECONDS)
            assert server.returncode == 0, said
            assert os.path.exists(place.run / KERNEL_SOCKET)
        for sock in theirs:
            sock.close()
