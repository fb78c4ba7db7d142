"""The tables of docs/architecture.md name rooms that there are, and every room."""

from __future__ import annotations

import re
from pathlib import Path

import usercrash

HOME = Path(usercrash.__file__).parent
DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"


def rooms(head: str) -> list[str]:
    """The files and directories of the first column of the table below this line."""
    table = DOCUMENT.read_text().partition(head)[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    return re.findall(r"`([\w/.]+)`", "\n".join(row.split("|")[1] for row in table.splitlines()))


def there(place: Path) -> set[str]:
    """What is in a directory of ours, as the tables write it."""
    found = {f"{one.parent.name}/" for one in place.glob("*/*.py")}
    return found | {one.name for one in place.glob("*.py") if one.name != "__init__.py"}


def test_the_rooms() -> None:
    named = rooms("## Rooms\n")
    assert named and [one for one in named if not (HOME / one).exists()] == []
    told = DOCUMENT.read_text()
    assert [one for one in sorted(there(HOME)) if f"`{one}`" not in told] == []


def test_the_rooms_of_the_analysis_and_of_the_views() -> None:
    for head, place in (("Inside `analysis/`", "analysis"), ("Inside `render/`", "render")):
        named = rooms(head)
        assert named and [one for one in named if not (HOME / place / one).exists()] == []
    told = DOCUMENT.read_text()
    assert [one for one in sorted(there(HOME / "analysis")) if f"`{one}`" not in told] == []
