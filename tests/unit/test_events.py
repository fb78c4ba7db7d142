"""The event log: what is open is found, whatever the file looks like."""

from __future__ import annotations

from pathlib import Path

from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.storage import events
from usercrash.storage.events import DUPLICATE, PUBLISHED, EventLog


def an_event(pid: int) -> CrashEvent:
    return CrashEvent(SOURCE_PIPE, 10**18, Pid(pid), Tid(pid), 6, 1, b"a\xff\n b", b"boot", 5)


def test_what_is_not_closed_is_pending(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path / "state"))
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
    log = EventLog(str(tmp_path))
    log.announced("a" * 32, b"k" * 16, an_event(1))
    with open(log.path, "ab") as file:
        file.write(b'{"what": "announced", "id": "cut sho\n\xff\xfe\n[1,2]\n"text"\n\n')
        file.write(b'{"what": "announced", "id": "odd", "key": "not hex"}\n')
    log.announced("b" * 32, b"l" * 16, an_event(2))
    assert [one.event.pid for one in log.pending()] == [1, 2]


def test_the_log_is_bounded(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path))
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
    log = EventLog(str(tmp_path / "state"))
    Path(log.path).symlink_to(canary)
    try:
        log.closed("a" * 32, PUBLISHED)
    except OSError:
        pass
    assert canary.read_text() == ""
