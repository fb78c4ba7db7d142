"""usercrash list: what is in the reports directory."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import UsercrashError
from .common import Settings, colored, printable

if TYPE_CHECKING:
    from ..storage.reports import Entry
    from ..storage.store import Store

_FOREIGN_BYTES = 4096  # of another program's file, to find a line that says something
_HEAD = ("NO", "TIME", "PROCESS", "SIGNAL", "CAUSE")


class _Event(msgspec.Struct):
    time: str


class _Process(msgspec.Struct):
    pid: int
    comm: str
    exe: str


class _Signal(msgspec.Struct):
    number: int
    name: str


class _Cause(msgspec.Struct):
    kind: str
    summary: str


class _Fingerprint(msgspec.Struct):
    key: str


class Summary(msgspec.Struct):
    """The few fields of a report that a line of the list needs; the rest is not decoded."""

    event: _Event
    process: _Process
    signal: _Signal | None
    cause: _Cause | None
    complete: bool = True
    fingerprint: _Fingerprint | None = None


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array, for machines.")
@click.pass_obj
def command(settings: Settings, as_json: bool) -> None:
    """List the reports, the newest first."""
    with settings.store() as store:
        entries = sorted(store.entries(), key=lambda entry: (-entry.time, -entry.number))
        if as_json:
            click.echo(json.dumps([_object(store, entry) for entry in entries], indent=1))
        elif not entries:
            click.echo(f"no reports in {printable(store.path)}")
        else:
            _print_table([_row(store, entry) for entry in entries])


def _summary(store: Store, entry: Entry) -> Summary | None:
    """None for a file of another program, and for a report whose JSON was lost."""
    data = store.read_json(entry.number) if entry.id else None
    try:
        return msgspec.json.decode(data, type=Summary) if data else None
    except msgspec.MsgspecError:
        return None


def _row(store: Store, entry: Entry) -> tuple[str, ...]:
    number = f"{entry.number:02d}"
    found = _summary(store, entry)
    if found is None:
        return number, _local(_iso(entry.time)), "", "", _foreign(store, entry)
    name = os.path.basename(found.process.exe) or found.process.comm
    process = f"{name}[{found.process.pid}]"
    signal = found.signal.name if found.signal else ""
    cause = found.cause.summary if found.cause else ""
    if not found.complete:
        cause = f"{cause} (incomplete)".lstrip()
    return tuple(map(printable, (number, _local(found.event.time), process, signal, cause)))


def _object(store: Store, entry: Entry) -> dict[str, object]:
    found = _summary(store, entry)
    fields: dict[str, object] = {
        "number": entry.number,
        "path": os.path.join(store.path, entry.name),
        "size": entry.size,
        "id": entry.id or None,
        "written": _iso(entry.time),
    }
    if found is None:
        return {**fields, "text": _foreign(store, entry)}
    return {**fields, **msgspec.to_builtins(found)}


def _foreign(store: Store, entry: Entry) -> str:
    """The first line with letters of a file that has no JSON."""
    try:
        head = store.read_text(entry.number, _FOREIGN_BYTES)
    except UsercrashError as error:  # gone meanwhile, or not for us: the others are
        return printable(str(error))
    for line in head.splitlines():
        text = printable(line.decode("utf-8", "backslashreplace").strip())
        if any(char.isalpha() for char in text):
            return text
    return "(empty)"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _local(time: str) -> str:
    """To the minute, in the reader's zone; what is not a time is left as it is."""
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return time[:16]


def _print_table(rows: list[tuple[str, ...]]) -> None:
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
        for row in (_HEAD, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for name in _HEAD[:2]:
        table.add_column(name, no_wrap=True)
    table.add_column(_HEAD[2], overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column(_HEAD[3], no_wrap=True)
    table.add_column(_HEAD[4], overflow="fold", ratio=1)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: brackets in a name are not markup
    Console(no_color=not colored(), highlight=False).print(table)
