"""Our variables beside gdb's: what both know must be equal, in whatever words."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from usercrash.analysis.assemble import assemble
from usercrash.report import Frame, Report, Variable

from .analysed import analyse
from .build import need
from .oracle import run_quietly

EQUAL, BETTER, WORSE, DIFFERENT, MISSING = "equal", "better", "worse", "different", "missing"
_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r",
            34: '\\"', 92: "\\\\"}  # fmt: skip
_GONE = "<optimized out>"
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'|<[^<>]*>|[^\s,{}()=|]+|[{}()|]')
_REPEATED = re.compile(r"([^{},]+) <repeats ([\d,]+) times>")
# A function with its arguments, behind a pointer to it
_FUNCTION = re.compile(
    r"(0x[0-9a-f]+) <(?!optimized|not )[\w:~]+\([^<>]*(?:<[^<>]*>[^<>]*)*\)[ a-z]*>"
)
_NUMBER = re.compile(r"0x[0-9a-f]+")


class Line(NamedTuple):
    """A variable that is not equal."""

    verdict: str
    name: str
    where: str
    ours: str
    theirs: str


@dataclass(slots=True)
class Comparison:
    """How many variables were equal, better …; a line for each that is not equal."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: list[Line] = field(default_factory=list)

    def add(self, line: Line) -> None:
        self.counts[line.verdict] += 1
        if line.verdict != EQUAL:
            self.lines.append(line)


def build(command: str, source: Path, exe: Path) -> None:
    """Compile; the compiler must be there."""
    compiler, *flags = command.split()
    line = [need(compiler, compiler), *flags, "-w", "-o", str(exe), str(source)]
    subprocess.run(line, check=True, cwd=exe.parent)


def report_of(core: Path, exe: Path | None = None) -> Report:
    """The report of a core."""
    found = analyse(core, exe=exe)
    return assemble(found.image, found.modules, found.symbolizer, "0" * 32)


def gdb_variables(
    core: Path, exe: Path, sysroot: Path | None = None, limit: int = 12
) -> list[dict[str, list[list[object]]]]:
    """gdb's frames with their variables, as variables_in_gdb.py writes them; with a `sysroot` the
    core is of another machine."""
    script = Path(__file__).with_name("variables_in_gdb.py")
    output = run_quietly(
        [
            need("gdb-multiarch", "gdb-multiarch") if sysroot else need("gdb", "gdb"),
            "-batch", "-nx", "-q",
            "-iex", "set debuginfod enabled off", "-iex", "set auto-load off",
            *(["-iex", f"set sysroot {sysroot}"] if sysroot else []),
            "-ex", f"set $limit = {limit}", "-ex", f"source {script}", str(exe), str(core),
        ]
    )  # fmt: skip
    for line in output.split("\n"):
        if line.startswith("USERCRASH "):
            found: list[dict[str, list[list[object]]]] = json.loads(line.removeprefix("USERCRASH "))
            return found
    raise RuntimeError(f"gdb gave no variables of {core}:\n{output}")


def compare(report: Report, theirs: list[dict[str, list[list[object]]]]) -> Comparison:
    """Each variable that gdb has beside ours of the same frame."""
    result = Comparison()
    for frame, their in zip(report.threads[0].frames, theirs, strict=False):
        _compare_frame(result, frame, their["variables"])
    return result


def _compare_frame(result: Comparison, frame: Frame, theirs: list[list[object]]) -> None:
    left = list(frame.variables)
    for name, argument, kind, value in theirs:
        if str(name).startswith("__vla_expr"):  # clang's own, and marked as such
            continue
        words = _words(value)  # type: ignore[arg-type]
        place = f"#{frame.index} {frame.function}: {kind}"
        ours = next(
            (v for v in left if v.name == name and (v.kind == "parameter") == argument), None
        )
        if ours is None:
            result.add(Line(MISSING, str(name), place, "", words))
            continue
        left.remove(ours)
        result.add(Line(_verdict(ours, words), ours.name, place, ours.value, words))


