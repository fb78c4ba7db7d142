"""Memory mappings, as /proc/PID/maps lists them (proc_pid_maps(5))."""

from __future__ import annotations

_DELETED = b" (deleted)"


class Mapping:
    """One line of `maps`: [start, end), permissions `rwxp`, file offset, device, inode, path.

    `path` is raw bytes with the kernel's `\\012` escapes undone, b"" for anonymous
    memory; ` (deleted)` is removed and told by `deleted`. `device` is the text
    `major:minor` in hex as the kernel prints it.
    """

    __slots__ = ("start", "end", "perms", "offset", "device", "inode", "path", "deleted")

    def __init__(
        self,
        start: int,
        end: int,
        perms: bytes,
        offset: int = 0,
        device: bytes = b"00:00",
        inode: int = 0,
        path: bytes = b"",
        deleted: bool = False,
    ) -> None:
        self.start = start
        self.end = end
        self.perms = perms
        self.offset = offset
        self.device = device
        self.inode = inode
        self.path = path
        self.deleted = deleted

    def __repr__(self) -> str:
        return f"Mapping({self.start:#x}-{self.end:#x} {self.perms!r} {self.path!r})"

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def readable(self) -> bool:
        return self.perms[:1] == b"r"

    @property
    def writable(self) -> bool:
        return self.perms[1:2] == b"w"

    @property
    def executable(self) -> bool:
        return self.perms[2:3] == b"x"

    @property
    def is_file(self) -> bool:
        """Backed by a file (inode set, and not one of the kernel's `[names]`)."""
        return self.inode != 0 and self.path[:1] != b"["


def split_deleted(path: bytes) -> tuple[bytes, bool]:
    """A path without the kernel's ` (deleted)`, and whether that stood there."""
    return (path[: -len(_DELETED)], True) if path.endswith(_DELETED) else (path, False)


def parse_maps(text: bytes) -> list[Mapping]:
    """All well-formed lines of /proc/PID/maps, in their order; others are passed over."""
    mappings = []
    for line in text.split(b"\n"):
        parts = line.split(None, 5)
        if len(parts) < 5:
            continue
        span, perms, offset, device, inode = parts[:5]
        low, _, high = span.partition(b"-")
        path = parts[5] if len(parts) == 6 else b""
        path, deleted = split_deleted(path)
        if b"\\012" in path:
            path = path.replace(b"\\012", b"\n")
        try:
            mappings.append(
                Mapping(int(low, 16), int(high, 16), perms, int(offset, 16), device,
                        int(inode), path, deleted)
            )  # fmt: skip
        except ValueError:
            continue
    return mappings


def find_mapping(mappings: list[Mapping], address: int) -> Mapping | None:
    """The mapping that holds `address`, by binary search; `mappings` sorted by start."""
    low, high = 0, len(mappings)
    while low < high:
        middle = (low + high) // 2
        if mappings[middle].end <= address:
            low = middle + 1
        else:
            high = middle
    if low < len(mappings) and mappings[low].start <= address:
        return mappings[low]
    return None
