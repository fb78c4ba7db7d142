"""Our programs as commands, from the source tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import usercrash

SOURCES = Path(usercrash.__file__).parent.parent


def program(module: str) -> list[str]:
    """The command line of the program whose `main` is in `usercrash.MODULE`."""
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCES)!r})\nfrom usercrash.{module} import main\n"
    )
    return [sys.executable, "-c", f"{code}sys.exit(main())"]


def settings(place: Path, text: str = "") -> Path:
    """A configuration whose directories all lie in `place` (and do not exist yet)."""
    file = place / "usercrash.toml"
    names = ("reports", "run", "state", "cache")
    paths = "".join(f'{name} = "{place}/{name}"\n' for name in names)
    file.write_text(f"[paths]\n{paths}{text}")
    return file


def environment() -> dict[str, str]:
    """That of the tests, without anything that would change what our programs do."""
    return {name: value for name, value in os.environ.items() if not name.startswith("USERCRASH")}
