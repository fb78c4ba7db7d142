"""The process behind `usercrash run` that watches: it traces, captures, and has reports made.

It has its own session, so that no key of the terminal reaches it, and holds nothing of the
user's but standard error. It ends when all that it watches has ended. Each report is
made by a child of it, while the program's other processes go on.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass

from ..capture.live import LiveTarget
from ..capture.live_process import printable
from ..capture.ptrace import PtraceError
from ..capture.tracer import Tracer, signal_name
from ..config import Config
from ..descriptors import close_all_but, write_all
from ..errors import UsercrashError
from ..model.snapshot import Snapshot
from .holding import limits_of, snapshot_of
from .stderr_tail import HeldStderr, Relay

_MAX_REPORTERS = 2  # more wait: each takes a processor, and memory for its snapshot


@dataclass(frozen=True, slots=True)
class Wishes:
    """`directory` for the reports, absolute; "" for the reports directory, where that can be
    written, else the present one. `json`: JSON on standard error, not the first screen.
    `keep_stderr`: what the program writes there goes through us, and its end into reports.
    `sources`: directories of source files, absolute."""

    directory: str
    json: bool
    cwd: str
    keep_stderr: bool = False
    sources: tuple[str, ...] = ()


def say(text: str) -> None:
    """A line for people on standard error; nothing if nobody can read it any more."""
    try:
        os.write(2, f"usercrash: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        return


class Watcher:
    """Watches one program. `told` is a descriptor that stays open, here and in the children that
    report, until everything about the program itself has been said. `relay` is what its standard
    error goes through, if anything."""

    def __init__(self, config: Config, wishes: Wishes, told: int, relay: Relay | None) -> None:
        self._config = config
        self._wishes = wishes
        self._told = told
        self._relay = relay
        self._limits = limits_of(config)
        self._main = 0
        self._reporters: dict[int, int] = {}  # to the process that each reports
        self._awaited: set[int] = set()  # of these, those from before the program's end
        self._main_ended = False
        self._tracer = Tracer(self._crashed, self._ended, say)

    def seize(self, main: int) -> None:
        """Begin with the program's process; a line and no watching where that is not permitted."""
        self._main = main
        try:
            self._tracer.seize(main)
        except PtraceError as error:
            say(f"the program runs unwatched: {error}")

    def follow(self) -> None:
        """Until all that came from the program has ended."""
        self._tracer.follow()

    def _ended(self, pid: int, status: int) -> None:
        self._reporter_ended(pid, status)
        self._awaited.discard(pid)
        if pid == self._main:
            # Those that report until now have our descriptors, too; and we may have to speak for
            # them.
            self._main_ended = True
            self._awaited = set(self._reporters)
        if not self._main_ended or self._awaited or self._told < 0:
            return
        # What is left are its children. Whoever waits for the end of our descriptors waits
        # for the program, not for them.
        os.close(self._told)
        self._told = -1
        self._quiet_at_end()

    def _reporter_ended(self, child: int, status: int) -> None:
        """A word where it could say none itself: killed, as for want of memory."""
        crashed = self._reporters.pop(child, 0)
        if crashed and status < 0:
            name = signal_name(-status)
            say(f"no report of process {crashed}, or not all: what makes it was ended by {name}")

    def _quiet_at_end(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        os.chdir("/")

    def _crashed(self, target: LiveTarget) -> None:
        while len(self._reporters) >= _MAX_REPORTERS:
            self._wait_for_reporter()
        try:
            stderr = HeldStderr(target.proc)
            try:
                snapshot = snapshot_of(target, self._limits, lives=False)
                self._add_stderr(stderr, snapshot)
            finally:
                stderr.close()
            child = os.fork()
        except Exception as error:  # out of descriptors, a mistake of ours: the watching goes on
            say(f"no report of process {target.event.pid}: {error!r}")
            return
        if child == 0:
            _run_and_end(lambda: _report(snapshot, self._config, self._wishes))
        self._reporters[child] = target.event.pid
        for file in snapshot.files:
            if file.fd >= 0:
                os.close(file.fd)

    def _add_stderr(self, stderr: HeldStderr, snapshot: Snapshot) -> None:
        try:
            stderr.add_to(snapshot, self._relay)
        except OSError as error:
            snapshot.notes.add("log", "standard error", error.strerror or str(error))

    def _wait_for_reporter(self) -> None:
        for child in list(self._reporters):
            try:
                # Looked at only: the tracer's loop reaps it.
                ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                ended = None
            killed = ended is not None and ended.si_code != os.CLD_EXITED
            self._reporter_ended(child, -ended.si_status if ended and killed else 0)
            return


def _run_and_end(work: Callable[[], None]) -> None:
    """Never returns."""
    status = 1
    try:
        work()
        status = 0
    except UsercrashError as error:
        say(str(error))
    except Exception as error:  # a child of ours has nobody else to tell
        say(f"the report failed: {error!r}")
    finally:
        os._exit(status)


def _report(snapshot: Snapshot, config: Config, wishes: Wishes) -> None:
    """Analyse, publish, show."""
    from ..file_links import links_wished
    from ..isolated_analysis import View
    from .holding import analyse
    from .publishing import publish

    terminal = os.isatty(2)
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    width = shutil.get_terminal_size().columns if terminal else 80
    crash_id = os.urandom(16).hex()
    view = View("first", color, width, core=True, links=links_wished(config, color=color))
    analysed = analyse(snapshot, config, crash_id, view, wishes.sources)
    if analysed.failure:
        say(f"the analysis is not complete: {analysed.failure}")
    try:
        place = publish(config, wishes, crash_id, snapshot.event, analysed)
    except UsercrashError as error:
        say(f"{error}; the whole report follows")
        _write(analysed.json.rstrip(b"\n") + b"\n" if wishes.json else analysed.text)
        return
    shown = analysed.json if wishes.json else analysed.screen
    event = snapshot.event
    name = printable(snapshot.facts.get(b"comm", b"").removesuffix(b"\n"))
    # A line of its own, and one apart: what the program wrote last may have no end of line.
    apart = b"" if wishes.json else b"\n"
    _write(apart + shown.rstrip(b"\n") + b"\n" if shown else b"")
    if not wishes.json:
        say(f"{name}[{event.pid}] died of {signal_name(event.signal)}, report: {place}")


def _write(text: bytes) -> None:
    try:
        write_all(2, text)
    except OSError:
        return  # nobody reads it


def watch(
    config: Config, wishes: Wishes, hello: int, gate: int, told: int, relay: Relay | None
) -> None:
    """The watching process, from its fork to its end; never returns.

    Reads the program's pid (decimal) from `hello`, closes `gate` once it watches: the program
    begins then. If this process dies, the program runs on without it.
    """
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        keep = os.open(os.devnull, os.O_RDWR)
        os.dup2(keep, 0)
        os.dup2(keep, 1)
        close_all_but({hello, gate, told})
        watcher = Watcher(config, wishes, told, relay)
        main = os.read(hello, 32)
        if main:
            watcher.seize(int(main))
            os.close(gate)
            watcher.follow()
        status = 0
    except BaseException as error:
        say(f"watching has ended: {error!r}")
    finally:
        os._exit(status)
