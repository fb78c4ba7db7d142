"""The server against every kind of client. Whatever one does, its event is accounted for, nobody
else is disturbed, and nothing half-written is ever visible."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_client import client
from tests.support.kernel import SOURCES, Installation
from tests.support.server_life import closed, text_of, until
from usercrash import protocol
from usercrash.report import from_json
from usercrash.storage.store import Store

# Short deadlines, so that what waits for them does not wait long.
SETTINGS = "[reports]\nslots = 200\n[server]\nrequest_seconds = 0.4\ncapture_seconds = 1.5\n"


@pytest.fixture
def place() -> Iterator[Installation]:
    with Installation(SETTINGS) as installation:
        installation.start_server()
        yield installation


def assert_still_serves(place: Installation, core: Path) -> None:
    """A good client gets a complete report after all that, and no spool file is left."""
    before = len([line for line in place.events() if line["what"] == "closed"])
    good = client(place, "announce", "grant", "report:plain\n", f"core:{core}", "complete")
    assert good.wait(30) == 0
    line = closed(place, before + 1)[-1]
    assert line["outcome"] == "published"
    data = place.reports / ".data"
    until(
        lambda: (
            True if not [n for n in os.listdir(data) if n.endswith(("report", "mini"))] else None
        )
    )


def test_a_good_client_is_published(place: Installation, core: Path) -> None:
    good = client(place, "announce", "grant", "report:plain\n", f"core:{core}", "complete")
    assert good.wait(30) == 0
    [line] = closed(place)
    assert (line["outcome"], line["slot"]) == ("published", 0)
    assert place.server_log == ""
    store = Store(str(place.reports))
    report = from_json(store.read_json(0) or b"")
    assert report.complete and report.threads and report.id == line["id"]
    assert store.read_core(0)
    assert not Path(place.reports, ".data", f"{line['id']}.report").exists()


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (("announce", "grant", "die"), "ended before"),
        (("announce", "grant", "report:what I knew\n", "die"), "ended before"),
        (("announce", "grant", "report:what I knew\n", "half-core:CORE", "die"), "ended before"),
        (("announce", "grant", "packet:00ff00ff", "sleep:30"), "nonsense"),
        (("announce", "grant", "oversized", "sleep:30"), "larger"),
        (("announce", "grant", "announce", "sleep:30"), "out of turn"),
        (("announce", "grant", "fds:3", "sleep:30"), "nonsense"),
        (("announce", "grant", "fds:253", "sleep:30"), "larger"),
        (("announce", "grant", "report:what I knew\n", "sleep:30"), "no completion notice"),
        (("announce", "grant", "complete"), "could not capture"),
        (("announce", "die"), "gone|ended before"),
        (("announce", "grant", "half-core:CORE", "complete"), "not whole"),
        (("announce", "grant", "core:CORE", "files:3", "complete-with:5"), "did not arrive"),
    ],
    ids=lambda value: "-".join(value).replace("/", "") if isinstance(value, tuple) else None,
)  # fmt: skip
def test_an_interrupted_crash_says_what_was_known(
    place: Installation, core: Path, steps: tuple[str, ...], why: str
) -> None:
    bad = client(place, *(step.replace("CORE", str(core)) for step in steps))
    [line] = closed(place)
    bad.kill()
    bad.wait()
    assert line["outcome"] == "incomplete"
    assert re.search(why, str(line["why"]))
    text = text_of(place, line)
    assert "incomplete" in text or "not analysed" in text
    assert ("what I knew" in text) == any("what I knew" in step for step in steps)
    if "core:CORE" not in steps:  # the one that came whole is another process's
        assert str(bad.pid) in text
    assert_still_serves(place, core)


@pytest.mark.parametrize(
    "steps",
    [("sleep:30",), ("hang-up",), ("packet:00",), ("oversized",), ("complete",), ("files:2",),
     ("fds:200", "sleep:30")],
    ids="-".join,
)  # fmt: skip
def test_a_connection_without_an_event_leaves_nothing(
    place: Installation, core: Path, steps: tuple[str, ...]
) -> None:
    bad = client(place, *steps)
    assert_still_serves(place, core)
    bad.kill()
    bad.wait()
    assert len([line for line in place.events() if line["what"] == "announced"]) == 1
    assert [name for name in os.listdir(place.reports) if name[0] == "u"] == ["usercrash_00"]


def test_silent_connections_are_closed_after_the_request_time(place: Installation) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(f"{place.run}/{protocol.SOCKET_NAME}")
        sock.settimeout(20)
        assert sock.recv(100) == b""


def test_a_kept_descriptor_does_not_reach_the_published_report(
    place: Installation, core: Path
) -> None:
    steps = ("announce", "grant", "report:plain\n", f"core:{core}", "complete", "say:done",
             "sleep:0.3", "scribble", "say:scribbled", "sleep:30")  # fmt: skip
    bad = client(place, *steps)
    [line] = closed(place)
    assert bad.stdout is not None
    while bad.stdout.readline() != "scribbled\n":
        assert bad.poll() is None
    assert "SCRIBBLE" not in text_of(place, line)
    for path in (place.reports / ".data").rglob("*.*"):
        assert b"SCRIBBLE" not in path.read_bytes()
    bad.kill()
    bad.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_other_users_are_not_served(place: Installation) -> None:
    os.chmod(place.place, 0o755)  # only the server's own modes are to keep them out
    probe = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n"
        "try: s.connect(sys.argv[1]); s.settimeout(5); print(repr(s.recv(10)))\n"
        "except OSError as e: print(type(e).__name__)\n"
    )

    def connect() -> str:
        return subprocess.run(
            [sys.executable, "-c", probe, f"{place.run}/{protocol.SOCKET_NAME}"],
            user=65534, group=65534, extra_groups=[], text=True, stdout=subprocess.PIPE, check=True,
        ).stdout.strip()  # fmt: skip

    assert connect() == "PermissionError"
    os.chmod(place.run, 0o755)
    os.chmod(place.run / protocol.SOCKET_NAME, 0o666)
    assert connect() == "b''"  # let in by mistake, sent away by its uid


def test_a_hundred_clients_half_of_them_dying(place: Installation, core: Path) -> None:
    rng = random.Random(7)
    fifo = place.place / "go"
    os.mkfifo(fifo)
    good = ["announce", "grant", "report:plain\n", f"core:{core}", "complete"]
    clients = []
    for number in range(100):
        steps: list[str] = list(good)
        if number % 2:
            steps.insert(rng.randrange(1, 5), "die")
        clients.append(client(place, f"barrier:{fifo}", *steps))
    for one in clients:
        assert one.stdout is not None and one.stdout.readline() == "waiting\n"
    with open(fifo, "w"):  # all of them at once
        for one in clients:
            one.wait(60)
    lines = closed(place, 100)
    announced = [line["id"] for line in place.events() if line["what"] == "announced"]
    assert len(announced) == len(set(announced)) == 100
    assert sorted(str(line["id"]) for line in lines) == sorted(map(str, announced))
    outcomes = [line["outcome"] for line in lines]
    assert set(outcomes) == {"published", "incomplete"}
    assert outcomes.count("published") >= 50
    assert sorted(int(str(line["slot"])) for line in lines) == list(range(100))


def test_slots_hold_the_newest(core: Path) -> None:
    with Installation("[reports]\nslots = 4\n") as place:
        place.start_server()
        for number in range(6):
            steps = (f"announce:n{number}", "grant", f"core:{core}", "complete")
            assert client(place, *steps).wait(30) == 0
            closed(place, number + 1)
        assert [line["slot"] for line in closed(place, 6)] == [0, 1, 2, 3, 0, 1]
        store = Store(str(place.reports), 4)
        ids = {entry.id for entry in store.entries()}
        assert ids == {line["id"] for line in closed(place, 6)[2:]}
        companions = {name[:32] for name in os.listdir(place.reports / ".data") if len(name) > 32}
        assert companions == ids


def test_killed_in_the_middle_and_restarted(place: Installation, core: Path) -> None:
    """Ten crashes: some done, some collected but not analysed, some being collected."""
    done = [client(place, "announce", "grant", f"core:{core}", "complete") for _ in range(3)]
    for one in done:
        one.wait(30)
    closed(place, 3)
    waiting = [
        client(place, "announce", "grant", "report:kept\n", f"core:{core}", "say:ready", "sleep:60")
        for _ in range(4)
    ]
    halfway = [
        client(place, "announce", "grant", "report:kept\n", "say:ready", "sleep:60")
        for _ in range(3)
    ]
    for one in (*waiting, *halfway):
        assert one.stdout is not None
        while one.stdout.readline() != "ready\n":
            assert one.poll() is None
    place.stop_server(9)
    for one in (*waiting, *halfway):
        one.kill()
        one.wait()
    place.start_server()
    lines = closed(place, 10)
    assert sorted(str(line["outcome"]) for line in lines) == ["incomplete"] * 3 + ["published"] * 7
    assert len({line["id"] for line in lines}) == 10
    for line in lines:
        if line["outcome"] == "incomplete":
            assert "kept" in text_of(place, line)
    assert sorted(int(str(line["slot"])) for line in lines) == list(range(10))


def test_a_second_server_says_so(place: Installation) -> None:
    second = subprocess.run(
        [sys.executable, "-c", "from usercrash.server import main; main()", "--config",
         str(place.config)],
        env={"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr.startswith("usercrash_s: another usercrash_s serves")
    assert second.stderr.count("\n") == 1


def test_a_clean_stop_is_quiet(place: Installation) -> None:
    assert place.stop_server() == 0
    assert place.server_log == ""
