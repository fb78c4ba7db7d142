"""Which file systems may be touched while a process is held.

Opening a file, or reading a page that is not in memory, asks its file system. One
in user space (FUSE) or on a server may never answer, and nothing ends
that wait. So only file systems that are known to answer are asked.
"""

from __future__ import annotations

import os
import select

from .procfs import read_at

_ON_DISK = frozenset((
    b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"f2fs", b"jfs", b"bcachefs", b"zfs", b"reiserfs",
    b"squashfs", b"erofs", b"iso9660", b"udf", b"vfat", b"exfat", b"ntfs3", b"minix",
))  # fmt: skip
_IN_MEMORY = frozenset((b"tmpfs", b"ramfs", b"rootfs", b"devtmpfs", b"hugetlbfs"))
_MOUNTINFO_LIMIT = 4 << 20
# The process's mounts; ours; and init's: a table ends at its reader's root directory, so that a
# process in a chroot that is no mount point does not see the file system on which it lives.
_TABLES = (b"mountinfo", b"/proc/self/mountinfo", b"/proc/1/mountinfo")
_KEPT = b"/proc/self/mountinfo"
# A device is the same file system in each table, so the order is a matter of cost.
_TABLES_KEPT = (_KEPT, b"mountinfo", b"/proc/1/mountinfo")


def parse_mountinfo(text: bytes) -> dict[bytes, bytes]:
    """Device (text `major:minor` in hex, as in maps) to file system type.

    proc_pid_mountinfo(5); the kernel escapes spaces in paths, so ` - ` stands once.
    """
    result = {}
    for line in text.split(b"\n"):
        head, dash, tail = line.partition(b" - ")
        fields = head.split(b" ", 3)
        if not dash or len(fields) < 4:
            continue
        major, _, minor = fields[2].partition(b":")
        if major.isdigit() and minor.isdigit() and len(fields[2]) < 24:
            result[b"%02x:%02x" % (int(major), int(minor))] = tail.split(b" ", 1)[0]
    return result


class KeptMounts:
    """Our own table of mounts, read anew only after a mount has come or gone: the kernel says so
    to poll(2) (mounts_poll() in fs/proc_namespace.c)."""

    __slots__ = ("_fd", "_owner", "_poll", "_table")

    def __init__(self) -> None:
        self._fd = -1
        self._owner = 0
        self._poll = select.poll()
        self._table: dict[bytes, bytes] = {}

    def table(self) -> dict[bytes, bytes]:
        """Device to type, as of now; empty if it cannot be read."""
        try:
            if self._owner != os.getpid():
                self._open()
            elif not self._poll.poll(0):
                return self._table
            # Read again from its beginning on: what changes meanwhile is told by the next poll.
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._table = parse_mountinfo(_read_all(self._fd))
        except OSError:
            self._owner = 0
            self._table = {}
        return self._table

    def _open(self) -> None:
        """Each process needs its own: of those that share one, only the first is told."""
        if self._fd >= 0:
            self._poll.unregister(self._fd)
            os.close(self._fd)
        self._fd = os.open(_KEPT, os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._fd, select.POLLPRI)
        self._owner = os.getpid()


def _read_all(fd: int) -> bytes:
    parts = []
    while data := os.read(fd, 1 << 16):
        parts.append(data)
    return b"".join(parts)


_kept: KeptMounts | None = None


def keep_mounts() -> None:
    """From now on keep a descriptor and the table of our mounts: for a process that captures
    many crashes, each of which would read it."""
    global _kept
    if _kept is None:
        _kept = KeptMounts()


class FileSystems:
    """The file systems that a process sees, looked up when first asked for.

    A device is trusted only if it is mounted where the process, we or init can see it. An
    overlay is trusted only if the process lives in our user namespace: anybody can
    mount an overlay over FUSE in a user namespace of his own.
    """

    __slots__ = ("_proc", "_tables", "_trust_overlay")

    def __init__(self, proc: int) -> None:
        self._proc = proc
        self._tables: dict[bytes, dict[bytes, bytes]] = {}
        self._trust_overlay: bool | None = None

    def type_of(self, device: bytes) -> bytes:
        """The type of a mounted device, b"" if it is mounted nowhere that we can see."""
        if device == _memory_device():
            return b"tmpfs"
        if _kept is not None and _KEPT not in self._tables:
            self._tables[_KEPT] = _kept.table()
        for name in _TABLES if _kept is None else _TABLES_KEPT:
            if name not in self._tables:
                self._tables[name] = self._read(name)
            found = self._tables[name].get(device)
            if found is not None:
                return found
        return b""

    def pages_answer(self, device: bytes) -> bool:
        """Whether a page that is not in memory may be read. Not so for files in memory:
        those can be registered with userfaultfd."""
        kind = self.type_of(device)
        if kind == b"overlay":
            if self._trust_overlay is None:
                self._trust_overlay = _same_user_namespace(self._proc)
            return self._trust_overlay
        return kind in _ON_DISK

    def opens(self, device: bytes) -> bool:
        """Whether a file may be opened and read through a descriptor."""
        return self.pages_answer(device) or self.type_of(device) in _IN_MEMORY

    @staticmethod
    def mount_of(fd: int) -> bytes:
        """The number of the mount on which an open file lies (O_PATH will do), in digits; nothing
        is asked of its file system."""
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            return file.read(4096).partition(b"mnt_id:")[2].split(b"\n", 1)[0].strip()

    def opens_mount_of(self, fd: int) -> bool:
        """Whether what is below an open file of the process may be opened, by its mount."""
        return self.opens_mount(self.mount_of(fd))

    def opens_mount(self, number: bytes) -> bool:
        """Whether what is on a mount of the process may be opened. Reads the whole table."""
        text = b"\n" + read_at(self._proc, b"mountinfo", _MOUNTINFO_LIMIT)
        line = text.partition(b"\n%b " % number)[2].split(b" ", 2)
        major, _, minor = line[1].partition(b":") if len(line) == 3 else (b"", b"", b"")
        if not number or not major.isdigit() or not minor.isdigit():
            return False
        return self.opens(b"%02x:%02x" % (int(major), int(minor)))

    def _read(self, name: bytes) -> dict[bytes, bytes]:
        try:
            return parse_mountinfo(read_at(self._proc, name, _MOUNTINFO_LIMIT))
        except OSError:
            return {}  # nothing is trusted then, and every file not opened has its note


def _memory_device() -> bytes:
    """The kernel's own tmpfs, mounted nowhere, that holds memfds and shared anonymous memory.
    It is the same as long as the system runs."""
    global _shm
    if not _shm:
        try:
            fd = os.memfd_create("usercrash", os.MFD_CLOEXEC)
        except OSError:
            _shm = b"-"  # no memfds on this kernel: no device to trust
            return _shm
        device = os.fstat(fd).st_dev
        os.close(fd)
        _shm = b"%02x:%02x" % (os.major(device), os.minor(device))
    return _shm


_shm = b""


def _same_user_namespace(proc: int) -> bool:
    try:
        return os.readlink(b"ns/user", dir_fd=proc) == os.readlink(b"/proc/self/ns/user")
    except OSError:
        return False
