"""The three sysctls of core dumps: read, written, and read back."""

from __future__ import annotations

import os

from ..errors import UsercrashError

CORE_PATTERN = "kernel/core_pattern"
CORE_PIPE_LIMIT = "kernel/core_pipe_limit"
SUID_DUMPABLE = "fs/suid_dumpable"

# fs/exec.c: CORENAME_MAX_SIZE 128 with its NUL. Longer ones are cut silently.
MAX_PATTERN = 127

_ROOT = "/proc/sys"


def path_of(name: str) -> str:
    """The file of a sysctl that is named by its path below /proc/sys."""
    return f"{_ROOT}/{name}"


def read(name: str) -> str:
    """The sysctl's value without its final newline; UsercrashError if it cannot be read."""
    try:
        with open(path_of(name), "rb") as file:
            return os.fsdecode(file.read().removesuffix(b"\n"))
    except OSError as error:
        raise UsercrashError(f"cannot read {path_of(name)}: {error.strerror}") from error


def write(name: str, value: str) -> None:
    """Set the sysctl and read it back: UsercrashError if it is refused or cut."""
    if name == CORE_PATTERN:
        check_pattern(value)
    try:
        descriptor = os.open(path_of(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            # One write: the kernel takes each as a whole value.
            os.write(descriptor, os.fsencode(value) + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        hint = "only root may set it" if os.geteuid() else ""
        message = f"cannot write {path_of(name)}: {error.strerror}"
        raise UsercrashError(message, hint) from error
    if (now := read(name)) != value:
        raise UsercrashError(f"{path_of(name)} holds {now!r} after {value!r} was written to it")


def check_pattern(pattern: str) -> None:
    """UsercrashError if the kernel would not keep `pattern` as it is."""
    size = len(os.fsencode(pattern))
    if size > MAX_PATTERN:
        raise UsercrashError(
            f"core_pattern of {size} bytes: the kernel keeps {MAX_PATTERN}: {pattern}"
        )
    if "\n" in pattern or "\0" in pattern:
        raise UsercrashError(f"core_pattern must be one line: {pattern!r}")


def writable() -> bool:
    """Whether this process may set core_pattern (root, /proc/sys not read-only)."""
    # access() tells nothing for root: only an open for writing does.
    try:
        os.close(os.open(path_of(CORE_PATTERN), os.O_WRONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return os.geteuid() == 0
