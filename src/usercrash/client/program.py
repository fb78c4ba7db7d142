"""usercrash_c: what the kernel starts at a crash.

It stands in core_pattern, announces the crash to the server, captures the process,
lets it go, writes what it collected into the files that the server gave it,
notifies, and ends. Without a server it does all of that alone.

Until the process is released, every import costs it time: nothing here imports more at
the top than what capture needs (a test holds the list), and nothing reads configuration.
"""

from __future__ import annotations

import os
import sys
import time

from ..errors import UsageError, UsercrashError
from ..model.event import DUMP_MODE_UNKNOWN, SOURCE_PIPE, CrashEvent
from ..model.notes import NoteLog
from ..model.types import TYPE_CHECKING, Pid, Tid
from .collecting import ALONE_SECONDS, capture, complain, watch
from .link import RUN_DIRECTORY, ServerLink

if TYPE_CHECKING:
    from ..config import Config

EXPLANATION = """\
usercrash_c collects a crash. The kernel starts it; people do not.

Put one of these into /proc/sys/kernel/core_pattern (usercrash install does it):
  |/usr/bin/usercrash_c --ids %P %I %s %d %F
  |/usr/bin/usercrash_c %p %e %s

Before either form:
  --run DIR       the server's run directory (default /run/usercrash)
  --config FILE   the configuration for a crash that finds no server

To look at a running process: debugger PID. To read reports: usercrash show.
"""


class Arguments:
    """The command line, understood. `pidfd` is -1 where the kernel gave none."""

    __slots__ = ("run", "config", "pid", "tid", "signal", "dump_mode", "pidfd", "name")

    def __init__(self) -> None:
        self.run = RUN_DIRECTORY
        self.config = ""
        self.pid = 0
        self.tid = 0
        self.signal = 0
        self.dump_mode = DUMP_MODE_UNKNOWN
        self.pidfd = -1
        self.name = b""


def parse_arguments(argv: list[bytes]) -> Arguments:
    """What the kernel said; UsageError where even the pid is not a number.

    `--ids` marks the form of numbers only. In the documented form `%p %e %s` the name may be
    anything and, on kernels that split after expanding, several words: the pid is
    the first word, the signal the last, whatever lies between is the name.
    """
    found = Arguments()
    rest = list(argv)
    while rest and rest[0] in (b"--run", b"--config"):
        if len(rest) < 2 or not rest[1].startswith(b"/"):
            raise UsageError(f"{rest[0].decode()} wants an absolute path")
        if rest[0] == b"--run":
            found.run = os.fsdecode(rest[1])
        else:
            found.config = os.fsdecode(rest[1])
        del rest[:2]
    if rest and rest[0] == b"--ids":
        _parse_numbers(found, rest[1:])
    elif rest and _number(rest[0]) > 0:
        found.pid = _number(rest[0])
        last = _number(rest[-1]) if len(rest) > 1 else -1
        found.signal = max(last, 0)
        found.name = b" ".join(rest[1:-1] if last >= 0 else rest[1:])
    else:
        shown = os.fsdecode(rest[0]) if rest else ""
        raise UsageError(f"not a process id: {shown!r}", "usercrash_c alone explains its arguments")
    return found


def _parse_numbers(found: Arguments, words: list[bytes]) -> None:
    """`%P %I %s %d %F`; the last is empty before Linux 6.16."""
    numbers = [_number(word) for word in words]
    if len(numbers) not in (4, 5) or numbers[0] <= 0 or min(numbers[:3]) < 0:
        raise UsageError("--ids wants the numbers %P %I %s %d %F")
    found.pid, found.tid, found.signal, found.dump_mode = numbers[:4]
    if len(numbers) == 5:
        found.pidfd = numbers[4]


def _number(word: bytes) -> int:
    """The decimal number, -1 for anything else (int() would take signs, spaces and `_`)."""
    return int(word) if word.isdigit() and len(word) < 12 else -1


def fill_standard_descriptors() -> None:
    """The kernel starts us without 1 and 2: the first file that we open must not become stdout.

    Standard error becomes the kernel's log then, which is where people look for what is missing.
    """
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        if fd == 2:
            _log_to_kernel()
    os.close(fd)


def _log_to_kernel() -> None:
    try:
        log = os.open("/dev/kmsg", os.O_WRONLY)
    except OSError:
        return  # no such log here (a container): /dev/null it stays
    os.dup2(log, 2)
    os.close(log)


def collect_crash(arguments: Arguments) -> int:
    """Collect, let go, deliver; the exit status."""
    started = time.monotonic_ns()
    event = CrashEvent(
        SOURCE_PIPE, time.time_ns(), Pid(arguments.pid), Tid(arguments.tid), arguments.signal,
        arguments.dump_mode, arguments.name, _boot_id(),
    )  # fmt: skip
    link = ServerLink(arguments.run, event)
    link.announce()
    notes = NoteLog()
    found = capture(0, arguments.pidfd, event, notes, link, _close_core_stream, started)
    # The process is gone on its way. From here on only the report waits.
    watch(ALONE_SECONDS)
    if found.snapshot is not None and b"status" in found.snapshot.facts:  # proved to be it
        from ..capture.log_tail import add_log_tail

        add_log_tail(found.snapshot)
    if link.deliver(found):
        return 0
    from .alone import complete_alone

    return complete_alone(link, found, lambda: configuration(link.run, arguments.config))


def configuration(run: str, named: str) -> Config:
    """The one that is named, else the one that the server in `run` left, else the default."""
    from ..server_config import load_effective

    return load_effective(run, named)


def _close_core_stream() -> None:
    """Let the process go also where there was no target to release it."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _boot_id() -> bytes:
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            return file.read(36)
    except OSError:
        return b""  # /proc/sys hidden: the event is identified by its key all the same


def main() -> None:
    """The program. Exit status 0: collected; 1: the crash could not be recorded; 2: usage."""
    argv = [os.fsencode(word) for word in sys.argv[1:]]
    if not argv or argv[0] in (b"-h", b"--help"):
        print(EXPLANATION, end="")
        sys.exit(0)
    fill_standard_descriptors()
    if os.isatty(0):  # no kernel: there is no core to come, and nothing has crashed
        complain("the kernel starts this program, with a core on its standard input")
        sys.exit(2)
    try:
        sys.exit(collect_crash(parse_arguments(argv)))
    except UsercrashError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except Exception as error:  # started by the kernel there is no stderr object for a traceback
        complain(f"the crash of process {argv} is lost: {type(error).__name__}: {error}")
        sys.exit(1)
