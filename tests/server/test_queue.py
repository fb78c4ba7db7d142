"""The server's queue: crashes wait on disk, hold nothing, and outlive the server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_client import FakeClient
from tests.support.kernel import Installation
from tests.support.server_life import children, closed, until
from usercrash.report import from_json
from usercrash.storage.store import Store

PATIENCE = 90.0  # seconds: one worker has many crashes to see to
SETTINGS = '[server]\nentrance = "pipe"\n[reports]\nslots = 400\n[analysis]\nworkers = 1\n'


@pytest.fixture
def place() -> Iterator[Installation]:
    with Installation(SETTINGS) as installation:
        installation.start_server()
        yield installation


def crash(place: Installation, core: Path, name: str = "", files: int = 3) -> None:
    """One crash as a collector hands it over."""
    client = FakeClient(str(place.run), "")
    client.announce(name or "fake")
    client.grant("")
    client.report("what the collector wrote\n")
    client.core(str(core))
    client.send_files(str(files))
    client.complete()
    for fd in client.fds:
        os.close(fd)
    client.sock.close()


def lines(place: Installation, what: str) -> list[dict[str, object]]:
    return [line for line in place.events() if line["what"] == what]


def pid_of(place: Installation) -> int:
    assert place.server is not None
    return place.server.pid


def descriptors(place: Installation) -> int:
    return len(os.listdir(f"/proc/{pid_of(place)}/fd"))


def idle(place: Installation) -> None:
    until(lambda: None if children(place) else True, PATIENCE)


def warm_up(place: Installation, core: Path) -> int:
    """One crash, so that everything is open that stays open; gives how many descriptors."""
    crash(place, core)
    closed(place, 1, PATIENCE)
    idle(place)
    return descriptors(place)


def test_three_hundred_crashes_in_a_burst(place: Installation, core: Path) -> None:
    before = warm_up(place, core)
    for number in range(299):
        crash(place, core, f"crash{number}")
    # All of them have mapped the same file; a connection or two may not be closed yet.
    assert descriptors(place) <= before + 10
    assert len(children(place)) <= 1
    done = closed(place, 300, PATIENCE)
    until(lambda: True if descriptors(place) == before else None, PATIENCE)
    assert {line["outcome"] for line in done} == {"published"}
    # Analysed in the order in which they came.
    assert [line["id"] for line in done] == [line["id"] for line in lines(place, "announced")]
    assert [line["slot"] for line in done] == list(range(300))
    assert place.server_log == ""
    left = os.listdir(place.reports / ".data")
    assert not [name for name in left if name.endswith((".report", ".mini", ".part"))]


def test_a_restart_picks_up_what_was_queued(place: Installation, core: Path) -> None:
    for number in range(150):
        crash(place, core, f"crash{number}")
    place.stop_server(signal.SIGKILL)
    before = len(lines(place, "closed"))
    assert before < 100
    place.start_server()
    # It serves at once, and does not do all of it at one time.
    assert descriptors(place) < 40
    assert len(children(place)) <= 1
    assert len(lines(place, "closed")) < 150
    crash(place, core, "last")
    done = closed(place, 151, PATIENCE)
    idle(place)
    announced = [line["id"] for line in lines(place, "announced")]
    assert sorted(str(line["id"]) for line in done) == sorted(map(str, announced))
    assert {line["outcome"] for line in done} <= {"published", "duplicate"}
    # The one that the dead server had at work may come at any time, the others in their order.
    queued = announced[before + 2 :]
    assert [line["id"] for line in done if line["id"] in queued] == queued
    store = Store(str(place.reports), 400)
    newest = from_json(store.read_json(int(str(done[-2]["slot"]))) or b"")
    store.close()
    # No descriptor outlived the server: by their paths, and believed by their build-ids.
    assert {module.file for module in newest.modules if module.path.startswith("/usr")} == {"path"}
    assert any(frame.function for frame in newest.threads[0].frames)


def test_a_storm_of_many_programs_keeps_few_files_open(core: Path) -> None:
    settings = f"{SETTINGS}[queue]\nfiles = 5\n"
    with Installation(settings) as place:
        programs = []
        for number in range(40):
            programs.append(place.place / f"program{number}")
            programs[-1].write_bytes(b"\x7fELF")
        place.start_server()
        before = warm_up(place, core)
        for path in programs:
            client = FakeClient(str(place.run), "")
            client.announce("fake")
            client.grant("")
            client.core(str(core))
            client.send_file(str(path))
            client.complete()
            client.sock.close()
        assert descriptors(place) <= before + 5 + 10
        assert {line["outcome"] for line in closed(place, 41, PATIENCE)} == {"published"}
        until(lambda: True if descriptors(place) == before else None, PATIENCE)


def test_files_of_crashes_that_wait_are_let_go_in_time(core: Path) -> None:
    """A server whose job hangs still lets the others' files go."""
    settings = f"{SETTINGS}[queue]\nfiles_seconds = 0.3\n"
    with Installation(settings) as place:
        place.start_server()
        before = warm_up(place, core)
        crash(place, core)
        job = until(lambda: next(iter(children(place)), None), PATIENCE)
        os.kill(job, signal.SIGSTOP)
        crash(place, core)
        crash(place, core)
        until(lambda: True if descriptors(place) == before else None, PATIENCE)
        os.kill(job, signal.SIGCONT)
        assert {line["outcome"] for line in closed(place, 4, PATIENCE)} == {"published"}


def test_a_job_that_is_killed_is_repeated_without_analysis(place: Installation, core: Path) -> None:
    crash(place, core, "first")
    job = until(lambda: next(iter(children(place)), None), PATIENCE)
    os.kill(job, signal.SIGSTOP)
    crash(place, core, "second")
    os.kill(job, signal.SIGKILL)
    first, second = closed(place, 2, PATIENCE)
    assert (first["outcome"], second["outcome"]) == ("incomplete", "published")
    assert "earlier attempt" in str(first["why"])
    store = Store(str(place.reports), 400)
    assert b"what the collector wrote" in store.read_text(0)
    store.close()
