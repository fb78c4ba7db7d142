"""Directories of tests that other users may enter."""

from __future__ import annotations

import tempfile
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
