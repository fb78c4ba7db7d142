"""What a held process waits for: the modules that capture imports before the release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
    "usercrash.elf", "usercrash.elf.arch", "usercrash.elf.arch.x86_64", "usercrash.elf.headers",
    "usercrash.model", "usercrash.model.event", "usercrash.model.maps", "usercrash.model.notes",
    "usercrash.model.snapshot", "usercrash.model.types",
}  # fmt: skip

SCRIPT = """
import sys
before = set(sys.modules)
sys.path.append(sys.argv[1])
import usercrash.capture.kernel_dump, usercrash.capture.collect
from usercrash.elf.arch import arch_of
arch_of(62, 2)
print(*sorted(set(sys.modules) - before))
"""


def test_nothing_else_is_imported() -> None:
    source = str(Path(usercrash.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-IS", "-c", SCRIPT, source], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == EXPECTED
