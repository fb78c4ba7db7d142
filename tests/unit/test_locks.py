"""Locks as they lie in memory: glibc's and musl's, with and without names of functions."""

from __future__ import annotations

import dataclasses
import struct

from hypothesis import given
from hypothesis import strategies as st
from tests.support.sample_frames import LIBC, frame

from usercrash.analysis.explain.locks import Lock, LockReader
from usercrash.analysis.explain.waits import InterpreterLock, WaitingThread, deadlocks, waits
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.report import Frame, OpenFile, Waiting

MUSL = "/lib/ld-musl-x86_64.so.1"
WORD = 0x10000
IDS = frozenset((10, 11, 12))
WAIT = 0x80  # FUTEX_WAIT_PRIVATE


def lock(memory: bytes, *functions: str, operation: int = WAIT, module: str = LIBC,
         at: int = WORD) -> Lock:  # fmt: skip
    """What a thread in these functions waits for, `memory` lying at WORD."""

    def read(address: int, size: int) -> bytes:
        start = address - WORD
        return memory[start : start + size] if 0 <= start < len(memory) else b""

    frames = [frame(number, name, module=module) for number, name in enumerate(functions)]
    return LockReader(ARCH, read, IDS, {0x7000: 12}).lock(at, operation, frames)


def mutex(value: int, owner: int, kind: int = 0) -> bytes:
    return struct.pack("<iIiIi", value, 0, owner, 1, kind).ljust(40, b"\0")


def test_mutexes_of_glibc() -> None:
    assert lock(mutex(2, 11), "futex_wait", "__GI___lll_lock_wait").owner == 11
    assert lock(mutex(2, 11), "pthread_mutex_lock@@GLIBC_2.2.5") == Lock("mutex", WORD, 11)
    assert lock(mutex(2, 11)[:8], "___pthread_mutex_lock").owner is None


def test_without_names_a_mutex_is_believed_only_if_all_of_it_fits() -> None:
    assert lock(mutex(2, 11)) == Lock("mutex", WORD, 11, sure=False)
    assert lock(mutex(2, 11), "__kernel_vsyscall", "") == Lock("mutex", WORD, 11, sure=False)
    robust = mutex(-0x80000000 | 12, 12, 0x290)
    assert lock(robust) == Lock("mutex", WORD, 12, sure=False)
    for memory in (
        mutex(1, 11),
        mutex(-0x80000000 | 12, 11, 0x290),
        mutex(2, 99),
        mutex(2, 11, 0x12345),
        mutex(2, 11)[:12],
        b"",
    ):
        assert lock(memory) == Lock("futex", WORD)


def test_what_has_a_name_of_its_own_is_no_mutex_of_glibc() -> None:
    """Rust's, say, which call syscall(): the data behind may be anything."""
    assert lock(mutex(2, 11), "syscall", "main") == Lock("futex", WORD)
    assert lock(mutex(2, 11), "std::sys::sync::mutex::futex::Mutex::lock_contended").owner is None


def test_owners_of_mutexes_of_glibc() -> None:
    """Of one that is given back there is none for a moment; robust ones have theirs in the word."""
    name = "__pthread_mutex_lock"
    assert lock(mutex(0, 0), name).owner == 0
    assert lock(mutex(2, 0), name).owner is None and lock(mutex(1, 0), name).owner is None
    robust = mutex(-0x80000000 | 12, 12, 0x290)
    assert lock(robust, name, operation=9) == Lock("mutex", WORD, 12, shared=True)
    dead = mutex(-0x80000000 | 0x40000000, 0x7FFFFFFF, 0x90)
    assert lock(dead, name).owner == 0
    assert lock(mutex(-0x80000000 | 12, 12, 0x12345), name).owner is None


def test_priority_inheritance() -> None:
    """The kernel's own word: the owner, and a bit for waiters."""
    memory = struct.pack("<I", 0x8000_000B)
    assert lock(memory, operation=6 | 0x80) == Lock("mutex", WORD, 11)


