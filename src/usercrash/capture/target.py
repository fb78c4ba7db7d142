"""What can be captured: the one shape behind every entrance.

A target is a process that stands still (dumped by the kernel, or stopped by
ptrace). `collect()` takes everything it needs from it; `release()` lets it go.
"""

from __future__ import annotations

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    from ..model.event import CrashEvent
    from ..model.notes import NoteLog
    from ..model.snapshot import ElfNote, ThreadState
else:
    Protocol = object  # typing costs a held process 10 ms


class Target(Protocol):
    """A process that stands still.

    `proc` is a descriptor of the directory /proc/PID/task/TID of the crashing
    thread, -1 where that could not be had or could not be proved to be the
    process in question: then nothing of /proc may be read. `notes` gathers the
    soft errors of this target and of everything that capture does with it. `status` is
    that thread's `status` file where it has been read already, else empty. `dumped` says that
    the kernel is dumping it: then what its threads do in the kernel is to wait for that.
    """

    event: CrashEvent
    machine: int
    elf_class: int
    notes: NoteLog
    proc: int
    status: bytes
    dumped: bool

    def elf_notes(self) -> list[ElfNote]:
        """Notes in the kernel's layout and order: the crashing (or first) thread first."""
        ...

    def first_notes(self) -> list[ElfNote]:
        """Those of them that belong to the first thread or to the process as a whole."""
        ...

    def threads(self) -> list[ThreadState]:
        """The threads in the order of their PRSTATUS notes; empty for an unknown architecture."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """The bytes at `address`, cut at the first unreadable one; never raises for an address.

        It may block for good on memory that a hung file system backs: `capture.memory`
        asks only for pages that are known to be there.
        """
        ...

    def release(self) -> None:
        """Let the process go; harmless when called again."""
        ...
