"""ptrace(2) and the waits that belong to it, as functions (Linux, <linux/ptrace.h>).

A thin adapter: one function for each request that we use, threads by tid,
errno turned into `PtraceError` here and nowhere else. All calls about one
tracee must come from the thread that seized it.

Waiting is done with WNOWAIT: a stop is looked at, never taken. A signal that
we have only looked at is still delivered if we are killed before we pass it on
(the kernel keeps it in the tracee's exit_code, which a plain wait clears).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time

from ..errors import UsercrashError

SEIZE, INTERRUPT, LISTEN = 0x4206, 0x4207, 0x4208
CONT, DETACH = 7, 17
GETEVENTMSG, GETSIGINFO, GETREGSET, GETSIGMASK = 0x4201, 0x4202, 0x4204, 0x420A

O_TRACEFORK, O_TRACEVFORK, O_TRACECLONE, O_TRACEEXEC, O_TRACEEXIT = 0x2, 0x4, 0x8, 0x10, 0x40

EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT, EVENT_STOP = 1, 2, 3, 4, 6, 128

SIGINFO_SIZE = 128
_WALL = 0x40000000  # __WALL: wait for threads ("clone children") too
_LOOK = os.WSTOPPED | os.WEXITED | os.WNOWAIT | _WALL
_POLL_SECONDS = 0.01  # longest sleep where a SIGCHLD might have been lost

_NAMES = {
    SEIZE: "PTRACE_SEIZE", INTERRUPT: "PTRACE_INTERRUPT", LISTEN: "PTRACE_LISTEN",
    CONT: "PTRACE_CONT", DETACH: "PTRACE_DETACH",
    GETEVENTMSG: "PTRACE_GETEVENTMSG", GETSIGINFO: "PTRACE_GETSIGINFO",
    GETREGSET: "PTRACE_GETREGSET", GETSIGMASK: "PTRACE_GETSIGMASK",
}  # fmt: skip


class PtraceError(UsercrashError):
    """A request that the kernel refused; `errno` says how."""

    def __init__(self, request: int, tid: int, number: int) -> None:
        super().__init__(f"{_NAMES[request]} of thread {tid}: {os.strerror(number)}")
        self.errno = number


class ThreadGone(PtraceError):
    """ESRCH: the thread has ended (or was woken by SIGKILL and is about to)."""


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_ptrace.restype = ctypes.c_long

# One buffer for all reads: XSAVE areas with AMX tiles are 11 KiB.
_BUFFER_SIZE = 32768
_buffer = ctypes.create_string_buffer(_BUFFER_SIZE)
_buffer_address = ctypes.addressof(_buffer)
_iovec = _Iovec(_buffer_address, _BUFFER_SIZE)
_iovec_address = ctypes.addressof(_iovec)


def _call(request: int, tid: int, address: int, data: int) -> None:
    if _ptrace(request, tid, address, data) == -1:
        number = ctypes.get_errno()
        if number == errno.ESRCH:
            raise ThreadGone(request, tid, number)
        raise PtraceError(request, tid, number)


def seize(tid: int, options: int = 0) -> None:
    """Become the thread's tracer without stopping it; if we die, it runs on."""
    _call(SEIZE, tid, 0, options)


def interrupt(tid: int) -> None:
    """Ask for a stop; it comes as EVENT_STOP, or an earlier stop comes first."""
    _call(INTERRUPT, tid, 0, 0)


def cont(tid: int, signal_number: int = 0) -> None:
    """Let a stopped thread run; `signal_number` is delivered to it (0: none)."""
    _call(CONT, tid, 0, signal_number)


def listen(tid: int) -> None:
    """Leave a thread in its group-stop, so that SIGCONT works as without a tracer."""
    _call(LISTEN, tid, 0, 0)


def detach(tid: int, signal_number: int = 0) -> None:
    """Let a stopped thread go for good, delivering `signal_number` (0: none)."""
    _call(DETACH, tid, 0, signal_number)


def event_message(tid: int) -> int:
    """What the present event is about: the new child's id, the former tid after exec, the
    wait status at an exit."""
    _call(GETEVENTMSG, tid, 0, _buffer_address)
    return ctypes.c_ulong.from_address(_buffer_address).value


def signal_info(tid: int) -> bytes:
    """The siginfo_t (128 bytes) of the signal that is about to be delivered."""
    _call(GETSIGINFO, tid, 0, _buffer_address)
    return ctypes.string_at(_buffer_address, SIGINFO_SIZE)


