"""The ELF files of crashes that wait for their analysis, kept open once for each inode.

A storm is most often one program dying again and again: a thousand crashes that wait share the
handful of files that they had mapped. What is let go early (too many, too long) is
opened by its path, without privileges, when the analysis comes to it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable


class SharedFile:
    """A file that crashes wait with. `fd` is -1 once it was let go, and stays so: a file that
    is opened later under the same inode number may be another one."""

    __slots__ = ("fd", "identity", "until", "users")

    def __init__(self, fd: int, identity: tuple[int, int]) -> None:
        self.fd = fd
        self.identity = identity  # st_dev, st_ino
        self.users = 0  # crashes
        self.until = 0.0  # monotonic seconds


class ElfDescriptors:
    """Holds at most `most` descriptors, each for at most `seconds` after a crash brought it."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        # Those that are open, the one brought longest ago first.
        self._open: OrderedDict[tuple[int, int], SharedFile] = OrderedDict()

    def __len__(self) -> int:
        """How many files are open."""
        return len(self._open)

    def keep(self, fds: Iterable[int], now: float) -> list[SharedFile]:
        """Take over the descriptors of a crash; gives them shared, in their order.

        To be answered by one `release`.
        """
        files = []
        for fd in fds:
            status = os.fstat(fd)
            identity = (status.st_dev, status.st_ino)
            file = self._open.get(identity)
            if file is None:
                file = self._open[identity] = SharedFile(fd, identity)
            else:
                os.close(fd)
                self._open.move_to_end(identity)
            file.users += 1
            file.until = now + self._seconds
            files.append(file)
        while len(self._open) > self._most:
            self._let_go_oldest()
        return files

    def release(self, files: Iterable[SharedFile]) -> None:
        """A crash needs them no more; what nobody needs is closed."""
        for file in files:
            file.users -= 1
            if file.users == 0 and file.fd >= 0:
                del self._open[file.identity]
                _close(file)

    def expire(self, now: float) -> None:
        """Let go what was held too long: an open file keeps its file system from being
        unmounted, and the room of a deleted one from being used."""
        while self._open and next(iter(self._open.values())).until <= now:
            self._let_go_oldest()

    def next_deadline(self) -> float | None:
        """When the next one is to be let go, in monotonic seconds."""
        return next((file.until for file in self._open.values()), None)

    def _let_go_oldest(self) -> None:
        _close(self._open.popitem(last=False)[1])


def _close(file: SharedFile) -> None:
    os.close(file.fd)
    file.fd = -1
