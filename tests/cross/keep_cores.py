"""Makes the cores in tests/cross/kept anew: `python -m tests.cross.keep_cores [TARGET …]`.

They are of machines whose compilers are too much to install for each run of the tests (Debian:
gcc-TRIPLE and qemu-user; gdb-multiarch for the frames beside them). The environment is emptied
before: it lies on the programs' stacks.
"""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.cross import crash
from tests.support.cross_targets import TARGETS, Target
from tests.support.oracle import gdb_frames

KEPT = Path(__file__).parent / "kept"
SOURCE = Path(__file__).parent / "bare.c"
FLAGS = {"mips64el": ["-mno-abicalls", "-fno-pic", "-G0"],
         "mips64": ["-mno-abicalls", "-fno-pic", "-G0"], "mipsn32el": ["-fno-pic", "-G0"],
         "sparc64": ["-O2"]}  # fmt: skip  # (-O2: the fault is in the delay slot of a return)
WITHOUT_GDB = frozenset({"sparc64", "sparc", "m68k"})  # gdb-multiarch 13 does not read these
NAMES = (
    "mips64el", "mipsn32el", "ppc", "ppc64", "sparc64", "sparc", "m68k", "mips64", "mipsel",
    "aarch64_be", "armeb", "riscv32",
)  # fmt: skip


def keep(target: Target, place: Path) -> None:
    """The core, the program and gdb's frames of one target."""
    program = place / target.name
    (place / "bare.c").write_text(SOURCE.read_text())
    subprocess.run(
        [f"{target.triple}-gcc", *target.compiler, "-g", "-O1", "-static", "-nostdlib",
         "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie",
         *FLAGS.get(target.name, []), f"-ffile-prefix-map={place}=.", "-Wl,--build-id",
         "-o", target.name, "bare.c"],
        check=True, cwd=place,
    )  # fmt: skip
    done = crash(target, program, place)
    frames = None
    if target.name not in WITHOUT_GDB:
        found = next(iter(gdb_frames(done.core, program, sysroot=target.sysroot).values()))
        frames = [[f"{frame.pc:#x}", frame.name] for frame in found]
    KEPT.mkdir(exist_ok=True)
    for name, data in (("core", done.core.read_bytes()), ("program", program.read_bytes())):
        (KEPT / f"{target.name}.{name}.xz").write_bytes(lzma.compress(data, preset=9))
    (KEPT / f"{target.name}.json").write_text(json.dumps(frames, indent=1) + "\n")


def main() -> None:
    """Keep the targets that are named, else all."""
    os.environ.clear()
    os.environ["PATH"] = "/usr/bin:/bin"
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory(prefix="kept-") as place:
            keep(TARGETS[name], Path(place))


if __name__ == "__main__":
    main()
