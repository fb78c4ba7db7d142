"""What each thread waits for in the kernel, who holds it, and who waits in a circle.

Found from the registers: a thread that is in a system call has its number and arguments there,
in a core as well as in a live process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...elf.arch import Arch
from ...report import Frame, OpenFile, Waiting
from ..facts.syscalls import syscall_name
from ..instructions.x86_code import SYSCALL_INSTRUCTIONS
from .locks import Lock, LockReader, is_wait

_SHOWN = 8  # descriptors that poll() waits for
# Calls that wait for something at the descriptor that is their first argument.
_ON_DESCRIPTOR = frozenset((
    "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev",
    "pwritev2", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "accept",
    "accept4", "connect", "epoll_wait", "epoll_pwait", "epoll_pwait2", "ioctl", "flock", "fsync",
    "fdatasync", "splice", "sendfile", "getdents64", "io_uring_enter", "mq_timedreceive",
    "mq_timedsend", "close", "tee", "vmsplice", "copy_file_range", "ftruncate", "fallocate",
))  # fmt: skip
_FOR_A_SIGNAL = frozenset(("pause", "rt_sigsuspend", "rt_sigtimedwait", "sigsuspend"))
# Calls that go on as restart_syscall() when they were interrupted (a debugger, or SIGCONT, has let
# them go on); the instruction before the system call's own, which loads its number.
_RESTARTABLE = ("nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "poll", "futex",
                "futex_time64")  # fmt: skip
_LOAD_NUMBER = 0xB8  # mov $imm32, %eax
_SET_LOCK = (7, 14, 38)  # F_SETLKW, F_SETLKW64, F_OFD_SETLKW (<asm-generic/fcntl.h>)
_OF_SYSTEM_V = {"semop": "semaphore", "semtimedop": "semaphore", "msgrcv": "queue",
                "msgsnd": "queue"}  # fmt: skip
_SORT_WORDS = {
    "mutex": "the mutex", "rwlock": "the read-write lock", "condition": "the condition variable",
    "semaphore": "the semaphore", "barrier": "the barrier", "futex": "the futex",
}  # fmt: skip
# Where in an object of glibc's the words stand that are waited for: __data.__g_signals of
# pthread_cond_t, __wrphase_futex and __writers_futex of pthread_rwlock_t, current_round of
# pthread_barrier_t.
_WORDS_AT = {"condition": (0x28, 0x2C), "rwlock": (8, 12), "barrier": (4,)}

ObjectAt = Callable[[int], tuple[str, int, str] | None]


@dataclass(frozen=True, slots=True)
class InterpreterLock:
    """A lock that an interpreter keeps in its own structures, called `name`: who waits for it waits
    at one of `size` bytes from `start` on. `own_tid` is the thread that holds it, as the process
    knows it, or `control_block` that one's address; both 0 where nobody does."""

    name: str
    start: int
    size: int
    own_tid: int
    control_block: int


@dataclass(frozen=True, slots=True)
class WaitingThread:
    """A thread as this module sees it: `tid` is its id in the report, `own_tid` the one that the
    process itself knows it by, `control_block` that one's address (0: unknown)."""

    tid: int
    own_tid: int
    name: str
    registers: Mapping[str, int]
    frames: Sequence[Frame]
    control_block: int = 0


def waits(
    threads: Sequence[WaitingThread],
    arch: Arch,
    read: Callable[[int, int], bytes],
    files: Sequence[OpenFile],
    object_at: ObjectAt = lambda address: None,
    interpreter_locks: Sequence[InterpreterLock] = (),
) -> list[Waiting | None]:
    """For each thread the system call that it is in, and what it waits for there; None for one
    that is in none, or where the architecture's dumps do not tell. `object_at` finds the
    global object that an address lies in: its name, the offset in it, its module's name."""
    if not arch.call:
        return [None] * len(threads)
    ids = frozenset(thread.own_tid for thread in threads)
    blocks = {thread.control_block: thread.own_tid for thread in threads if thread.control_block}
    look = _Look(
        arch, read, {file.fd: file for file in files},
        {thread.own_tid: thread for thread in threads}, LockReader(arch, read, ids, blocks),
        object_at, interpreter_locks,
    )  # fmt: skip
    return [look.thread(thread) for thread in threads]


