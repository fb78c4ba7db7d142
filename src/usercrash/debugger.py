"""debugger PID: the report of a live process.

The process stands still while it is copied, a few milliseconds, then runs on; everything
else happens afterwards. If we are killed at any moment, it runs on at once.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from . import __version__
from .cli import run_program
from .cli.common import colored, printable
from .cli.html_option import STANDARD_OUTPUT, HtmlCommand, html_option, html_output
from .cli.source_option import source_directories, source_option
from .errors import UsageError, UsercrashError

if TYPE_CHECKING:
    from .config import Config
    from .model.snapshot import Snapshot
    from .storage.newfile import NewFile

_PID = re.compile(r"[1-9][0-9]*\Z", re.ASCII)
_PID_MAX = 1 << 22  # PID_MAX_LIMIT of a 64-bit kernel


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants to see: `form` is "text", "json", "html" or "stacks"; `write` what takes
    it, None for standard output, where a terminal has colours; `core` may be None; `sources` are
    directories of source files."""

    form: str
    write: Callable[[bytes], None] | None
    core: NewFile | None
    sources: tuple[str, ...] = ()


@click.command(
    "debugger",
    cls=HtmlCommand,
    # A negative number is a wrong pid, not an option.
    context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True},
)
@click.argument("pid", metavar="PID")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@html_option
@click.option("--backtrace", is_flag=True, help="The stacks of all threads only.")
@click.option("-o", "output", metavar="FILE", help="Write the report to FILE.")
@click.option("--core", metavar="FILE", help="Also write a small core file, for gdb and others.")
@source_option
@click.option("--config", metavar="FILE", help="Another configuration file.")
@click.version_option(__version__, prog_name="debugger")
def command(
    pid: str, as_json: bool, html: str | None, backtrace: bool, output: str | None,
    core: str | None, sources: tuple[str, ...], config: str | None,
) -> int:  # fmt: skip
    """Report on the live process PID: stacks, registers, memory, open files.

    It stops only while it is copied, then runs on. The id of a thread means its process, with
    that thread first.
    """
    from .config import load_config
    from .storage.newfile import NewFile

    forms = {"--json": as_json, "--html": html is not None, "--backtrace": backtrace}
    wished = [name for name, is_wished in forms.items() if is_wished]
    if len(wished) > 1:
        raise UsageError(f"{wished[0]} and {wished[1]} exclude each other")
    if output is not None and html not in (None, STANDARD_OUTPUT):
        raise UsageError("--html FILE and -o FILE exclude each other")
    number = parse_pid(pid)
    directories = source_directories(sources)
    settings = load_config(config)
    with ExitStack() as stack:
        # Before the process is touched: what cannot be written is told at once.
        small = stack.enter_context(NewFile(core)) if core else None
        write = None
        if html is not None:
            write = stack.enter_context(html_output(output or html))
        elif output:
            file = stack.enter_context(NewFile(output))
            write = _committed(file)
        form = wished[0].lstrip("-").replace("backtrace", "stacks") if wished else "text"
        return _debug(number, settings, Wishes(form, write, small, directories))


def _committed(file: NewFile) -> Callable[[bytes], None]:
    return lambda text: file.commit([text])


def main() -> None:
    """The program. Exit status 0, 1 for a failure, 2 for wrong usage."""
    sys.exit(run_program(sys.argv[1:], command, "debugger"))


def parse_pid(text: str) -> int:
    """The number that `text` is, in plain digits; UsageError, UsercrashError beyond all pids."""
    if text.startswith("-") and not text[1:2].isdigit():
        raise UsageError(f"no such option: {printable(text)}", "see: debugger --help")
    if not _PID.match(text):
        raise UsageError(f"'{printable(text)}' is not a process id")
    if len(text) > len(str(_PID_MAX)) or int(text) > _PID_MAX:
        raise UsercrashError(f"there is no process {text[:20]}{'…' if len(text) > 20 else ''}")
    return int(text)


def _debug(pid: int, config: Config, wishes: Wishes) -> int:
    # Everything that can be done before the process stops is done before.
    from .capture.live import LiveTarget
    from .live.holding import limits_of, snapshot_of, with_late_release

    limits = limits_of(config)
    target = LiveTarget.stop(pid)
    snapshot = snapshot_of(target, limits, lives=True)
    if target.event.pid != pid:
        click.echo(
            f"debugger: {pid} is a thread of process {target.event.pid}; it comes first", err=True
        )
    return with_late_release(target, lambda: _report(snapshot, config, wishes))


def _report(snapshot: Snapshot, config: Config, wishes: Wishes) -> int:
    """Analyse and hand out what was wished; gives the exit status."""
    if wishes.core is not None:
        from .elf.corewriter import write_core

        wishes.core.commit(write_core(snapshot))
    from .file_links import links_wished
    from .isolated_analysis import View
    from .live.holding import analyse

    terminal = wishes.write is None and sys.stdout.isatty()
    part = {"text": "full" if terminal else "", "stacks": "stacks"}.get(wishes.form, "")
    width = shutil.get_terminal_size().columns if terminal else 80
    color = terminal and colored()
    links = links_wished(config, color=color)
    view = View(part, color, width, html=wishes.form == "html", links=links)
    analysed = analyse(snapshot, config, os.urandom(16).hex(), view, wishes.sources)
    forms = {"json": analysed.json, "html": analysed.html}
    text = forms.get(wishes.form, analysed.screen if part else analysed.text)
    if not text and wishes.form == "text":
        text = analysed.text
    if text:
        (wishes.write or _print)(text.rstrip(b"\n") + b"\n")
    if analysed.failure:
        raise UsercrashError(printable(analysed.failure))
    return 0


def _print(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