def signal_mask(tid: int) -> int:
    """The thread's blocked signals, bit N-1 for signal N."""
    _call(GETSIGMASK, tid, 8, _buffer_address)
    return ctypes.c_uint64.from_address(_buffer_address).value


def register_set(tid: int, note_type: int) -> bytes:
    """The registers that a core's note of this type holds, as large as the kernel has them."""
    _iovec.length = _BUFFER_SIZE
    _call(GETREGSET, tid, note_type, _iovec_address)
    return ctypes.string_at(_buffer_address, _iovec.length)


class Stop:
    """What a thread waits for us with: `signal`, and `event` (EVENT_…, 0 for a signal's delivery).

    `exited`: it has ended instead; `status` is then its exit code, or minus the
    signal that killed it. Not `traced`: the ordinary stop of an ordinary child.
    """

    __slots__ = ("tid", "signal", "event", "exited", "status", "traced")

    def __init__(
        self, tid: int, signal: int, event: int, exited: bool, status: int, traced: bool = True
    ) -> None:
        self.tid = tid
        self.signal = signal
        self.event = event
        self.exited = exited
        self.status = status
        self.traced = traced

    @property
    def group_stop(self) -> bool:
        """Stopped by SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU together with its whole process."""
        return self.event == EVENT_STOP and self.signal != signal.SIGTRAP

    @property
    def pending_signal(self) -> int:
        """The signal that must be passed on when the thread is let go (0: none)."""
        return self.signal if self.event == 0 and not self.exited else 0


def _stop_of(info: os.waitid_result) -> Stop:
    # In siginfo of a traced child si_status is the stop's exit_code: signal | event << 8.
    if info.si_code == os.CLD_EXITED:
        return Stop(info.si_pid, 0, 0, True, info.si_status)
    if info.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
        return Stop(info.si_pid, 0, 0, True, -info.si_status)
    traced = info.si_code == os.CLD_TRAPPED
    return Stop(info.si_pid, info.si_status & 0xFF, info.si_status >> 8, False, 0, traced)


def look(tid: int) -> Stop | None:
    """The thread's stop or end if there is one by now; None while it runs. Nothing is taken.

    ThreadGone when it is not (or no longer) ours to wait for.
    """
    try:
        info = os.waitid(os.P_PID, tid, _LOOK | os.WNOHANG)
    except ChildProcessError:
        raise ThreadGone(INTERRUPT, tid, errno.ESRCH) from None
    return None if info is None else _stop_of(info)


def next_stop() -> Stop | None:
    """Block until any tracee or child stops or ends; None when there is none left.

    The stop is not taken: it is offered again until the thread is resumed (or, ended, `reap`ed).
    """
    try:
        info = os.waitid(os.P_ALL, 0, _LOOK)
    except ChildProcessError:
        return None
    return None if info is None else _stop_of(info)


def reap(tid: int) -> None:
    """Take the end of a thread or child that `look` or `next_stop` told of."""
    try:
        os.waitid(os.P_PID, tid, os.WEXITED | os.WNOHANG | _WALL)
    except ChildProcessError:
        pass  # exec by another thread has taken this id away: nothing is left to reap


def take(tid: int) -> None:
    """Take a stop that `look` or `next_stop` told of, so that it is not told again.

    Needed where nothing is to be passed on: for a child that we do not trace; and after exec, as
    the kernel refuses requests to a thread whose id has changed before its
    event was taken (looks_like_a_spurious_pid() in kernel/ptrace.c).
    """
    try:
        os.waitid(os.P_PID, tid, os.WSTOPPED | os.WNOHANG | _WALL)
    except ChildProcessError:
        pass  # killed and reaped meanwhile


def wait_all(tids: list[int], seconds: float) -> tuple[dict[int, Stop], list[int]]:
    """Wait until each of `tids` has stopped or ended, at most `seconds`.

    Gives what came for each (threads that vanished are left out), and the
    threads for which nothing came: those in an uninterruptible system call.
    Sleeps on SIGCHLD, which is blocked here for the time.
    """
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        return _wait_all(tids, time.monotonic() + seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


def _wait_all(tids: list[int], deadline: float) -> tuple[dict[int, Stop], list[int]]:
    stops: dict[int, Stop] = {}
    waiting = tids
    while True:
        still = []
        for tid in waiting:
            try:
                stop = look(tid)
            except ThreadGone:
                continue
            if stop is None:
                still.append(tid)
            else:
                stops[tid] = stop
        waiting = still
        left = deadline - time.monotonic()
        if not waiting or left <= 0:
            return stops, waiting
        signal.sigtimedwait({signal.SIGCHLD}, min(left, _POLL_SECONDS))