def deadlocks(threads: Sequence[WaitingThread], found: Sequence[Waiting | None]) -> list[list[int]]:
    """The circles of threads of which each waits for a lock that the next one holds, by `tid`; each
    begins with the thread that comes first."""
    following = {
        thread.tid: waiting.holder
        for thread, waiting in zip(threads, found, strict=True)
        if waiting is not None and waiting.kind in ("lock", "thread") and waiting.holder
    }
    circles: list[list[int]] = []
    done: set[int] = set()
    for start in following:
        path: dict[int, int] = {}  # to the number of the step: it may have thousands
        at: int | None = start
        while at is not None and at not in done and at not in path:
            path[at] = len(path)
            at = following.get(at)
        if at in path:
            circles.append([*path][path[at] :])
        done.update(path)
    return circles


@dataclass(frozen=True, slots=True)
class _Look:
    """All that the words about one thread are made of."""

    arch: Arch
    read: Callable[[int, int], bytes]
    files: Mapping[int, OpenFile]
    threads: Mapping[int, WaitingThread]
    locks: LockReader
    object_at: ObjectAt
    interpreter_locks: Sequence[InterpreterLock]

    def thread(self, thread: WaitingThread) -> Waiting | None:
        number = self._number(thread.registers)
        if number is None:
            return None
        name = syscall_name(self.arch.name, number)
        arguments = [thread.registers.get(one, 0) for one in self.arch.call[1:]]
        kind, summary, holder = self._what(thread, number, name, arguments)
        return Waiting(
            number=number, call=name, arguments=[f"{value:#x}" for value in arguments],
            kind=kind, summary=summary, holder=holder,
        )  # fmt: skip

    def _number(self, registers: Mapping[str, int]) -> int | None:
        """The number of the system call that the thread is in."""
        number = registers.get(self.arch.call[0])
        if number is None or number >> 8 * self.arch.word - 1:
            return None  # it is not in the kernel by a call: −1, or an interrupt's number
        before = self.read(registers.get(self.arch.pc, 0) - 2, 2)
        if len(before) == 2 and before not in SYSCALL_INSTRUCTIONS:
            return None
        if number == self.arch.restart:
            return self._restarted(registers.get(self.arch.pc, 0)) or number
        return number

    def _restarted(self, pc: int) -> int:
        """The number of the call that goes on at a pc behind it, 0 where that is not sure."""
        load = self.read(pc - 7, 5)
        number = int.from_bytes(load[1:], "little")
        known = len(load) == 5 and load[0] == _LOAD_NUMBER
        return number if known and syscall_name(self.arch.name, number) in _RESTARTABLE else 0

    def _what(
        self, thread: WaitingThread, number: int, name: str, arguments: Sequence[int]
    ) -> tuple[str, str, int | None]:
        """(kind, summary, holder) of a call: empty words for one that does not wait."""
        first = arguments[0]
        if number in self.arch.futex and is_wait(arguments[1]):
            known = self._interpreter_lock(thread)
            if known is not None:
                return self._of_interpreter(known)
            return self._lock(self.locks.lock(first, arguments[1], thread.frames), thread)
        if name in _ON_DESCRIPTOR:
            return "descriptor", f"{name} on {self._descriptor(first)}", None
        if name in ("fcntl", "fcntl64") and arguments[1] in _SET_LOCK:
            return "descriptor", f"{name}: a lock on {self._descriptor(first)}", None
        if name in _OF_SYSTEM_V:
            sort = _OF_SYSTEM_V[name]
            words = f"{name}: the System V {sort}{'s' * (sort == 'semaphore')} {first & 0xFFFFFFFF}"
            return sort, words, None
        if name in ("poll", "ppoll"):
            return "descriptor", self._poll(name, first, arguments[1]), None
        if name in ("select", "pselect6", "_newselect"):
            return "descriptor", f"{name} on descriptors below {first}", None
        if name in ("nanosleep", "clock_nanosleep", "clock_nanosleep_time64"):
            return "time", f"{name}{self._pause(name, arguments)}", None
        if name in ("wait4", "waitid", "waitpid"):
            return "child", self._child(name, arguments), None
        if name in _FOR_A_SIGNAL:
            return "signal", f"{name}: a signal", None
        return "", "", None

    def _interpreter_lock(self, thread: WaitingThread) -> InterpreterLock | None:
        """The interpreter's lock that a thread in futex() waits for."""
        word = thread.registers.get(self.arch.call[1], 0)
        return next(
            (one for one in self.interpreter_locks if 0 <= word - one.start < one.size), None
        )

    def _of_interpreter(self, lock: InterpreterLock) -> tuple[str, str, int | None]:
        """(Who waits for it himself does not hold it: he has just given it away.)"""
        own = self.locks.control_blocks.get(lock.control_block, -1)
        holder = self.threads.get(lock.own_tid) or self.threads.get(own)
        if holder is None or self._interpreter_lock(holder) is not None:
            return "lock", lock.name, None
        held = f", held by {self._title(holder.own_tid, '')}"
        return "lock", lock.name + held, holder.tid

    def _lock(self, lock: Lock, thread: WaitingThread) -> tuple[str, str, int | None]:
        if lock.sort == "thread":
            ended = self.threads.get(lock.owner or 0)
            return "thread", f"the end of {self._title(lock.owner, 'a thread')}", _tid(ended)
        if lock.sort == "private":
            what = "a lock of malloc" if lock.heap else "a lock of the C library"
        elif lock.word:
            what = f"{_SORT_WORDS[lock.sort]} at {lock.word:#x}{self._name(lock)}"
        else:
            what = _SORT_WORDS[lock.sort].replace("the", "a", 1)
        holder = self.threads.get(lock.owner or 0)
        if lock.sort not in ("mutex", "rwlock", "private"):
            return lock.sort, what, None
        if holder is thread:
            what += ", which it holds itself"
        elif holder is not None:
            doubt = "" if lock.sure else "probably "
            what += f", {doubt}held by {self._title(lock.owner, '')}"
        elif lock.owner == 0:
            what += ", which nobody holds any more"
        elif lock.owner is not None:
            other = "of another process or " if lock.shared else ""
            what += f", held by thread {lock.owner}, which is {other}not there any more"
        return "lock", what, _tid(holder)

    def _name(self, lock: Lock) -> str:
        """` (name in module)` for a lock that is, or lies in, a global object."""
        found = self.object_at(lock.word)
        if found is None:
            return ""
        name, offset, module = found
        if offset and offset not in _WORDS_AT.get(lock.sort, ()):
            name += f"+{offset:#x}"
        return f" ({name} in {module})"

    def _title(self, own_tid: int | None, unknown: str) -> str:
        if not own_tid:
            return unknown
        thread = self.threads.get(own_tid)
        if thread is None:
            return f"thread {own_tid}"
        return f"thread {thread.tid}" + (f" ({thread.name})" if thread.name else "")

    def _descriptor(self, number: int) -> str:
        signed = number & 0xFFFFFFFF
        if signed >> 31:
            return "no descriptor"
        file = self.files.get(signed)
        if file is None:
            return f"descriptor {signed}"
        about = f" ({file.detail})" if file.detail else ""
        what = file.detail if file.kind == "socket" and file.detail else file.target + about
        return f"descriptor {signed}, {what}"

    def _poll(self, name: str, address: int, count: int) -> str:
        """struct pollfd (<poll.h>): the descriptor, then two shorts."""
        count &= 0xFFFFFFFF
        data = self.read(address, 8 * min(count, _SHOWN))
        numbers = [
            int.from_bytes(data[at : at + 4], self.arch.byte_order)
            for at in range(0, len(data) - 7, 8)
        ]
        known = [number for number in numbers if not number >> 31]
        if count == 1 and known:
            return f"{name} on {self._descriptor(known[0])}"
        if not known or count == 0:
            return f"{name} on {count} descriptors"
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        return f"{name} on descriptors {', '.join(map(str, known))}{more}"

    def _pause(self, name: str, arguments: Sequence[int]) -> str:
        """` of 30 s`: struct timespec (<time.h>), relative unless TIMER_ABSTIME is set."""
        relative = name == "nanosleep"
        if not relative and arguments[1] & 1:
            return ""
        size = 8 if name.endswith("time64") else self.arch.long
        data = self.read(arguments[0] if relative else arguments[2], 2 * size)
        if len(data) < 2 * size:
            return ""
        order = self.arch.byte_order
        seconds = int.from_bytes(data[:size], order, signed=True)
        nanoseconds = int.from_bytes(data[size : size + 4], order)
        return f" of {seconds + nanoseconds / 1e9:g} s" if 0 <= seconds < 1 << 40 else ""

    def _child(self, name: str, arguments: Sequence[int]) -> str:
        if name == "waitid":
            return f"{name}: a child"
        pid = arguments[0] & 0xFFFFFFFF
        return f"{name}: any child" if pid >> 31 else f"{name}: child {pid}"


def _tid(thread: WaitingThread | None) -> int | None:
    return thread.tid if thread is not None else None
