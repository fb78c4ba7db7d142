"""What an installation has changed: /var/lib/usercrash/install.json, for its way back."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from ..errors import UsercrashError

PATH = "/var/lib/usercrash/install.json"


class Change(msgspec.Struct):
    """A sysctl: its value before the installation, and the one that was set."""

    old: str
    new: str


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """`files` maps each installed path to its digest (`directory` for the bundles),
    `sysctls` the names of system.sysctl to their change."""

    version: str = ""
    files: dict[str, str] = {}
    sysctls: dict[str, Change] = {}
    account_created: bool = False


def load_record(root: str) -> Record | None:
    """The record below `root`, None if nothing is installed there."""
    path = root + PATH
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsercrashError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsercrashError(f"cannot read {path}: {error}") from error


def save_record(root: str, record: Record) -> None:
    """Write the record, whole or not at all; OSError as it comes."""
    path = root + PATH
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record)) + b"\n", 0o600)


def digest(content: bytes) -> str:
    """How a file's content stands in the record."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def digest_at(path: str) -> str | None:
    """The digest of what is at the path (a link: its target); None if nothing is there."""
    try:
        if os.path.islink(path):
            return f"link:{os.readlink(path)}"
        if os.path.isdir(path):
            return "directory"
        return digest(Path(path).read_bytes())
    except FileNotFoundError:
        return None


def write_atomically(path: str, content: bytes, mode: int) -> None:
    """Put a file in place of what was there; readers see the old one or the new one."""
    new = f"{path}.usercrash-new"
    if os.path.lexists(new):
        os.unlink(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
