"""usercrash show: one report, whole."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import UsercrashError
from .common import Settings, colored, printable

if TYPE_CHECKING:
    from ..report import Report
    from ..storage.store import Store

_NUMBER = re.compile(r"(?:usercrash_)?([0-9]{1,4})\Z")


@click.command("show")
@click.argument("number", metavar="[N]", required=False)
@click.option("--json", "as_json", is_flag=True, help="The report's JSON, as it is stored.")
@click.pass_obj
def command(settings: Settings, number: str | None, as_json: bool) -> None:
    """Show the report usercrash_N, without N the newest."""
    wanted = None if number is None else _slot(number)
    with settings.store() as store:
        slot = _newest(store) if wanted is None else wanted
        if as_json:
            data = store.read_json(slot)
            if data is None:
                raise UsercrashError(
                    f"usercrash_{slot:02d} has no JSON", "another program may have written it"
                )
            sys.stdout.buffer.write(data.rstrip(b"\n") + b"\n")
            return
        report = _report(store, slot) if sys.stdout.isatty() else None
        if report is None:
            _print_text(store.read_text(slot))
            return
        from ..render.screen import render_screen

        width = shutil.get_terminal_size().columns
        click.echo(render_screen(report, part="full", color=colored(), width=width), nl=False)


def _slot(number: str) -> int:
    found = _NUMBER.match(number)
    if found is None:
        raise click.BadParameter(f"{number!r} is not the number of a report")
    return int(found[1])


def _newest(store: Store) -> int:
    newest = store.newest()
    if newest is None:
        raise UsercrashError(f"no reports in {store.path}")
    return newest.number


def _report(store: Store, slot: int) -> Report | None:
    """The report's model; None where there is only text, or a JSON that is not ours."""
    from ..report import VERSION, from_json

    data = store.read_json(slot)
    try:
        report = from_json(data) if data else None
    except msgspec.MsgspecError:
        return None
    return report if report and report.version == VERSION else None


def _print_text(text: bytes) -> None:
    """As it is into a file or pipe, without anything that steers into a terminal."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(text)
        return
    click.echo(printable(text.decode("utf-8", "backslashreplace"), keep="\n\t"), nl=False)