def test_mutexes_of_musl() -> None:
    """Their word is the second; those of the normal kind do not say who holds them."""
    checking = struct.pack("<ii", 2, -0x80000000 | 11)
    normal = struct.pack("<ii", 0, -0x80000000 | 16)
    names = ("__timedwait_cp", "__pthread_mutex_timedlock")
    assert lock(checking, *names, module=MUSL, at=WORD + 4) == Lock("mutex", WORD, 11)
    assert lock(normal, *names, module=MUSL, at=WORD + 4).owner is None
    # Linked into the program: by its functions, or by the word alone.
    for functions in (("__timedwait", *names[1:]), names[1:]):
        assert lock(checking.ljust(40, b"\0"), *functions, at=WORD + 4).owner == 11
        assert lock(normal.ljust(40, b"\0"), *functions, at=WORD + 4).owner is None
    assert lock(mutex(2, 11), "run", module=MUSL).sort == "futex"


def test_other_waits_of_musl() -> None:
    """A join waits in the control block of the thread (there is one at 0x7000), a condition
    variable at a word of each thread that waits."""
    join = ("__timedwait_cp", "pthread_timedjoin_np")
    assert lock(b"", *join, at=0x7038).owner == 12
    assert lock(b"", *join, at=0x7138).owner is None and lock(b"", *join, at=0x6FF8).owner is None
    assert lock(b"", "__timedwait_cp", "pthread_cond_timedwait") == Lock("condition", 0)


def test_locks_of_streams_and_of_malloc() -> None:
    stream = struct.pack("<iiQ", 2, 1, 0x7000)
    found = lock(stream, "__lll_lock_wait_private", "_IO_puts")
    assert (found.owner, found.heap) == (12, False)
    found = lock(stream, "__lll_lock_wait_private", "malloc")
    assert (found.owner, found.heap) == (None, True)


def test_read_write_locks() -> None:
    words = [0] * 7
    words[6] = 11  # __cur_writer
    memory = struct.pack("<7i", *words)
    for at in (8, 12):
        assert lock(memory, "pthread_rwlock_rdlock", at=WORD + at).owner == 11
    assert lock(bytes(28), "pthread_rwlock_wrlock", at=WORD + 8).owner is None


def thread(tid: int, name: str, call: int, *arguments: int) -> WaitingThread:
    registers = dict(zip(ARCH.call, (call, *arguments), strict=False)) | {"rip": 0x400002}
    return WaitingThread(tid, tid, name, registers, [])


def words(thread: WaitingThread, memory: dict[int, bytes] | None = None,
          files: list[OpenFile] | None = None) -> str | None:  # fmt: skip
    """The summary of one thread's wait; None where it is in no call."""
    known = {0x400000: b"\x0f\x05"} | (memory or {})

    def read(address: int, size: int) -> bytes:
        return next(
            (data[address - at :][:size] for at, data in known.items()
             if at <= address < at + len(data)), b"",
        )  # fmt: skip

    found = waits([thread], ARCH, read, files or [])[0]
    return found.summary if found is not None else None


def test_calls_that_wait_and_others() -> None:
    tcp = OpenFile(fd=5, target="socket:[7]", kind="socket", detail="TCP 127.0.0.1:80")
    assert words(thread(1, "", 45, 5), files=[tcp]) == "recvfrom on descriptor 5, TCP 127.0.0.1:80"
    assert words(thread(1, "", 0, 9)) == "read on descriptor 9"
    assert words(thread(1, "", 0, 0xFFFFFFFF)) == "read on no descriptor"
    polled = b"".join(struct.pack("<ihh", fd, 1, 0) for fd in (5, -1, 7))
    assert words(thread(1, "", 7, 0x9000, 3), {0x9000: polled}) == "poll on descriptors 5, 7"
    assert words(thread(1, "", 7, 0x9000, 3)) == "poll on 3 descriptors"
    time = struct.pack("<qq", 3, 500_000_000)
    assert words(thread(1, "", 35, 0x9000), {0x9000: time}) == "nanosleep of 3.5 s"
    assert words(thread(1, "", 61, 0xFFFFFFFF)) == "wait4: any child"
    assert words(thread(1, "", 39)) == ""  # getpid
    assert words(thread(1, "", 72, 5, 7), files=[tcp]) == (
        "fcntl: a lock on descriptor 5, TCP 127.0.0.1:80"
    )
    assert words(thread(1, "", 72, 5, 6), files=[tcp]) == ""  # F_SETLK
    assert words(thread(1, "", 65, 9)) == "semop: the System V semaphores 9"
    assert words(thread(1, "", 70, 9)) == "msgrcv: the System V queue 9"
    assert words(thread(1, "", 202, 0x9000, 0x81)) == ""  # FUTEX_WAKE
    assert words(thread(1, "", (1 << 64) - 1)) is None
    assert words(thread(1, "", 0, 9), {0x400000: b"\x90\x90"}) is None


