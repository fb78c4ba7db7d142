"""The pool: order, bounds, what a job finds, and what becomes of jobs that die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from usercrash.config import Analysis, Config, Paths, Queue
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.pipeline import Crash
from usercrash.server import jobs
from usercrash.server.jobs import Pool
from usercrash.storage.events import DUPLICATE, INCOMPLETE, LOST, PUBLISHED, EventLog
from usercrash.storage.store import Store

SECONDS = 60.0
Complete = Callable[..., str]


class Bench:
    """A pool whose jobs do what the test says, and write what they see into a file."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
        queue = Queue(**settings)  # type: ignore[arg-type]
        self.config = Config(
            paths=Paths(reports=str(place / "reports"), state=str(place / "state")),
            analysis=Analysis(workers=1), queue=queue,
        )  # fmt: skip
        self.store = Store(self.config.paths.reports, 50, create=True)
        self.log = EventLog(self.config.paths.state, print)
        self.outcomes: list[str] = []
        self.said: list[str] = []
        self.seen = place / "seen"
        self.gate = place / "gate"
        self._monkeypatch = monkeypatch
        self.works(lambda crash: PUBLISHED)
        self.pool = Pool(self.config, self.store, self.log, self.said.append, self.outcomes.append)

    def works(self, work: Callable[[Crash], str]) -> None:
        """Each job does this; once `gate` is there."""
        parent = os.getpid()

        def complete(
            config: Config,
            store: Store,
            log: EventLog,
            crash: Crash,
            *,
            analyse: bool,
            say: Callable[[str], None],
        ) -> str:
            while not self.gate.exists() and os.getppid() == parent:
                time.sleep(0.002)
            self.tell(f"{crash.event.pid} {analyse}")
            outcome = work(crash)
            store.remove_spool(crash.id)
            return outcome

        self._monkeypatch.setattr(jobs, "complete", complete)

    def tell(self, text: str) -> str:
        """Of a job; gives the outcome of one that went well."""
        with open(self.seen, "a") as file:
            file.write(f"{text}\n")
        return PUBLISHED

    def lines(self) -> list[str]:
        return self.seen.read_text().splitlines() if self.seen.exists() else []

    def submit(self, pid: int, files: list[int] | None = None, size: int = 10) -> str:
        crash_id, key = os.urandom(16).hex(), os.urandom(16)
        event = CrashEvent(SOURCE_PIPE, time.time_ns(), Pid(pid), Tid(pid), 11)
        spool = self.store.create_spool(crash_id)
        os.write(spool.report, b"report of %d" % pid)
        os.ftruncate(spool.core, size)
        self.log.announced(crash_id, key, event)
        self.pool.submit(Crash(crash_id, key, event, spool.report, spool.core, files or []))
        return crash_id

    def finish(self) -> None:
        """Until all have come to their end."""
        self.gate.touch()
        deadline = time.monotonic() + SECONDS
        while self.pool.known():
            assert time.monotonic() < deadline, "the pool does not come to its end"
            time.sleep(0.002)
            self.pool.reap()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_in_their_order_and_one_outcome_for_each(bench: Bench) -> None:
    results = {1: PUBLISHED, 2: INCOMPLETE, 3: LOST, 4: DUPLICATE, 5: PUBLISHED}
    bench.works(lambda crash: results[crash.event.pid])
    for pid in results:
        bench.submit(pid)
    assert (bench.pool.waiting, bench.pool.running) == (4, 1)
    bench.finish()
    assert bench.lines() == [f"{pid} True" for pid in results]
    assert bench.outcomes == list(results.values())
    assert bench.said == [] and bench.store.spooled() == {}


def test_one_that_waits_holds_no_descriptor_of_its_own(bench: Bench, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("")
    before = descriptors()
    for pid in range(60):
        bench.submit(pid, [os.open(name, os.O_RDONLY) for name in (program, "/proc/self/exe")])
    assert descriptors() == before + 2  # the two files, which all of them share
    bench.finish()
    assert descriptors() == before


def test_a_job_finds_what_was_collected(bench: Bench, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("ELF")

    def work(crash: Crash) -> str:
        fds = ",".join(os.pread(fd, 9, 0).decode() for fd in crash.files)
        size = os.fstat(crash.core).st_size
        return bench.tell(f"{os.pread(crash.report, 99, 0).decode()}; {size}; {fds}")

    bench.works(work)
    for pid in (7, 8):
        bench.submit(pid, [os.open(program, os.O_RDONLY)], 1234)
    program.unlink()
    bench.finish()
    assert bench.lines() == [
        "7 True", "report of 7; 1234; ELF", "8 True", "report of 8; 1234; ELF",
    ]  # fmt: skip


def test_files_that_were_let_go_are_minus_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch, files=2, files_seconds=3600.0)
    paths = [tmp_path / f"file{number}" for number in range(3)]
    for path in paths:
        path.write_text("")

    def work(crash: Crash) -> str:
        return bench.tell(" ".join("gone" if fd < 0 else "there" for fd in crash.files))

    bench.works(work)
    bench.submit(1)  # keeps the pool busy
    bench.submit(2, [os.open(path, os.O_RDONLY) for path in paths[:2]])
    bench.submit(3, [os.open(path, os.O_RDONLY) for path in paths[1:]])
    bench.finish()
    assert bench.lines()[3] == "gone there" and bench.lines()[5] == "there there"


def test_files_are_let_go_after_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, files_seconds=50.0)
    bench.works(lambda crash: bench.tell(str(crash.files)))
    bench.submit(1)
    bench.submit(2, [os.open("/proc/self/exe", os.O_RDONLY)])
    before, now = descriptors(), time.monotonic()
    due = bench.pool.next_deadline()
    assert due is not None and due <= now + 50
    bench.pool.expire(due - 1)
    assert descriptors() == before
    bench.pool.expire(due)
    assert descriptors() == before - 1
    bench.finish()
    assert bench.lines()[-1] == "[-1]"


