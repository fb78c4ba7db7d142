"""Cores without the kernel: gdb runs the program to its fatal signal and writes one (gcore)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .build import Built, need

SECONDS = 120


def gcore_at_fault(argv: list[bytes], core: Path, *, full: bool = False) -> Path:
    """Run `argv` under gdb until a signal that would kill it, and write `core` there; `full`: also
    with the memory that files could give.

    RuntimeError with gdb's words if there is no core in the end.
    """
    program, *arguments = [os.fsdecode(word) for word in argv]
    # bit 2 of coredump_filter (core(5)): private mappings of files; a child inherits it
    dumped = "0x37" if full else "0x33"
    command = [
        "sh", "-c", f'echo {dumped} > /proc/self/coredump_filter; exec "$@"', "-",
        need("gdb", "gdb"), "-batch", "-nx", "-q",
        "-iex", "set debuginfod enabled off", "-iex", "set auto-load off",
        "-ex", "handle SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGCHLD nostop noprint pass",
        "-ex", "run", "-ex", f"gcore {core}", "-ex", "kill",
        "--args", program, *arguments,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/nonexistent"},
    )  # fmt: skip
    if not core.exists():
        output = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
        raise RuntimeError(f"no core of {argv}:\n{output}")
    return core


def core_of(built: Built, place: Path) -> Path:
    """The core of a test program at its fault."""
    return gcore_at_fault(built.argv, place / "core")
