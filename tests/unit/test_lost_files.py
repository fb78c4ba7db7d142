"""A process whose files cannot be opened: its stack, by what was captured of its memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.spawn import compile_c, running

from usercrash.analysis.core.module_files import FileProviders
from usercrash.capture.collect import collect
from usercrash.capture.elf_files import ElfFiles
from usercrash.capture.live import LiveTarget
from usercrash.capture.unwind_tables import MAX_BYTES
from usercrash.elf.corewriter import write_core

SOURCE = r"""
#include <unistd.h>
__attribute__((noinline)) int third(int n) { write(1, "r", 1); for (;;) pause(); return n; }
__attribute__((noinline)) int second(int n) { volatile char room[77]; room[n] = 1;
    return third(n) + room[3]; }
__attribute__((noinline)) int first(int n) { return second(n + 1) + 1; }
int main(int c, char **v) { (void)v; return first(c); }
"""


@pytest.mark.parametrize("lost", [True, False])
def test_stack_of_a_process_whose_files_are_gone(
    lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exe = compile_c(tmp_path, "program", SOURCE, "-rdynamic", "-fomit-frame-pointer")
    if lost:
        monkeypatch.setattr(ElfFiles, "_open", lambda self, mapping: -1)
    with running([exe]) as process:
        exe.unlink()
        target = LiveTarget.stop(process.pid)
        try:
            snapshot = collect(target)
        finally:
            target.close()
    assert all((file.fd < 0) == lost for file in snapshot.files)
    seen = analyse(b"".join(write_core(snapshot)), FileProviders([]))
    stack = seen.stack()
    names = seen.names(stack)
    if not lost:  # then the files are read, not memory
        assert "third" not in names
        return
    assert names[names.index("third") :][:4] == ["third", "second", "first", "main"]
    assert stack.complete, stack.end
    assert all(str(frame.trust) in ("context", "cfi") for frame in stack.frames)
    assert sum(len(load.data) for load in snapshot.loads) < MAX_BYTES


def test_broken_headers_yield_nothing() -> None:
    from usercrash.capture.unwind_tables import _of_module

    for page in (b"", b"\x7fELF", b"\x7fELF\2\1\1" + bytes(200), b"\x7fELF\2\1\1" + b"\xff" * 4000):
        assert list(_of_module(0x1000, page)) == []
