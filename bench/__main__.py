"""python -m bench: how long a crashing process is held, when its report is there, what a storm
of crashes does, and what all that takes at rest.

Beside the floor (no dump) and the peers that are installed. Needs root, as it sets core_pattern.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from usercrash.errors import UsercrashError
from usercrash.system import sysctl

from . import document
from .bursts import measure_bursts
from .collectors import Collector, Floor, UnavailableError, Usercrash
from .crashes import LOADS, build_harness, measure
from .idle import measure_idle
from .live import measure_live
from .peers import Gdb, Minicoredumper, SystemdCoredump, fetch_peers
from .results import Load, Results, machine
from .table import show

BURST = 1000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="rounds (default: 7)")
    parser.add_argument("--json", metavar="FILE", help="every measurement, as JSON (-: stdout)")
    parser.add_argument(
        "--write", action="store_true", help="the tables and the plot into docs/performance.md"
    )
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
    parser.add_argument(
        "--burst", type=int, default=BURST, metavar="N", help=f"crashes at once (default: {BURST})"
    )
    return parser.parse_args()


def _collectors(place: Path, arguments: argparse.Namespace) -> list[Collector]:
    roots = [Path("/")]
    if arguments.peers:
        roots.insert(0, arguments.peers.resolve())
    if arguments.fetch_peers:
        roots.insert(0, fetch_peers(place))
    found: list[Collector] = [
        Floor(), Usercrash("socket"), Usercrash("socket", workers=0), Usercrash("pipe"),
        Minicoredumper(roots, place), SystemdCoredump(roots, place), Gdb(place),
    ]  # fmt: skip
    return [one for one in found if not arguments.only or arguments.only in one.name]


def _run(arguments: argparse.Namespace) -> Results:
    results = Results(machine(), datetime.now(UTC).strftime("%Y-%m-%d"))
    progress = Console(stderr=True)
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="ucb-"))
        stack.callback(shutil.rmtree, place, True)
        exe = build_harness(place)
        burst = build_harness(place, "burst")
        ready: list[Collector] = []
        for collector in _collectors(place, arguments):
            stack.callback(collector.stop)
            try:
                collector.start()
                ready.append(collector)
            except UnavailableError as error:
                results.absent.append(f"{collector.name}: {error}")
        status = stack.enter_context(progress.status("")) if progress.is_terminal else None

        def say(text: str) -> None:
            if status is not None:
                status.update(text)

        loads = [load for load in LOADS if load.megabytes <= arguments.max_mb]
        results.crashes = measure(exe, ready, loads, arguments.runs, say)
        if arguments.burst:
            results.bursts = measure_bursts(burst, ready, arguments.burst, say)
        if not arguments.only:
            results.idle = measure_idle(burst, say)
            tools = [tool for tool in ("gdb", "eu-stack") if shutil.which(tool)]
            results.live = measure_live(exe, Load(10, 9), arguments.runs, tools, say)
    return results


def main() -> int:
    """Exit status 0, or 1 with one line that says what is missing."""
    arguments = _arguments()
    if not sysctl.writable():
        sys.stderr.write("bench: needs root and a writable /proc/sys/kernel/core_pattern\n")
        return 1
    try:
        results = _run(arguments)
        if arguments.write:
            document.write(results)
    except (UnavailableError, UsercrashError, RuntimeError, OSError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    if arguments.json:
        text = msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
        if arguments.json == "-":
            sys.stdout.buffer.write(text)
            return 0
        Path(arguments.json).write_bytes(text)
    console = Console() if sys.stdout.isatty() else Console(width=80)
    show(console, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
