"""Run mutated inputs through every parser: `python -m tests.fuzz [--count N] [--seed N]`.

Ends with status 1 at the first input that raises anything but FormatError, takes more than
two seconds of the processor, or wants more memory than the limit. The words printed then
repeat exactly that input.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
import traceback
from random import Random
from types import FrameType

from usercrash.errors import FormatError

from .targets import TARGETS

SECONDS = 2.0  # of the processor, for one input
MEMORY = 512 << 20  # bytes of address space beyond what stands at the begin


class Hang(BaseException):
    """An input takes too long."""


def _alarm(number: int, frame: FrameType | None) -> None:
    raise Hang


def _limit_memory() -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


def one(name: str, seed: int, case: int) -> bool:
    """Run one input; True if it was read, False if it was refused. Anything else is raised."""
    random = Random(f"{name} {seed} {case}")
    target = TARGETS[name]
    data = target.make(random)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        target.run(data, random)
        return True
    except FormatError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _run(name: str, seed: int, cases: range, progress: bool) -> int:
    """How many inputs were read to the end; SystemExit(1) at the first that does harm."""
    begin, read = time.monotonic(), 0
    for case in cases:
        try:
            read += one(name, seed, case)
        except (Exception, Hang):
            sys.stderr.write(traceback.format_exc())
            sys.stderr.write(f"\nagain: --seed {seed} --target {name!r} --case {case}\n")
            raise SystemExit(1) from None
    if progress:
        seconds = time.monotonic() - begin
        sys.stdout.write(f"{name:14} {len(cases):7} inputs, {read:7} read, {seconds:6.1f} s\n")
        sys.stdout.flush()
    return read


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=list(TARGETS))
    parser.add_argument("--case", type=int)
    options = parser.parse_args()
    signal.signal(signal.SIGVTALRM, _alarm)
    wanted = [options.target] if options.target else list(TARGETS)
    for name in wanted:  # the seeds, before memory is limited
        TARGETS[name].make(Random(0))
    _limit_memory()
    if options.case is not None and options.target:
        _run(options.target, options.seed, range(options.case, options.case + 1), True)
        return
    total = sum(TARGETS[name].weight for name in wanted)
    done = 0
    for name in wanted:
        share = -(-options.count * TARGETS[name].weight // total)
        _run(name, options.seed, range(share), True)
        done += share
    sys.stdout.write(f"{done} inputs, no exception but our own, no hang\n")


if __name__ == "__main__":
    main()
