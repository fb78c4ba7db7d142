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
from .common import Settings, colored, printable
from .core_files import open_file

if TYPE_CHECKING:
    from ..report import Report
    from ..storage.store import Store

_NUMBER = re.compile(r"(?:usercrash_)?([0-9]{1,4})\Z")


@click.command("show")
@click.argument("which", metavar="[N|FILE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="The report's JSON, as it is stored.")
@click.pass_obj
def command(settings: Settings, which: str | None, as_json: bool) -> None:
    """Show the report usercrash_N, without N the newest.

    With FILE, a path like ./usercrash_00, that report, wherever it lies.
    """
    directory, _, name = (which or "").rpartition("/")
    if directory and not os.path.isdir(os.path.join(directory, DATA)):
        _show_file(which or "", as_json)
        return
    wanted = None if which is None else _slot(name)
    with settings.store(directory) as store:
        slot = _newest(store) if wanted is None else wanted
        if as_json:
            data = store.read_json(slot)
            if data is None:
                raise UsercrashError(
                    f"usercrash_{slot:02d} has no JSON", "another program may have written it"
                )
            _print_json(data)
            return
        report = _report(store.read_json(slot)) if sys.stdout.isatty() else None
        if report is None:
            _print_text(store.read_text(slot))
        else:
            _print_screen(report)


def _show_file(path: str, as_json: bool) -> None:
    """A report that lies by itself: its text, and beside it its JSON."""
    base = path.removesuffix(".json").removesuffix(".txt")
    try:
        data = _content(f"{base}.json")
    except UsageError as error:
        raise UsageError(f"{path!r} is no report of ours", str(error)) from error
    report = _report(data)
    if report is None:
        raise UsageError(f"{path!r} is no report of ours", f"{base}.json is none in JSON")
    if as_json:
        _print_json(data)
    elif sys.stdout.isatty():
        _print_screen(report)
    else:
        _print_text(_content(base if os.path.exists(base) else f"{base}.txt"))


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


def _print_screen(report: Report) -> None:
    from ..render.screen import render_screen

    width = shutil.get_terminal_size().columns
    click.echo(render_screen(report, part="full", color=colored(), width=width), nl=False)


def _print_text(text: bytes) -> None:
    """As it is into a file or pipe, without anything that steers into a terminal."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(text)
        return
    click.echo(printable(text.decode("utf-8", "backslashreplace"), keep="\n\t"), nl=False)
