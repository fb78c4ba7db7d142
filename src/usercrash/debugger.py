"""debugger PID: the report of a live process.

The process stands still while it is copied, a few milliseconds, then runs on; everything
else happens afterwards. If we are killed at any moment, it runs on at once.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from . import __version__
from .cli import run_program
from .cli.common import colored, printable
from .errors import UsageError, UsercrashError

if TYPE_CHECKING:
    from .config import Config
    from .model.snapshot import Snapshot
    from .storage.newfile import NewFile

_PID = re.compile(r"[1-9][0-9]*\Z", re.ASCII)
_PID_MAX = 1 << 22  # PID_MAX_LIMIT of a 64-bit kernel


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants to see: `form` is "text", "json" or "stacks"; files may be None."""

    form: str
    output: NewFile | None
    core: NewFile | None


@click.command(
    "debugger",
    # A negative number is a wrong pid, not an option.
    context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True},
)
@click.argument("pid", metavar="PID")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.option("--backtrace", is_flag=True, help="The stacks of all threads only.")
@click.option("-o", "output", metavar="FILE", help="Write the report to FILE.")
@click.option("--core", metavar="FILE", help="Also write a small core file, for gdb and others.")
@click.option("--config", metavar="FILE", help="Another configuration file.")
@click.version_option(__version__, prog_name="debugger")
def command(
    pid: str, as_json: bool, backtrace: bool, output: str | None, core: str | None,
    config: str | None,
) -> int:  # fmt: skip
    """Report on the live process PID: stacks, registers, memory, open files.

    It stops only while it is copied, then runs on. The id of a thread means its process, with
    that thread first.
    """
    from .config import load_config
    from .storage.newfile import NewFile

    if as_json and backtrace:
        raise UsageError("--json and --backtrace exclude each other")
    number = parse_pid(pid)
    settings = load_config(config)
    with ExitStack() as stack:
        # Before the process is touched: what cannot be written is told at once.
        files = [stack.enter_context(NewFile(path)) if path else None for path in (output, core)]
        form = "json" if as_json else "stacks" if backtrace else "text"
        return _debug(number, settings, Wishes(form, files[0], files[1]))


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
    from .isolated_analysis import View
    from .live.holding import analyse

    terminal = wishes.output is None and sys.stdout.isatty()
    part = {"text": "full" if terminal else "", "stacks": "stacks", "json": ""}[wishes.form]
    width = shutil.get_terminal_size().columns if terminal else 80
    view = View(part, terminal and colored(), width)
    analysed = analyse(snapshot, config, os.urandom(16).hex(), view)
    text = analysed.json if wishes.form == "json" else analysed.screen if part else analysed.text
    if not text and wishes.form == "text":
        text = analysed.text
    if text:
        _deliver(text.rstrip(b"\n") + b"\n", wishes.output)
    if analysed.failure:
        raise UsercrashError(printable(analysed.failure))
    return 0


def _deliver(text: bytes, output: NewFile | None) -> None:
    if output is not None:
        output.commit([text])
        return
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
