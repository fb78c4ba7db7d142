"""The kernel's own socket: real crashes through it, and all that can go wrong behind it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.build import Built, build, programs
from tests.support.kernel import Installation, command, run_to_death
from tests.support.server_life import children, closed, until
from tests.support.socket_workers import has_crashed, names, workers

from usercrash.system import sysctl
from usercrash.system.entrance import pipe_pattern

pytestmark = pytest.mark.usefixtures("needs_socket")

SHORT = "[server]\ncapture_seconds = 1.5\nworkers = 2\n"


@pytest.fixture(scope="module")
def crasher() -> Built:
    return build(programs()["worker/debug"])


@pytest.fixture
def place() -> Iterator[Installation]:
    with Installation(SHORT) as installation:
        installation.start_server()
        yield installation


def test_the_same_report_as_through_the_pipe(place: Installation, crasher: Built) -> None:
    with place.receiving():
        pipe = place.crash(crasher)
    with place.receiving(entrance="socket"):
        found = place.crash(crasher)
    assert found.report.complete and found.report.notes == pipe.report.notes
    assert found.report.event.source == "coredump_socket"
    assert found.report.event.dump_mode == pipe.report.event.dump_mode == "user"
    assert found.report.signal == pipe.report.signal
    assert found.report.cause == pipe.report.cause
    assert found.report.process.tid != found.report.process.pid
    assert len(found.report.threads) == len(pipe.report.threads) == 9
    assert names(found.report) == names(pipe.report)
    assert len(found.report.open_files) == len(pipe.report.open_files)
    assert {module.build_id for module in found.report.modules} == {
        module.build_id for module in pipe.report.modules
    }
    assert found.announced["source"] == "coredump_socket"
    assert found.announced["name"] == crasher.exe.name[:15]
    assert closed(place, 2)[1]["outcome"] == "published"


def test_one_worker_after_the_other_and_none_left_behind(
    place: Installation, crasher: Built
) -> None:
    before = workers(place, 2)
    with place.receiving(entrance="socket"):
        for _ in range(5):
            place.crash(crasher)
    assert workers(place, 2) == before
    for pid in before:
        for name in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            ours = {"server.log", "server.lock", "null", "kmsg", "mountinfo"}
            assert not target.startswith("/") or os.path.basename(target) in ours, target


def test_a_plain_client_is_turned_away(place: Installation, crasher: Built) -> None:
    """Also one of root's, with whatever it says; and one that says nothing holds nobody up."""
    path = str(place.run / "coredump.sock")
    assert os.stat(path).st_mode & 0o777 == 0o600
    silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for one in silent:
        one.settimeout(10)
        one.connect(path)
    for one in silent:
        with one:
            assert one.recv(100) == b""
    with socket.socket(socket.AF_UNIX) as loud:
        loud.connect(path)
        try:
            loud.sendall(b"\x10\0\0\0" * 10_000)
        except OSError as error:
            assert error.errno in (32, 104)
    assert place.events() == []
    with place.receiving(entrance="socket"):
        place.crash(crasher)


def test_a_plain_user_does_not_reach_it(place: Installation) -> None:
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(1);"
        "s.connect(sys.argv[1])"
    )
    os.chmod(place.place, 0o755)
    for name in ("coredump.sock", "crash.sock"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(place.run / name)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "PermissionError" in done.stderr


def test_workers_that_are_killed_are_replaced(place: Installation, crasher: Built) -> None:
    for pid in workers(place, 2):
        os.kill(pid, signal.SIGKILL)
    with place.receiving(entrance="socket"):
        assert place.crash(crasher).report.complete
    workers(place, 2)
    assert "ended with wait status 9" in place.server_log


def test_workers_that_hang_while_they_wait(place: Installation, crasher: Built) -> None:
    """The kernel wakes one of them, which does nothing: another one has to take the crash."""
    stopped = workers(place, 2)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with place.receiving(entrance="socket"):
            assert place.crash(crasher).report.complete
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):  # killed for it by now
                os.kill(pid, signal.SIGCONT)


def queued(place: Installation) -> tuple[int, int]:
    """How many crashes wait for their analysis, how many are being analysed."""
    queue = json.loads(command("status", "--json", config=place.config).stdout)["server"]["queue"]
    return queue["waiting"], queue["running"]


