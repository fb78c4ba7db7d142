"""Functions that a file has for others, found as the dynamic linker finds them."""

from __future__ import annotations

import contextvars
import subprocess
from pathlib import Path

import pytest
from tests.support.build import need
from tests.support.stub_names import without_sections

from usercrash.analysis.binary.effort import limit_effort
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.binary.imports import Imports

SOURCE = "\n".join(
    ["int data;", *(f"int function_{number}(void) {{ return {number}; }}" for number in range(200))]
) + """
int own(void);
int calls(void) { return own(); }
__asm__(".symver former, both@OLD; .symver latter, both@@NEW");
int former(void) { return 1; }
int latter(void) { return 2; }
static void *choose(void) { return calls; }
int chosen(void) __attribute__((ifunc("choose")));
"""  # fmt: skip


def _library(place: Path, *flags: str) -> bytes:
    (place / "library.c").write_text(SOURCE)
    (place / "versions").write_text("OLD { local: former; latter; }; NEW {} OLD;")
    library = place / "library.so"
    command: list[str | Path] = [
        need("gcc", "gcc"),
        "-shared",
        "-fPIC",
        "-o",
        library,
        place / "library.c",
        *flags,
    ]
    command.append(f"-Wl,--version-script={place / 'versions'}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library.read_bytes()


@pytest.mark.parametrize("bits", ["-m64", "-m32"])
@pytest.mark.parametrize("style", ["gnu", "sysv"])
def test_by_each_hash(style: str, bits: str, tmp_path: Path) -> None:
    data = _library(tmp_path, bits, f"-Wl,--hash-style={style}")
    table = ElfFile(data).symbols
    starts = {table.find(start): start for start in table._starts}
    imports = Imports(ElfFile(without_sections(data)))
    for number in range(200):
        name = f"function_{number}".encode()
        start = next(start for found, start in starts.items() if found and found[0] == name)
        assert imports.functions(name) == {start}
    assert len(imports.functions(b"both")) == 2 and None not in imports.functions(b"both")
    assert imports.functions(b"chosen") == {None}  # its place is known at run time only
    for name in (b"own", b"data", b"former", b"function_200", b"function", b""):
        assert imports.functions(name) == set(), name


def test_without_effort_left_nothing_is_certain(tmp_path: Path) -> None:
    imports = Imports(ElfFile(_library(tmp_path)))
    refused: list[bool] = []

    def look() -> set[int | None]:
        limit_effort(3, lambda: refused.append(True))
        return imports.functions(b"function_1")

    assert contextvars.copy_context().run(look) == {None} and refused == [True]
