"""What the kernel's log says of crashes that it could not deliver: read once, and believed only
where the kernel itself wrote it."""

from __future__ import annotations

import errno
import os
import selectors
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.server import kernel_log, missed
from usercrash.server.kernel_log import KernelLog, Missed, missed_in
from usercrash.server.missed import MissedCrashes, count_missed
from usercrash.server.tally import Tally
from usercrash.storage.events import EventLog

PIPE = b"coredump: %d(sh): |/usr/bin/usercrash_c pipe failed"
LIMIT = b"coredump: 5(sh): over core_pipe_limit, skipping core dump"


@pytest.mark.parametrize(
    ("message", "pid", "comm", "why"),
    [
        # Linux 6.18, as measured.
        (PIPE % 30669, 30669, b"sh", "could not start /usr/bin/usercrash_c"),
        (LIMIT, 5, b"sh", "core_pipe_limit was reached"),
        (b"coredump: 29388(sh): Coredump socket connection /run/x/c.sock failed -2", 29388, b"sh",
         "could not connect to /run/x/c.sock: No such file or directory"),
        (b"coredump: 29388(sh): Coredump socket connection /run/x/c.sock failed -111", 29388,
         b"sh", "Connection refused"),
        (b"coredump: 29392(sh): Coredump socket /run/x/c.sock receive queue full", 29392, b"sh",
         "too many crashes waited at /run/x/c.sock"),
        (b"coredump: 9(usercrash_c): RLIMIT_CORE is set to 1, aborting core", 9, b"usercrash_c",
         "RLIMIT_CORE was 1"),
        (b"coredump: 30706(a): |b\\x5cnq): x): |/nonexistent pipe failed", 30706,
         b"a): |b\\nq): x", "could not start /nonexistent"),
        # From fs/coredump.c of 6.12 to 6.19.
        (b"coredump: 1(x): Core dump to |/sbin/h 1 2 disabled", 1, b"x", "starts no programs"),
        (b"coredump: 1(x): coredump_pipe failed to allocate memory", 1, b"x", "no memory"),
        (b"coredump: 1(x): format_corename failed, aborting core", 1, b"x", "core_pattern"),
        # Before 6.12: the name as it is, escaped by /dev/kmsg only.
        (b"Pid 2216944(vasp_std) over core_pipe_limit", 2216944, b"vasp_std", "core_pipe_limit"),
        (b"Pid 7(a) over\\x0a\\xff\\x5cx) over core_pipe_limit", 7, b"a) over\n\xff\\x",
         "core_pipe_limit"),
        (b"Process 8(x) has RLIMIT_CORE set to 1", 8, b"x", "RLIMIT_CORE"),
        (b"Core dump to |/lib/systemd/systemd-coredump 1 2 vasp_std pipe failed", 0, b"",
         "could not start /lib/systemd/systemd-coredump"),
        (b"format_corename failed", 0, b"", "core_pattern"),
    ],
)  # fmt: skip
def test_lines_that_count(message: bytes, pid: int, comm: bytes, why: str) -> None:
    found = missed_in(message, 77, 3)
    assert found is not None
    assert (found.pid, found.comm, found.crashes, found.time_ns, found.seq) == (pid, comm, 1, 77, 3)
    assert why in found.why


@pytest.mark.parametrize(
    "message",
    [
        # A hold that ended otherwise than by our close: that process had been announced.
        b"coredump: 29412(sh): Coredump socket failed",
        b"coredump: 29412(sh): Coredump socket had unexpected data",
        b"coredump_sock_wait: 12 callbacks suppressed",
        b"show_signal_msg: 187 callbacks suppressed",
        b"coredump: 14362(usercrash): Unsafe core_pattern used with fs.suid_dumpable=2: pipe"
        b" handler or fully qualified core dump path required. Set kernel.core_pattern before"
        b" fs.suid_dumpable.",
        # Cores that were to be files; and the second of two lines about one crash.
        b"coredump: 1(x): Core dump to /core aborted: cannot preserve file owner",
        b"Skipping core dump",
        b"Aborting core",
        b"x[5]: segfault at 0 ip 0000 sp 0000 error 6 in x[1,2+3] likely on CPU 1",
        b"coredump: 5(x[9]: segfault at 0 over core_pipe_limit",
        b"eth0: over core_pipe_limit, skipping core dump",
        LIMIT + b" today",
        b" " + LIMIT,
        b"",
    ],
)
def test_lines_that_do_not(message: bytes) -> None:
    assert missed_in(message) is None


