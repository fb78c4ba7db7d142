"""What /proc knows of a process: raw bytes under their names below /proc/PID.

Nothing is interpreted here. Each fact is bounded in bytes, the whole in count and time.
"""

from __future__ import annotations

import errno
import os
import time

from ..model.types import TYPE_CHECKING
from .procfs import (
    PAGE,
    namespace_ids,
    open_dir,
    read_ends,
    read_record,
    reason,
    stat_fields,
    stat_number,
    status_field,
)
from .sockets import socket_facts

if TYPE_CHECKING:
    from ..model.notes import NoteLog
    from ..model.snapshot import ThreadState
    from .collect import Limits
    from .memory import Memory
    from .target import Target

# Of the process as a whole, and where its leader has ended, of the crashing thread.
_FILES = (b"cgroup", b"limits", b"loginuid", b"sessionid", b"oom_score", b"oom_score_adj",
          b"attr/current", b"personality")  # fmt: skip
_LINKS = (b"exe", b"cwd", b"root", b"ns/pid", b"ns/mnt", b"ns/net", b"ns/user")
_SMALL = 64 << 10
_READ = os.O_RDONLY | os.O_CLOEXEC
_COMM = 64  # 15 bytes and a newline; 63 for kernel threads
_STRINGS = 128 << 10  # of command line and environment, which may have 2 MB
_DETAILED = 64  # threads whose stat and kernel stack are read, too
_FDINFO = 1024  # descriptors whose fdinfo is read
_ABSENT = (errno.ENOENT, errno.EINVAL)  # not in this kernel's configuration


