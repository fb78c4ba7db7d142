"""usercrash show: one report, whole."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import UsageError, UsercrashError
from ..storage.reports import DATA, MAX_READ
from .common import HINT, Settings, colored, full_option, printable
from .core_files import open_file
from .html_option import HtmlCommand, html_option, html_output, one_form

if TYPE_CHECKING:
    from ..config import Config
    from ..report import Report
    from ..storage.store import Store

_CORES = (".core", ".core.zst")  # how cores of ours are called
_NUMBER = re.compile(r"(?:usercrash_)?([0-9]{1,4})\Z")


@click.command("show", cls=HtmlCommand)
@click.argument("which", metavar="[N|FILE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="The report's JSON, as it is stored.")
@html_option
@full_option
@click.pass_obj
def command(
    settings: Settings, which: str | None, as_json: bool, html: str | None, full: bool
) -> None:
    """Show the report usercrash_N, without N the newest.

    On a terminal its first screen, with --full all of it. With FILE, a path like ./usercrash_00,
    that report, wherever it lies.
    """
    one_form(as_json, html)
    directory, _, name = (which or "").rpartition("/")
    if directory and not os.path.isdir(os.path.join(directory, DATA)):
        show_file(which or "", settings.config, as_json, html, full=full)
        return
    wanted = None if which is None else _slot(name)
    with settings.store(directory) as store:
        slot = _newest(store) if wanted is None else wanted
        if as_json or html is not None:
            _print_stored(store, slot, html)
            return
        report = _report(store.read_json(slot)) if sys.stdout.isatty() else None
        if report is None:
            _print_text(store.read_text(slot))
        else:
            _print_screen(report, settings.config, full=full)


def show_file(
    path: str, config: Config, as_json: bool, html: str | None = None, *, full: bool = False
) -> None:
    """Show a report that lies by itself, its text and beside it its JSON, as the options say."""
    base, data, report = _lying_by_itself(path)
    if html is not None:
        _write_page(report, html)
    elif as_json:
        _print_json(data)
    elif sys.stdout.isatty():
        _print_screen(report, config, full=full)
    else:
        _print_text(_content(base if os.path.exists(base) else f"{base}.txt"))


def _lying_by_itself(path: str) -> tuple[str, bytes, Report]:
    """Its name without a suffix, its JSON and its model; UsageError where it is no report."""
    base = path.removesuffix(".json").removesuffix(".txt")
    try:
        data = _content(f"{base}.json")
    except UsageError as error:
        why = str(error)
        if base.endswith(_CORES):
            why = "usercrash analyze reads cores"
        raise UsageError(f"{path!r} is no report of ours", why) from error
    report = _report(data)
    if report is None:
        raise UsageError(f"{path!r} is no report of ours", f"{base}.json is none in JSON")
    return base, data, report


def page_of(path: str) -> bytes:
    """A report that lies by itself as a page of HTML."""
    return _page(_lying_by_itself(path)[2])


def _print_stored(store: Store, slot: int, html: str | None) -> None:
    """The JSON of a report, or the page that is made of it; UsercrashError where there is none."""
    name = f"usercrash_{slot:02d}"
    data = store.read_json(slot)
    if data is None:
        raise UsercrashError(f"{name} has no JSON", "another program may have written it")
    if html is None:
        _print_json(data)
        return
    report = _report(data)
    if report is None:
        raise UsercrashError(f"{name}: its JSON is not of this version of usercrash")
    _write_page(report, html)


def _write_page(report: Report, name: str) -> None:
    with html_output(name) as write:
        write(_page(report))


def _page(report: Report) -> bytes:
    from ..render.html import render_html

    return render_html(report).encode()


def _content(path: str) -> bytes:
    fd = open_file(path, "report")
    with open(fd, "rb") as file:
        return file.read(MAX_READ)


def _slot(number: str) -> int:
    found = _NUMBER.match(number)
    if found is None:
        raise click.BadParameter(
            f"{number!r} is not the number of a report; a file is named with its directory: ./FILE"
        )
    return int(found[1])


def _newest(store: Store) -> int:
    newest = store.newest()
    if newest is None:
        raise UsercrashError(f"no reports in {store.path}")
    return newest.number


def _report(data: bytes | None) -> Report | None:
    """A report's model of its JSON; None where that is missing or not ours."""
    from ..report import VERSION, from_json

    try:
        report = from_json(data) if data else None
    except msgspec.MsgspecError:
        return None
    return report if report and report.version == VERSION else None


def _print_json(data: bytes) -> None:
    sys.stdout.buffer.write(data.rstrip(b"\n") + b"\n")


def _print_screen(report: Report, config: Config, *, full: bool) -> None:
    from ..file_links import FileLinks, links_wished
    from ..render.screen import render_screen

    color = colored()
    links = FileLinks().link if links_wished(config, color=color) else None
    screen = render_screen(
        report, part="full" if full else "first", color=color, link=links, hint=HINT,
        width=shutil.get_terminal_size().columns,
    )  # fmt: skip
    click.echo(screen, nl=False)


def _print_text(text: bytes) -> None:
    """As it is into a file or pipe, without anything that steers into a terminal."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(text)
        return
    click.echo(printable(text.decode("utf-8", "backslashreplace"), keep="\n\t"), nl=False)
