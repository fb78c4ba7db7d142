"""ELF files of crashes that wait: each open once, not too many, not too long."""

from __future__ import annotations

import os
from pathlib import Path

from usercrash.server.elf_descriptors import ElfDescriptors


def files(place: Path, count: int) -> list[Path]:
    paths = [place / f"file{number}" for number in range(count)]
    for path in paths:
        path.write_text(path.name)
    return paths


def opened(paths: list[Path]) -> list[int]:
    return [os.open(path, os.O_RDONLY) for path in paths]


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_one_descriptor_for_each_inode(tmp_path: Path) -> None:
    paths = files(tmp_path, 3)
    os.link(paths[0], tmp_path / "another name")
    kept = ElfDescriptors(100, 60.0)
    crashes = [opened([*paths, tmp_path / "another name"]) for _ in range(20)]
    shared = [kept.keep(fds, 0.0) for fds in crashes]
    assert len(kept) == 3
    assert [is_open(fd) for fd in crashes[0]] == [True, True, True, False]
    assert not any(is_open(fd) for fds in crashes[1:] for fd in fds)
    for one in shared:
        assert [os.pread(file.fd, 20, 0) for file in one] == [
            b"file0",
            b"file1",
            b"file2",
            b"file0",
        ]


def test_they_are_open_as_long_as_a_crash_waits_for_them(tmp_path: Path) -> None:
    paths = files(tmp_path, 2)
    kept = ElfDescriptors(100, 60.0)
    first = kept.keep(opened(paths), 0.0)
    second = kept.keep(opened(paths[:1] * 2), 0.0)
    fds = [file.fd for file in first]
    kept.release(first)
    assert [is_open(fd) for fd in fds] == [True, False] and len(kept) == 1
    kept.release(second)
    assert not is_open(fds[0]) and len(kept) == 0
    assert [file.fd for file in (*first, *second)] == [-1] * 4


def test_the_one_brought_longest_ago_goes_first(tmp_path: Path) -> None:
    paths = files(tmp_path, 4)
    kept = ElfDescriptors(3, 60.0)
    first = kept.keep(opened(paths[:3]), 0.0)
    again = kept.keep(opened(paths[:1]), 1.0)  # this one is needed all the time
    last = kept.keep(opened(paths[3:]), 2.0)
    assert [file.fd >= 0 for file in first] == [True, False, True]
    assert len(kept) == 3 and again[0].fd >= 0 and last[0].fd >= 0
    for crash in (first, again, last):
        kept.release(crash)
    assert len(kept) == 0


def test_a_crash_with_more_files_than_are_kept(tmp_path: Path) -> None:
    kept = ElfDescriptors(5, 60.0)
    fds = opened(files(tmp_path, 9))
    crash = kept.keep(fds, 0.0)
    assert [file.fd >= 0 for file in crash] == [False] * 4 + [True] * 5
    assert [is_open(fd) for fd in fds] == [False] * 4 + [True] * 5
    kept.release(crash)
    assert len(kept) == 0


def test_after_their_time_they_are_let_go_although_a_crash_waits(tmp_path: Path) -> None:
    paths = files(tmp_path, 2)
    kept = ElfDescriptors(100, 10.0)
    assert kept.next_deadline() is None
    first = kept.keep(opened(paths), 0.0)
    again = kept.keep(opened(paths[:1]), 6.0)
    assert kept.next_deadline() == 10.0
    kept.expire(9.0)
    assert len(kept) == 2
    kept.expire(10.0)
    assert [file.fd >= 0 for file in first] == [True, False]
    assert kept.next_deadline() == 16.0
    kept.expire(16.0)
    assert len(kept) == 0 and kept.next_deadline() is None
    for crash in (first, again):
        kept.release(crash)


def test_what_was_let_go_is_not_taken_for_what_has_its_number_now(tmp_path: Path) -> None:
    """An inode number may be given to another file as soon as nobody holds the first one open."""
    paths = files(tmp_path, 2)
    kept = ElfDescriptors(1, 60.0)
    first = kept.keep(opened(paths[:1]), 0.0)
    kept.release(kept.keep(opened(paths[1:]), 0.0))  # the first had to make room
    later = kept.keep(opened(paths[:1]), 0.0)
    assert first[0].fd == -1 and later[0].fd >= 0
    kept.release(first)
    assert later[0].fd >= 0 and len(kept) == 1
    kept.release(later)
    assert len(kept) == 0
