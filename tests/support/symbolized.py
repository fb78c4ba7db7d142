"""A small program's death, and the names of where it died."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.analysed import Analysed
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c
from usercrash.analysis.core.file_search import SearchPlaces
from usercrash.analysis.symbols.symbolizer import Location, Symbolizer

SOURCE = """\
static inline __attribute__((always_inline)) int innermost(int *p) {
    int x = *(volatile int *)p; __asm__ volatile("nop");
    return x;
}
static inline __attribute__((always_inline)) int inlined(int *p) {
    return innermost(p) + 1;
}
__attribute__((noinline)) int outer(int *p) {
    return inlined(p) + 2;
}
int main(int c, char **v) {
    (void)v;
    return outer((int *)(long)c) + 1;
}
"""


def crash(place: Path, *flags: str) -> tuple[Path, Path]:
    """SOURCE compiled with these flags, and run to its death: (core, program)."""
    program = compile_c(place, "program", SOURCE, *flags)
    return gcore_at_fault([bytes(program)], place / "core"), program


def first(ours: Analysed) -> tuple[list[Location], str]:
    """What the innermost frame is called, and where its module's names came from."""
    frame = ours.stack().frames[0]
    module = ours.modules.find(frame.pc)
    assert module is not None
    return ours.locations(frame), ours.symbolizer.source_of(module)


def with_names(ours: Analysed, root: Path | None = None, limit: int = 1 << 26) -> Analysed:
    """The same, with names from no cache and separate debug files below `root` only."""
    ours.symbolizer = Symbolizer(
        None,
        ours.image.notes,
        places=SearchPlaces(standard=os.fsencode(root or "/nowhere")),
        max_debug_bytes=limit,
    )
    return ours


def objcopy(*arguments: str | Path) -> None:
    """binutils' program; CalledProcessError where it fails."""
    command = [need("objcopy", "binutils"), *map(str, arguments)]
    subprocess.run(command, check=True)
