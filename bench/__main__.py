"""python -m bench: how long a crashing process is held, and when its report is there.

Beside the floor (no dump) and the peers that are installed. Needs root, as it sets core_pattern.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from usercrash.errors import UsercrashError
from usercrash.system import sysctl

from .measure import LOADS, LiveSeries, Load, build_harness, measure, measure_live
from .subjects import (
    Floor,
    Gdb,
    Minicoredumper,
    Subject,
    SystemdCoredump,
    UnavailableError,
    Usercrash,
    fetch_peers,
)
from .table import as_json, show


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="rounds (default: 7)")
    parser.add_argument("--json", metavar="FILE", help="every measurement, as JSON (-: stdout)")
    parser.add_argument(
        "--peers", metavar="DIR", type=Path,
        help="where packages of peers were unpacked with dpkg -x",
    )  # fmt: skip
    parser.add_argument(
        "--fetch-peers", action="store_true",
        help="fetch the peers' packages with apt-get and unpack them into a temporary directory",
    )  # fmt: skip
    parser.add_argument("--only", metavar="TEXT", help="only collectors with TEXT in their names")
    parser.add_argument("--max-mb", type=int, default=1 << 20, metavar="N", help="no larger loads")
    return parser.parse_args()


def _subjects(place: Path, arguments: argparse.Namespace) -> list[Subject]:
    roots = [Path("/")]
    if arguments.peers:
        roots.insert(0, arguments.peers.resolve())
    if arguments.fetch_peers:
        roots.insert(0, fetch_peers(place))
    subjects: list[Subject] = [
        Floor(), Usercrash(), Minicoredumper(roots, place), SystemdCoredump(roots, place),
        Gdb(place),
    ]  # fmt: skip
    return [one for one in subjects if not arguments.only or arguments.only in one.name]


def _run(arguments: argparse.Namespace, console: Console) -> None:
    progress = Console(stderr=True)
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="ucb-"))
        stack.callback(shutil.rmtree, place, True)
        exe = build_harness(place)
        ready: list[Subject] = []
        absent: list[str] = []
        for subject in _subjects(place, arguments):
            stack.callback(subject.stop)
            try:
                subject.start()
                ready.append(subject)
            except UnavailableError as error:
                absent.append(f"not run: {subject.name}: {error}")
        loads = [load for load in LOADS if load.megabytes <= arguments.max_mb]
        live: list[LiveSeries] = []
        status = stack.enter_context(progress.status("")) if progress.is_terminal else None

        def say(text: str) -> None:
            if status is not None:
                status.update(text)

        series = measure(exe, ready, loads, arguments.runs, say)
        live_load = Load(10, 9)
        if not arguments.only:
            tools = [tool for tool in ("gdb", "eu-stack") if shutil.which(tool)]
            live = measure_live(exe, live_load, arguments.runs, tools, say)
    if arguments.json:
        text = json.dumps(as_json(series, live), indent=1) + "\n"
        if arguments.json == "-":
            sys.stdout.write(text)
            return
        Path(arguments.json).write_text(text)
    show(console, series, live, live_load)
    for line in absent:
        console.print(line, markup=False)


def main() -> int:
    """Exit status 0, or 1 with one line that says what is missing."""
    arguments = _arguments()
    if not sysctl.writable():
        sys.stderr.write("bench: needs root and a writable /proc/sys/kernel/core_pattern\n")
        return 1
    console = Console() if sys.stdout.isatty() else Console(width=80)
    try:
        _run(arguments, console)
    except (UnavailableError, UsercrashError, RuntimeError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
