"""Standard input, output and error of the programs that people start."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Output(io.FileIO):
    """Standard output whose errors say that it is that: a system's error names no descriptor."""

    def write(self, data: ReadableBuffer, /) -> int:
        """As FileIO does it."""
        try:
            return super().write(data)
        except OSError as error:
            if error.filename is None:
                error.filename = "standard output"
            raise


def prepare_streams() -> None:
    """Have standard output and error write whatever stands in a report, and say what fails."""
    for fd in (0, 1, 2):
        _fill(fd)
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        output = io.BufferedWriter(_Output(1, "w", closefd=False))
        encoding = sys.stdout.encoding if sys.stdout is not None else None
        sys.stdout = io.TextIOWrapper(output, encoding, line_buffering=os.isatty(1))
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 (for as long as we run)
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale can spell: a report must not fail on a file's name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fill(fd: int) -> None:
    """Where somebody closed a standard descriptor, the next file that is opened must not become it;
    writing to it fails as before."""
    try:
        os.fstat(fd)
    except OSError:
        os.open(os.devnull, os.O_WRONLY if fd == 2 else os.O_RDONLY)  # (becomes the lowest)
        os.set_inheritable(fd, True)
