"""Lists that are too long for a report: what says most stays."""

from __future__ import annotations

from usercrash.analysis.facts.texts import Texts
from usercrash.analysis.report_parts import lists
from usercrash.model.maps import Mapping
from usercrash.model.notes import NoteLog


def shown(mappings: list[Mapping], fault: int | None, points: list[int]) -> list[str]:
    """The starts of the mappings in the report, in its order."""
    notes = NoteLog()
    rows = lists.maps(mappings, fault, Texts(notes), notes, points)
    left = f"{len(mappings) - len(rows):,} of {len(mappings):,} mappings"
    assert [note.what for note in notes] == ([left] if len(rows) < len(mappings) else [])
    assert [int(row.start, 16) for row in rows] == sorted(int(row.start, 16) for row in rows)
    return [row.start for row in rows]


def many(count: int, first: int = 0x10000, path: bytes = b"") -> list[Mapping]:
    return [
        Mapping(first + (n << 13), first + (n << 13) + 4096, b"r--p", path=path)
        for n in range(count)
    ]


def test_a_map_that_fits_is_whole() -> None:
    assert len(shown(many(10_000), None, [])) == 10_000


def test_code_names_and_points_come_before_the_many() -> None:
    """100,000 mappings of no interest lie below, above and among the others."""
    mappings = many(100_000)
    code = mappings[50_000]
    code.perms, code.path = b"r-xp", b"/usr/lib/plugin.so"
    mappings[50_001].path = b"/usr/lib/plugin.so"
    mappings[60_000].path = b"[heap]"
    points = [mappings[70_000].start + 8, mappings[80_000].start + 5000]
    rows = shown(mappings, mappings[90_000].start, points)
    assert len(rows) == lists.MAX_MAPS
    for number in (0, 50_000, 50_001, 60_000, 70_000, 80_000, 80_001, 89_900, 90_000, 99_999):
        assert hex(mappings[number].start) in rows, number


def test_long_names_leave_room_for_what_says_most() -> None:
    mappings = many(20_000, path=b"/" + b"d" * 2000)
    mappings[-1].path, mappings[-1].perms = b"[stack]", b"rw-p"
    mappings[15_000].path, mappings[15_000].perms = b"/bin/program", b"r-xp"
    rows = shown(mappings, None, [mappings[10_000].start])
    assert len(rows) < 2000
    for number in (10_000, 15_000, 19_999):
        assert hex(mappings[number].start) in rows
