"""Building the programs of tests/programs, once per content, and reading what they expect.

The format of the structured comment is described in tests/programs/README.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROGRAMS = Path(__file__).parent.parent / "programs"
COMPILERS = {".c": "gcc", ".cc": "g++"}
COMMON_FLAGS = ["-Wall", "-Wno-infinite-recursion", "-Wno-use-after-free", "-Wno-nonnull"]
LIBRARY_FLAGS = ["-shared", "-fPIC", "-Wl,-soname,libcrashtest.so"]
SYSTEM_PYTHON = "/usr/bin/python3"


class ToolMissingError(Exception):
    """A compiler or oracle that a test needs is not installed; says which package has it."""


@dataclass(frozen=True, slots=True)
class Program:
    """One way to crash: a source with one of its builds."""

    id: str  # "null_chain/o2"
    source: Path
    flags: tuple[str, ...]
    about: str
    signal: str
    code: str | None
    cause: str | None
    reason: str | None
    frames: tuple[str, ...]
    message: str | None
    threads: int | None
    namespace_pid: int | None
    args: tuple[bytes, ...]
    library: str | None
    delete: bool


@dataclass(frozen=True, slots=True)
class Built:
    """A program ready to run: `argv`, and the `exe` that a core of it comes from."""

    program: Program
    exe: Path
    argv: list[bytes]


def _comment(source: Path) -> str:
    """The TOML of the file's structured comment."""
    text = source.read_text("utf-8")
    if source.suffix == ".py":
        lines = text.split("\n")
        if lines[0] != "# crash-test":
            raise ValueError(f"{source}: does not start with # crash-test")
        end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        return "\n".join(line.removeprefix("#").lstrip() for line in lines[1:end])
    if not text.startswith("/* crash-test\n"):
        raise ValueError(f"{source}: does not start with /* crash-test")
    return text.removeprefix("/* crash-test\n").partition("\n*/\n")[0]


def _programs_of(source: Path) -> list[Program]:
    common = tomllib.loads(_comment(source))
    builds = common.pop("builds", None) or {"": {}}
    programs = []
    for name, special in builds.items():
        keys = {"flags": "-g -O0", **common, **special}
        programs.append(
            Program(
                id=f"{source.stem}/{name}" if name else source.stem,
                source=source,
                flags=tuple(keys.pop("flags").split()),
                about=keys.pop("about"),
                signal=keys.pop("signal"),
                code=keys.pop("code", None),
                cause=keys.pop("cause", None),
                reason=keys.pop("reason", None),
                frames=tuple(keys.pop("frames")),
                message=keys.pop("message", None),
                threads=keys.pop("threads", None),
                namespace_pid=keys.pop("namespace_pid", None),
                args=tuple(arg.encode("latin-1") for arg in keys.pop("args", ())),
                library=keys.pop("library", None),
                delete=keys.pop("delete", False),
            )
        )
        if keys:
            raise ValueError(f"{source}: unknown keys {sorted(keys)}")
    return programs


@cache
def programs() -> dict[str, Program]:
    """All programs by id, in the order of their names."""
    sources = sorted(
        path
        for path in PROGRAMS.iterdir()
        if path.suffix in {*COMPILERS, ".py"} and not path.stem.endswith("_library")
    )
    return {program.id: program for source in sources for program in _programs_of(source)}


def need(tool: str, package: str) -> str:
    """The path of an installed tool; ToolMissingError names its Debian package otherwise."""
    path = shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        raise ToolMissingError(f"{tool} is not installed: apt-get install {package}")
    return path


@cache
def build_cache() -> Path:
    """The directory in which what tests build is kept from one run to the next."""
    base = Path(tempfile.gettempdir()) / f"usercrash-test-programs-{os.geteuid()}"
    base.mkdir(mode=0o755, exist_ok=True)
    if base.stat().st_uid != os.geteuid() or base.is_symlink():
        raise PermissionError(f"{base} belongs to somebody else")
    return base


def _compile(source: Path, output: Path, flags: list[str]) -> None:
    compiler = need(COMPILERS[source.suffix], COMPILERS[source.suffix])
    command = [compiler, *COMMON_FLAGS, "-o", str(output), str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROGRAMS, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def _build_into(place: Path, program: Program) -> None:
    flags = list(program.flags)
    if program.library:
        library = place / "libcrashtest.so"
        _compile(PROGRAMS / program.library, library, [*LIBRARY_FLAGS, *flags])
        flags += [str(library), "-Wl,-rpath,$ORIGIN"]
    _compile(program.source, place / "program", flags)


def build(program: Program) -> Built:
    """The program, compiled unless an equal one was; RuntimeError with the compiler's words."""
    if program.source.suffix == ".py":
        exe = Path(SYSTEM_PYTHON).resolve()
        argv = [os.fsencode(exe), os.fsencode(program.source), *program.args]
        return Built(program, exe, argv)
    digest = hashlib.sha256(
        repr((program.flags, program.library, COMMON_FLAGS, LIBRARY_FLAGS)).encode()
    )
    for name in (program.source.name, "ready.h", program.library):
        if name:
            digest.update((PROGRAMS / name).read_bytes())
    name = program.id.replace("/", "-")
    place = build_cache() / f"{name}-{digest.hexdigest()[:16]}"
    with open(build_cache() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            part = Path(tempfile.mkdtemp(dir=build_cache()))
            part.chmod(0o755)
            _build_into(part, program)
            part.rename(place)
    # The kernel takes comm from the file's name, people know the program by its id.
    exe = place / name[:15]
    if not exe.exists():
        os.link(place / "program", exe)
    return Built(program, exe, [os.fsencode(exe), *program.args])


def main() -> None:
    """Build everything and say where: `python -m tests.support.build`."""
    for program in programs().values():
        sys.stdout.write(f"{program.id:30} {build(program).exe}\n")


if __name__ == "__main__":
    main()
