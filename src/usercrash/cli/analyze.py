"""usercrash analyze: the report of a core file."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..errors import UsageError, UsercrashError
from .common import HINT, Settings, colored, full_option, printable
from .core_files import Request, analyse_core, open_place, open_program, servers_of, share
from .html_option import STANDARD_OUTPUT, HtmlCommand, html_option, html_output, one_form
from .source_option import source_directories, source_option

if TYPE_CHECKING:
    from ..isolated_analysis import Analysed, View


@click.command(
    "analyze",
    cls=HtmlCommand,
    short_help="Report on core files: the kernel's, of gcore, minicores.",
)
@click.argument("cores", metavar="CORE...", nargs=-1, required=True)
@click.option("--exe", metavar="FILE", help="The program, if it is not where the core says.")
@click.option("--force-exe", is_flag=True, help="Take the program though its build-id differs.")
@click.option("--sysroot", metavar="DIR", help="The root of the machine that the core is from.")
@click.option(
    "--debug-dir", "debug_dirs", metavar="DIR", multiple=True,
    help="A directory of debug files, as /usr/lib/debug is one; may be repeated.",
)  # fmt: skip
@click.option(
    "--debuginfod", "servers", metavar="URL", multiple=True,
    help="Ask this server for missing debug files and programs; may be repeated.",
)  # fmt: skip
@source_option
@click.option("--output", metavar="DIR", help="Write each report to DIR/NAME.txt and .json.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; of several cores a line for each.")
@html_option
@full_option
@click.pass_obj
def command(
    settings: Settings,
    cores: tuple[str, ...],
    exe: str | None,
    force_exe: bool,
    sysroot: str | None,
    debug_dirs: tuple[str, ...],
    servers: tuple[str, ...],
    sources: tuple[str, ...],
    output: str | None,
    as_json: bool,
    html: str | None,
    full: bool,
) -> None:
    """Report on a CORE file: the kernel's, gdb's gcore, or our minicore; also one that is
    compressed (zstd, gzip, xz, bzip2).

    Programs and libraries are found by their paths and believed if their build-ids are right.
    Of several cores, or a directory of them, a table shows how often which crash stands there.
    """
    one_form(as_json, html)
    many = len(cores) > 1 or output is not None or os.path.isdir(cores[0])
    if many and html is not None and (output is None or html != STANDARD_OUTPUT):
        raise UsageError("--html is for one core", "for several: --html --output DIR")
    config = settings.config
    request = Request(
        config,
        program=None if exe is None else open_program(exe),
        force_program=force_exe,
        sysroot=None if sysroot is None else open_place(sysroot),
        debug_dirs=tuple(map(open_place, debug_dirs)),
        servers=servers_of(config, servers),
        sources=tuple(map(open_place, source_directories(sources))),
    )
    if many:
        from .analyze_many import analyze_many

        analyze_many(list(cores), request, output, as_json, pages=html is not None)
    else:
        _single(cores[0], request, as_json, html, full)


def _single(core: str, request: Request, as_json: bool, html: str | None, full: bool) -> None:
    """One core: its report on standard output, or as a page."""
    from ..file_links import links_wished
    from ..isolated_analysis import View

    if html is not None:
        with html_output(html) as write:
            _one(core, request, View(html=True), lambda found: write(found.html))
        return
    terminal = sys.stdout.isatty() and not as_json
    width = shutil.get_terminal_size().columns
    view = View()
    if terminal:
        color, hint = colored(), "" if full else HINT
        links = links_wished(request.config, color=color)
        view = View("full" if full else "first", color, width, links=links, hint=hint)
    _one(core, request, view, lambda found: _print(found, terminal, as_json))


def _one(core: str, request: Request, view: View, show: Callable[[Analysed], None]) -> None:
    """Analyse one core and `show` what comes of it, whole or not."""
    with _waiting(f"analyzing {core} …"):
        analysed, trouble = analyse_core(core, request, view)
    for line in trouble:
        click.echo(f"usercrash: {printable(line)}", err=True)
    if not view.html or analysed.html:
        show(analysed)
    share(analysed, request)
    if analysed.failure:
        raise UsercrashError(f"{core}: {printable(analysed.failure)}")


def _print(analysed: Analysed, terminal: bool, as_json: bool) -> None:
    """The report on standard output."""
    output = analysed.json if as_json else analysed.screen if terminal else analysed.text
    if output:
        sys.stdout.buffer.write(output.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """A line on the terminal while it takes its time. (No thread that turns something: we fork.)"""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield  # (a terminal that cannot take the line away again)
        return
    sys.stderr.write(printable(text))
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
