"""Files that a user asked for: there whole, or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from usercrash.errors import UsercrashError
from usercrash.storage.newfile import NewFile


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with NewFile(str(path)) as file:
        file.write([b"one ", b"two"])
        assert not path.exists()
        file.replace()
        assert path.read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["new"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def content() -> list[bytes]:
        assert path.read_text() == "old"
        return [b"new"]

    with NewFile(str(path)) as file:
        file.commit(content())
    assert path.read_text() == "new"


def test_without_a_commit_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyError), NewFile(str(tmp_path / "new")) as file:
        file.write([b"half"])
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with NewFile(str(tmp_path / "new")) as file:
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(UsercrashError, match="No space left on device"):
            file.commit([b"data"])
        monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_a_taken_name_is_not_taken_again(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with NewFile(str(tmp_path / "unused")) as file:
        file.write([b"text"])
        assert not file.try_name("a")
        assert file.try_name("b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "b").read_bytes() == b"text"


@pytest.mark.parametrize("name", ["", "sub/", "a\0b", "."])
def test_what_is_no_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsercrashError, match="cannot write"):
        NewFile(name)
    assert os.listdir(tmp_path) == ["sub"]


def test_descriptors_are_closed(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with NewFile(str(tmp_path / "a")) as file:
        file.commit([b"x"])
    with pytest.raises(UsercrashError):
        NewFile(str(tmp_path / "absent" / "b"))
    with pytest.raises(UsercrashError):
        NewFile(str(tmp_path))
    assert os.listdir("/proc/self/fd") == before
