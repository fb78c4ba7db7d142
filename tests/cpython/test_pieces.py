"""What capture keeps of the walk: all that was read, once, in pieces that other readers take."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.interpreters import Interpreters
from usercrash.capture.procfs import MapTable
from usercrash.cpython.find import Found
from usercrash.model.notes import NoteLog

SIZE = 1 << 16
CONTENTS = Random(1).randbytes(SIZE)
PLACES = st.integers(0, SIZE // 64 - 2).map(lambda number: 64 * number)


class Memory:
    """As capture.memory.Memory; `forgotten`: it has no pages at hand."""

    def __init__(self, forgotten: bool) -> None:
        self._forgotten = forgotten

    def read(self, address: int, size: int) -> bytes:
        return CONTENTS[address : address + size]

    def remembered(self, address: int, size: int) -> bytes:
        return b"" if self._forgotten else CONTENTS[address : address + size]


@given(
    st.lists(st.tuples(st.integers(0, SIZE - 1), st.sampled_from((4, 8, 88, 300, 5000)))),
    st.lists(st.tuples(PLACES, st.integers(1, 60)), max_size=6), st.booleans(),
)  # fmt: skip
def test_all_that_was_read(
    reads: list[tuple[int, int]], known: list[tuple[int, int]], forgotten: bool
) -> None:
    taken = Interpreters(Memory(forgotten), NoteLog())  # type: ignore[arg-type]
    for address, size in reads:
        assert taken.read(address, size) == CONTENTS[address : address + size]
    before: list[tuple[int, bytes]] = []
    for start, grains in sorted(known):
        if not before or start >= before[-1][0] + len(before[-1][1]):
            before.append((start, CONTENTS[start : start + 64 * grains]))
    pieces = taken.pieces(before)
    together = sorted(pieces + before)
    for (start, data), (following, _) in itertools.pairwise(together):
        assert start + len(data) <= following
    for start, data in pieces:
        assert data and CONTENTS[start : start + len(data)] == data
        assert start % 64 == 0
    kept = bytearray(SIZE)
    for start, data in together:
        kept[start : start + len(data)] = b"\1" * len(data)
    assert all(all(kept[at : min(at + size, SIZE)]) for at, size in reads)


def test_no_more_than_there_is_room() -> None:
    taken = Interpreters(Memory(False), NoteLog(), 1000)  # type: ignore[arg-type]
    sizes = [len(taken.read(at, 300)) for at in range(0, 3000, 300)]
    assert sizes[:3] == [300] * 3 and sizes[-1] == 0
    assert sum(len(data) for _, data in taken.pieces([])) < 1500


def test_nothing_is_read_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its structures are like: each of its reads looks at the time."""
    now = [100.0]
    monkeypatch.setattr("usercrash.capture.interpreters.time.monotonic", lambda: now[0])
    notes = NoteLog()
    taken = Interpreters(Memory(False), notes)  # type: ignore[arg-type]
    seen: list[bytes] = []

    def found(read: Callable[[int, int], bytes], *_: object) -> Found:
        seen.append(read(64, 8))
        now[0] += 1
        seen.append(read(64, 8))
        return Found(b"/usr/bin/python3", 64, None, "")

    monkeypatch.setattr("usercrash.capture.interpreters.find", found)
    taken.look(MapTable(b""), [])
    assert seen == [CONTENTS[64:72], b""]
    assert [note.why for note in notes] == ["no time left"]
