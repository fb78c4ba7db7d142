"""Workers behind the kernel's socket that hang, fail, are killed, or are alone."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.build import Built, build, programs
from tests.support.kernel import Installation, run_to_death
from tests.support.server_life import closed, until
from tests.support.socket_workers import has_crashed, workers

from usercrash.capture.identity import ended

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