def test_what_the_kernel_left_out_is_counted_from_its_number() -> None:
    found = missed_in(b"coredump_pipe: 7 callbacks suppressed", 1, 2)
    assert found is not None and (found.crashes, found.pid) == (7, 0)


@given(st.binary(max_size=200))
def test_any_comm_is_survived(comm: bytes) -> None:
    shown = b"".join(
        b"\\x%02x" % byte if byte < 32 or byte >= 127 or byte == 0x5C else bytes([byte])
        for byte in comm
    )
    found = missed_in(b"Pid 12(%s) over core_pipe_limit" % shown)
    assert found is not None and (found.pid, found.comm) == (12, comm)
    missed_in(comm)


class Buffer:
    """A kernel's log: what `os.read` gives of it, record by record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[bytes | int] = []
        self._real = os.read
        self._seq = 100
        monkeypatch.setattr(os, "read", self.read)

    def read(self, fd: int, size: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{fd}") != "/dev/null":
            return self._real(fd, size)
        if not self.records:
            raise BlockingIOError
        first = self.records.pop(0)
        if isinstance(first, int):
            raise OSError(first, os.strerror(first))
        return first

    def add(self, message: bytes, priority: int = 4, lost: int = 0) -> bytes:
        self._seq += 1 + lost
        record = b"%d,%d,1000000,-,caller=T1;%s\n DEVICE=x\n" % (priority, self._seq, message)
        if lost:
            self.records.append(errno.EPIPE)
        self.records.append(record)
        return record


@pytest.fixture
def buffer(monkeypatch: pytest.MonkeyPatch) -> Buffer:
    return Buffer(monkeypatch)


class Place:
    """A state directory, its event log, and whoever reads for it."""

    def __init__(self, state: Path) -> None:
        self.state = str(state)
        self.heard: list[str] = []
        self.tally = Tally()
        self.log = EventLog(self.state, self.heard.append)
        self.reader = self.restarted()

    def restarted(self) -> KernelLog:
        self.reader = KernelLog(self.state, self.heard.append, "/dev/null")
        return self.reader

    def count(self) -> list[str]:
        """The pids that are in the event log after one more count."""
        count_missed(self.reader, self.tally, self.log)
        return [str(line["pid"]) for line in self.log.lines()]


def pids(found: list[Missed]) -> list[int]:
    return [one.pid for one in found]


def test_the_first_reader_begins_at_the_end(buffer: Buffer, tmp_path: Path) -> None:
    buffer.add(PIPE % 1)
    buffer.add(b"something else", priority=6)
    place = Place(tmp_path)
    buffer.add(PIPE % 2)
    assert pids(place.reader.read()) == [2] and place.heard == []
    assert place.reader.read() == []


def test_only_the_kernel_is_believed(buffer: Buffer, tmp_path: Path) -> None:
    place = Place(tmp_path)
    buffer.add(PIPE % 1, priority=12)  # facility user, which is all that others can write as
    buffer.add(PIPE % 2, priority=3 << 3 | 4)
    buffer.records += [b"nonsense", b"4,x,1,-;" + PIPE % 3, b"4,1;" + PIPE % 4]
    buffer.add(PIPE % 5, priority=6)
    assert pids(place.reader.read()) == [5]


def test_a_restart_counts_what_came_meanwhile_and_once(buffer: Buffer, tmp_path: Path) -> None:
    place = Place(tmp_path)
    old = [buffer.add(PIPE % 1), buffer.add(b"x")]
    assert place.count() == ["1"]
    buffer.records[:0] = old  # a new descriptor begins with the oldest record
    buffer.add(PIPE % 2)
    place.restarted()
    assert place.count() == ["1", "2"] and place.heard == []
    assert place.count() == ["1", "2"]


def test_a_server_killed_before_it_kept_its_place_counts_once(
    buffer: Buffer, tmp_path: Path
) -> None:
    buffer.add(b"x")
    place = Place(tmp_path)
    before = Path(place.state, kernel_log.PLACE).read_bytes()
    records = [buffer.add(PIPE % 1), buffer.add(PIPE % 2)]
    assert place.count() == ["1", "2"]
    Path(place.state, kernel_log.PLACE).write_bytes(before)
    buffer.records[:0] = records
    buffer.add(PIPE % 3)
    place.restarted()
    assert place.count() == ["1", "2", "3"]


def test_a_new_boot_is_read_from_its_beginning(buffer: Buffer, tmp_path: Path) -> None:
    Place(tmp_path)
    Path(tmp_path, kernel_log.PLACE).write_text("another-boot 900\n")
    buffer.records = [b"4,0,1,-;start\n", b"4,1,5,-;" + PIPE % 6 + b"\n"]
    assert Place(tmp_path).count() == ["6"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe 1", b"a b c", b"boot -"])
def test_a_damaged_place_is_a_first_start(buffer: Buffer, tmp_path: Path, content: bytes) -> None:
    Path(tmp_path, kernel_log.PLACE).write_bytes(content)
    buffer.add(PIPE % 1)
    assert Place(tmp_path).count() == []


def test_records_that_were_overwritten_are_told(buffer: Buffer, tmp_path: Path) -> None:
    buffer.add(b"x")
    place = Place(tmp_path)
    buffer.add(PIPE % 1)
    buffer.add(PIPE % 2, lost=40)
    assert place.count() == ["1", "2"]
    assert place.reader.overwritten == 40
    assert len(place.heard) == 1 and "40 records" in place.heard[0]


def test_no_log_is_said_once(tmp_path: Path) -> None:
    heard: list[str] = []
    reader = KernelLog(str(tmp_path), heard.append, str(tmp_path / "none"))
    assert reader.fileno() == -1 and reader.read() == [] and not reader.resumed
    reader.keep_place()
    assert len(heard) == 1 and "No such file" in heard[0]


def test_a_log_that_fails_is_given_up(buffer: Buffer, tmp_path: Path) -> None:
    place = Place(tmp_path)
    buffer.records = [errno.EINVAL, errno.EIO]
    buffer.add(PIPE % 1)
    assert place.count() == [] and place.reader.fileno() == -1
    assert place.count() == [] and len(place.heard) == 1


def test_what_was_announced_is_not_missed(buffer: Buffer, tmp_path: Path) -> None:
    place = Place(tmp_path)
    buffer.add(PIPE % 1)
    buffer.add(PIPE % 2)
    [one, two] = (missed_in(PIPE % pid) for pid in (1, 2))
    assert one and two
    place.tally.announced(1, kernel_log._wall_time(1_000_000))
    place.tally.announced(2, 5)
    assert place.count() == ["2"]


def test_in_the_event_log(buffer: Buffer, tmp_path: Path) -> None:
    place = Place(tmp_path)
    buffer.add(b"coredump: 30706(a\\xff): |/c pipe failed")
    buffer.add(b"coredump_pipe: 9 callbacks suppressed")
    place.count()
    first, second = place.log.lines()
    assert first["what"] == "missed" and first["comm"] == "a\\xff" and first["count"] == 1
    assert first["why"] == "the kernel could not start /c" and first["seq"] == 101
    assert first["boot_id"] == place.reader.boot_id and int(str(first["time_ns"])) > 0
    assert second["count"] == 9 and second["pid"] == "0"
    assert place.log.missed_until(place.reader.boot_id) == 102
    assert place.log.missed_until("another") == -1
    assert place.log.pending() == []


def test_the_loops_part(buffer: Buffer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, wake = os.pipe()
    monkeypatch.setattr(KernelLog, "fileno", lambda reader: ready if reader._fd >= 0 else -1)
    monkeypatch.setattr(kernel_log, "DEVICE", "/dev/null")
    monkeypatch.setattr(KernelLog.__init__, "__defaults__", ("/dev/null",))
    tally, log = Tally(), EventLog(str(tmp_path), print)
    with selectors.DefaultSelector() as selector:
        part = MissedCrashes(str(tmp_path), selector, tally, log, print)
        due = part.next_due()
        assert part.watching and due is not None and not selector.get_map()
        part.act(due)
        assert part.next_due() is None
        os.write(wake, b"x")
        [(key, _)] = selector.select(0)
        buffer.add(PIPE % 1)
        key.data()
        # Readable still, and not looked at before its time.
        assert selector.select(0) == [] and list(log.lines()) == []
        due = part.next_due()
        assert due is not None
        part.act(due - missed.DELAY_SECONDS / 2)
        assert list(log.lines()) == []
        part.act(due)
        assert [line["pid"] for line in log.lines()] == ["1"]
        buffer.add(PIPE % 2)
        part.close()
        assert [line["pid"] for line in log.lines()] == ["1", "2"]
        assert not part.watching and not selector.get_map()
        part.close()
    os.close(ready)
    os.close(wake)
