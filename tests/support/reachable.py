"""Directories of tests that other users may enter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def reachable(place: Path) -> Path:
    """The directory `place`, once everybody may enter it and those above it, up to the one for
    temporary files (which has others above it that only root may enter, in some runs of pytest)."""
    top = Path(tempfile.gettempdir()).resolve()
    for directory in (place, *place.parents):
        if directory == top or top not in directory.parents:
            break
        directory.chmod(directory.stat().st_mode | 0o755)
    return place


@contextmanager
def open_directory() -> Iterator[Path]:
    """A new directory that everybody may enter, whoever else runs tests here: another run of pytest
    closes the one above all of its own to others."""
    with tempfile.TemporaryDirectory(prefix="uc-open-") as name:
        place = Path(name).resolve()
        place.chmod(0o755)
        yield place
