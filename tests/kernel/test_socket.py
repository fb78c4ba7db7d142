"""The kernel's own socket: real crashes through it, and all that can go wrong behind it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from tests.support.build import Built, build, programs
from tests.support.kernel import Installation, command, run_to_death

from usercrash.capture.identity import ended
from usercrash.report import Report
from usercrash.system import sysctl
from usercrash.system.entrance import pipe_pattern

T = TypeVar("T")

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


def until(look: Callable[[], T | None], seconds: float = 30.0) -> T:
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
    return found


def children(place: Installation) -> list[int]:
    """The server's children: workers (and jobs, while an analysis runs)."""
    assert place.server is not None
    pid = place.server.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def workers(place: Installation, count: int) -> list[int]:
    """Its workers, once there are so many children and no more."""
    return until(lambda: found if len(found := children(place)) == count else None)


def closed(place: Installation, count: int) -> list[dict[str, object]]:
    def look() -> list[dict[str, object]] | None:
        lines = [line for line in place.events() if line["what"] == "closed"]
        return lines if len(lines) >= count else None

    return until(look)


def has_crashed(pid: int) -> bool:
    """Whether this child of ours is being dumped, or was."""
    status = Path(f"/proc/{pid}/status").read_text()
    return "\nCoreDumping:\t1" in status or "\nState:\tZ" in status


def names(report: Report) -> list[str | None]:
    """The crashing thread's functions."""
    return [frame.function for frame in report.threads[0].frames]


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


def hooked(place: Installation, code: str) -> None:
    """Start the server so that its workers run this first (`Work` is what they do)."""
    module = place.place / "hook"
    module.mkdir()
    (module / "sitecustomize.py").write_text(f"from usercrash.worker.work import Work\n{code}")
    old = os.environ.get("PYTHONPATH")
    place.start_server(python_path=str(module))
    assert os.environ.get("PYTHONPATH") == old


HANG = """
import os, time
from usercrash.worker import work
old, marker = work.capture, {marker!r}
def capture(*rest):
    if rest[2].name != b"rehearsal" and not os.path.exists(marker):
        open(marker, "w").close()
        {what}
    return old(*rest)
work.capture = capture
"""


def test_a_worker_that_is_stopped_before_it_can_tell(crasher: Built) -> None:
    """Nobody but it knows that it holds a process: it is ended, and the process let go."""
    with Installation(SHORT) as place:
        marker = place.place / "marker"
        hooked(
            place,
            "import os\nfrom usercrash.worker import work\nold = work.dumping_peer\n"
            f"def stopped(conn):\n    if not os.path.exists({str(marker)!r}):\n"
            f"        open({str(marker)!r}, 'w').close()\n        os.kill(os.getpid(), 19)\n"
            "    return old(conn)\nwork.dumping_peer = stopped\n",
        )
        with place.receiving(entrance="socket"):
            assert run_to_death(crasher, place.place) == -signal.SIGSEGV
            assert place.crash(crasher).report.complete
        workers(place, 2)


def test_workers_of_the_server_before_are_heard(place: Installation, crasher: Built) -> None:
    """What they still take goes to the next server like everything else."""
    stopped = workers(place, 2)
    with place.receiving(entrance="socket"):
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        assert place.server is not None
        os.kill(place.server.pid, signal.SIGSTOP)
        process = subprocess.Popen(crasher.argv, stdin=-3, stdout=-3, stderr=-3)
        until(lambda: has_crashed(process.pid) or None)
        place.stop_server(signal.SIGKILL)
        place.start_server()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        found = place.wait_pid(process.pid)
        assert process.wait(10) == -signal.SIGSEGV
    assert found.report.complete
    assert not any("server" in note.what for note in found.report.notes)
    assert "nonsense" not in place.server_log


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("os.kill(os.getpid(), 19)", id="stops"),
        pytest.param("os.kill(os.getpid(), 9)", id="is killed"),
        pytest.param("os.kill(os.getpid(), 11)", id="crashes"),
        pytest.param("raise MemoryError", id="fails"),
        pytest.param("os._exit(0)", id="ends"),
    ],
)
def test_a_worker_that_fails_with_a_crash_in_hand(crasher: Built, what: str) -> None:
    """The process is let go, its event is published, the others are not disturbed, and the
    failing worker's own end is no crash to collect."""
    with Installation(SHORT) as place:
        hooked(place, HANG.format(marker=str(place.place / "marker"), what=what))
        with place.receiving(entrance="socket"):
            assert run_to_death(crasher, place.place) == -signal.SIGSEGV
            closed(place, 1)
            assert place.crash(crasher).report.complete
        lines = closed(place, 2)
        assert sorted(str(line["outcome"]) for line in lines) == ["incomplete", "published"]
        announced = [line for line in place.events() if line["what"] == "announced"]
        assert [line["name"] for line in announced] == [crasher.exe.name[:15]] * 2
        workers(place, 2)


def test_a_worker_hangs_and_the_server_is_out_of_descriptors(crasher: Built) -> None:
    """The hold ends all the same, and the server lives."""
    with Installation(SHORT) as place:
        marker = place.place / "marker"
        hooked(place, HANG.format(marker=str(marker), what="os.kill(os.getpid(), 19)"))
        assert place.server is not None
        server = place.server.pid
        with place.receiving(entrance="socket"):
            held = subprocess.Popen(crasher.argv, stdin=-3, stdout=-3, stderr=-3)
            until(lambda: marker.exists() or None)
            time.sleep(0.2)  # the server has the kernel's connection
            old = resource.prlimit(server, resource.RLIMIT_NOFILE)
            resource.prlimit(server, resource.RLIMIT_NOFILE, (3, old[1]))
            assert held.wait(10) == -signal.SIGSEGV
            resource.prlimit(server, resource.RLIMIT_NOFILE, old)
            assert place.crash(crasher).report.complete
        assert place.server.poll() is None


