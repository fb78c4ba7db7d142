"""What other debuggers say about a core: frames of every thread, in one form."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .build import need

SECONDS = 120
MANY = 100_000


@dataclass(frozen=True, slots=True)
class OracleFrame:
    """One frame. `kind`: normal, inline, tailcall (no frame of the stack: gdb concluded that
    a tail call must have passed through it), signal or other; `line` 0 where unknown."""

    pc: int
    name: str | None
    kind: str = "normal"
    linkage_name: str | None = None
    line: int = 0

    @property
    def is_real(self) -> bool:
        """Whether it has a place of its own on the stack."""
        return self.kind not in ("inline", "tailcall")


Stacks = dict[int, list[OracleFrame]]


def run_quietly(command: list[str]) -> str:
    """What a program writes, both streams; it finds no settings of ours."""
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    environment |= {"HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, capture_output=True, timeout=SECONDS, check=False, env=environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "backslashreplace") + done.stderr.decode(
        "utf-8", "backslashreplace"
    )


def gdb_frames(core: Path, exe: Path, limit: int = MANY, sysroot: Path | None = None) -> Stacks:
    """gdb's frames by thread id (of the process's own pid namespace), at most `limit` each.

    With a `sysroot` the core is of another machine.

    Left out are threads of which the core has no registers: libthread_db reads the thread
    list in the memory of a vfork child, and that is its parent's. RuntimeError with gdb's output if
    it does not get as far as threads.
    """
    script = Path(__file__).with_name("in_gdb.py")
    output = run_quietly(
        [
            need("gdb-multiarch", "gdb-multiarch") if sysroot else need("gdb", "gdb"),
            "-batch", "-nx", "-q",
            "-iex", "set debuginfod enabled off", "-iex", "set auto-load off",
            *(["-iex", f"set sysroot {sysroot}"] if sysroot else []),
            "-ex", f"set $limit = {limit}", "-ex", "set backtrace limit unlimited",
            "-ex", "set backtrace past-main on",
            "-ex", f"source {script}", str(exe), str(core),
        ]
    )  # fmt: skip
    for line in output.split("\n"):
        if line.startswith("USERCRASH "):
            threads = json.loads(line.removeprefix("USERCRASH "))
            break
    else:
        raise RuntimeError(f"gdb gave no threads of {core}:\n{output}")
    return {
        thread["tid"]: [
            OracleFrame(
                frame["pc"], frame["name"], frame["kind"], frame["linkage_name"], frame["line"]
            )
            for frame in thread["frames"]
        ]
        for thread in threads
        if thread["frames"]
    }


_EU_THREAD = re.compile(r"TID (\d+):")
_EU_FRAME = re.compile(r"#\d+ +0x([0-9a-f]+)(?: {4}| - 1 )?(.*)")


def eu_stack_frames(core: Path, exe: Path, limit: int = 0) -> Stacks:
    """eu-stack's frames by thread id; it stops at 256 frames unless `limit` says more.

    Inlined functions are frames with the pc of the one that holds them, and not told apart.
    It ignores `exe` if the core names another path. RuntimeError if it names no thread.
    """
    output = run_quietly(
        [need("eu-stack", "elfutils"), "-n", str(limit), "-i", f"--core={core}", "-e", str(exe)]
    )
    stacks: Stacks = {}
    frames: list[OracleFrame] = []
    for line in output.split("\n"):
        if match := _EU_THREAD.match(line):
            frames = stacks.setdefault(int(match[1]), [])
        elif match := _EU_FRAME.match(line):
            frames.append(OracleFrame(int(match[1], 16), match[2].strip() or None))
    if not stacks:
        raise RuntimeError(f"eu-stack gave no threads of {core}:\n{output}")
    return stacks


_LLDB_THREAD = re.compile(r"[ *]*@T\|([0-9a-fx]+)")
_LLDB_FRAME = re.compile(r"[ *]*@F\|0x([0-9a-f]+)\|(.*)\|")


def lldb_frames(core: Path, exe: Path) -> Stacks:
    """lldb's frames by thread id, printed in a format of our own making.

    Its Python module is broken in Debian 12's packages, hence the text. Inlined functions are
    frames with a pc of their own, and not told apart.
    """
    output = run_quietly(
        [
            need("lldb", "lldb"), "--batch", "--no-lldbinit",
            "-o", "settings set use-color false",
            "-o", r'settings set thread-stop-format "@T|${thread.id}\n"',
            "-o", r'settings set frame-format "@F|${frame.pc}|${function.name-without-args}|\n"',
            "-o", f"target create '{exe}' --core '{core}'",
            "-o", "thread backtrace all",
        ]
    )  # fmt: skip
    stacks: Stacks = {}
    frames: list[OracleFrame] = []
    for line in output.split("\n"):
        if match := _LLDB_THREAD.fullmatch(line):
            frames = stacks.setdefault(int(match[1], 0), [])
        elif match := _LLDB_FRAME.fullmatch(line):
            frames.append(OracleFrame(int(match[1], 16), match[2] or None))
    if not stacks:
        raise RuntimeError(f"lldb gave no threads of {core}:\n{output}")
    return stacks
