"""What a held process waits for: the modules that capture imports before the release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import usercrash

EXPECTED = {
    "__future__", "_collections_abc", "_stat", "_struct", "errno", "gc", "genericpath", "os",
    "os.path", "posixpath", "select", "stat",
    "usercrash", "usercrash.errors",
    "usercrash.capture", "usercrash.capture.collect", "usercrash.capture.core_stream",
    "usercrash.capture.elf_files",
    "usercrash.capture.facts", "usercrash.capture.filesystems", "usercrash.capture.identity",
    "usercrash.capture.kernel_dump", "usercrash.capture.link_map", "usercrash.capture.memory",
    "usercrash.capture.plan", "usercrash.capture.procfs", "usercrash.capture.sockets",
    "usercrash.elf", "usercrash.elf.arch", "usercrash.elf.headers",
    "usercrash.model", "usercrash.model.event", "usercrash.model.maps", "usercrash.model.notes",
    "usercrash.model.snapshot", "usercrash.model.types",
}  # fmt: skip

SCRIPT = """
import sys
before = set(sys.modules)
sys.path.append(sys.argv[1])
import usercrash.capture.kernel_dump, usercrash.capture.collect
from usercrash.elf.arch import arch_of
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
