"""What the standard library lacks for descriptors."""

from __future__ import annotations

import os


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write all of it, in as many pieces as the kernel takes; OSError as it comes."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
