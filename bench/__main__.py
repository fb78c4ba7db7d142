"""python -m bench: how long a crashing process is held, when its report is there, what a storm
of crashes does, and what all that takes at rest.

Beside the floor (no dump) and the peers that are installed. Needs root, as it sets core_pattern.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from usercrash.errors import UsercrashError
from usercrash.system import sysctl

from . import document
from .bursts import measure_bursts
from .collectors import Collector, Floor, UnavailableError, Usercrash
from .crashes import LOADS, SMALLEST, build_harness, measure
from .explanation import measure_explanation
from .idle import measure_idle
from .live import measure_live
from .machine import machine, versions
from .packages import fetch_drgn, fetch_peers
from .peers import CoreFile, Minicoredumper
from .results import Results, decode, encode
from .systemd import SystemdCoredump
from .table import show
from .unwinding import measure_stacks

BURST = 1000
TOOLS = ("gdb", "eu-stack")

Say = Callable[[str], None]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="rounds (default: 7)")
    parser.add_argument("--json", metavar="FILE", help="every measurement, as JSON (-: stdout)")
    parser.add_argument(
        "--write", action="store_true", help="the tables and the plot into docs/performance.md"
    )
    parser.add_argument(
        "--read", metavar="FILE", type=Path, help="show (and write) what --json kept of a run"
    )
    parser.add_argument(
        "--peers", metavar="DIR", type=Path,
        help="where packages of peers were unpacked with dpkg -x",
    )  # fmt: skip
    parser.add_argument(
        "--fetch-peers", action="store_true",
        help="fetch the peers, with apt-get and pip, into a temporary directory",
    )  # fmt: skip
    parser.add_argument("--only", metavar="TEXT", help="only collectors with TEXT in their names")
    parser.add_argument("--max-mb", type=int, default=1 << 20, metavar="N", help="no larger loads")
    parser.add_argument(
        "--burst", type=int, default=BURST, metavar="N",
        help=f"crashes of a burst, 0 for none (default: {BURST})",
    )  # fmt: skip
    parser.add_argument("--stacks", action="store_true", help="only how fast stacks are walked")
    parser.add_argument(
        "--explanation", action="store_true", help="only what the explanation of a crash costs"
    )
    parser.add_argument("--quick", action="store_true", help="as --runs 2 --max-mb 500 --burst 100")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.runs, arguments.max_mb, arguments.burst = 2, 500, 100
    if arguments.runs < 1 or arguments.burst < 0 or arguments.max_mb < SMALLEST.megabytes:
        parser.error("nothing is left to be measured")
    return arguments


def _ready(
    stack: ExitStack, roots: list[Path], place: Path, only: str | None, results: Results
) -> list[Collector]:
    """The collectors that can be run here; the stack stops them."""
    systemd = SystemdCoredump(roots, place)
    every: list[Collector] = [
        Floor(), Usercrash("socket"), Usercrash("socket", workers=0), Usercrash("pipe"),
        Minicoredumper(roots, place), systemd, *(CoreFile(tool, place) for tool in TOOLS),
    ]  # fmt: skip
    ready: list[Collector] = []
    for collector in every:
        if only and only not in collector.name and not isinstance(collector, Floor):
            continue
        stack.callback(collector.stop)
        try:
            collector.start()
            ready.append(collector)
        except UnavailableError as error:
            results.absent.append(f"{collector.name}: {error}")
    if only and len(ready) + len(results.absent) < 2:
        raise UnavailableError(f"no collector has {only!r} in its name")
    stack.callback(lambda: results.absent.extend(filter(None, [systemd.remark])))
    return ready


def _run(arguments: argparse.Namespace, say: Say) -> Results:
    begin = time.monotonic()
    results = Results(date=datetime.now(UTC).strftime("%Y-%m-%d"), load=os.getloadavg()[0])
    with ExitStack() as outer:
        place = Path(tempfile.mkdtemp(prefix="ucb-"))
        outer.callback(shutil.rmtree, place, True)
        results.machine = machine(place)
        roots = [Path("/")]
        if arguments.peers:
            roots.insert(0, arguments.peers.resolve())
        if arguments.fetch_peers:
            roots.insert(0, fetch_peers(place))
        results.versions = versions(roots[:-1])
        exe, burst = build_harness(place), build_harness(place, "burst")
        loads = [load for load in LOADS if load.megabytes <= arguments.max_mb]
        with ExitStack() as stack:
            ready = _ready(stack, roots, place, arguments.only, results)
            results.crashes = measure(exe, ready, loads, arguments.runs, say)
            if arguments.burst:
                results.bursts = measure_bursts(burst, ready, arguments.burst, say)
        if not arguments.only:
            results.idle = measure_idle(burst, say)
            tools = [tool for tool in TOOLS if shutil.which(tool)]
            results.live = measure_live(exe, SMALLEST, arguments.runs, tools, say)
            drgn = fetch_drgn(place) if arguments.fetch_peers else None
            results.stacks = measure_stacks(say, drgn)
            results.explanation = measure_explanation(exe, say)
    results.minutes = (time.monotonic() - begin) / 60
    return results


def _run_part(arguments: argparse.Namespace, say: Say) -> Results:
    """Only the stacks, or only the explanation: neither needs the kernel's crashes."""
    begin = time.monotonic()
    results = Results(date=datetime.now(UTC).strftime("%Y-%m-%d"), load=os.getloadavg()[0])
    results.machine = machine(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="ucb-") as place:
        if arguments.stacks:
            drgn = fetch_drgn(Path(place)) if arguments.fetch_peers else None
            results.stacks = measure_stacks(say, drgn)
        else:
            results.explanation = measure_explanation(build_harness(Path(place)), say)
    results.minutes = (time.monotonic() - begin) / 60
    return results


def _measure(arguments: argparse.Namespace) -> Results:
    run = _run
    if arguments.stacks or arguments.explanation:
        run = _run_part
    elif not sysctl.writable():
        raise UnavailableError("needs root and a writable /proc/sys/kernel/core_pattern")
    progress = Console(stderr=True)
    if not progress.is_terminal:
        return run(arguments, lambda text: None)
    # Seldom drawn: what is measured needs the processors.
    with progress.status("", refresh_per_second=1) as status:
        return run(arguments, status.update)


def main() -> int:
    """Exit status 0, or 1 with one line that says what is missing."""
    arguments = _arguments()
    # Servers and a changed system are left behind otherwise.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        kept = arguments.read.read_bytes() if arguments.read else None
        results = _measure(arguments) if kept is None else decode(kept)
        if arguments.json and arguments.json != "-":
            Path(arguments.json).write_bytes(encode(results))
        if arguments.write:
            document.write(results)
    except (UnavailableError, UsercrashError, RuntimeError, OSError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if arguments.json == "-":
        sys.stdout.buffer.write(encode(results))
        return 0
    show(Console() if sys.stdout.isatty() else Console(width=80), results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
