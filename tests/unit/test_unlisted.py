"""Cores without a list of files (emulators', those of kernels before 3.7): what memory shows."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.analysed import Analysed, analyse
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.core import unlisted as unlisted_module
from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.module_files import GivenFile, PathFiles
from usercrash.analysis.core.modules import load_modules
from usercrash.analysis.core.unlisted import name_mappings
from usercrash.elf.headers import AT_PAGESZ, PT_LOAD, ProgramHeader
from usercrash.errors import FormatError
from usercrash.model.maps import Mapping

SOURCE = """
#include <stdlib.h>
__attribute__((noinline)) int fault(int *p) { return *p; }
int compare(const void *a, const void *b) { (void)a; (void)b; return fault((int *)1l); }
int main(void) { int some[2] = {1, 2}; qsort(some, 2, sizeof(int), compare); return 0; }
"""
NT_FILE = struct.pack("<I", 0x46494C45) + b"CORE\0"


def unlisted(core: Path) -> bytes:
    """The core with its note of files under another type."""
    data = core.read_bytes()
    assert data.count(NT_FILE) == 1
    return data.replace(NT_FILE, struct.pack("<I", 0x46494C00) + b"CORE\0")


@pytest.fixture(scope="module", params=["-pie", "-no-pie"])
def crash(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `program` and the `core` of it."""
    place = tmp_path_factory.mktemp("unlisted")
    program = compile_c(place, "program", SOURCE, request.param)
    gcore_at_fault([bytes(program)], place / "core", full=True)
    return place


def seen(ours: Analysed) -> list[tuple[bytes, int, bool]]:
    return [
        (os.path.realpath(row.path), row.bias, row.main)
        for row in ours.modules if row.path[:1] == b"/"
    ]  # fmt: skip


def test_the_same_as_with_a_list(crash: Path) -> None:
    listed, ours = analyse(crash / "core"), analyse(unlisted(crash / "core"))
    assert len(seen(listed)) == 3 and seen(ours) == seen(listed)
    assert [frame.pc for frame in ours.stack().frames] == [
        frame.pc for frame in listed.stack().frames
    ]
    names = ours.names(ours.stack())
    assert names == listed.names(listed.stack())
    assert names[:2] == ["fault", "compare"] and "main" in names


def test_code_that_gcore_leaves_out(crash: Path, tmp_path: Path) -> None:
    """A core as gcore makes it by itself: of what has not changed in memory the file is enough."""
    core = gcore_at_fault([bytes(crash / "program")], tmp_path / "core")
    listed, ours = analyse(core), analyse(unlisted(core))
    assert len(seen(listed)) == 3 and seen(ours) == seen(listed)
    names = ours.names(ours.stack())
    assert names == listed.names(listed.stack()) and "main" in names
    starts = [mapping.start for mapping in ours.image.mappings]
    assert starts == sorted(starts)


def test_a_list_is_not_second_guessed(crash: Path) -> None:
    image = CoreImage.open((crash / "core").read_bytes())
    before = [(row.path, row.offset) for row in image.mappings]
    assert any(path for path, _ in before)
    name_mappings(image, PathFiles(), None)
    assert [(row.path, row.offset) for row in image.mappings] == before


def test_another_program_of_that_name(crash: Path, tmp_path: Path) -> None:
    """Its entry and headers do not lie where the process had them: nothing is named by it."""
    program, kept = crash / "program", tmp_path / "kept"
    program.rename(kept)
    try:
        compile_c(crash, "program", SOURCE.replace("int main(", "int more;\nint main("), "-static")
        assert seen(analyse(unlisted(crash / "core"))) == []
        program.write_bytes(b"no ELF file")
        assert seen(analyse(unlisted(crash / "core"))) == []
        program.unlink()
        assert seen(analyse(unlisted(crash / "core"))) == []
        image = CoreImage.open(unlisted(crash / "core"))
        name_mappings(image, PathFiles(), GivenFile(Place(b"/bin/sh"), image.notes))
        assert ("--exe /bin/sh", "refused: its entry and program headers do not lie as the process "
                "had them") in [(note.what, note.why) for note in image.notes]  # fmt: skip
        # …unless somebody says where it is
        image = CoreImage.open(unlisted(crash / "core"))
        modules = load_modules(image, PathFiles(), Place(bytes(kept)))
        assert len([row for row in modules if row.elf is not None and row.path[:1] == b"/"]) == 3
    finally:
        program.unlink(missing_ok=True)
        kept.rename(program)


