"""What the tests of a server's life share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kernel import SOURCES

DEBUGGER = "from usercrash.debugger import main; main()"


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw minicore of a live process."""
    path = tmp_path_factory.mktemp("core") / "core"
    target = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        subprocess.run(
            [sys.executable, "-c", DEBUGGER, "--core", str(path), str(target.pid)],
            env={"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"], "HOME": str(path.parent)},
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        target.kill()
        target.wait()
    return path
