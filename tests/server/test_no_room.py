"""A full disk: the server lives, nothing half-written is visible, and the next crash after space
has come back is reported."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_client import client
from tests.support.kernel import Installation
from tests.support.server_life import closed, text_of
from usercrash.errors import UsercrashError
from usercrash.storage.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> Path:
    """Write until the disk has `leave` bytes left."""
    filler = place / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    size = filler.stat().st_size
    os.truncate(filler, max(0, size - leave))
    return filler


def test_the_minicore_goes_first_then_the_json(small_disk: Path) -> None:
    store = Store(str(small_disk / "reports"), create=True)
    big = os.urandom(100_000)
    filler = fill(small_disk, 60_000)
    number = store.publish("a" * 32, b"1" * 16, b"text\n", b"{}", big)
    assert store.read_text(number).startswith(b"text\n")
    assert b"core.zst was not kept: No space left" in store.read_text(number)
    assert store.read_core(number) is None and store.read_json(number) == b"{}"
    filler.unlink()
    filler = fill(small_disk, 20_000)
    number = store.publish("b" * 32, b"2" * 16, b"text\n", big, big)
    assert store.read_json(number) is None
    assert b"json was not kept" in store.read_text(number)
    filler.unlink()


def test_a_minicore_that_just_fits_makes_room_for_the_text(small_disk: Path) -> None:
    store = Store(str(small_disk / "reports"), create=True)
    fill(small_disk, 110_592)
    number = store.publish("a" * 32, b"1" * 16, b"text\n" * 4_000, b"{}", os.urandom(102_000))
    assert store.read_text(number).startswith(b"text\n" * 4_000)
    assert b"core.zst was not kept" in store.read_text(number)
    assert store.read_core(number) is None and store.read_json(number) == b"{}"


def test_no_room_for_the_text_leaves_nothing_and_the_next_is_published(small_disk: Path) -> None:
    store = Store(str(small_disk / "reports"), create=True)
    store.publish("a" * 32, b"1" * 16, b"first\n", b"{}", None)
    filler = fill(small_disk)
    before = sorted(path.name for path in small_disk.rglob("*"))
    with pytest.raises(UsercrashError, match="No space left"):
        store.publish("b" * 32, b"2" * 16, os.urandom(50_000), b"{}" * 50_000, b"c" * 50_000)
    assert sorted(path.name for path in small_disk.rglob("*")) == before
    filler.unlink()
    assert store.publish("b" * 32, b"2" * 16, b"second\n", b"{}", None) == 1


def test_the_server_lives_through_it(small_disk: Path, core: Path) -> None:
    with Installation() as place:
        place.config.write_text(
            place.config.read_text().replace(str(place.reports), str(small_disk / "reports"))
        )
        place.reports = small_disk / "reports"
        place.start_server()
        filler = fill(small_disk)
        one = client(place, "announce", "grant", "sleep:1")
        assert one.stdout is not None
        first = one.stdout.readline()
        if first == "refused\n":  # not even the spool's files could be made
            one.kill()
        one.wait()
        assert place.server is not None and place.server.poll() is None
        assert [name for name in os.listdir(place.reports) if name[0] == "u"] == []
        filler.unlink()
        count = len([line for line in place.events() if line["what"] == "announced"])
        closed(place, count)
        good = client(place, "announce", "grant", f"core:{core}", "complete")
        assert good.wait(30) == 0
        line = closed(place, count + 1)[-1]
        assert line["outcome"] == "published"
        assert "Stack" in text_of(place, line)
