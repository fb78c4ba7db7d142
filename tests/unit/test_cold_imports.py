"""What a held process waits for: the modules that capture imports before the release."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import usercrash
from usercrash.elf.arch import PROGRAMS, arch_of

EXPECTED = {
    "__future__", "_collections_abc", "_stat", "_struct", "errno", "gc", "genericpath", "os",
    "os.path", "posixpath", "select", "stat",
    "usercrash", "usercrash.errors",
    "usercrash.capture", "usercrash.capture.collect", "usercrash.capture.core_stream",
    "usercrash.capture.elf_files",
    "usercrash.capture.facts", "usercrash.capture.filesystems", "usercrash.capture.identity",
    "usercrash.capture.kernel_dump", "usercrash.capture.link_map", "usercrash.capture.memory",
    "usercrash.capture.plan", "usercrash.capture.pointed", "usercrash.capture.procfs",
    "usercrash.capture.sockets",
    "usercrash.elf", "usercrash.elf.arch", "usercrash.elf.headers",
    "usercrash.model", "usercrash.model.event", "usercrash.model.maps", "usercrash.model.notes",
    "usercrash.model.snapshot", "usercrash.model.types",
}  # fmt: skip

SCRIPT = """
import sys
before = set(sys.modules)
sys.path.append(sys.argv[1])
import usercrash.capture.kernel_dump, usercrash.capture.collect
from usercrash.elf.arch import PROGRAMS, arch_of
arch_of(int(sys.argv[2]), int(sys.argv[3]))
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(("machine", "module"), [((62, 2), "x86_64"), ((3, 1), "i386")])
def test_nothing_else_is_imported(machine: tuple[int, int], module: str) -> None:
    """The table of the process's own architecture alone."""
    source = str(Path(usercrash.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-IS", "-c", SCRIPT, source, *map(str, machine)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) == EXPECTED | {f"usercrash.elf.arch.{module}"}


def late_imports(file: Path) -> set[str]:
    """What a module of the capture imports in functions, as absolute names."""
    found = set()
    for function in ast.walk(ast.parse(file.read_text())):
        for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = ("usercrash.capture", "usercrash")[node.level - 1] + "."
                found.add((above if node.level else "") + (node.module or ""))
    return found


def test_a_worker_has_all_before_a_crash() -> None:
    """Also what only some crashes need: tables of other architectures, of files that are gone."""
    capture = Path(usercrash.__file__).parent / "capture"
    wanted = set().union(*map(late_imports, capture.glob("*.py")))
    assert "usercrash.capture.unwind_tables" in wanted
    for kind in PROGRAMS[os.uname().machine]:
        if (arch := arch_of(*kind)) is not None:
            wanted |= {name for name, module in sys.modules.items()
                       if arch in getattr(module, "ARCHES", ())}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "import usercrash.worker.loop, sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lacking = wanted - set(done.stdout.split())
    assert not [name for name in lacking if name.startswith("usercrash.")]
