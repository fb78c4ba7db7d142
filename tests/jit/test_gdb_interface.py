"""Code made at run time and registered through gdb's interface, beside what gdb shows of it."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.analysed import Analysed, analyse, their_groups
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.oracle import gdb_frames
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.binary.symbol_entries import addresses_of
from usercrash.analysis.core.jit_modules import PATH, VARIABLE
from usercrash.analysis.core.jit_objects import placed
from usercrash.errors import FormatError

HERE = Path(__file__).parent
AT = 0x2_0000_0000
NAMES = ["jit_fault", "jit_middle", "jit_entry", "main"]
FLAGS = ["-O2", "-fomit-frame-pointer", "-fno-pic", "-fno-toplevel-reorder", "-fcf-protection=none"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    exe = tmp_path_factory.mktemp("host") / "host"
    run(need("gcc", "gcc"), "-g", "-O0", HERE / "host.c", "-o", exe)
    return exe


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def linked(place: Path, *flags: str) -> tuple[Path, Path]:
    """(the ELF file at AT, the bytes of its code)."""
    made, file, text = place / "made.o", place / "made.elf", place / "text"
    run(need("gcc", "gcc"), *FLAGS, *flags, "-c", HERE / "made.c", "-o", made)
    run(need("ld", "binutils"), f"-Ttext={AT:#x}", "-e", "jit_entry", made, "-o", file)
    run(need("objcopy", "binutils"), "-O", "binary", "-j", ".text", file, text)
    return file, text


def object_file(place: Path, *flags: str) -> tuple[Path, Path]:
    """The same, but the file is what the compiler wrote: only its section says that it is at AT,
    as LLVM
    has it."""
    file, text = linked(place, *flags)
    data = bytearray((place / "made.o").read_bytes())
    elf = ElfFile(bytes(data))
    for number, section in enumerate(elf.sections):
        if section.name in (b".text", b".eh_frame"):
            address = AT + (section.name == b".eh_frame") * 0x10000
            struct.pack_into("<Q", data, elf.header.shoff + 64 * number + 16, address)
    file.write_bytes(data)
    return file, text


def crash(host: Path, made: tuple[Path, Path], place: Path, *how: str) -> Path:
    words: list[str | Path] = [host, *made, f"{AT:x}", *how]
    return gcore_at_fault([os.fsencode(word) for word in words], place / "core", full=True)


def functions(seen: Analysed) -> list[str]:
    names = seen.names(seen.stack())
    return names[: names.index("main") + 1] if "main" in names else names


@pytest.mark.parametrize("flags", [["-g"], [], ["-fno-asynchronous-unwind-tables", "-g"]])
@pytest.mark.parametrize("make", [linked, object_file])
def test_frames_are_those_of_gdb(host: Path, tmp_path: Path, make, flags: list[str]) -> None:  # type: ignore[no-untyped-def]
    core = crash(host, make(tmp_path, *flags), tmp_path)
    seen = analyse(core)
    assert functions(seen) == NAMES
    stack = seen.stack()
    theirs = their_groups(next(iter(gdb_frames(core, host).values())))
    assert seen.groups(stack, 4) == theirs[:4]
    assert [str(frame.trust) for frame in stack.frames[:4]] == ["context", "cfi", "cfi", "cfi"]
    lines = [seen.locations(frame)[-1].line for frame in stack.frames[:3]]
    module = seen.modules.find(stack.frames[0].pc)
    assert module is not None and module.path == PATH
    assert lines == ([19, 14, 7] if "-g" in flags else [None] * 3)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("cycle", "the list of files returns"),
        ("huge", "too large"),
        ("version", "of version 7"),
        ("broken", ""),
    ],
)
def test_hostile_descriptors(host: Path, tmp_path: Path, how: str, why: str) -> None:
    seen = analyse(crash(host, linked(tmp_path), tmp_path, how))
    names = functions(seen)
    assert names[:3] == NAMES[:3] if how == "cycle" else "jit_fault" not in names
    assert not why or any(why in note.why for note in seen.image.notes)


def test_mutated_objects_are_refused_or_placed(tmp_path: Path) -> None:
    whole = object_file(tmp_path, "-g")[0].read_bytes()
    placed(ElfFile(whole))
    chance = random.Random(4)
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(64, len(data))] = chance.choice((0, 1, 2, 127, 128, 255))
        try:
            placed(ElfFile(bytes(data)))
        except FormatError:
            continue


def test_32_bits(tmp_path: Path) -> None:
    """There the size of a file stands right behind its address."""
    host, made, file, text = (tmp_path / name for name in ("host", "made.o", "made.elf", "text"))
    gcc = (need("gcc", "gcc"), "-m32")
    run(*gcc, "-g", "-O0", HERE / "host.c", "-o", host)
    run(*gcc, *FLAGS, "-g", "-c", HERE / "made.c", "-o", made)
    run(need("ld", "binutils"), "-m", "elf_i386", "-Ttext=0x20000000", made, "-o", file)
    run(need("objcopy", "binutils"), "-O", "binary", "-j", ".text", file, text)
    words: list[str | Path] = [host, file, text, "20000000"]
    core = gcore_at_fault([os.fsencode(word) for word in words], tmp_path / "core", full=True)
    assert functions(analyse(core)) == NAMES


LLVM = """
define void @bad(i32* %p) noinline { store volatile i32 1, i32* %p
 ret void }
define i32 @main() { call void @bad(i32* inttoptr (i64 8 to i32*))
 ret i32 0 }
"""


@pytest.mark.parametrize("kind", ["mcjit", "orc"])
def test_llvm(tmp_path: Path, kind: str) -> None:
    """Objects as LLVM's own compilers register them: not linked."""
    (tmp_path / "program.ll").write_text(LLVM)
    words = [need("lli", "llvm-runtime"), f"--jit-kind={kind}", "-O0", str(tmp_path / "program.ll")]
    seen = analyse(gcore_at_fault([os.fsencode(word) for word in words], tmp_path / "core"))
    stack = seen.stack()
    assert seen.names(stack)[:2] == ["bad", "main"]
    assert str(stack.frames[1].trust) == str(stack.frames[2].trust) == "cfi"
    assert seen.names(stack)[-1] == "_start"
    (tmp_path / "core").unlink()


def test_mutated_symbol_tables(host: Path) -> None:
    """The table of a crashed program's file: nothing but addresses comes back."""
    whole = host.read_bytes()
    assert len(addresses_of(ElfFile(whole), VARIABLE)) == 1
    elf = ElfFile(whole)
    chance = random.Random(5)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(elf.header.shoff, len(data))
            data[at] = chance.choice((0, 1, 2, 127, 128, 255))
        addresses_of(ElfFile(bytes(data)), VARIABLE)