def test_a_process_killed_while_it_is_held(crasher: Built) -> None:
    """By the one that waits for it: there is a report of what was read until then."""
    with Installation(SHORT) as place:
        kill = "os.kill(rest[2].pid, 9); time.sleep(0.05)"
        hooked(place, HANG.format(marker=str(place.place / "marker"), what=kill))
        with place.receiving(entrance="socket"):
            assert run_to_death(crasher, place.place) in (-signal.SIGKILL, -signal.SIGSEGV)
            (line,) = closed(place, 1)
            assert line["outcome"] in ("published", "incomplete")
            assert place.crash(crasher).report.complete


def test_processes_killed_before_they_are_taken(place: Installation, crasher: Built) -> None:
    """A storm, and whoever waits for them has less patience than they: each is counted, whether
    it is still to be seen or reaped already, and costs no worker."""
    assert place.server is not None
    before = workers(place, 2)
    with place.receiving(entrance="socket"):
        for pid in (place.server.pid, *before):
            os.kill(pid, signal.SIGSTOP)
        try:
            dead = [subprocess.Popen(crasher.argv, stdin=-3, stdout=-3, stderr=-3) for _ in "12"]
            until(lambda: all(has_crashed(process.pid) for process in dead) or None)
            for process in dead:
                process.kill()
            dead[0].wait()
        finally:
            for pid in (*before, place.server.pid):
                os.kill(pid, signal.SIGCONT)
        lines = closed(place, 2)
    dead[1].wait()
    assert {line["outcome"] for line in lines} == {"incomplete"}
    pids = {int(str(line["pid"])) for line in place.events() if line["what"] == "announced"}
    assert pids == {process.pid for process in dead}
    assert workers(place, 2) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_workers_alone(place: Installation, crasher: Built, number: signal.Signals) -> None:
    """The server dies: its workers go on, until another one has its sockets. Its own crash is
    not offered to them."""
    old = workers(place, 2)
    pidfds = [os.pidfd_open(pid) for pid in old]
    with place.receiving(entrance="socket"):
        assert place.stop_server(number) == -number
        alone = place.crash(crasher)
        assert alone.report.complete
        assert any("server" in note.what for note in alone.report.notes)
        place.start_server()
        assert place.crash(crasher).report.complete
    until(lambda: all(map(ended, pidfds)) or None)
    for pidfd in pidfds:
        os.close(pidfd)
    assert len(closed(place, 2)) == 2
    assert {line.get("name") for line in place.events()} == {crasher.exe.name[:15], None}


def test_old_workers_alone(crasher: Built) -> None:
    """Workers that would be replaced by now, but the server is dead: they stay, and all who wait
    are taken."""
    with Installation(SHORT) as place:
        hooked(place, "from usercrash.worker import loop; loop.MAX_CRASHES = 1\n")
        assert place.server is not None
        stopped = [place.server.pid, *workers(place, 2)]
        with place.receiving(entrance="socket"):
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            processes = [
                subprocess.Popen(crasher.argv, stdin=-3, stdout=-3, stderr=-3) for _ in range(6)
            ]
            until(lambda: all(has_crashed(process.pid) for process in processes) or None)
            place.stop_server(signal.SIGKILL)
            for pid in stopped[1:]:
                os.kill(pid, signal.SIGCONT)
            assert {process.wait(60) for process in processes} == {-signal.SIGSEGV}
            place.start_server()
        assert {line["outcome"] for line in closed(place, 6)} <= {"published", "duplicate"}
        pids = {int(str(line["pid"])) for line in place.events() if line["what"] == "announced"}
        assert pids == {process.pid for process in processes}


def test_a_worker_started_while_the_server_stops(crasher: Built) -> None:
    """It takes what waits, and ends like the others: nothing has to be waited for."""
    with Installation("[server]\nworkers = 1\nmax_workers = 4\n") as place:
        hooked(
            place,
            "import time\nfrom usercrash.worker import work\nold = work.capture\n"
            "def capture(*rest):\n    time.sleep(0.3)\n    return old(*rest)\n"
            "work.capture = capture\n",
        )
        with place.receiving(entrance="socket"):
            processes = [
                subprocess.Popen(crasher.argv, stdin=-3, stdout=-3, stderr=-3) for _ in range(8)
            ]
            until(lambda: all(has_crashed(process.pid) for process in processes) or None)
            before = time.monotonic()
            assert place.stop_server() == 0
            assert time.monotonic() - before < 10  # far below STOP_SECONDS
            assert {process.wait(60) for process in processes} == {-signal.SIGSEGV}
        assert "when the time to stop was over" not in place.server_log


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


def test_a_worker_that_cannot_reach_the_server(crasher: Built) -> None:
    """Its socket is gone: crashes are published all the same, and nobody is in a frenzy. A worker
    of which nothing was heard leaves like any other that is not needed."""
    with Installation("[server]\nworkers = 0\n") as place:
        module = place.place / "hook"
        module.mkdir()
        (module / "sitecustomize.py").write_text(
            "from usercrash.server import workers; workers.SPARE_SECONDS = 1.0\n"
        )
        place.start_server(python_path=str(module))
        assert place.server is not None
        (place.run / "crash.sock").unlink()
        with place.receiving(entrance="socket"):
            assert place.crash(crasher).report.complete
        workers(place, 0)
        stat = Path(f"/proc/{place.server.pid}/stat")
        before = stat.read_text().rpartition(")")[2].split()
        time.sleep(0.5)
        after = stat.read_text().rpartition(")")[2].split()
        spent = sum(int(after[field]) - int(before[field]) for field in (11, 12))
        assert spent < 10  # of 50 ticks


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
