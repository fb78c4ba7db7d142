"""The corpus's verdicts with their reasons, as docs/unwinding.md has them.

`python -m tests.support.corpus_document` measures and writes the table anew.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .corpus import Recipe, build_recipe, recipes
from .corpus_run import DIFFERS, EQUAL, Verdict, die, judge, matches
from .kernel import analyze, file_cores

DOCUMENT = Path(__file__).parents[2] / "docs" / "unwinding.md"
ORACLES = ("gdb", "eu-stack")
_BEGIN, _END = "<!-- corpus: begin -->\n", "<!-- corpus: end -->\n"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an oracle shows something else of these builds (patterns of ids, with spaces), and which
    word that deserves for us."""

    builds: str
    oracle: str
    word: str
    text: str


def measure(builds: Iterable[Recipe] | None = None) -> list[Verdict]:
    """Build everything, crash it, and compare; RuntimeError names what does not build or crash."""
    wanted = list(recipes() if builds is None else builds)
    place = Path(tempfile.mkdtemp(prefix="uc-corpus-"))
    place.chmod(0o755)  # the analysis is somebody else
    try:
        with ThreadPoolExecutor(2) as pool:
            exes = list(pool.map(lambda one: build_recipe(one, _room(place, one)), wanted))
            cores = place / "cores"
            cores.mkdir()
            with file_cores(cores):
                found = [die(exe, cores) for exe in exes]
            rows = list(zip(wanted, exes, found, strict=True))
            return [one for three in pool.map(_judge, rows) for one in three]
    finally:
        shutil.rmtree(place, True)


def _room(place: Path, recipe: Recipe) -> Path:
    return place / recipe.id.replace("/", "-")


def _judge(row: tuple[Recipe, Path, Path]) -> list[Verdict]:
    recipe, exe, core = row
    return judge(recipe, exe, core, analyze(core, "--exe", exe))


def reason_of(verdict: Verdict, reasons: Iterable[Reason]) -> Reason | None:
    """The first reason that is given for it."""
    for reason in reasons:
        if reason.oracle == verdict.oracle and matches(verdict.recipe, reason.builds):
            return reason
    return None


def table(verdicts: Iterable[Verdict], reasons: list[Reason]) -> Iterator[str]:
    """The lines of the table, with the reasons below it by their numbers."""
    rows: dict[str, dict[str, str]] = {}
    used: list[Reason] = []
    for verdict in verdicts:
        shown = EQUAL
        if verdict.word != EQUAL:
            reason = reason_of(verdict, reasons)
            if reason is None or verdict.word not in (reason.word, DIFFERS):
                shown = f"{verdict.word}, unexplained"
            else:
                if reason not in used:
                    used.append(reason)
                shown = f"{reason.word} ({used.index(reason) + 1})"
        rows.setdefault(verdict.recipe.id, {})[verdict.oracle] = shown
    yield "| build | beside gdb 13.1 | beside eu-stack 0.188 |"
    yield "|---|---|---|"
    for name, row in rows.items():
        yield f"| {name} | {row['gdb']} | {row['eu-stack']} |"
    yield ""
    for number, reason in enumerate(used, 1):
        yield f"{number}. {reason.text}"


def written() -> str:
    """What the document says now."""
    found = re.search(f"{_BEGIN}(.*){_END}", DOCUMENT.read_text(), re.DOTALL)
    return found[1] if found else ""


def main() -> None:
    """Measure and write."""
    from .corpus_reasons import REASONS

    text = DOCUMENT.read_text()
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    verdicts = measure()
    for verdict in verdicts:
        if verdict.word != EQUAL:
            sys.stdout.write(f"{verdict.recipe.id} {verdict.oracle} {verdict.word} "
                             f"{verdict.kinds} {verdict.examples}\n")  # fmt: skip
    lines = "\n".join(table(verdicts, REASONS))
    DOCUMENT.write_text(f"{head}{_BEGIN}{lines}\n{_END}{tail}")


if __name__ == "__main__":
    main()