class Facts:
    """Gathers the facts of one process into `table`."""

    __slots__ = (
        "_deadline", "_gone", "_limits", "_notes", "_process", "_target", "_thread", "table", "tid",
    )  # fmt: skip

    def __init__(self, target: Target, limits: Limits, deadline: float) -> None:
        """Of a target with a `proc`; OSError when its process is gone."""
        self._process = open_dir(b"../..", dir_fd=target.proc)
        self._thread = os.dup(target.proc)  # outlives a target that is released early
        self._target = target
        self._limits = limits
        self._deadline = deadline
        self._notes = target.notes
        self._gone = False
        self.tid = 0
        self.table: dict[bytes, bytes] = {}

    def close(self) -> None:
        """Close the descriptors."""
        if self._process >= 0:
            os.close(self._process)
            os.close(self._thread)
            self._process = -1

    def maps(self) -> bytes:
        """The memory map; kept under `maps`."""
        limit = self._limits.max_maps
        try:
            data, whole = read_ends(self._thread, b"maps", limit, self._deadline)
        except OSError as error:
            self._miss(b"maps", error)
            return b""
        if not whole:
            why = f"{limit} bytes of its beginning and end kept"
            self._notes.add("process", "maps", "no time left" if self._late() else why)
        self.table[b"maps"] = data
        return data

    def identity(self) -> None:
        """status, stat, comm; fills in the event's start time. A leader that crashes is read
        once: its own files are those of the process."""
        event, table = self._target.event, self.table
        own = self._target.status or self._read(self._thread, b"status", b"status", _SMALL)
        ids = namespace_ids(own)
        self.tid = ids[0] if ids else event.tid
        prefix = b"task/%d/" % self.tid
        table[b"status"] = table[prefix + b"status"] = own
        stat = self._read(self._process, b"stat", b"stat", _SMALL)
        event.start_ticks = event.start_ticks or stat_number(stat, 22)
        comm = self._read(self._process, b"comm", b"comm", _SMALL)
        if self.tid == event.pid:
            table[prefix + b"stat"] = stat
            table[prefix + b"comm"] = comm
        else:
            leader = self._read(self._process, b"status", b"status", _SMALL)
            if status_field(leader, b"State").startswith(b"Z"):
                table[b"status"] = own  # a leader that has ended shows no memory
            self._read(self._thread, b"stat", prefix + b"stat", _SMALL)
            self._read(self._thread, b"comm", prefix + b"comm", _SMALL)
        if not self._target.dumped:
            self._read(self._thread, b"stack", prefix + b"stack", _SMALL)

    def who(self) -> None:
        """The least that tells one program from another."""
        self._link(self._thread, b"exe", b"exe")
        self._read(self._process, b"cgroup", b"cgroup", _SMALL)

    def process(self) -> None:
        """The process as a whole."""
        for name in _FILES:
            self._read(self._process, name, name, _SMALL)
        for name in _LINKS:
            self._link(self._thread, name, name)

    def strings(self, memory: Memory) -> None:
        """Command line and environment, from memory. /proc would read them without asking
        whether they are there, and a process can lay any mapping where they are expected."""
        self._read(self._thread, b"auxv", b"auxv", _SMALL)
        fields = stat_fields(self.table.get(b"task/%d/stat" % self.tid, b""))[45:49]
        numbers = [int(field) if field.isdigit() else 0 for field in fields]
        arg_start, arg_end, env_start, env_end = numbers if len(numbers) == 4 else (0, 0, 0, 0)
        self._string(memory, b"cmdline", arg_start, arg_end)
        last = memory.read(arg_end - 1, 1) if arg_end > arg_start else b""
        if last not in (b"", b"\0") and arg_end == env_start:
            # A title written over the arguments goes on into the environment (fs/proc/base.c).
            self.table[b"cmdline"] = memory.read(arg_start, PAGE).partition(b"\0")[0]
        self._string(memory, b"environ", env_start, env_end)

    def _string(self, memory: Memory, name: bytes, start: int, end: int) -> None:
        size = max(end - start, 0)
        data = memory.read(start, min(size, _STRINGS)) if size else b""
        if len(data) < min(size, _STRINGS):
            self._notes.add("process", name.decode(), "not all of it is in memory")
        elif size > _STRINGS:
            self._notes.add("process", name.decode(), f"the first {_STRINGS} of {size} bytes kept")
        self.table[name] = data

    @property
    def thread(self) -> int:
        """The descriptor of /proc/PID/task/TID, as long as this is not closed."""
        return self._thread

    def elsewhere(self) -> bool:
        """Whether the process sees another /tmp than we, or has another number there: after
        `process`."""
        table = self.table
        return table.get(b"root", b"/") != b"/" or any(
            name in table and table[name] != os.readlink(b"/proc/self/" + name)
            for name in (b"ns/pid", b"ns/mnt")
        )

    def threads(self, threads: list[ThreadState], namespaced: bool) -> None:
        """Names of the other threads; where they are few and not all of them wait for the
        kernel's dump, states and kernel stacks, too."""
        if len(threads) < 2:
            return
        try:
            tasks = open_dir(b"task", dir_fd=self._process)
        except OSError as error:
            self._miss(b"task", error)
            return
        names: list[bytes] = []
        if len(threads) <= _DETAILED and not self._target.dumped:
            names += (b"stat", b"stack")
        if namespaced:
            names.append(b"status")
        try:
            self._each_thread(tasks, threads, names)
        finally:
            os.close(tasks)

    def _each_thread(self, tasks: int, threads: list[ThreadState], names: list[bytes]) -> None:
        limit = self._limits.max_threads_named
        for number, thread in enumerate(threads):
            tid = thread.host_tid
            if tid in (0, self.tid):
                continue
            if number >= limit or self._late():
                why = "too many" if number >= limit else "no time left"
                self._notes.add("threads", f"names of threads after the first {number}", why)
                return
            if not self._comm(tasks, tid):
                return
            for name in names:
                path = b"%d/%s" % (tid, name)
                self._read(tasks, path, b"task/" + path, _SMALL)

    def _comm(self, tasks: int, tid: int) -> bool:
        """A thread's name, on the shortest way: it is read a thousand times. False where there
        is nothing more to read."""
        name = b"%d/comm" % tid
        try:
            fd = os.open(name, _READ, dir_fd=tasks)
            try:
                self.table[b"task/" + name] = os.read(fd, _COMM)
            finally:
                os.close(fd)
        except OSError as error:
            self._miss(b"task/" + name, error)
        return not self._gone

    def descriptors(self) -> None:
        """Every descriptor's target, fdinfo of the first, and the tables of its sockets."""
        try:
            links = open_dir(b"fd", dir_fd=self._thread)
        except OSError as error:
            self._miss(b"fd", error)
            return
        try:
            numbers = sorted(int(name) for name in os.listdir(links))
            sockets = self._each_descriptor(links, numbers)
        except OSError as error:
            self._miss(b"fd", error)
            return
        finally:
            os.close(links)
        if sockets and not self._late():
            self.table.update(socket_facts(self._thread, sockets, self._deadline, self._notes))

    def _each_descriptor(self, links: int, numbers: list[int]) -> set[bytes]:
        """Links and fdinfo; gives the inodes of the sockets among them."""
        sockets = set()
        limit = self._limits.max_fds_listed
        for count, number in enumerate(numbers):
            if count >= limit or self._late():
                what = f"{len(numbers) - count} of {len(numbers)} open files"
                why = "too many to list" if count >= limit else "no time left"
                self._notes.add("open files", what, why)
                break
            name = b"%d" % number
            target = self._link(links, name, b"fd/" + name)
            if count < _FDINFO:
                path = b"fdinfo/" + name
                self._read(self._thread, path, path, _SMALL)
            if target.startswith(b"socket:[") and target.endswith(b"]"):
                sockets.add(target[8:-1])
        return sockets

    def alive(self) -> bool:
        """Whether the thread is still there; a note if not."""
        try:
            read_record(self._thread, b"comm", _COMM)
        except OSError:
            self._notes.add("process", "what was not read in time", "it ended while it was read")
            return False
        return True

    def _late(self) -> bool:
        return time.monotonic() > self._deadline

    def _read(self, dir_fd: int, path: bytes, name: bytes, limit: int) -> bytes:
        if self._gone:
            return b""
        try:
            data = read_record(dir_fd, path, limit)
        except OSError as error:
            self._miss(name, error)
            return b""
        return self._keep(name, data, limit)

    def _keep(self, name: bytes, data: bytes, limit: int) -> bytes:
        if len(data) >= limit:
            self._notes.add("process", name.decode(), f"cut after {limit} bytes")
        self.table[name] = data
        return data

    def _link(self, dir_fd: int, path: bytes, name: bytes) -> bytes:
        if self._gone:
            return b""
        try:
            target = os.readlink(path, dir_fd=dir_fd)
        except OSError as error:
            self._miss(name, error)
            return b""
        self.table[name] = target
        return target

    def _miss(self, name: bytes, error: OSError) -> None:
        if error.errno == errno.ESRCH:
            self._gone = True
            self._notes.add("process", f"{name.decode()} and what follows", "the process is gone")
        elif error.errno not in _ABSENT:
            self._notes.add("process", name.decode(), reason(error))


def system_facts(notes: NoteLog) -> dict[bytes, bytes]:
    """Facts of the machine: @uptime @hostname @kernel @boot_id @clk_tck @page_size."""
    system = os.uname()
    facts = {
        b"@hostname": os.fsencode(system.nodename),
        b"@kernel": os.fsencode(f"{system.release} {system.version}"),
        b"@clk_tck": b"%d" % os.sysconf("SC_CLK_TCK"),
        b"@page_size": b"%d" % os.sysconf("SC_PAGE_SIZE"),
    }
    for name, path in (
        (b"@uptime", b"/proc/uptime"),
        (b"@boot_id", b"/proc/sys/kernel/random/boot_id"),
    ):
        try:
            facts[name] = read_record(None, path, 256).strip()
        except OSError as error:
            notes.add("system", path.decode(), reason(error))
    return facts
