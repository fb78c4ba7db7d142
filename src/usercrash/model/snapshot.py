"""What capture brings home: everything that the analysis will ever see of the process."""

from __future__ import annotations

from .event import CrashEvent
from .notes import NoteLog
from .types import Tid


class ElfNote:
    """One note of an ELF core: owner without its final NUL, type, descriptor bytes."""

    __slots__ = ("owner", "type", "desc")

    def __init__(self, owner: bytes, type: int, desc: bytes) -> None:
        self.owner = owner
        self.type = type
        self.desc = desc


class ThreadState:
    """A thread's general registers, by the architecture's names; of threads that did not crash
    a target may give those of Arch.parse_place only.

    `tid` is the id in the notes (the process's own pid namespace), `host_tid` the
    one under /proc here (the same outside containers; 0 when not known).
    """

    __slots__ = ("tid", "host_tid", "registers")

    def __init__(self, tid: Tid, host_tid: Tid, registers: dict[str, int]) -> None:
        self.tid = tid
        self.host_tid = host_tid
        self.registers = registers


class Load:
    """A piece of the process's memory: `data` stood at `address`."""

    __slots__ = ("address", "data", "flags")

    def __init__(self, address: int, data: bytes, flags: int = 6) -> None:
        self.address = address
        self.data = data
        self.flags = flags  # PF_R 4, PF_W 2, PF_X 1, as in a program header


class MappedFile:
    """An ELF file that the process had mapped, with an open descriptor on it (-1: none).

    `device` (text `major:minor` in hex, as in maps) and `inode` are its identity.
    """

    __slots__ = ("path", "device", "inode", "fd")

    def __init__(self, path: bytes, device: bytes, inode: int, fd: int = -1) -> None:
        self.path = path
        self.device = device
        self.inode = inode
        self.fd = fd


class Snapshot:
    """A process at one instant.

    `elf_notes` are in the kernel's layout and order (the crashing thread first).
    `facts` maps a name below /proc/PID (`b"maps"`, `b"fd/3"`, `b"task/7/comm"`) to
    the raw bytes that stood there (a link's target for links); names that do
    not come from /proc start with `@`. Nothing in it has been interpreted.
    """

    __slots__ = ("event", "machine", "elf_class", "elf_notes", "loads", "facts", "files", "notes")

    def __init__(
        self,
        event: CrashEvent,
        machine: int,
        elf_class: int,
        elf_notes: list[ElfNote],
        loads: list[Load],
        facts: dict[bytes, bytes],
        files: list[MappedFile],
        notes: NoteLog,
    ) -> None:
        self.event = event
        self.machine = machine
        self.elf_class = elf_class  # 1: 32 bits, 2: 64 bits (EI_CLASS)
        self.elf_notes = elf_notes
        self.loads = loads
        self.facts = facts
        self.files = files
        self.notes = notes
