"""docs/causes.md: the gallery's table for people.

python -m tests.causes.document            print it
python -m tests.causes.document --write    write it to docs/causes.md
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .programs import FAMILIES
from .way import Family, Way

DOCUMENT = Path(__file__).parents[2] / "docs" / "causes.md"
_HEAD = """\
# Why programs die, and what to do

Made from the gallery of `tests/causes` by `python -m tests.causes.document --write`: each line
below was seen in the report of a program that died so, through the kernel. Numbers, addresses and
names are examples.

The report's line **Why** is the summary. *(likely)* and *(possibly)* behind it say how sure it is:
nothing is certain that rests on less than the signal, the instruction and the memory agreeing. The
section **Cause** lists what it rests on. Words for programs, `cause.kind` and `cause.reason`, stand
behind each line; [report.md](report.md) has the whole list.
"""


def document() -> str:
    """The whole text."""
    return "\n".join([_HEAD, *(_family(family) for family in FAMILIES if _listed(family))])


def _listed(family: Family) -> list[Way]:
    return [way for way in family.ways if way.listed]


def _family(family: Family) -> str:
    lines = [f"## {family.title}\n", textwrap.fill(family.intro, 110), ""]
    for way in _listed(family):
        doubt = "" if way.certainty == "certain" else f" *({way.certainty})*"
        words = f"`{way.kind}`" + (f", `{way.reason}`" if way.reason else "")
        lines += [f"- **{_plain(way.example)}**{doubt} ({words})\\", f"  {_plain(way.means)}"]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text in which no character is Markdown's."""
    for character in "\\`*_<>[]":
        text = text.replace(character, "\\" + character)
    return text


def main(arguments: Sequence[str]) -> int:
    """The program; gives the exit status."""
    if list(arguments) == ["--write"]:
        DOCUMENT.write_text(document(), "utf-8")
        return 0
    if arguments:
        sys.stderr.write("usage: python -m tests.causes.document [--write]\n")
        return 2
    sys.stdout.write(document())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
