"""usercrash analyze on several cores: in parallel, equal crashes together."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from ..errors import UsageError, UsercrashError
from .common import colored, printable
from .compressed_cores import is_compressed, without_suffix
from .core_files import Request, analyse_core, reason, share
from .workers import in_parallel

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..isolated_analysis import Analysed
    from ..render.summary import Summary

_HEAD = ("COUNT", "SIGNAL", "PROGRAM", "TOP FRAMES", "CORES")
_ET_CORE = 4
_SHOWN_CORES = 6  # of one group, on a terminal


@dataclass(slots=True)
class _Group:
    """Equal crashes."""

    summary: Summary
    programs: set[str] = field(default_factory=set)
    cores: list[str] = field(default_factory=list)


def analyze_many(
    names: list[str], request: Request, output: str | None, as_json: bool, *, pages: bool = False
) -> None:
    """Analyse the cores `names` (directories stand for the cores in them).

    Prints a table of groups of equal crashes, or a line of JSON for each core, and writes the
    reports into the directory `output`. What fails costs one line on standard error, and at the end
    UsercrashError.
    """
    from ..isolated_analysis import preload
    from ..render.summary import decode_summary

    cores = [core for name in names for core in _cores_of(name)]
    places = _make_names(cores, output) if output is not None else []
    preload(html=pages)

    def work(number: int) -> bytes:
        return _work(cores[number], request, places[number] if places else "", as_json, pages)

    groups: dict[str, _Group] = {}
    failed = 0
    at_once = min(len(cores), len(os.sched_getaffinity(0)))
    with _Screen(len(cores), bar=not as_json) as screen:
        for number, answer in in_parallel(len(cores), at_once, work):
            screen.step()
            name = cores[number]
            summary, why, trouble, line = _unpack(answer, name)
            failed += bool(why)
            for text in [*trouble, why] if why else trouble:
                screen.say(text)
            found = decode_summary(summary) if summary else None
            if as_json:
                key = found.key if found is not None else ""
                _print_line(name, key, why, line)
            elif found is not None:
                group = groups.setdefault(found.key, _Group(found))
                group.programs.add(found.program)
                group.cores.append(name)
    if groups:
        _print_table(_rows(list(groups.values())))
    if failed:
        raise UsercrashError(f"{failed} of {len(cores)} core files could not be analyzed")


# --- which ---


def _cores_of(name: str) -> list[str]:
    """The core files that an argument means: itself, or those in the directory; UsageError for a
    directory without any. A core with several names there is taken once."""
    if not os.path.isdir(name):
        return [name]
    try:
        names = [entry.path for entry in os.scandir(name)]
    except OSError as error:
        raise UsageError(f"cannot read directory {name!r}: {reason(error)}") from error
    found: dict[tuple[int, int], str] = {}
    for path in sorted(names, key=lambda path: (os.path.islink(path), path)):
        try:
            state = os.stat(path)
        except PermissionError:
            found[-1, len(found)] = path  # it is told why it cannot be read
            continue
        except OSError:
            continue  # a link that leads nowhere, or round
        identity = state.st_dev, state.st_ino
        if stat.S_ISREG(state.st_mode) and identity not in found and _looks_like_core(path):
            found[identity] = path
    if not found:
        raise UsageError(f"no core files in directory {name!r}")
    return sorted(found.values())


def _looks_like_core(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            head = os.pread(fd, 18, 0)
        finally:
            os.close(fd)
    except OSError:
        return True  # it is told why it cannot be read
    if is_compressed(head):
        return "core" in os.path.basename(path).lower()  # (logs are compressed, too)
    return head[:4] == b"\x7fELF" and _ET_CORE in head[16:18]  # in either byte order


def _files_of(place: str) -> set[str]:
    return {os.path.realpath(place + suffix) for suffix in (".txt", ".json", ".html")}


def _make_names(cores: list[str], output: str) -> list[str]:
    """The path of each report, without its suffix, in a directory that is made."""
    try:
        os.makedirs(output, mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot make directory {output!r}: {reason(error)}") from error
    used: set[str] = set()
    theirs = {os.path.realpath(core) for core in cores}  # a core may be called `x.txt`
    places = []
    for core in cores:
        base = name = without_suffix(os.path.basename(core))[:200]
        count = 1
        while name in used or not theirs.isdisjoint(_files_of(os.path.join(output, name))):
            count += 1
            name = f"{base}.{count}"
        used.add(name)
        places.append(os.path.join(output, name))
    return places


# --- one of them, in a process of its own ---


def _work(core: str, request: Request, place: str, as_json: bool, pages: bool) -> bytes:
    from ..isolated_analysis import Analysed, View

    trouble: list[str] = []
    try:
        analysed, trouble = analyse_core(core, request, View(summary=True, html=pages))
        why = f"{core}: {analysed.failure}" if analysed.failure else ""
        if place:
            _write(place, analysed)
        share(analysed, request)
    except UsercrashError as error:
        text = str(error)
        analysed, why = Analysed(), text if core in text else f"{core}: {text}"
    except OSError as error:
        analysed, why = Analysed(), f"{core}: {reason(error)}"
    line = analysed.json if as_json else b""
    return _pack(analysed.summary, _bytes(why), _bytes("\n".join(trouble)), line)


def _write(place: str, analysed: Analysed) -> None:
    from ..storage.newfile import NewFile

    for suffix, data in (
        (".txt", analysed.text), (".json", analysed.json), (".html", analysed.html),
    ):  # fmt: skip
        if data:
            with NewFile(place + suffix) as file:
                file.commit([data])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _pack(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _unpack(answer: bytes | None, name: str) -> tuple[bytes, str, list[str], bytes]:
    """(summary, why it failed, servers' trouble, JSON)."""
    if answer is None:
        return b"", f"{name}: the process of its analysis died", [], b""
    parts = []
    while answer:
        (size,) = struct.unpack_from("<Q", answer)
        parts.append(answer[8 : 8 + size])
        answer = answer[8 + size :]
    summary, why, trouble, line = parts
    lines = trouble.decode("utf-8", "surrogateescape").splitlines()
    return summary, why.decode("utf-8", "surrogateescape"), lines, line


# --- what is shown ---


class _Screen:
    """What is told while the work goes on: to a terminal a bar, too, drawn when something has
    come. (No thread that draws: we fork.)"""

    def __init__(self, total: int, bar: bool) -> None:
        self._progress: Progress | None = None
        if not bar or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress

        self._progress = Progress(
            "analyzing", BarColumn(), MofNCompleteColumn(),
            console=Console(stderr=True, no_color=not colored()),
            transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> _Screen:
        if self._progress is not None:
            self._progress.start()
            self._progress.refresh()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def step(self) -> None:
        """One more is done."""
        if self._progress is not None:
            self._progress.advance(self._task)
            self._progress.refresh()

    def say(self, text: str) -> None:
        """A line on standard error."""
        line = f"usercrash: {printable(text)}"
        if self._progress is None:
            click.echo(line, err=True)
            return
        from rich.text import Text

        self._progress.console.print(Text(line), soft_wrap=True)  # above the bar


def _print_line(name: str, key: str, why: str, report: bytes) -> None:
    fields: dict[str, str] = {"file": name}
    if key:
        fields["group"] = key
    if why:
        fields["error"] = why
    line = json.dumps(fields).encode()
    if report:  # as it is: nothing here reads it
        line = line[:-1] + b', "report": ' + report.rstrip(b"\n") + b"}"
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _rows(groups: list[_Group]) -> list[tuple[str, ...]]:
    groups.sort(key=lambda group: (-len(group.cores), sorted(group.cores)))
    bases = [os.path.basename(core) for group in groups for core in group.cores]
    short = len(set(bases)) == len(bases)
    rows = []
    for group in groups:
        cores = sorted(os.path.basename(core) if short else core for core in group.cores)
        if sys.stdout.isatty() and len(cores) > _SHOWN_CORES:
            cores = [*cores[: _SHOWN_CORES - 1], f"and {len(cores) - _SHOWN_CORES + 1:,} more"]
        row = (
            f"{len(group.cores):,}", group.summary.signal, ", ".join(sorted(group.programs)),
            " < ".join(group.summary.frames) or "no stack", ", ".join(cores),
        )  # fmt: skip
        rows.append(tuple(map(printable, row)))
    return rows


def _print_table(rows: list[tuple[str, ...]]) -> None:
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
        for row in (_HEAD, *rows):
            first = row[0].rjust(widths[0])
            cells = (cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            click.echo("  ".join((first, *cells)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    table.add_column(_HEAD[0], justify="right", no_wrap=True)
    table.add_column(_HEAD[1], no_wrap=True)
    table.add_column(_HEAD[2], overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column(f"{_HEAD[3]}, {_HEAD[4]}", overflow="fold", ratio=1)
    for count, signal, program, frames, cores in rows:
        # Text: brackets in a name are not markup
        place = Text.assemble(frames, ("\n" + cores, "dim"))
        table.add_row(Text(count), Text(signal), Text(program), place)
    Console(no_color=not colored(), highlight=False).print(table)
