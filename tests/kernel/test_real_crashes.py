"""Real crashes through the real kernel: the report's frames are those that gdb gives.

Each program of tests/programs dies twice: once with the kernel's own core file, which
`usercrash analyze` and gdb both read; once through the pipe, with our server and client, whose
report is compared with gdb on the minicore of that same crash.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.build import Built, build, programs
from tests.support.kernel import Installation, Published, analyze, full_core
from tests.support.oracle import gdb_frames
from tests.support.verdict import check_report, unexplained

pytestmark = pytest.mark.usefixtures("needs_kernel")


def ids() -> list[str]:
    return list(programs())


@pytest.mark.parametrize("name", ids())
def test_frames_of_the_kernels_core(name: str, tmp_path: Path) -> None:
    built = build(programs()[name])
    core = full_core(built, tmp_path)
    # A deleted file is where the core does not say.
    where = ("--exe", str(built.exe)) if built.program.delete else ()
    report = analyze(core, *where)
    assert unexplained(built.program, report, gdb_frames(core, built.exe)) == []
    check_report(built.program, report)


def die(installation: Installation, name: str) -> tuple[Built, Published]:
    built = build(programs()[name])
    with installation.receiving():
        return built, installation.crash(built)


@pytest.mark.parametrize("name", ids())
def test_through_the_pipe(name: str, installation: Installation) -> None:
    built, crash = die(installation, name)
    report = crash.report
    assert unexplained(built.program, report, gdb_frames(crash.core, built.exe)) == []
    check_report(built.program, report)
    assert crash.closed["outcome"] == "published"
    assert report.notes == []
    assert report.event.source == "core_pattern"
    assert report.process.exe_deleted == built.program.delete
    assert report.process.namespace_pid == built.program.namespace_pid
