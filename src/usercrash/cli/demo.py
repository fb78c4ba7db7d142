"""usercrash demo: a small process of our own that crashes, and its report."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from ..errors import UsercrashError
from .common import Settings, full_option, printable
from .html_option import STANDARD_OUTPUT, HtmlCommand, html_option, html_output, one_form

if TYPE_CHECKING:
    from ..config import Config

_VICTIM = os.path.join(os.path.dirname(__file__), "victim.py")
_REPORT = "usercrash_00"
_PAGE = "usercrash_demo.html"  # on a terminal, where no file is named


@click.command(
    "demo", cls=HtmlCommand, short_help="Crash a process of our own, and show its report."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@html_option
@full_option
@click.pass_obj
def command(settings: Settings, as_json: bool, html: str | None, full: bool) -> None:
    """Crash a small process of our own, as under `usercrash run`, and show its report.

    Needs no privileges and no server; nothing is kept but the page that --html names.
    """
    one_form(as_json, html)
    if html == STANDARD_OUTPUT and sys.stdout.isatty():
        html = _PAGE
    with ExitStack() as stack:
        # Before anything crashes: what cannot be written is told at once.
        write = stack.enter_context(html_output(html)) if html is not None else None
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="usercrash-demo-"))
        _crash(settings.config, place)
        from .show import page_of, show_file

        report = os.path.join(place, _REPORT)
        if write is None:
            show_file(report, settings.config, as_json, full=full)
        else:
            write(page_of(report))
            if html != STANDARD_OUTPUT:
                click.echo(f"usercrash: the page is {printable(html or '')}", err=True)


def _crash(config: Config, place: str) -> None:
    """Run the victim under our eye, its report going to the directory `place`; UsercrashError with
    what was said if none comes."""
    import msgspec

    # There are no reports in a directory that does not exist: the report lies in `place` alone.
    paths = msgspec.structs.replace(config.paths, reports=os.path.join(place, "none"))
    config = msgspec.structs.replace(config, paths=paths)
    said = os.path.join(place, "said")
    child = os.fork()
    if child == 0:
        _run_and_end(config, place, said)
    os.waitpid(child, 0)
    if os.path.exists(os.path.join(place, f"{_REPORT}.json")):
        return
    with open(said, encoding="utf-8", errors="backslashreplace") as file:
        words = [line.removeprefix("usercrash: ") for line in file.read().splitlines()]
    why = printable(words[0]) if words else "nothing was said"
    raise UsercrashError(f"no report came of the process that was to crash: {why}")


def _run_and_end(config: Config, place: str, said: str) -> None:
    """In the child; never returns."""
    status = 1
    try:
        fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        os.dup2(fd, 2)
        os.close(fd)
        # No core file, and (by 1, not 0) none for a core_pattern's program: core(5).
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        if hard:
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
        # The page may be shown to others: nothing of this user's environment is in it.
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        os.environ.clear()
        os.environ.update(kept)
        from .run import run_watched

        status = run_watched(config, place, [sys.executable or "python3", "-I", _VICTIM])
    except Exception as error:  # nobody else hears of it
        os.write(2, f"{error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)