def test_a_library_that_is_not_there(crash: Path, tmp_path: Path) -> None:
    """The program and the loader are still named."""
    for path in (b"program", b"ld"):
        wanted = next(
            row.path for row in analyse(crash / "core").modules
            if (row.main if path == b"program" else b"/ld-linux" in row.path)
        )  # fmt: skip
        inside = tmp_path / os.fsdecode(wanted).lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes(Path(os.fsdecode(wanted)).read_bytes())
    os.symlink("usr/lib64", tmp_path / "lib64")
    (tmp_path / "usr/lib64").mkdir()
    loader = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    os.symlink(loader, tmp_path / "usr/lib64/ld-linux-x86-64.so.2")
    provider = PathFiles(places=SearchPlaces(sysroot=Place(bytes(tmp_path))))
    ours = analyse(unlisted(crash / "core"), provider)
    names = {os.path.basename(row.path) for row in ours.modules if row.path[:1] == b"/"}
    assert names == {b"program", b"ld-linux-x86-64.so.2"}
    assert ours.names(ours.stack())[:2] == ["fault", "compare"]


def test_no_descriptor_is_left_behind(crash: Path) -> None:
    image = CoreImage.open(unlisted(crash / "core"))
    before = os.listdir("/proc/self/fd")
    name_mappings(image, PathFiles(), None)
    assert os.listdir("/proc/self/fd") == before
    assert any(row.path.endswith(b"/program") for row in image.mappings)


def test_damaged_chains_end(crash: Path) -> None:
    """Whatever stands where the loader's chain should: no other exception, and an end."""
    data = unlisted(crash / "core")
    image = CoreImage.open(data)
    table = next(row for row in analyse(crash / "core").modules if row.main)
    writable = [row for row in image.mappings if b"w" in row.perms and row.size < 1 << 20]
    chance = random.Random(7)
    for number in range(25):
        damaged = bytearray(data)
        for row in writable:
            at = (
                data.find(image.read(row.start, 64))
                if image.read(row.start, 64).strip(b"\0")
                else -1
            )
            for _ in range(200 if at >= 0 else 0):
                place = at + 8 * chance.randrange(max(1, row.size // 8))
                value = chance.choice([0, row.start, table.start, chance.getrandbits(64)])
                damaged[place : place + 8] = value.to_bytes(8, "little")
        try:
            found = CoreImage.open(bytes(damaged[: len(data)]))
            name_mappings(found, PathFiles(), None)
        except FormatError:
            continue
        assert all(row.offset >= 0 for row in found.mappings), number


@pytest.mark.parametrize("page", [0x2000, 0x4000, 0x10000])
def test_pages_of_other_sizes(page: int) -> None:
    """A segment's mapping begins where the page does that its first byte is in."""
    segment = ProgramHeader(PT_LOAD, 6, 0xFD90, 0x1001FD90, 0, 0x400, 0x500, page)
    begin = segment.vaddr & -page
    mapping = Mapping(begin, begin + page, b"rw-p")
    assert unlisted_module._shows(mapping, segment, 0, page)
    assert not unlisted_module._shows(mapping, segment, page, page)
    image = SimpleNamespace(auxv={AT_PAGESZ: page})
    assert unlisted_module._page_size(image) == page  # type: ignore[arg-type]
    image.auxv[AT_PAGESZ] = 3
    assert unlisted_module._page_size(image) == 4096  # type: ignore[arg-type]