def test_full_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, crashes=3)
    for pid in range(4):  # the first is at work and does not count
        assert not bench.pool.full()
        bench.submit(pid)
    assert bench.pool.full()
    bench.submit(4)  # was granted before: taken all the same
    assert bench.pool.waiting == 4
    bench.finish()
    assert len(bench.lines()) == 5 and not bench.pool.full()


def test_full_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, megabytes=1)
    for pid in range(3):
        assert not bench.pool.full()
        bench.submit(pid, size=600_000)
    assert bench.pool.full()
    bench.finish()
    assert not bench.pool.full()


def test_a_job_that_dies_is_repeated_at_once_and_then_lost(bench: Bench) -> None:
    def work(crash: Crash) -> str:
        if crash.event.pid == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return PUBLISHED

    bench.works(work)
    lost, _ = bench.submit(1), bench.submit(2)
    bench.finish()
    assert bench.lines() == ["1 True", "1 False", "2 True"]
    assert bench.outcomes == [LOST, PUBLISHED]
    [closed] = [line for line in bench.log.lines() if line["what"] == "closed"]
    assert (closed["id"], closed["outcome"]) == (lost, LOST)
    assert len(bench.said) == 2


def test_a_job_that_hangs_is_killed(bench: Bench) -> None:
    def work(crash: Crash) -> str:
        if crash.files:
            signal.pause()
        return INCOMPLETE

    bench.works(work)
    bench.submit(1, [os.open("/proc/self/exe", os.O_RDONLY)])
    bench.gate.touch()
    due = bench.pool.next_deadline()
    assert due is not None
    bench.pool.expire(due + 1)
    bench.finish()
    assert bench.outcomes == [INCOMPLETE]
    assert "takes too long" in bench.said[0]


def test_collected_files_that_are_gone(bench: Bench) -> None:
    """Another collector has published the crash and cleaned up behind itself."""
    bench.works(lambda crash: bench.tell(f"{crash.core} {crash.interrupted}"))
    bench.submit(1)
    bench.store.remove_spool(bench.submit(2))
    bench.finish()
    assert bench.lines()[-1] == "-1 what was collected: No such file or directory"


def test_jobs_make_way(bench: Bench) -> None:
    def work(crash: Crash) -> str:
        return bench.tell(f"{os.getpriority(os.PRIO_PROCESS, 0)} {os.sched_getscheduler(0)}")

    bench.works(work)
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    bench.submit(1)
    bench.finish()
    assert bench.lines()[-1] == f"{min(19, nice + jobs.NICE)} {os.SCHED_BATCH}"
    assert os.getpriority(os.PRIO_PROCESS, 0) == nice


def test_no_process_to_be_had_now(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", no_process)
        bench.submit(1)
        bench.submit(2)
        due = bench.pool.next_deadline()
        assert due is not None and bench.pool.running == 0
        bench.pool.expire(due + 0.1)
    assert bench.said == ["cannot start an analysis: Resource temporarily unavailable"]
    due = bench.pool.next_deadline()
    assert due is not None
    bench.pool.expire(due + 0.1)
    bench.finish()
    assert bench.lines() == ["1 True", "2 True"]


def test_claims_go_when_nobody_can_need_them_any_more(bench: Bench) -> None:
    def work(crash: Crash) -> str:
        bench.store.publish(crash.id, crash.key, b"text\n", None, None)
        return PUBLISHED

    bench.works(work)
    bench.submit(1)
    bench.finish()
    claims = Path(bench.store.path, ".data/claims")
    bench.pool.expire(time.monotonic())
    assert len(list(claims.iterdir())) == 1
    bench.pool.expire(time.monotonic() + jobs.CLAIM_SECONDS + 1)
    assert list(claims.iterdir()) == []


@pytest.mark.parametrize("crashes", [1000, 20])
def test_in_a_burst_jobs_wait_until_it_is_over_or_the_queue_half_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crashes: int
) -> None:
    bench = Bench(tmp_path, monkeypatch, crashes=crashes)
    monkeypatch.setattr(jobs, "CALM_SECONDS", 3600.0)
    monkeypatch.setattr(jobs, "PACE_SECONDS", 1800.0)
    bench.gate.touch()
    for pid in range(12):
        bench.submit(pid)
    assert bench.pool.running == 1
    if crashes == 1000:
        while bench.pool.running:
            bench.pool.reap()
        assert (bench.pool.waiting, bench.pool.running) == (11, 0)
        due = bench.pool.next_deadline()
        assert due is not None and time.monotonic() + 1000 < due < time.monotonic() + 1800
        monkeypatch.setattr(jobs, "CALM_SECONDS", 0.0)
        bench.pool.expire(due)
    else:
        while bench.pool.waiting == 11:
            bench.pool.reap()
        monkeypatch.setattr(jobs, "CALM_SECONDS", 0.0)
    bench.finish()
    assert bench.lines() == [f"{pid} True" for pid in range(12)]
