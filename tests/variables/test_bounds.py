"""Variables that are not wanted, too dear to read, or not in the dump."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.analysed import analyse
from tests.support.gcore import gcore_at_fault
from tests.support.variables_compare import build, report_of
from usercrash.analysis.assemble import assemble
from usercrash.analysis.core.module_memory import ModuleMemory
from usercrash.analysis.limits import AssembleLimits
from usercrash.analysis.report_parts import variables

HERE = Path(__file__).parent


def test_not_wanted(tmp_path: Path) -> None:
    exe = tmp_path / "values"
    build("gcc -g -O1", HERE / "floats.c", exe)
    found = analyse(gcore_at_fault([bytes(exe)], tmp_path / "core"))
    limits = AssembleLimits(native_variables=False)
    report = assemble(found.image, found.modules, found.symbolizer, "0" * 32, limits)
    assert not any(frame.variables for frame in report.threads[0].frames)


def test_too_much_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the effort does not suffice a note says so, and the stack has its names and lines."""
    exe = tmp_path / "values"
    build("gcc -g -O1", HERE / "values.c", exe)
    core = gcore_at_fault([bytes(exe)], tmp_path / "core")
    whole = report_of(core)
    monkeypatch.setattr(variables, "WORK", 2_000)
    report = report_of(core)
    assert [note.what for note in report.notes if note.stage == "variables"]
    assert report.complete
    without = [msgspec.structs.replace(one, variables=[]) for one in whole.threads[0].frames]
    assert [
        msgspec.structs.replace(one, variables=[]) for one in report.threads[0].frames
    ] == without


def test_not_in_a_minicore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not captured is told so, and nothing is made up."""
    exe = tmp_path / "values"
    build("gcc -g -O0", HERE / "values.c", exe)
    core = gcore_at_fault([bytes(exe)], tmp_path / "core")
    found = analyse(core)
    sp = found.image.threads[0].registers["rsp"]

    read = found.memory.read

    def captured(memory: ModuleMemory, address: int, size: int) -> bytes:
        """Of the stack only the innermost frame, of writable data nothing."""
        known = address < sp + 128 or not found.image.read(address, 1)
        return read(address, size) if known and address > sp - 128 else b""

    monkeypatch.setattr(ModuleMemory, "read", captured)
    report = assemble(found.image, found.modules, found.symbolizer, "0" * 32)
    first = {one.name: one for one in report.threads[0].frames[0].variables}
    assert first["request"].value.endswith(" <not in the dump>")
    assert first["depth"].value == "0"
    assert first["calls"].gap == "not in the dump"
