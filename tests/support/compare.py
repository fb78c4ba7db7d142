"""Our frames beside an oracle's, and what differs between them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from usercrash.report import Frame, Thread

from .build import need
from .oracle import OracleFrame


@dataclass(frozen=True, slots=True)
class Difference:
    """`ours` and `theirs` are function names; `kind` is one of

    - ours, theirs: a frame that only one side has
    - inlined: other inlined functions at one pc
    - alias: two symbols of one address
    - scope: we leave out namespaces, classes or functions around it
    - wider: the other side does
    - name: anything else
    """

    kind: str
    ours: str
    theirs: str
    index: int

    def __str__(self) -> str:
        return f"#{self.index} {self.kind}: ours {self.ours!r}, theirs {self.theirs!r}"


@dataclass(frozen=True, slots=True)
class _Group:
    """One place on the stack: its pc, its functions, inlined ones first, its module, and how many
    functions the report left out before it."""

    pc: int
    names: tuple[str, ...]
    module: str | None = None
    omitted: int = 0


# The words of debug information for types, and those of the demangler.
_TYPES = {
    "long unsigned int": "unsigned long", "short unsigned int": "unsigned short",
    "long long int": "long long", "long int": "long", "short int": "short",
}  # fmt: skip
_CLONE = re.compile(
    r" ?\(?(\[clone [^]]*\]|\.(constprop|isra|part|cold|lto_priv)(\.\d+)*|@+\S+)\)?"
)
# Each demangler has its own way to write a lambda.
_LAMBDA = re.compile(r"\{lambda(\([^()]*\)#\d+)?\}|<lambda\([^()]*\)>|'lambda\d*'(\([^()]*\))?")


def plain_name(name: str | None) -> str:
    """The function's name as all tools would write it: without parameters, clone suffixes,
    symbol versions, spaces; "" for none."""
    if not name or name == "??":
        return ""
    name = _CLONE.sub("", name).replace("(anonymous namespace)", "{anonymous}")
    name = _LAMBDA.sub("<lambda>", name)
    for written, plain in _TYPES.items():
        name = name.replace(written, plain)
    while True:
        shorter = re.sub(r"\([^()]*\)", "", name)
        if shorter == name:
            break
        name = shorter
    name = re.sub(r"\b(const|void|int|bool)\b(?= *$)", "", name).strip()
    return re.sub(r"\s+", "", _without_return_type(name))


def _without_return_type(name: str) -> str:
    """A name without the return type, which templates have in their mangled names."""
    depth = begin = 0
    for at, letter in enumerate(name):
        if name.startswith("operator", at) and not depth:
            break
        depth += (letter == "<") - (letter == ">")
        if letter == " " and not depth:
            begin = at + 1
    return name[begin:]


def _our_groups(frames: Sequence[Frame]) -> list[_Group]:
    groups = []
    names: list[str] = []
    expected = omitted = 0
    for frame in frames:
        if frame.trust == "tail-call":
            expected = frame.index + 1
            continue
        names.append(plain_name(frame.function))
        omitted += frame.index - expected
        expected = frame.index + 1
        if not frame.inline:
            groups.append(_Group(int(frame.pc, 16), tuple(names), frame.module, omitted))
            names, omitted = [], 0
    return groups


def _their_groups(frames: Sequence[OracleFrame]) -> list[_Group]:
    groups = []
    names: list[str] = []
    for frame in frames:
        if frame.kind == "tailcall":
            names = []  # what is inlined in it is no more on the stack than itself
            continue
        # The trampoline has no name of its own; gdb gives it the one of what lies there.
        names.append("" if frame.kind == "signal" else plain_name(frame.name))
        if frame.kind != "inline":
            groups.append(_Group(frame.pc, tuple(names)))
            names = []
    return groups


def differences(ours: Thread, theirs: Sequence[OracleFrame]) -> list[Difference]:
    """What differs, in the order of the stack; frames are matched by their pc.

    Frames that the report left out of the middle of a deep stack are not missed. Their tail-call
    frames, which have no place on the stack, are passed over. A name that only we know is no
    difference.
    """
    mine, other = _our_groups(ours.frames), _their_groups(theirs)
    found = []
    i = j = 0
    omitted = mine[0].omitted if mine else 0
    while i < len(mine) or j < len(other):
        if omitted > 0 and j < len(other):
            omitted -= len(other[j].names)
            j += 1
        elif i < len(mine) and j < len(other) and mine[i].pc == other[j].pc:
            found += _names(i, mine[i], other[j])
            i, j = i + 1, j + 1
            omitted = mine[i].omitted if i < len(mine) else 0
        elif j < len(other) and other[j].pc not in {group.pc for group in mine[i:]}:
            found.append(Difference("theirs", "", _label(other[j]), i))
            j += 1
        else:
            found.append(Difference("ours", _label(mine[i]), "", i))
            i += 1
            omitted = mine[i].omitted if i < len(mine) else 0
    return found


def _label(group: _Group) -> str:
    return group.names[-1] or f"{group.pc:#x}"


def _names(index: int, mine: _Group, other: _Group) -> list[Difference]:
    if mine.names == other.names or not any(other.names):
        return []
    if len(mine.names) != len(other.names):
        ours, theirs = " < ".join(mine.names), " < ".join(other.names)
        return [Difference("inlined", ours, theirs, index)]
    return [
        Difference(_kind_of(mine.module, ours, theirs), ours, theirs, index)
        for ours, theirs in zip(mine.names, other.names, strict=True)
        if theirs and ours != theirs
    ]


def _kind_of(module: str | None, ours: str, theirs: str) -> str:
    if theirs.endswith("::" + ours):
        return "scope"
    if ours.endswith("::" + theirs):
        return "wider"
    if module is not None and ours:
        symbols = _symbols(module)
        places = symbols.get(ours, frozenset()) & symbols.get(theirs, frozenset())
        return "alias" if places else "name"
    return "name"


@cache
def _symbols(module: str) -> dict[str, frozenset[int]]:
    """The addresses of every symbol of a file and of its debug file, by plain name."""
    paths = [module]
    notes = subprocess.run(
        [need("readelf", "binutils"), "-n", module], capture_output=True, text=True, check=False
    ).stdout
    if match := re.search(r"Build ID: (..)([0-9a-f]+)", notes):
        paths.append(f"/usr/lib/debug/.build-id/{match[1]}/{match[2]}.debug")
    found: dict[str, set[int]] = {}
    for path in paths:
        for option in ("-a", "-D"):
            listing = subprocess.run(
                [need("nm", "binutils"), option, path], capture_output=True, text=True, check=False
            ).stdout
            for line in listing.split("\n"):
                parts = line.split(None, 2)
                if len(parts) == 3:
                    found.setdefault(plain_name(parts[2]), set()).add(int(parts[0], 16))
    return {name: frozenset(places) for name, places in found.items()}


def follows(frames: Sequence[Frame], expected: Sequence[str]) -> bool:
    """Whether the functions are the expected ones from frame 0; `?` is any one frame, `...` any
    number of them (implied at the end), `*` inside a name any text."""
    return names_follow([frame.function for frame in frames], expected)


def names_follow(functions: Sequence[str | None], expected: Sequence[str]) -> bool:
    """The same of function names."""
    names = [plain_name(name) for name in functions]

    def match(at: int, want: int) -> bool:
        if want == len(expected):
            return True
        if expected[want] == "...":
            return any(match(later, want + 1) for later in range(at, len(names) + 1))
        if at == len(names):
            return False
        pattern = expected[want].replace(" ", "").replace("(anonymousnamespace)", "?anonymous*?")
        fits = expected[want] == "?" or fnmatchcase(names[at], pattern)
        return fits and match(at + 1, want + 1)

    return match(0, 0)