def until_queued(place: Installation, waiting: int, running: int) -> None:
    until(lambda: queued(place) == (waiting, running) or None)


@pytest.mark.parametrize("entrance", ["socket", "pipe"])
def test_a_full_queue(crasher: Built, entrance: str) -> None:
    """No analysis comes to its end: of the crashes beyond the queue the facts are kept, at once."""
    settings = "[analysis]\nworkers = 1\n[queue]\ncrashes = 1\n"
    with Installation(settings) as place:
        go = place.place / "go"
        module = place.place / "hook"
        module.mkdir()
        (module / "sitecustomize.py").write_text(
            "import os, time\n"
            "from usercrash.server import jobs\n"
            "old = jobs.complete\n"
            "def complete(*rest, **more):\n"
            f"    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
            "    return old(*rest, **more)\n"
            "jobs.complete = complete\n"
        )
        place.start_server(python_path=str(module))
        with place.receiving(entrance=entrance):
            for number in range(4):
                assert run_to_death(crasher, place.place) == -signal.SIGSEGV
                if number < 2:
                    until_queued(place, number, 1)
            lines = closed(place, 2)
        for line in lines:
            assert line["outcome"] == "facts-only" and line["why"] == "the queue was full"
            assert line["comm"] == crasher.exe.name[:15] and line["exe"] == str(crasher.exe)
            assert line["uid"] == 0 and line["signal"] == 11
        go.touch()
        assert [line["outcome"] for line in closed(place, 4)[2:]] == ["published"] * 2
        data = place.reports / ".data"
        assert [name for name in os.listdir(data) if name.endswith((".mini", ".report"))] == []


def test_no_worker_waits(crasher: Built) -> None:
    """For small machines: a worker is started at the crash, and leaves after a while."""
    with Installation("[server]\nworkers = 0\n") as place:
        place.start_server()
        assert children(place) == []
        with place.receiving(entrance="socket"):
            assert place.crash(crasher).report.complete
            assert place.crash(crasher).report.complete
        workers(place, 1)


def test_two_hundred_at_once(crasher: Built) -> None:
    """All of them are counted, and none of them waits for an analysis."""
    with Installation("[reports]\nslots = 300\n[server]\nworkers = 2\n") as place:
        place.start_server()
        with place.receiving(entrance="socket"):
            processes = [
                subprocess.Popen(crasher.argv, stdin=-3, stdout=-3, stderr=-3) for _ in range(200)
            ]
            assert {process.wait(60) for process in processes} == {-signal.SIGSEGV}
        lines = closed(place, 200)
        assert {line["outcome"] for line in lines} == {"published"}
        pids = {int(str(line["pid"])) for line in place.events() if line["what"] == "announced"}
        assert pids == {process.pid for process in processes}


def test_a_stop_in_the_middle_of_a_storm(crasher: Built) -> None:
    """The server ends in order: what came to its socket is collected, and analysed later. What
    came after that (core_pattern is not ours to change here) is counted."""
    with Installation("[reports]\nslots = 300\n[server]\nworkers = 2\n") as place:
        place.start_server()
        with place.receiving(entrance="socket"):
            processes = [
                subprocess.Popen(crasher.argv, stdin=-3, stdout=-3, stderr=-3) for _ in range(40)
            ]
            until(lambda: all(has_crashed(process.pid) for process in processes) or None)
            assert place.stop_server() == 0
            place.start_server()
            assert {process.wait(60) for process in processes} == {-signal.SIGSEGV}

        def counted() -> bool | None:
            lines = [line for line in place.events() if line["what"] in ("closed", "missed")]
            return True if len(lines) >= 40 else None

        until(counted)
        lines = [line for line in place.events() if line["what"] == "closed"]
        assert len(lines) >= 20 and {line["outcome"] for line in lines} == {"published"}


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="no kernel log to read")
def test_crashes_go_to_the_client_when_the_socket_was_removed(
    place: Installation, crasher: Built
) -> None:
    """Somebody has cleaned the run directory up under a server that runs."""
    with place.receiving(entrance="socket"):
        Path(f"{place.run}/coredump.sock").unlink()

        def given_away() -> bool | None:
            run_to_death(crasher, place.place)
            return sysctl.read(sysctl.CORE_PATTERN) == pipe_pattern(str(place.run)) or None

        until(given_away)
    assert "is not our socket any more" in place.server_log
