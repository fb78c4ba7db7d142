"""The reports directory: numbers, the one commit point, claims, and everything in its way."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import stat
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from usercrash.errors import UsercrashError
from usercrash.storage.store import AlreadyPublishedError, Store


def new_id() -> str:
    return os.urandom(16).hex()


def publish(store: Store, text: bytes = b"report\n", key: bytes | None = None) -> int:
    return store.publish(new_id(), key or os.urandom(16), text, b'{"a":1}', b"core")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "reports"), 5, create=True)


def names(store: Store) -> list[str]:
    return sorted(os.listdir(store.path))


def test_the_first_is_00_and_what_was_written_is_read(store: Store) -> None:
    assert publish(store, b"first line\nsecond\n") == 0
    assert names(store) == [".data", "usercrash_00"]
    assert store.read_text(0) == b"first line\nsecond\n"
    assert store.read_json(0) == b'{"a":1}'
    assert store.read_core(0) == b"core"
    [entry] = store.entries()
    assert (entry.number, entry.name, len(entry.id)) == (0, "usercrash_00", 32)


def test_numbers_wrap_and_the_oldest_goes_with_its_companions(store: Store) -> None:
    assert [publish(store, b"%d\n" % n) for n in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    assert [store.read_text(n) for n in range(5)] == [b"5\n", b"6\n", b"2\n", b"3\n", b"4\n"]
    companions = [name for name in os.listdir(f"{store.path}/.data") if len(name) > 32]
    assert len(companions) == 10
    newest = store.newest()
    assert newest is not None and newest.number == 1


def test_numbers_continue_after_a_restart(store: Store) -> None:
    publish(store)
    publish(store)
    again = Store(store.path, 5, create=True)
    assert publish(again) == 2


def test_numbers_continue_without_the_record(store: Store) -> None:
    for number in range(3):
        publish(store)
        os.utime(f"{store.path}/usercrash_{number:02d}", (1000 + number, 1000 + number))
    os.unlink(f"{store.path}/.data/last")
    assert publish(store) == 3


@pytest.mark.parametrize("content", [b"", b"x", b"-7", b"99999999999", b"\xff\xfe"])
def test_a_damaged_record_is_survived(store: Store, content: bytes) -> None:
    publish(store)
    Path(store.path, ".data/last").write_bytes(content)
    assert publish(store) in range(5)


def test_fewer_slots_later(store: Store) -> None:
    for _ in range(5):
        publish(store)
    smaller = Store(store.path, 2, create=True)
    assert publish(smaller) in (0, 1)


def test_a_crash_is_never_published_twice(store: Store) -> None:
    key = os.urandom(16)
    publish(store, key=key)
    assert store.claimed(key)
    before = names(store), sorted(os.listdir(f"{store.path}/.data"))
    with pytest.raises(AlreadyPublishedError):
        publish(store, key=key)
    assert (names(store), sorted(os.listdir(f"{store.path}/.data"))) == before


def test_what_stands_in_a_slot_never_stops_us(store: Store, tmp_path: Path) -> None:
    """A FIFO, links, and a directory: replaced or passed over, never followed or read."""
    canary = tmp_path / "canary"
    canary.write_text("secret")
    root = Path(store.path)
    os.mkfifo(root / "usercrash_00")
    (root / "usercrash_01").symlink_to(canary)
    os.link(canary, root / "usercrash_02")
    (root / "usercrash_03").mkdir()
    assert [publish(store) for _ in range(4)] == [4, 0, 1, 2]
    assert canary.read_text() == "secret"
    assert (root / "usercrash_03").is_dir()
    assert stat.S_ISREG(os.lstat(root / "usercrash_01").st_mode)


def test_planted_temporaries_are_not_followed(store: Store, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    crash_id = new_id()
    data = Path(store.path, ".data")
    (data / f"{crash_id}.part").symlink_to(canary)
    (data / f"{crash_id}.json.part").symlink_to(canary)
    (data / "last.part").symlink_to(canary)
    with pytest.raises(UsercrashError):
        store.publish(crash_id, os.urandom(16), b"x", b"{}", None)
    (data / "last.part").unlink()
    store.publish(crash_id, os.urandom(16), b"x", b"{}", None)
    assert canary.read_text() == "secret"


def test_the_references_files_are_text_of_others(store: Store) -> None:
    Path(store.path, "usercrash_04").write_text("*** *** theirs\n")
    [entry] = store.entries()
    assert (entry.number, entry.id) == (4, "")
    assert store.read_text(4) == b"*** *** theirs\n"
    assert store.read_json(4) is None
    assert publish(store) == 0


def test_a_forged_id_line_inside_the_text_is_only_text(store: Store) -> None:
    other = new_id()
    text = b"report-id: " + other.encode() + b"\n"
    number = publish(store, text)
    [entry] = store.entries()
    assert entry.id != other
    assert store.read_text(number) == text


def test_an_unsafe_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(UsercrashError, match="plant"):
        Store(str(path), create=True)
    assert list(path.iterdir()) == []


def test_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsercrashError, match="there is no reports directory"):
        Store(str(tmp_path / "absent"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsercrashError, match="not a directory"):
        Store(str(tmp_path / "file"), create=True)


def test_modes_keep_others_out(store: Store) -> None:
    publish(store)
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o700
    for path in Path(store.path).rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_garbage_goes_when_it_is_old(store: Store) -> None:
    number = publish(store)
    data = Path(store.path, ".data")
    old, young = new_id(), new_id()
    for name in (f"{old}.json", f"{old}.core.zst", f"{old}.part", f"{young}.json"):
        (data / name).write_text("x")
    for name in (f"{old}.json", f"{old}.core.zst", f"{old}.part"):
        os.utime(data / name, (1, 1))
    keep = new_id()
    (data / f"{keep}.json").write_text("x")
    os.utime(data / f"{keep}.json", (1, 1))
    store.collect_garbage({keep})
    left = {path.name for path in data.iterdir()}
    assert not any(name.startswith(old) for name in left)
    assert f"{young}.json" in left and f"{keep}.json" in left
    assert store.read_json(number) is not None


def _publish_many(path: str, count: int) -> None:
    store = Store(path, 1000, create=True)
    for _ in range(count):
        publish(store)


def test_many_processes_share_the_numbers(tmp_path: Path) -> None:
    path = str(tmp_path / "reports")
    Store(path, 1000, create=True)
    workers = [multiprocessing.Process(target=_publish_many, args=(path, 20)) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    store = Store(path, 1000)
    assert [entry.number for entry in store.entries()] == list(range(100))
    assert len({entry.id for entry in store.entries()}) == 100


def test_spool_files_come_and_go(store: Store) -> None:
    crash_id = new_id()
    spool = store.create_spool(crash_id)
    os.write(spool.report, b"r")
    os.write(spool.core, b"c")
    assert list(store.spooled()) == [crash_id]
    assert names(store) == [".data"]
    again = store.open_spool(crash_id)
    assert os.read(again.core, 9) == b"c"
    store.remove_spool(crash_id)
    assert store.spooled() == {}
    with pytest.raises(FileNotFoundError):
        store.open_spool(crash_id)


def _publish_when_all_are_ready(path: str, crash_id: str, key: bytes, ready: Barrier) -> None:
    mine = Store(path, 50)
    ready.wait()
    with contextlib.suppress(AlreadyPublishedError):
        mine.publish(crash_id, key, b"text\n" * 20_000, b'{"a":1}' * 20_000, b"c" * 2_000_000)


def test_two_collectors_of_one_crash_do_not_disturb_each_other(tmp_path: Path) -> None:
    """A job that outlived its server, and the next server's job, have the same id."""
    store = Store(str(tmp_path / "reports"), 50, create=True)
    for _ in range(10):
        crash_id, key, ready = new_id(), os.urandom(16), multiprocessing.Barrier(2)
        both = [
            multiprocessing.Process(
                target=_publish_when_all_are_ready, args=(store.path, crash_id, key, ready)
            )
            for _ in range(2)
        ]
        for process in both:
            process.start()
        for process in both:
            process.join(30)
            assert process.exitcode == 0
        [entry] = [entry for entry in store.entries() if entry.id == crash_id]
        assert store.read_text(entry.number) == b"text\n" * 20_000
        assert store.read_json(entry.number) == b'{"a":1}' * 20_000
        assert store.read_core(entry.number) == b"c" * 2_000_000
    assert not [name for name in os.listdir(f"{store.path}/.data") if name.endswith(".part")]


def test_whoever_died_before_the_rename_has_not_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_id, key = new_id(), os.urandom(16)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Store, "_rename_to_next", lambda *_: os.kill(os.getpid(), 9))
        store.publish(crash_id, key, b"first\n", None, None)
    os.waitpid(child, 0)
    assert not store.claimed(key)
    assert store.publish(crash_id, key, b"second\n", None, None) == 0
    assert store.claimed(key)
    with pytest.raises(AlreadyPublishedError):
        store.publish(crash_id, key, b"third\n", None, None)


def test_odd_files_among_the_spool_are_no_crashes(store: Store) -> None:
    Path(store.path, ".data/backup.report").write_text("")
    Path(store.path, ".data/x.mini").mkdir()
    store.create_spool("a" * 32).close()
    assert list(store.spooled()) == ["a" * 32]


def test_files_that_go_while_they_are_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store)
    store.create_spool("a" * 32).close()
    listed = {place: list(os.scandir(place)) for place in (store.dir, store.data)}
    store.remove_spool("a" * 32)
    os.unlink(f"{store.path}/usercrash_00")
    monkeypatch.setattr(os, "scandir", lambda place: iter(listed.get(place, [])))
    assert store.entries() == [] and store.spooled() == {}
    store.collect_garbage(set())