def _verdict(ours: Variable, words: str) -> str:
    if same(ours.value, words):
        return EQUAL
    if _GONE in words and ours.gap:
        return EQUAL
    if (
        _GONE in words
        or "<error" in words
        or "<unavailable>" in words
        or "unknown length" in (ours.gap or "")
    ):
        return BETTER
    return WORSE if _GONE in ours.value or ours.gap else DIFFERENT


def _words(value: list[object]) -> str:
    """gdb's value as it would be written here."""
    kind, *rest = value
    if kind == "reference":
        return f"{rest[0]:#x} → {_words(rest[1])}"  # type: ignore[arg-type]
    if kind == "record":
        members: list[tuple[str, list[object]]] = rest[0]  # type: ignore[assignment]
        shown = [(name, _words(value)) for name, value in members]
        # (bases without anything in them are left out here)
        kept = [(name, words) for name, words in shown if name[:1] != "<" or words != "{}"]
        return "{" + ", ".join(f"{name} = {words}" if name else words for name, words in kept) + "}"
    if kind == "array":
        return "{" + ", ".join(_words(one) for one in rest[0]) + "}"  # type: ignore[attr-defined]
    if kind == "chars":
        codes: list[int] = rest[0]  # type: ignore[assignment]
        return _quoted(codes[: codes.index(0)] if 0 in codes else codes)
    return _scalar(str(kind), rest)


def _scalar(kind: str, rest: list[object]) -> str:
    if kind == "gone":
        return _GONE
    if kind == "error":
        return f"<error {rest[0]}>"
    if kind == "pointer":
        return f"{rest[0]:#x}" if rest[0] else "null"
    if kind == "bool":
        return {0: "false", 1: "true"}.get(int(str(rest[0])), str(rest[0]))
    if kind == "enum":
        text = str(rest[1]).strip("()").rpartition("::")[2]
        return text if "unknown" not in text else str(rest[0])
    return f"~{rest[0]}" if kind == "float" else str(rest[0])


def _quoted(codes: list[int]) -> str:
    data = bytes(codes)
    try:
        text, utf8 = data.decode(), True
    except UnicodeDecodeError:
        text, utf8 = data.decode("latin-1"), False
    return '"' + "".join(_escaped(char, utf8) for char in text) + '"'


def _escaped(char: str, utf8: bool) -> str:
    known = _ESCAPES.get(ord(char))
    if known is not None:
        return known
    return char if char.isprintable() and (utf8 or char.isascii()) else f"\\{ord(char):03o}"


def same(ours: str, theirs: str) -> bool:
    """Whether two values are the same one; what ours adds (texts and functions that pointers lead
    to, the character of a number) does not count, nor what it leaves out with an ellipsis."""
    if " → " not in theirs:
        ours = ours.partition(" → ")[0]
    mine, other = _tokens(ours), _tokens(theirs)
    for one, two in zip(mine, other, strict=False):
        if one.startswith("…") or one == "<masked>":
            return True
        if one[:1] == '"':  # (gdb's are cut at their first zero here)
            head, zero, _ = one.partition("\\000")
            one = f'{head}"' if zero else one
        if one != two and not _equal_floats(one, two):
            return one.endswith("…") and two.startswith(one[:-2])
    if mine[-1:] == [_GONE] and len(mine) == len(other) + 1:
        return True  # the beginning of a text, where gdb takes what is missing for zeros
    return len(mine) == len(other) or "…" in mine


def _tokens(text: str) -> list[str]:
    text = _FUNCTION.sub(r"\1", text)
    text = _REPEATED.sub(
        lambda found: ", ".join([found[1].strip()] * int(found[2].replace(",", ""))), text
    )
    kept: list[str] = []
    for token in _TOKEN.findall(text):
        behind_pointer = bool(kept) and _NUMBER.fullmatch(kept[-1]) is not None
        if token.startswith("'") or (behind_pointer and token[0] in '"<…'):
            continue
        kept.append(token)
    return kept


def _equal_floats(one: str, two: str) -> bool:
    if not two.startswith("~"):
        return False
    if "nan" in two:
        return "nan" in one
    try:
        return math.isclose(float(one), float(two[1:]), rel_tol=1e-6, abs_tol=1e-44)
    except ValueError:
        return False
