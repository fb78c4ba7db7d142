"""Who holds what a thread waits for in futex(): locks of the C libraries, as they lie in memory.

glibc: struct __pthread_mutex_s and __pthread_rwlock_arch_t (sysdeps/nptl/bits/struct_mutex.h,
sysdeps/x86/nptl/bits/struct_rwlock.h), _IO_lock_t (sysdeps/nptl/stdio-lock.h), the member `tid` of
struct pthread (nptl/descr.h). musl: pthread_mutex_t and struct pthread
(src/internal/pthread_impl.h).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...elf.arch import Arch
from ...report import Frame

_DEPTH = 10  # frames looked at for the function that waits
_MAX_NAME = 100  # the C library's are shorter; on long ones the patterns would spend long
_TID = 0x3FFFFFFF  # FUTEX_TID_MASK (<linux/futex.h>)
_PI = (6, 13)  # FUTEX_LOCK_PI, FUTEX_LOCK_PI2
_WAITS = (0, 9, 11, *_PI)  # FUTEX_WAIT, _WAIT_BITSET, _WAIT_REQUEUE_PI
_PRIVATE = 0x80  # FUTEX_PRIVATE_FLAG: nobody of another process waits there
_CONTENDED = 2  # a lock's word while somebody waits
_WAITERS = 1 << 31  # FUTEX_WAITERS
_MUTEX_KINDS = 0x400  # __kind is below, with PTHREAD_MUTEX_NO_ELISION_NP
_ROBUST = 0x10  # PTHREAD_MUTEX_ROBUST_NORMAL_NP: the word has the owner
_MUSL_KINDS = 0x100  # _m_type is below
_MUSL_THREAD = 256  # bytes of musl's struct pthread in which detach_state lies

# The function of the C library that waits, innermost first, and the sort of thing it waits for.
_SORTS = tuple(
    (re.compile(rf"_*(?:GI_+)?(?:{pattern})(?:[@.].*)?"), sort)
    for pattern, sort in (
        (r"lll_lock_wait_private", "private"),
        (r"pthread_mutex_\w*lock\w*|lll_lock_wait|lll_mutex_lock\w*|mtx_\w*lock", "mutex"),
        (r"pthread_cond_\w*wait\w*|cnd_\w*wait", "condition"),
        (r"pthread_\w*join\w*|thrd_join", "thread"),
        (r"sem_\w*wait|new_sem_wait\w*|do_futex_wait\w*", "semaphore"),
        (r"pthread_rwlock_\w*lock\w*", "rwlock"),
        (r"pthread_barrier_wait", "barrier"),
    )
)
_MUSL_WAITS = ("__timedwait", "__timedwait_cp")  # of musl alone, if it is linked into the program
_HEAP = re.compile(
    r"_*(libc_)?(malloc|free|calloc|realloc|memalign)|_int_\w+|arena_get\w*|tcache_\w+"
)
# Where __cur_writer stands in a read-write lock, from its beginning; by the size of a long.
_CURRENT_WRITER = {8: 24, 4: 28}
_WRITERS_WAIT = (8, 12)  # __wrphase_futex, __writers_futex: what is waited for


@dataclass(frozen=True, slots=True)
class Lock:
    """What a thread waits for. `sort` is one of _SORTS or "futex"; `word` its address, 0 where that
    is not known; `owner` the id of the thread that holds it (or, for "thread", that is waited for),
    in the process's own pid namespace: 0 for nobody, None where that cannot be told. `sure` is
    False for a guess by the bytes alone, `heap` True for a lock of malloc; with `shared` another
    process may hold it."""

    sort: str
    word: int
    owner: int | None = None
    sure: bool = True
    heap: bool = False
    shared: bool = False


def is_wait(operation: int) -> bool:
    """Whether a futex operation (its second argument) is one that waits."""
    return operation & 0x7F in _WAITS


@dataclass(frozen=True, slots=True)
class LockReader:
    """Reads locks in a process's memory. `control_blocks` is the address of each thread's control
    block to its id; `ids` are those of all its threads."""

    arch: Arch
    read: Callable[[int, int], bytes]
    ids: frozenset[int]
    control_blocks: Mapping[int, int]

    def lock(self, word: int, operation: int, frames: Sequence[Frame]) -> Lock:
        """What a thread with this stack waits for at the futex word."""
        names = [frame.function or "" for frame in frames[:_DEPTH]]
        shared = not operation & _PRIVATE
        if operation & 0x7F in _PI:
            value = self._number(word)
            return Lock("mutex", word, None if value is None else value & _TID, shared=shared)
        sort = _sort(names)
        musl = any("musl" in (frame.module or "") for frame in frames[:_DEPTH])
        musl = musl or any(name in _MUSL_WAITS for name in names)
        if sort == "mutex":
            if musl:
                return Lock(sort, word - 4, self._owner_of_musl(word), shared=shared)
            return Lock(sort, word, self._owner(word), shared=shared)
        if sort == "private":
            heap = any(_HEAP.fullmatch(name.partition("@")[0]) for name in names)
            return Lock(sort, word, None if heap else self._owner_of_stream(word), heap=heap)
        if sort == "thread":
            return Lock(sort, word, self._ending(word) if musl else self._number(word))
        if sort == "rwlock":
            return Lock(sort, word, None if musl else self._writer(word))
        if sort == "condition" and musl:
            return Lock(sort, 0)  # (each thread waits at a word of its own)
        if sort:
            return Lock(sort, word)
        return Lock("futex", word) if musl or _has_name(names) else self._guess(word)

    def _guess(self, word: int) -> Lock:
        """A mutex whose functions have no names: contended, and a thread of ours owns it."""
        value, owner, kind = self._number(word), self._number(word + 8), self._kind(word)
        if value is None or kind is None or kind >= _MUTEX_KINDS or owner not in self.ids:
            return Lock("futex", word)
        if value == _CONTENDED or (kind & _ROBUST and value & _TID == owner):
            return Lock("mutex", word, owner, sure=False)
        return Lock("futex", word)

    def _owner(self, word: int) -> int | None:
        """Who has a mutex of glibc. While it is taken and given back there is none for a moment.
        Of a program with another C library in it that is not known to have one, nothing is said,
        unless the word fits musl's."""
        value, owner, kind = self._number(word), self._number(word + 8), self._kind(word)
        if value is None or kind is None or owner is None:
            return None
        if value <= _CONTENDED:
            return 0 if value == 0 else owner or None
        if kind & _ROBUST and kind < _MUTEX_KINDS:
            return value & _TID
        found = self._owner_of_musl(word) if value & _WAITERS else None
        return found if found in self.ids else None

    def _kind(self, word: int) -> int | None:
        return self._number(word + (16 if self.arch.long == 8 else 12))

    def _ending(self, word: int) -> int | None:
        """musl's pthread_join() waits at a word of the thread's own control block."""
        return next(
            (own for block, own in self.control_blocks.items()
             if 0 < word - block < _MUSL_THREAD), None,
        )  # fmt: skip

    def _owner_of_musl(self, word: int) -> int | None:
        """The lock word of a mutex of a checking or recursive type holds its owner."""
        kind, value = self._number(word - 4), self._number(word)
        if kind is None or value is None or not kind & 15 or kind >= _MUSL_KINDS:
            return None
        return value & _TID

    def _owner_of_stream(self, word: int) -> int | None:
        """_IO_lock_t has the control block of the thread that locked a FILE."""
        at = word + 8
        data = self.read(at, self.arch.long)
        if len(data) < self.arch.long:
            return None
        return self.control_blocks.get(int.from_bytes(data, self._order))

    def _writer(self, word: int) -> int | None:
        """The thread that has a read-write lock for writing; None where readers have it, as far as
        can be told."""
        for before in _WRITERS_WAIT:
            owner = self._number(word - before + _CURRENT_WRITER[self.arch.long])
            if owner in self.ids:
                return owner
        return None

    def _number(self, address: int) -> int | None:
        data = self.read(address, 4)
        return int.from_bytes(data, self._order) if len(data) == 4 else None

    @property
    def _order(self) -> Literal["little", "big"]:
        return self.arch.byte_order


def _has_name(names: Sequence[str]) -> bool:
    """Whether the function that waits has one. (A 32-bit program enters the kernel in the vdso.)"""
    return next((name for name in names if name != "__kernel_vsyscall"), "") != ""


def _sort(names: Sequence[str]) -> str:
    for name in names:
        if len(name) > _MAX_NAME:
            continue
        for pattern, sort in _SORTS:
            if pattern.fullmatch(name):
                return sort
    return ""
