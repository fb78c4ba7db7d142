"""Databases of packages below a hostile sysroot: what they cost is bounded, and one odd name does
not take the others' packages away. (What is said to be bounded here took minutes.)"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import pytest

from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.packages import apk, dpkg, rpm
from usercrash.analysis.packages.dpkg import Dpkg
from usercrash.analysis.packages.package import Package

_NAME, _DIRINDEXES, _BASENAMES, _DIRNAMES = 1000, 1116, 1117, 1118
_INT32, _STRING, _STRING_ARRAY = 4, 6, 8


def header(name: bytes, directories: list[bytes], indexes: list[int]) -> bytes:
    """An rpm header with a name and the directories of its files (lib/header.c)."""
    parts = (
        (_NAME, _STRING, 1, name + b"\0"),
        (_DIRINDEXES, _INT32, len(indexes), struct.pack(f">{len(indexes)}I", *indexes)),
        (_DIRNAMES, _STRING_ARRAY, len(directories), b"".join(d + b"\0" for d in directories)),
    )
    table, data = b"", b""
    for tag, kind, count, content in parts:
        table += struct.pack(">IIiI", tag, kind, len(data), count)
        data += content
    return struct.pack(">II", len(parts), len(data)) + table + data


def database(root: Path, blobs: list[bytes], rows: list[tuple[bytes, int, int]]) -> SearchPlaces:
    file = root / "var/lib/rpm/rpmdb.sqlite"
    file.parent.mkdir(parents=True)
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        made.execute("CREATE TABLE Basenames (key TEXT, hnum INTEGER, idx INTEGER)")
        made.executemany("INSERT INTO Packages VALUES (?, ?)", list(enumerate(blobs, 1)))
        made.executemany("INSERT INTO Basenames VALUES (CAST(? AS TEXT), ?, ?)", rows)
    made.close()
    return SearchPlaces(sysroot=Place(bytes(root)))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    blobs = [header(b"odd", [b"/usr/lib/"], [0, 0])]
    places = database(tmp_path, blobs, [(b"lib\xff.so", 1, 0), (b"libz.so", 1, 1)])
    asked = [b"/usr/lib/lib\xff.so", b"/usr/lib/\xfe", b"/usr/lib/libz.so"]
    own = Package("odd", "", "", "rpm", "rpm")
    assert rpm.packages(places, asked) == {asked[0]: own, asked[2]: own}


def test_directories_of_a_package_are_split_once() -> None:
    directories = [b"/d/%d/" % number for number in range(200_000)]
    found = rpm.RpmHeader(header(b"x", directories, list(range(200_000))))
    for index in range(0, 200_000, 100):
        assert found.directory_of(index) == directories[index]
    assert found.directory_of(200_000) == b"" and found.directory_of(-1) == b""


def test_all_headers_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = [header(b"p%d" % number, [b"/usr/lib/"], [0]) for number in range(6)]
    rows = [(b"lib%d.so" % number, number + 1, 0) for number in range(6)]
    places = database(tmp_path, blobs, rows)
    asked = [b"/usr/lib/lib%d.so" % number for number in range(6)]
    assert list(rpm.packages(places, asked)) == asked
    monkeypatch.setattr(rpm, "_MAX_HEADERS", 3 * len(blobs[0]) + 1)
    assert list(rpm.packages(places, asked)) == asked[:3]
    monkeypatch.setattr(rpm, "_SECONDS", -1.0)
    assert list(rpm.packages(places, asked)) == asked[:1]


def test_values_that_no_database_of_rpm_has(tmp_path: Path) -> None:
    """A view that makes them while it is asked: the database is not asked further."""
    places = database(tmp_path, [header(b"odd", [b"/usr/lib/"], [0])], [(b"libz.so", 1, 0)])
    asked = [b"/usr/lib/liba.so", b"/usr/lib/libz.so"]
    assert list(rpm.packages(places, asked)) == asked[1:]
    with sqlite3.connect(tmp_path / "var/lib/rpm/rpmdb.sqlite") as made:
        made.execute("ALTER TABLE Basenames RENAME TO Others")
        made.execute(
            "CREATE VIEW Basenames AS SELECT * FROM Others"
            " UNION ALL SELECT zeroblob(70000000), 1, 0"
        )
    made.close()
    assert rpm.packages(places, asked) == {}


def test_apk_reads_its_database_once(tmp_path: Path) -> None:
    """Many files of one name in a package without end."""
    file = tmp_path / "lib/apk/db/installed"
    file.parent.mkdir(parents=True)
    names = [b"n%d" % number for number in range(200)]
    rows = b"".join(b"R:%b\n" % name for name in names)
    file.write_bytes(b"P:endless\nF:usr/lib\n" + b"x:y\n" * 1_500_000 + rows * 200 + b"\n")
    places = SearchPlaces(sysroot=Place(bytes(tmp_path)))
    asked = [b"/lib/" + name for name in names] + [b"/srv/" + name for name in names]
    assert apk.packages(places, asked) == dict.fromkeys(
        asked[:200], Package("endless", "", "", "apk", "apk")
    )


def test_dpkg_with_a_status_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "one:amd64.list").write_bytes(b"/.\n/usr/lib/libone.so\n/usr/lib/libtwo.so\n")
    (info.parent / "status").write_bytes(b"Package: one\nVersion: 1\n" * 200_000)
    places = SearchPlaces(sysroot=Place(bytes(tmp_path)))
    asked = [b"/usr/lib/libone.so", b"/usr/lib/libtwo.so", b"/usr/lib/libthree.so"]
    found = Dpkg(places)
    assert found.packages(asked) == dict.fromkeys(
        asked[:2], Package("one", "1", "amd64", "deb", "dpkg")
    )
    found.close()
    monkeypatch.setattr(dpkg, "_MAX_SEARCHED", 0)
    found = Dpkg(places)
    assert found.packages(asked) == {}
    found.close()
