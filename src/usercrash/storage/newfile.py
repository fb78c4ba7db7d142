"""Files that a user asks for by name (`-o`, `--core`): there whole, or not there.

The content is written beside the name and renamed to it. Nothing follows a link
that somebody planted, also not in a directory that all may write to. They are for
their owner only (0600): a report holds memory and environment.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

from ..descriptors import write_all
from ..errors import UsercrashError

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISLNK, "is a symbolic link, and is not followed"),
)


class NewFile:
    """The file `path` to be, already writable: what is wrong with the name shows at once.

    Use it in a `with`: unless `commit` is called, nothing is left behind. UsercrashError names
    the path and what is wrong.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._directory = self._fd = -1
        self._name = os.path.basename(path)
        self._part = f".{self._name[:200]}.{os.urandom(6).hex()}.part"
        if not self._name:
            raise self._error("is not the name of a file")
        try:
            place = os.path.dirname(path) or "."
            self._directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._refuse_special()
            self._fd = os.open(self._part, _CREATE, 0o600, dir_fd=self._directory)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            self._close()
            raise self._error(_reason(error)) from error
        except UsercrashError:
            self._close()
            raise

    def _refuse_special(self) -> None:
        """A rename would replace a device, FIFO or link by a file: nobody wants that."""
        try:
            mode = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            kind = next((text for is_kind, text in _KINDS if is_kind(mode)), None)
            raise self._error(kind or "is not a regular file")

    def _error(self, why: str) -> UsercrashError:
        return UsercrashError(f"cannot write {self.path!r}: {why}")

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with suppress(FileNotFoundError):  # a child of ours has renamed it
                os.unlink(self._part, dir_fd=self._directory)
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def commit(self, chunks: Iterable[bytes]) -> None:
        """Write the content and give it its name, replacing a file that bears it."""
        self.write(chunks)
        self.replace()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Write the content, still under no name that anybody looks for."""
        try:
            for chunk in chunks:
                write_all(self._fd, chunk)
        except OSError as error:
            raise self._error(_reason(error)) from error

    def replace(self) -> None:
        """Give it its name, in place of a file that bears it."""
        try:
            os.rename(
                self._part, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory
            )
        except OSError as error:
            raise self._error(_reason(error)) from error
        os.close(self._fd)
        self._fd = -1

    def try_name(self, name: str) -> bool:
        """Give it this name in the same directory, if nothing bears it; else False."""
        try:
            os.link(self._part, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._error(_reason(error)) from error
        return True


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return error.strerror or errno.errorcode.get(error.errno or 0, "it failed")
    return str(error)
