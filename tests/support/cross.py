"""Programs for other machines: Debian's cross compilers, qemu's user mode, and a core of the crash.

qemu writes cores for some targets only, and without NT_FILE. So it is driven by the gdb
remote protocol to the fatal signal, where registers and the auxiliary vector are asked for; memory
is read in qemu's own process, the layout taken from its log (`-d page`).
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .build import need
from .cross_core import ProgramCore
from .cross_targets import Target
from .gdb_remote import Remote

PROGRAMS = Path(__file__).parent.parent / "cross"
BASE_32 = 1 << 40  # where a 32-bit program's address 0 lies in qemu
_FATAL = {4: 4, 5: 5, 6: 6, 8: 8, 10: 7, 11: 11, 12: 31}  # gdb's numbers and Linux's


@dataclass(frozen=True, slots=True)
class Crashed:
    """A program that ran to its fatal signal: its file, its core, what it ran on."""

    target: Target
    program: Path
    core: Path


@cache
def _cache_dir() -> Path:
    base = Path(tempfile.gettempdir()) / f"usercrash-cross-programs-{os.geteuid()}"
    base.mkdir(mode=0o755, exist_ok=True)
    if base.stat().st_uid != os.geteuid() or base.is_symlink():
        raise PermissionError(f"{base} belongs to somebody else")
    return base


def compile_for(target: Target, source: Path | str, *flags: str, strip: bool = False) -> Path:
    """The program of a source (a file of tests/cross, or text), compiled once for each content;
    a file named .cc is C++.

    ToolMissingError if there is no compiler, RuntimeError with its words.
    """
    text = (PROGRAMS / source).read_text() if isinstance(source, Path) else source
    words = (target.compiler, flags, strip, text)
    digest = hashlib.sha256(repr((target.name, words)).encode()).hexdigest()[:16]
    place = _cache_dir() / f"{target.name}-{digest}"
    program = place / "program"
    if program.exists():
        return program
    part = Path(tempfile.mkdtemp(dir=_cache_dir()))
    part.chmod(0o755)
    suffix = source.suffix if isinstance(source, Path) else ".c"
    name, kind = f"program{suffix}", "g++" if suffix == ".cc" else "gcc"
    (part / name).write_text(text)
    compiler = need(f"{target.triple}-{kind}", f"{kind}-{target.triple}")
    command = [compiler, *target.compiler, "-g", *flags, "-o", "program", name]
    if "-nostdlib" not in flags:
        command.append("-lpthread")
    done = subprocess.run(command, capture_output=True, text=True, cwd=part, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    if strip:
        subprocess.run([f"{target.triple}-strip", "program"], cwd=part, check=True)
    try:
        part.rename(place)
    except OSError:  # another test process was faster
        assert program.exists()
    return program


def compile_go(machine: str, source: Path) -> Path:
    """The program of a source in Go, which makes code for any `machine` (its GOARCH) by itself;
    compiled once for each content."""
    text = (PROGRAMS / source).read_bytes()
    place = _cache_dir() / f"go-{machine}-{hashlib.sha256(text).hexdigest()[:16]}"
    program = place / "program"
    if program.exists():
        return program
    place.mkdir(exist_ok=True)
    part = place / f"program.{os.getpid()}"
    (place / "program.go").write_bytes(text)
    subprocess.run(
        [need("go", "golang-go"), "build", "-o", part, "program.go"], check=True, cwd=place,
        env={"PATH": os.environ["PATH"], "GOARCH": machine, "GOOS": "linux", "CGO_ENABLED": "0",
             "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(_cache_dir() / "go-cache")},
    )  # fmt: skip
    part.rename(program)
    return program


def own_core(
    target: Target,
    program: Path,
    place: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
) -> Path | None:
    """The core that qemu itself writes of a program's fatal signal, None where it writes none."""
    command = [
        need(f"qemu-{target.qemu}", "qemu-user"), "-L", str(target.sysroot), str(program),
        *arguments,
    ]  # fmt: skip
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    done = subprocess.run(
        command, cwd=place, capture_output=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, limits),
    )  # fmt: skip
    if done.returncode >= 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr!r}")
    return next(place.glob("qemu_*.core"), None)


def crash(
    target: Target, program: Path, place: Path, *arguments: str, passed: int = 0, fault: int = 0
) -> Crashed:
    """Run a program under qemu to its fatal signal, of which it may handle the first `passed`; its
    core is `place`/core. `fault` is the address that it touches then, which qemu does not tell
    (0: that of crash.c)."""
    door, log = place / "door", place / "pages"
    base = BASE_32 if target.elf_class == 1 else 0
    command = [
        need(f"qemu-{target.qemu}", "qemu-user"), "-g", str(door), "-d", "page", "-D", str(log),
        *(["-B", hex(base)] if base else []), "-L", str(target.sysroot), str(program), *arguments,
    ]  # fmt: skip
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        remote = Remote(door)
        try:
            signal, thread = remote.run()
            while signal not in _FATAL or passed:
                passed -= signal in _FATAL
                signal, thread = remote.run(signal)
            machine_signal = target.signals.get(signal, _FATAL[signal])
            core = place / "core"
            # where crash.c reads from, or calls
            fault = fault or (64 if "jump" in arguments else 16)
            core.write_bytes(ProgramCore(target, remote, process.pid, log, base, fault).make(
                program, machine_signal, thread))  # fmt: skip
        finally:
            remote.close()
    finally:
        process.kill()
        process.wait()
    return Crashed(target, program, core)