def test_a_holder_that_is_not_of_this_process() -> None:
    """A lock that other processes share may be held there: its thread is not said to be gone."""
    memory = {0x9000: struct.pack("<I", 0x8000_0063)}  # thread 99
    for operation, expected in (
        (0x86, "held by thread 99, which is not there any more"),
        (0x06, "held by thread 99, which is of another process or not there any more"),
    ):
        found = words(thread(1, "", 202, 0x9000, operation), memory)
        assert found == f"the mutex at 0x9000, {expected}"


def test_a_call_that_goes_on() -> None:
    """restart_syscall(): which call it is stands in the instruction before, if anywhere."""
    time = struct.pack("<qq", 3, 0)
    for before, expected in (
        (b"\xb8\x23\0\0\0", "nanosleep of 3 s"),
        (b"\xb8\x3d\0\0\0", ""),  # wait4, which does not go on so
        (b"\x90\x90\x90\x90\x90", ""),
    ):
        memory = {0x3FFFFB: before + b"\x0f\x05", 0x9000: time}
        assert words(thread(1, "", 219, 0x9000), memory) == expected


def test_an_interpreters_lock() -> None:
    """Who waits for it does not hold it: he has just given it away. Others wait behind its end."""
    gil = InterpreterLock("Python's GIL", 0x9000, 48, 1, 0x7000)
    by_block = InterpreterLock("Python's GIL", 0x9000, 48, 0, 0x7000)
    nobody = InterpreterLock("Python's GIL", 0x9000, 48, 0, 0)
    busy, waiting = thread(1, "busy", 39), thread(2, "", 202, 0x9028, 0x89)
    at_block = dataclasses.replace(busy, own_tid=5, control_block=0x7000)

    def told(*threads: WaitingThread, lock: InterpreterLock = gil) -> tuple[str, int | None]:
        memory = {0x400000: b"\x0f\x05"}
        found = waits(threads, ARCH, lambda at, size: memory.get(at, b"")[:size], [],
                      interpreter_locks=[lock])[-1]  # fmt: skip
        assert found is not None
        return found.summary, found.holder

    assert told(busy, waiting) == ("Python's GIL, held by thread 1 (busy)", 1)
    assert told(at_block, waiting, lock=by_block) == ("Python's GIL, held by thread 1 (busy)", 1)
    assert told(waiting) == ("Python's GIL", None)
    assert told(busy, waiting, lock=nobody) == ("Python's GIL", None)
    assert told(thread(1, "gave", 202, 0x9028, 0x89), waiting) == ("Python's GIL", None)
    assert told(busy, thread(2, "", 202, 0x9030, 0x89)) == ("the futex at 0x9030", None)


def test_circles() -> None:
    """1 → 2 → 3 → 1; 4 waits for the circle; 5 for itself; 6 for one who waits for nobody."""
    threads = [thread(tid, "", 202) for tid in range(1, 8)]
    holders = [2, 3, 1, 1, 5, 7, None]
    found = [Waiting(number=202, call="futex", arguments=[], kind="lock", holder=one)
             for one in holders]  # fmt: skip
    assert deadlocks(threads, found) == [[1, 2, 3], [5]]


@given(
    st.binary(max_size=64), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1),
    st.sampled_from([(), ("sem_wait",), ("pthread_rwlock_rdlock",), ("__lll_lock_wait_private",)]),
)  # fmt: skip
def test_any_memory(memory: bytes, at: int, call: int, names: tuple[str, ...]) -> None:
    found = lock(memory, *names, at=at)
    assert found.owner is None or 0 <= found.owner < 1 << 32
    frames: list[Frame] = [frame(0, name) for name in names]
    one = WaitingThread(1, 1, "", dict.fromkeys(ARCH.call, at) | {"orig_rax": call}, frames)
    waits([one], ARCH, lambda address, size: memory[:size], [])


def test_endless_names() -> None:
    """No function of a C library has one; patterns would spend their time on it."""
    name = "pthread_mutex_" + "lock" * 4000
    assert lock(mutex(2, 11), name) == Lock("futex", WORD)
