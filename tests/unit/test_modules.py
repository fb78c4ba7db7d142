"""Which file a module is, and what happens where it is not that file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.analysed import Analysed, analyse
from tests.support.build import build, need, programs
from tests.support.gcore import core_of, gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.modules import DescriptorFiles, FileProviders, PathFiles, load_modules
from usercrash.analysis.unwinding.unwind import Trust
from usercrash.model.notes import NoteLog
from usercrash.model.snapshot import MappedFile

CRASH = """
__attribute__((noinline)) int fault(int *p) { return *p + EXTRA; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""
LIBC = b"/usr/lib/x86_64-linux-gnu/libc.so.6"


def _program(place: Path, extra: int, *flags: str) -> Path:
    place.mkdir(exist_ok=True)
    return compile_c(place, "program", CRASH.replace("EXTRA", str(extra)), *flags)


def _crash(place: Path, *flags: str, full: bool = False) -> tuple[Path, Path]:
    """(core, program) of a program in its own directory."""
    program = _program(place / "own", 1, *flags)
    return gcore_at_fault([bytes(program)], place / "core", full=full), program


def _main(ours: Analysed) -> str | None:
    module = next(module for module in ours.modules if module.main)
    return module.how


def test_modules_of_a_process(tmp_path: Path) -> None:
    core, program = _crash(tmp_path)
    ours = analyse(core)
    modules = list(ours.modules)
    assert [module.path for module in modules if module.main] == [os.fsencode(program)]
    names = [module.path.rpartition(b"/")[2] for module in modules]
    assert sorted(names) == sorted([b"program", b"libc.so.6", b"[vdso]", b"ld-linux-x86-64.so.2"])
    for module in modules:
        assert module.elf is not None
        assert module.build_id == module.elf.build_id is not None
        assert ours.modules.find(module.start) is module
        assert ours.modules.find(module.end - 1) is module
    libc = next(module for module in modules if module.path == LIBC)
    assert libc.soname == b"libc.so.6"
    assert ours.modules.executable(ours.image.threads[0].registers["rip"])
    assert not ours.modules.executable(ours.image.threads[0].registers["rsp"])


def test_code_comes_from_the_file_where_the_core_lacks_it(tmp_path: Path) -> None:
    core, _ = _crash(tmp_path)
    ours = analyse(core)
    libc = next(module for module in ours.modules if module.path == LIBC)
    assert libc.elf is not None
    text = libc.elf.section(b".text")
    data = libc.elf.section(b".data")
    assert text is not None and data is not None
    address = libc.bias + text.address
    assert ours.image.read(address, 16) == b""  # gcore leaves it out
    assert ours.memory.read(address, 16) == bytes(libc.elf.contents(text)[:16])
    # what was writable is never taken from the file
    assert ours.memory._from_file(libc.bias + data.address, 16) == b""


@pytest.mark.parametrize("full", [True, False])
def test_file_with_another_build_id_is_refused(tmp_path: Path, full: bool) -> None:
    core, program = _crash(tmp_path, full=full)
    right = [frame.pc for frame in analyse(core).stack().frames]
    assert len(right) == 5
    shutil.copy(_program(tmp_path / "other", 2), program)
    ours = analyse(core)
    assert _main(ours) == "memory"
    notes = [note for note in ours.image.notes if "refused" in note.why]
    assert len(notes) == 1 and notes[0].what == str(program) and "build-id" in notes[0].why
    # the stack is still right, without names: by `.eh_frame` in memory where it was captured
    stack = ours.stack()
    assert [frame.pc for frame in stack.frames] == right
    assert ours.names(stack)[0] == ""
    expected = Trust.CFI if full else Trust.CALL_RECOVERY
    assert [frame.trust for frame in stack.frames[:3]] == [Trust.CONTEXT, expected, expected]


def test_file_without_build_id_goes_by_its_headers(tmp_path: Path) -> None:
    core, program = _crash(tmp_path, "-Wl,--build-id=none")
    assert _main(analyse(core)) == "path"
    shutil.copy(_program(tmp_path / "other", 2, "-Wl,--build-id=none", "-static"), program)
    ours = analyse(core)
    assert _main(ours) == "memory"
    assert any("program headers differ" in note.why for note in ours.image.notes)


@pytest.mark.parametrize("kind", ["missing", "fifo", "directory", "empty", "text"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    core, program = _crash(tmp_path)
    program.unlink()
    if kind == "fifo":
        os.mkfifo(program)
    elif kind == "directory":
        program.mkdir()
    elif kind == "empty":
        program.touch()
    elif kind == "text":
        program.write_text("not an ELF file\n" * 100)
    ours = analyse(core)
    assert _main(ours) == "memory"
    assert ours.stack().complete


def test_deleted_file_by_its_descriptor(tmp_path: Path) -> None:
    core, program = _crash(tmp_path)
    fd = os.open(program, os.O_RDONLY)
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}".encode()
    program.unlink()
    image = CoreImage.open(core.read_bytes())
    for mapping in image.mappings:
        if mapping.path == os.fsencode(program):
            mapping.device, mapping.inode = device, status.st_ino
    file = MappedFile(os.fsencode(program), device, status.st_ino, fd)
    provider = FileProviders([DescriptorFiles([file]), PathFiles()])
    modules = load_modules(image, provider)
    main = next(module for module in modules if module.main)
    assert (main.how, main.fd) == ("descriptor", fd)
    libc = next(module for module in modules if module.path == LIBC)
    assert libc.how == "path"
    # another inode of the same name is another file
    other = MappedFile(os.fsencode(program), device, status.st_ino + 1, fd)
    assert list(DescriptorFiles([other]).candidates(file.path, device, file.inode, None)) == []
    os.close(fd)


def test_executable_given_by_hand(tmp_path: Path) -> None:
    core, program = _crash(tmp_path)
    moved = tmp_path / "moved"
    program.rename(moved)
    image = CoreImage.open(core.read_bytes())
    main = next(row for row in load_modules(image, PathFiles(), str(moved)) if row.main)
    assert main.how == "path"
    wrong = _program(tmp_path / "other", 2)
    main = next(row for row in load_modules(image, PathFiles(), str(wrong)) if row.main)
    assert main.how == "memory"
    assert any("refused" in note.why for note in image.notes)


def test_no_provider_at_all(tmp_path: Path) -> None:
    core, _ = _crash(tmp_path)
    image = CoreImage.open(core.read_bytes())
    assert {module.how for module in load_modules(image, None)} == {"memory"}


TWICE = r"""
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) {
    struct stat s;
    int fd = open(v[0], O_RDONLY);
    fstat(fd, &s);
    /* as Rust's panic handler does, right behind the real one if there is room */
    mmap(0, s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
    return fault((int *)(long)c) + 1;
}
"""


@pytest.mark.parametrize("flags", [[], ["-static"], ["-no-pie"]])
def test_own_executable_mapped_again(tmp_path: Path, flags: list[str]) -> None:
    program = compile_c(tmp_path, "program", TWICE, *flags)
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    ours = analyse(core)
    mine = [module for module in ours.modules if module.path == os.fsencode(program)]
    assert [module.main for module in mine] == [True]
    assert ours.names(ours.stack())[:2] == ["fault", "main"]


def test_bias_of_a_program_that_is_not_relocated(tmp_path: Path) -> None:
    core, _ = _crash(tmp_path, "-no-pie")
    main = next(module for module in analyse(core).modules if module.main)
    assert main.bias == 0


def test_provider_notes_say_what_was_not_there() -> None:
    notes = NoteLog()
    assert list(PathFiles(notes).candidates(b"/nowhere/x.so", b"00:00", 0, None)) == []
    assert [(note.what, note.why) for note in notes] == [
        ("/nowhere/x.so", "No such file or directory")
    ]
    assert list(PathFiles(notes).candidates(b"relative", b"00:00", 0, None)) == []


def test_stripped_of_section_headers(tmp_path: Path) -> None:
    """`.eh_frame` is then found through `.eh_frame_hdr` alone."""
    core, program = _crash(tmp_path)
    data = bytearray(program.read_bytes())
    data[40:48] = bytes(8)  # e_shoff
    data[60:64] = bytes(4)  # e_shnum, e_shstrndx
    program.write_bytes(data)
    ours = analyse(core)
    assert _main(ours) == "path"
    stack = ours.stack()
    assert stack.complete
    assert {frame.trust for frame in stack.frames} == {Trust.CONTEXT, Trust.CFI}


def test_strip_keeps_the_stack(tmp_path: Path) -> None:
    built = build(programs()["null_chain/debug"])
    core = core_of(built, tmp_path)
    whole = [frame.pc for frame in analyse(core).stack().frames]
    copy = tmp_path / "stripped"
    shutil.copy(built.exe, copy)
    subprocess.run([need("strip", "binutils"), str(copy)], check=True)
    image = CoreImage.open(core.read_bytes())
    modules = load_modules(image, PathFiles(), str(copy))
    assert next(module for module in modules if module.main).how == "path"
    assert len(whole) == 7
