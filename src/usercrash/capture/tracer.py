"""Follows a program, its threads and all its descendants, and notices when one of them dies.

Runs in a process that does nothing else: it blocks in one wait for all of them. Every stop
is answered at once with the one right request, so that nothing waits for long and
nothing spins; what the program does is left as it is. The only stops that matter to us:
a signal that is about to kill with a core dump, and (for a kill by seccomp, which
no tracer is offered as a signal) the exit that follows.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable

from ..errors import UsercrashError
from . import ptrace
from .live import LiveTarget
from .live_process import printable, read_if_there, status_number
from .procfs import status_field

# signal(7): the default action of these is to dump core.
CORE_SIGNALS = frozenset((
    signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE,
    signal.SIGSEGV, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS,
))  # fmt: skip

# No EXITKILL: a program whose tracer dies runs on.
OPTIONS = (
    ptrace.O_TRACEFORK
    | ptrace.O_TRACEVFORK
    | ptrace.O_TRACECLONE
    | ptrace.O_TRACEEXEC
    | ptrace.O_TRACEEXIT
)

_STATUS_LIMIT = 1 << 16


class Tracer:
    """Follows what `seize` was told.

    `on_crash` gets a held process that is about to die of a core-dumping signal, and must close
    it; `on_end` gets the id of each process, thread or child of our own that has ended, and its
    exit code, or minus the signal that killed it; `say` gets lines for people.
    """

    def __init__(
        self,
        on_crash: Callable[[LiveTarget], None],
        on_end: Callable[[int, int], None],
        say: Callable[[str], None],
    ) -> None:
        self._on_crash = on_crash
        self._on_end = on_end
        self._say = say
        self._dying: set[int] = set()  # processes that were captured, and have not ended yet
        self._told: set[bytes] = set()

    def seize(self, pid: int) -> None:
        """Begin with this process, which has one thread; PtraceError if the kernel refuses."""
        ptrace.seize(pid, OPTIONS)

    def follow(self) -> None:
        """Return when nothing is left that we trace, nor any child of our own."""
        while (stop := ptrace.next_stop()) is not None:
            if stop.exited:
                self._ended(stop)
                continue
            if not stop.traced:
                ptrace.take(stop.tid)
                continue
            try:
                self._answer(stop)
            except ptrace.ThreadGone:
                # SIGKILL has woken it, or is about to. Nothing is taken: it may stand at its exit
                # by now, and that stop must be answered.
                os.sched_yield()

    # -- stops ------------------------------------------------------------------------

    def _answer(self, stop: ptrace.Stop) -> None:
        if stop.group_stop:
            ptrace.listen(stop.tid)
        elif stop.event == ptrace.EVENT_EXEC:
            ptrace.take(stop.tid)
            self._executed(stop.tid)
            ptrace.cont(stop.tid)
        elif stop.event == ptrace.EVENT_EXIT:
            self._exiting(stop.tid)
        elif stop.event:
            ptrace.cont(stop.tid)
        elif stop.signal not in CORE_SIGNALS or not self._dies(stop.tid, stop.signal):
            ptrace.cont(stop.tid, stop.signal)

    def _dies(self, tid: int, number: int) -> bool:
        """If the signal at whose delivery the thread stands is going to kill: capture, let it go,
        and say True.

        A blocked signal is not delivered; a fault that is blocked or ignored has been forced to
        the default before this stop (force_sig_info_to_task() in kernel/signal.c).
        """
        status = _status(tid)
        handled = _mask(status, b"SigCgt") | _mask(status, b"SigIgn")
        return not handled >> (number - 1) & 1 and self._capture(tid, status, number)

    def _exiting(self, tid: int) -> None:
        """A thread is about to end. If that is for a signal that we have not seen, seccomp has
        killed it: capture it now."""
        wait_status = ptrace.event_message(tid)
        number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0
        if number not in CORE_SIGNALS or not self._capture(tid, _status(tid), number, at_exit=True):
            ptrace.cont(tid)

    def _capture(self, tid: int, status: bytes, number: int, *, at_exit: bool = False) -> bool:
        """False if the thread was not let go: its process had been captured before, or could not
        be. (Two threads may fault together, and all of them end for the one that did.)"""
        pid = status_number(status, b"Tgid")
        if pid in self._dying:
            return False
        self._dying.add(pid)
        try:
            target = LiveTarget.of_crash(tid, number, at_exit=at_exit)
        except UsercrashError as error:
            self._say(f"process {pid} dies of {signal_name(number)}, not captured: {error}")
            return False
        try:
            self._on_crash(target)
        finally:
            target.close()
        return True

    def _executed(self, pid: int) -> None:
        """A new program under an old id. Under a tracer the kernel gives it no privileges."""
        self._dying.discard(pid)
        if os.geteuid() == 0:
            return  # a privileged tracer does not take them away
        exe = f"/proc/{pid}/exe"
        try:
            path = os.fsencode(os.readlink(exe))
            if path not in self._told and _gives_privileges(exe):
                self._told.add(path)
                self._say(f"{printable(path)} runs without its privileges while it is traced")
        except OSError:
            return  # it may not be looked at, or is gone: then there is nothing to tell

    def _ended(self, stop: ptrace.Stop) -> None:
        ptrace.reap(stop.tid)
        self._dying.discard(stop.tid)
        self._on_end(stop.tid, stop.status)


def signal_name(number: int) -> str:
    """`SIGSEGV`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _status(tid: int) -> bytes:
    return read_if_there(None, b"/proc/%d/status" % tid, _STATUS_LIMIT)


def _mask(status: bytes, key: bytes) -> int:
    return int(status_field(status, key) or b"0", 16)


def _gives_privileges(path: str) -> bool:
    """Whether executing the file would: set-user-ID, set-group-ID, file capabilities."""
    state = os.stat(path)
    return (
        bool(state.st_mode & stat.S_ISUID and state.st_uid != os.geteuid())
        or bool(state.st_mode & stat.S_ISGID and state.st_gid != os.getegid())
        or "security.capability" in os.listxattr(path)
    )
