"""What the standard library lacks for descriptors."""

from __future__ import annotations

import os


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write all of it, in as many pieces as the kernel takes; OSError as it comes."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor above 2 but `keep`."""
    last = 2
    for number in sorted(fd for fd in keep if fd > 2):
        os.closerange(last + 1, number)
        last = number
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))
