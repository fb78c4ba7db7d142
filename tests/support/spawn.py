"""Small programs for tests: C source compiled where the test says, started, and known to be ready.

A program announces itself by writing `r` to descriptor 1 and is told to go on through descriptor 0.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .build import need

SECONDS = 60.0


def compile_c(place: Path, name: str, source: str, *flags: str, compiler: str = "gcc") -> Path:
    """The program made from `source` (in C++ with g++); RuntimeError with the compiler's words."""
    file = place / f"{name}.c"
    file.write_text(source)
    program = place / name
    gcc = need(compiler, compiler)
    command = [gcc, "-g", "-O1", "-pthread", "-o", str(program), str(file), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return program


@contextmanager
def running(command: Sequence[str | Path]) -> Iterator[subprocess.Popen[bytes]]:
    """The program, running and ready; it is killed at the end."""
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        expect(process, b"r")
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def expect(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Read exactly `text` from its standard output; AssertionError if it says anything else."""
    assert process.stdout is not None
    said = os.read(process.stdout.fileno(), len(text))
    while said and len(said) < len(text):
        more = os.read(process.stdout.fileno(), len(text) - len(said))
        if not more:
            break
        said += more
    assert said == text, f"{said!r} instead of {text!r}"


def tell(process: subprocess.Popen[bytes], text: bytes = b"g") -> None:
    """Write to its standard input."""
    assert process.stdin is not None
    os.write(process.stdin.fileno(), text)


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: R, S, D, T (stopped), t (traced), Z."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0].decode()
