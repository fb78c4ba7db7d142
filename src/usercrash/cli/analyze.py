"""usercrash analyze: the report of a core file."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..errors import UsageError, UsercrashError
from .common import Settings, colored, printable

if TYPE_CHECKING:
    from ..analysis.core.file_search import Place, SearchPlaces
    from ..analysis.sandbox import Send
    from ..config import Config

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1


@click.command("analyze")
@click.argument("core", metavar="CORE")
@click.option("--exe", metavar="FILE", help="The program, if it is not where the core says.")
@click.option("--force-exe", is_flag=True, help="Take the program though its build-id differs.")
@click.option("--sysroot", metavar="DIR", help="The root of the machine that the core is from.")
@click.option(
    "--debug-dir",
    "debug_dirs",
    metavar="DIR",
    multiple=True,
    help="A directory of debug files, as /usr/lib/debug is one; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.pass_obj
def command(
    settings: Settings,
    core: str,
    exe: str | None,
    force_exe: bool,
    sysroot: str | None,
    debug_dirs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Report on a CORE file: the kernel's, gdb's gcore, or our minicore (also compressed).

    Programs and libraries are found by their paths and believed if their build-ids are right.
    """
    config = settings.config
    fd = _open(core, "core file")
    program = None if exe is None else _given(exe)
    from ..pipeline import Material, View, analyse_isolated

    places = _places(sysroot, debug_dirs)

    terminal = sys.stdout.isatty() and not as_json
    view = View()
    if terminal:
        width = shutil.get_terminal_size().columns
        view = View(screen="full", color=colored(), width=width)
    with _waiting(f"analyzing {core} …"):
        fd = _raw(fd, core, config)
        try:
            material = Material(
                os.urandom(16).hex(), fd, by_path=True, exe=program, force_exe=force_exe,
                places=places,
            )  # fmt: skip
            analysed = analyse_isolated(material, config, view)
        finally:
            os.close(fd)
    output = analysed.json if as_json else analysed.screen if terminal else analysed.text
    if output:
        sys.stdout.buffer.write(output.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()
    if analysed.failure:
        raise UsercrashError(f"{core}: {printable(analysed.failure)}")


def _places(sysroot: str | None, debug_dirs: tuple[str, ...]) -> SearchPlaces:
    """The places to look in; UsageError for one that is no directory.

    They are opened here, because the analysis may have less rights than who names them.
    """
    from ..analysis.core.file_search import SearchPlaces

    return SearchPlaces(
        sysroot=None if sysroot is None else _open_place(sysroot),
        debug_dirs=tuple(map(_open_place, debug_dirs)),
    )


def _given(path: str) -> Place:
    from ..analysis.core.file_search import Place

    return Place(os.fsencode(os.path.abspath(path)), _open(path, "program"))


def _open_place(path: str) -> Place:
    from ..analysis.core.file_search import Place

    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot open directory {path!r}: {why}") from error
    return Place(os.fsencode(os.path.abspath(path)), fd)


def _open(path: str, what: str) -> int:
    """A descriptor of a regular file that is not empty; UsageError says what is wrong with it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot open {what} {path!r}: {why}") from error
    state = os.fstat(fd)
    if stat.S_ISREG(state.st_mode) and state.st_size:
        return fd
    os.close(fd)
    kind = "is empty" if stat.S_ISREG(state.st_mode) else "is not a regular file"
    raise UsageError(f"{what} {path} {kind}")


def _raw(fd: int, name: str, config: Config) -> int:
    """`fd` itself, or for a compressed core a descriptor of its content (`fd` is closed)."""
    if os.pread(fd, 4, 0) != _ZSTD_MAGIC:
        return fd
    from ..analysis.sandbox import SandboxLimits, run_isolated

    limits = SandboxLimits(config.analysis.seconds, user=config.analysis.user)

    def work(send: Send) -> None:
        import zstandard

        with os.fdopen(fd, "rb", closefd=False) as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file)
            send(b"CORE", reader.read(limits.output))

    result = run_isolated(work, (fd,), limits)
    os.close(fd)
    if b"CORE" not in result.sections:
        raise UsercrashError(f"cannot decompress {name}: {printable(result.failure)}")
    raw = os.memfd_create("core", os.MFD_CLOEXEC)
    with os.fdopen(raw, "wb", closefd=False) as file:
        file.write(result.sections[b"CORE"])
    return raw


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """A line on the terminal while it takes its time. (No thread that turns something: we fork.)"""
    if not sys.stderr.isatty():
        yield
        return
    sys.stderr.write(printable(text))
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
