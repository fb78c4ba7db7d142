"""Files on file systems that a process serves: nothing is asked of these, whatever leads there."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.build import need
from tests.support.dead_fuse import DeadFuse, dead_fuse
from tests.support.spawn import compile_c

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.core import opening
from usercrash.analysis.core.file_search import HOST, Place, SearchPlaces, Spot
from usercrash.analysis.core.module_files import PathFiles
from usercrash.analysis.core.opening import ServedError, open_below, refuse_served
from usercrash.analysis.dwarf.debug_info import DwarfFile
from usercrash.analysis.symbols.debug_files import open_debug_file
from usercrash.analysis.symbols.related_files import RelatedFiles
from usercrash.model.notes import NoteLog

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting FUSE needs root here")

REFUSED = "not opened: its file system (fuse) may not answer"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[DeadFuse]:
    """`served` below the directory is such a file system; links of every kind lead there."""
    place = tmp_path / "served"
    place.mkdir()
    (tmp_path / "plain").write_text("plain")
    (tmp_path / "file").symlink_to("served/deep/file")
    (tmp_path / "whole").symlink_to(tmp_path / "served")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/up").symlink_to("../whole")
    (tmp_path / "back").symlink_to("served/../plain")
    with dead_fuse(place, b"\x7fELF of no use") as server:
        yield server


@pytest.fixture(params=["openat2", "without openat2", "without fdinfo", "without statx"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As this kernel has it, and as older ones."""

    def missing(*arguments: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    name: str = request.param
    if name != "openat2":
        monkeypatch.setattr(opening, "_openat2", missing)
    if name == "without statx":
        monkeypatch.setattr(opening, "_statx", None)
    if name == "without fdinfo":
        monkeypatch.setattr(opening, "_mount_id", lambda fd: b"")
    return name


@pytest.mark.parametrize("name", ["served/a", "file", "whole/b", "sub/up/c", "back"])
@pytest.mark.parametrize("rooted", [True, False])
def test_nothing_is_asked_of_them(
    tmp_path: Path, served: DeadFuse, kernel: str, name: str, rooted: bool
) -> None:
    start = os.open(tmp_path if not rooted else "/", os.O_PATH)
    path = f"/{name}" if not rooted else f"{tmp_path}/{name}"
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ServedError, match="fuse"):
        open_below(start, path.encode(), rooted=rooted)
    assert os.listdir("/proc/self/fd") == before
    os.close(start)
    assert served.asked == []
    assert Spot(Place(b""), bytes(tmp_path / name)).status() is None
    assert Spot(Place(b""), bytes(tmp_path / "plain")).status() is not None


def test_a_directory_that_was_named_may_be_one(tmp_path: Path, served: DeadFuse) -> None:
    """Who says --debug-dir, or --sysroot, means it."""
    spot = Spot(Place(bytes(tmp_path / "served")), b"/.build-id/aa/bb.debug")
    assert spot.contents() is not None or served.asked


def test_modules_by_path(tmp_path: Path, served: DeadFuse) -> None:
    notes = NoteLog()
    path = bytes(tmp_path / "sub/up/program")
    assert list(PathFiles(notes).candidates(path, b"00:01", 7, None)) == []
    assert [(note.what, note.why) for note in notes] == [(os.fsdecode(path), REFUSED)]
    assert served.asked == []


def test_debug_and_related_files(tmp_path: Path, served: DeadFuse) -> None:
    program = compile_c(tmp_path, "program", "int main(void) { return 0; }")
    debug = tmp_path / "other.debug"
    subprocess.run([need("objcopy", "binutils"), "--only-keep-debug", program, debug], check=True)
    subprocess.run(
        [need("objcopy", "binutils"), "--strip-all", f"--add-gnu-debuglink={debug}", program],
        check=True,
    )
    debug.unlink()
    debug.symlink_to("whole/debug")
    elf = ElfFile(program.read_bytes())
    notes = NoteLog()
    assert open_debug_file(elf, bytes(program), elf.build_id, notes) is None
    assert (str(debug), REFUSED) in [(note.what, note.why) for note in notes]
    for name in ("sub/up/program", "served/program"):
        related = RelatedFiles(DwarfFile(elf), bytes(tmp_path / name), b"/x", notes)
        assert related._all_packages() == []
        assert (f"{tmp_path}/{name}.dwp", REFUSED) in [(note.what, note.why) for note in notes]
    assert served.asked == []


def test_descriptors_from_elsewhere(tmp_path: Path, served: DeadFuse) -> None:
    for path, why in ((tmp_path / "plain", ""), (tmp_path / "served", "fuse")):
        fd = os.open(path, os.O_PATH)
        if why:
            with pytest.raises(ServedError, match=why):
                refuse_served(fd)
        else:
            refuse_served(fd)
        os.close(fd)
    assert served.asked == []


def test_network_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as long as nothing speaks against it; not where an analysis has failed before."""
    shm = next((path for path in ("/dev/shm", "/run") if os.path.ismount(path)), "")
    file = Path(shm) / f"uc-opening-{os.getpid()}"
    file.write_text("content")
    kind = opening._kind
    monkeypatch.setattr(opening, "_kind", lambda fd: b"nfs4" if kind(fd) == b"tmpfs" else kind(fd))
    try:
        assert HOST.host_spot(bytes(file)).contents() is not None
        with pytest.raises(ServedError, match="nfs4"):
            SearchPlaces(local=True).host_spot(bytes(file)).open()
    finally:
        file.unlink()
