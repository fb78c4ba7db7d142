"""usercrash status, against servers that answer, and against those that do not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.server_states import HOSTILE, STATE

from usercrash import protocol, server_state
from usercrash.cli import run_program, server_answer, status
from usercrash.cli.server_answer import Answer, ask_server, somebody_listens
from usercrash.cli.status import (
    ELSEWHERE,
    PIPE,
    SOCKET,
    SeenEntrance,
    judge,
    socket_is_unused,
    way_of,
)
from usercrash.config import Config, Paths, Server
from usercrash.server_state import Queue, State
from usercrash.system import entrance, sysctl


class Place:
    """A run and a reports directory, and the configuration that names them."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = root / "run"
        self.run.mkdir()
        self.config = root / "c.toml"
        self.config.write_text(f'[paths]\nrun = "{self.run}"\nreports = "{root}/reports"\n')
        self.values = {
            sysctl.CORE_PATTERN: f"@@{self.run}/coredump.sock",
            sysctl.CORE_PIPE_LIMIT: "64",
            "kernel/core_modes": "file\npipe\nsocket",
        }
        monkeypatch.setattr(sysctl, "read", self.values.__getitem__)
        self.arguments = ["--config", str(self.config), "status"]

    @contextmanager
    def serving(self, answer: Callable[[socket.socket], None]) -> Iterator[None]:
        """A server that does `answer` with the first connection."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self.run / protocol.SOCKET_NAME))
            listener.listen(1)

            def serve() -> None:
                client, _ = listener.accept()
                with client:
                    answer(client)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def tells(state: State) -> Callable[[socket.socket], None]:
    """Answers as a server does."""

    def answer(client: socket.socket) -> None:
        data, _ = protocol.receive(client)
        assert isinstance(protocol.decode(data), protocol.Status)
        packet = protocol.State(server_state.encode(state))
        protocol.send(client, protocol.encode_state(packet))

    return answer


def sends(data: bytes) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        client.recv(4096)
        client.send(data)

    return answer


def hangs_up(client: socket.socket) -> None:
    client.recv(4096)


def test_all_is_well(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with place.serving(tells(STATE)):
        assert run_program(place.arguments) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "collecting: through the kernel's socket"
    assert "pid 4711" in out and "version 9.9" in out
    assert "2 waiting, 1 busy; 3 configured" in out
    assert "5 waiting, 2 being analysed; room for 2000 crashes, 1024 MB" in out
    assert "12 since its start: 9 complete, 1 incomplete" in out
    assert "3 that the kernel could not deliver" in out
    assert max(map(len, lines)) <= 80
    newest, older = lines[-2:]
    assert "worker[10]" in newest and "socket" in newest and newest.endswith(" 3.1 ms")
    assert "pipe" in older and older.endswith(" 21.0 ms")
    assert "evil\\x1b[31m\\x0a\\u202ename[11]" in older and "\x1b" not in out


def test_for_machines(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with place.serving(tells(STATE)):
        assert run_program([*place.arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["collecting"] is True and found["entrance"]["way"] == "socket"
    assert found["server"]["holds"][1]["name"] == HOSTILE
    assert found["server"]["counts"]["missed"] == 3
    assert found["kept"] is None and "no reports directory" in found["kept_why"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (hangs_up, "hung up (is it of another version?)"),
        (sends(b"UCr1\x07\0\0\0{}"), "makes no sense (packet of another protocol"),
        (sends(b"UCr2\x07\0\0\0{}"), "makes no sense (Object missing required field"),
        (sends(b"UCr2\x07\0\0\0\xff"), "makes no sense ("),
        (sends(b"UCr2\x07\0\0\0" + b"[" * 4000), "makes no sense ("),
        (sends(protocol.encode_refuse(protocol.Refuse("no"))), "Refuse instead of a state"),
        (sends(b"UCr2\x07\0\0\0" + b"x" * 9000), "larger than the protocol allows"),
    ],
)
def test_answers_that_are_none(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    answer: Callable[[socket.socket], None],
    expected: str,
) -> None:
    with place.serving(answer):
        assert run_program(place.arguments) == 1
    captured = capsys.readouterr()
    why = next(line for line in captured.out.splitlines() if line.startswith("server"))
    assert expected in captured.out.replace("\n           ", " ").replace("\n  ", " "), why
    assert "Traceback" not in captured.err and captured.err == ""


def test_a_server_that_hangs(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_answer, "ANSWER_SECONDS", 0.1)
    done = threading.Event()

    def hangs(client: socket.socket) -> None:
        done.wait(30)

    with place.serving(hangs):
        assert run_program(place.arguments) == 1
        done.set()
    out = capsys.readouterr().out
    # Nobody listens for the kernel either, in this place.
    assert out.startswith("not collecting: the server") and "does not answer (in 0 s)" in out


def test_a_server_whose_socket_is_full(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_answer, "ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(place.run / protocol.SOCKET_NAME))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waits:
            waits.connect(listener.getsockname())
            assert "takes no connections" in ask_server(str(place.run)).why


def test_no_server(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(place.arguments) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("not collecting: the server is not running, nobody listens")
    (place.run / protocol.SOCKET_NAME).write_text("no socket")
    assert ask_server(str(place.run)).why == "the server is not running"


def test_a_pipe_without_a_server(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.values[sysctl.CORE_PATTERN] = f"|/bin/true --run {place.run} --ids %P"
    assert run_program(place.arguments) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "the server is not running: usercrash_c alone collects crashes"
    place.values[sysctl.CORE_PATTERN] = f"|/no/such --run {place.run} --ids %P"
    assert run_program(place.arguments) == 1
    assert "/no/such, which core_pattern names, does not exist" in capsys.readouterr().out


def test_core_pattern_is_somebody_elses(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.values[sysctl.CORE_PATTERN] = "|/usr/lib/systemd/systemd-coredump %P\x1b[1m"
    with place.serving(tells(STATE)):
        assert run_program(place.arguments) == 1
    out = capsys.readouterr().out
    assert out.startswith("not collecting: core_pattern goes to /usr/lib/systemd/systemd-coredump")
    assert "pid 4711" in out and "\x1b" not in out


def test_a_client_of_another_run_directory(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.values[sysctl.CORE_PATTERN] = entrance.pipe_pattern()
    with place.serving(tells(STATE)):
        assert run_program(place.arguments) == 1
    out = capsys.readouterr().out
    assert out.startswith("not collecting: core_pattern goes to usercrash_c for /run/usercrash")


def test_a_socket_that_is_not_used(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = entrance.pipe_pattern()
    seen = SeenEntrance(pipe, PIPE, True, 64, True, "")
    elsewhere = SeenEntrance(f"{pipe} more", PIPE, True, 64, True, "")
    listens, deaf = Answer(STATE), Answer(State(pid=1, since_ns=0))
    config = Config()
    chosen = Config(server=Server(entrance="pipe"))
    assert socket_is_unused(seen, listens, config)
    assert not socket_is_unused(seen, listens, chosen)
    assert not socket_is_unused(seen, deaf, config)
    assert not socket_is_unused(seen, Answer(why="W"), config)
    assert not socket_is_unused(elsewhere, listens, config)
    long = Config(paths=Paths(run=f"/{'r' * 90}"))
    assert not socket_is_unused(seen, listens, long)
    place.values[sysctl.CORE_PATTERN] = f"|/bin/true --run {place.run} --ids %P"
    pattern = place.values[sysctl.CORE_PATTERN]
    monkeypatch.setattr(entrance, "pipe_pattern", lambda _: pattern)
    with place.serving(tells(STATE)):
        assert run_program(place.arguments) == 0
    assert "not used (see: usercrash_s --enter)" in capsys.readouterr().out


def test_what_never_happened_is_not_counted(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with place.serving(tells(State(pid=1, since_ns=0, listening=True))):
        assert run_program(place.arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "crashes    0 since its start" in lines


@pytest.mark.parametrize(
    ("pattern", "way"),
    [
        ("core", ELSEWHERE),
        ("", ELSEWHERE),
        ("|", ELSEWHERE),
        ("@@/run/usercrash/coredump.sock", SOCKET),
        ("@/run/usercrash/coredump.sock", ELSEWHERE),
        ("@@/run/other/coredump.sock", ELSEWHERE),
        ("|/usr/bin/usercrash_c --ids %P %I %s %d %F", PIPE),
        ("|/usr/bin/usercrash_c %p %e %s", PIPE),
        ("|/usr/bin/usercrash_c --run /run/other --ids %P", ELSEWHERE),
        ("|/opt/c --run /run/usercrash --ids %P", PIPE),
        ("|/usr/bin/usercrash_c --run", PIPE),
        ("|/usr/share/apport/apport -p%p", ELSEWHERE),
    ],
)
def test_where_core_pattern_leads(pattern: str, way: str) -> None:
    assert way_of(pattern, entrance.RUN_DIRECTORY) == way


def an_entrance(way: str, *, listens: bool = True, limit: int = 64) -> SeenEntrance:
    return SeenEntrance("", way, True, limit, listens, "")


@pytest.mark.parametrize(
    ("seen", "answer", "well", "words"),
    [
        (an_entrance(SOCKET), Answer(STATE), True, "through the kernel's socket"),
        (an_entrance(PIPE), Answer(STATE), True, "through a pipe to usercrash_c"),
        (an_entrance(PIPE, limit=0), Answer(STATE), False, "core_pipe_limit is 0"),
        (an_entrance(SOCKET), Answer(why="W"), False, "W: its workers alone collect crashes"),
        (an_entrance(SOCKET), Answer(why="W", hidden=True), True, "the kernel's socket"),
        (an_entrance(SOCKET, listens=False), Answer(why="W", hidden=True), False, "nobody"),
        (an_entrance(PIPE), Answer(why="W", hidden=True), True, "through a pipe"),
        (an_entrance(SOCKET), Answer(State(pid=1, since_ns=0)), False, "does not listen"),
        (an_entrance(PIPE), Answer(State(pid=1, since_ns=0, queue=Queue(full=True))), False,
         "only facts are kept"),
    ],
)  # fmt: skip
def test_the_verdict(seen: SeenEntrance, answer: Answer, well: bool, words: str) -> None:
    collecting, verdict = judge(seen, answer)
    assert collecting is well and words in verdict and len(verdict) <= 80
    assert verdict.startswith("collecting: ") is well


def test_an_older_kernel_takes_the_socket_for_a_file(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.values["kernel/core_modes"] = ""
    assert run_program(place.arguments) == 1
    assert "this kernel has no socket for crashes" in capsys.readouterr().out


def test_who_listens_is_seen_without_connecting(tmp_path: Path) -> None:
    path = tmp_path / "coredump.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{path}.new")
        os.rename(f"{path}.new", path)
        assert not somebody_listens(str(path))
        listener.listen(1)
        assert somebody_listens(str(path))
        assert not somebody_listens(str(tmp_path / "coredump"))
    assert not somebody_listens(str(path))


def test_colours_on_a_terminal_only(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for colours in (True, False):
        monkeypatch.setattr(status, "colored", lambda colours=colours: colours)
        assert run_program(place.arguments) == 1
        out = capsys.readouterr().out
        assert ("\x1b[1;31mnot collecting" in out) is colours


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_another_user_sees_what_can_be_seen(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    config = tmp_path / "c.toml"
    config.write_text(f'[paths]\nrun = "{run}"\nreports = "{run}/reports"\n')
    for part in (tmp_path, *tmp_path.parents):
        if part.stat().st_uid == 0 and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o011)
    code = (
        "import os, sys\n"
        "from usercrash import render, server_state\n"
        "import usercrash.render.screen, usercrash.cli.status, usercrash.cli.server_answer\n"
        "import usercrash.storage.store, usercrash.system.entrance, usercrash.config\n"
        "from usercrash.cli import run_program\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"sys.exit(run_program(['--config', {str(config)!r}, 'status']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == ""
    assert "server     only root can ask it" in done.stdout
    assert done.stdout.rstrip().endswith("The rest is for root to see.")
