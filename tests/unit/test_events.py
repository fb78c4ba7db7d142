"""The event log: what is open is found, whatever the file looks like."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.storage import events
from usercrash.storage.events import DUPLICATE, PUBLISHED, EventLog


def an_event(pid: int) -> CrashEvent:
    return CrashEvent(SOURCE_PIPE, 10**18, Pid(pid), Tid(pid), 6, 1, b"a\xff\n b", b"boot", 5)


def test_what_is_not_closed_is_pending(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path / "state"), print)
    for number in range(4):
        log.announced(f"{number:032x}", bytes([number]) * 16, an_event(100 + number))
    log.closed(f"{1:032x}", PUBLISHED, 7)
    log.closed(f"{3:032x}", DUPLICATE)
    open_ones = log.pending()
    assert [one.event.pid for one in open_ones] == [100, 102]
    assert open_ones[1].key == b"\x02" * 16
    assert open_ones[0].event.time_ns == 10**18
    lines = list(log.lines())
    assert lines[4]["slot"] == 7 and lines[4]["outcome"] == "published"


def test_damage_costs_only_its_own_line(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), print)
    log.announced("a" * 32, b"k" * 16, an_event(1))
    with open(log.path, "ab") as file:
        file.write(b'{"what": "announced", "id": "cut sho\n\xff\xfe\n[1,2]\n"text"\n\n')
        file.write(b'{"what": "announced", "id": "odd", "key": "not hex"}\n')
    log.announced("b" * 32, b"l" * 16, an_event(2))
    assert [one.event.pid for one in log.pending()] == [1, 2]


def test_the_log_is_bounded(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), print)
    size, events.MAX_BYTES = events.MAX_BYTES, 2000
    try:
        for number in range(40):
            log.announced(f"{number:032x}", b"k" * 16, an_event(number))
    finally:
        events.MAX_BYTES = size
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6000
    log.announced("f" * 32, b"k" * 16, an_event(40))
    assert {path.name for path in tmp_path.iterdir()} == {"events.jsonl", "events.jsonl.1"}
    assert log.pending()[-1].event.pid == 40


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("")
    log = EventLog(str(tmp_path / "state"), print)
    Path(log.path).symlink_to(canary)
    log.closed("a" * 32, PUBLISHED)
    assert canary.read_text() == "" and list(log.lines()) == []


@pytest.mark.parametrize("kind", ["directory", "fifo", "no directory", "full"])
def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path, kind: str) -> None:
    heard: list[str] = []
    state = tmp_path / "state"
    if kind == "no directory":
        state.write_text("")
    log = EventLog(str(state), heard.append)
    if kind == "directory":
        Path(log.path).mkdir()
    elif kind == "fifo":
        os.mkfifo(log.path)
    elif kind == "full":
        Path(log.path).symlink_to("/dev/full")
    log.announced("a" * 32, b"k" * 16, an_event(1))
    log.closed("a" * 32, PUBLISHED)
    assert log.pending() == []
    assert len(heard) >= 3 and all(line.startswith("event log") for line in heard)


def test_a_line_after_one_that_was_cut_short(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), print)
    Path(log.path).write_bytes(b'{"what": "announced", "id": "cut sho')
    log.announced("b" * 32, b"l" * 16, an_event(2))
    assert [one.event.pid for one in log.pending()] == [2]


def _write_many(place: str, first: int) -> None:
    log = EventLog(place, print)
    for number in range(first, first + 200):
        log.announced(f"{number:032x}", b"k" * 16, an_event(number))


def test_many_writers_make_it_go_round_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_BYTES", 300_000)  # all lines are about 380 kB
    writers = [
        multiprocessing.Process(target=_write_many, args=(str(tmp_path), 200 * n)) for n in range(6)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    log = EventLog(str(tmp_path), print)
    assert sorted(one.event.pid for one in log.pending()) == list(range(1200))
