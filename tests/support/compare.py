"""Our frames beside an oracle's, and what differs between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from usercrash.report import Frame, Thread

from .oracle import OracleFrame


@dataclass(frozen=True, slots=True)
class Difference:
    """`kind`: ours (a frame that only we have), theirs (one that only they have), name, or
    inlined (other inlined functions at one pc); `ours` and `theirs` are function names."""

    kind: str
    ours: str
    theirs: str
    index: int

    def __str__(self) -> str:
        return f"#{self.index} {self.kind}: ours {self.ours!r}, theirs {self.theirs!r}"


@dataclass(frozen=True, slots=True)
class _Group:
    """One place on the stack: its pc and its functions, inlined ones first."""

    pc: int
    names: tuple[str, ...]


_CLONE = re.compile(r"(\[clone [^]]*\]|\.(constprop|isra|part|cold|lto_priv)(\.\d+)*|@+\S+)")


def plain_name(name: str | None) -> str:
    """The function's name as all tools would write it: without parameters, clone suffixes,
    symbol versions, spaces; "" for none."""
    if not name or name == "??":
        return ""
    name = _CLONE.sub("", name)
    # `f(int)::{lambda()#1}::operator()() const` and `f(int)::<lambda()>::operator()` are one.
    name = re.sub(r"\{lambda\([^()]*\)#\d+\}|<lambda\([^()]*\)>", "<lambda>", name)
    while True:
        shorter = re.sub(r"\((?!anonymous namespace\))[^()]*\)", "", name)
        if shorter == name:
            break
        name = shorter
    name = re.sub(r"\b(const|void|int|bool)\b(?= *$)", "", name)
    if not name.startswith("operator") and "::operator" not in name:
        # A return type, which templates have in their mangled names.
        name = re.sub(r"^[\w:<>*& ]+ (?=[\w:(])", "", name)
    return re.sub(r"\s+", "", name)


def _our_groups(frames: Sequence[Frame]) -> list[_Group]:
    groups = []
    names: list[str] = []
    for frame in frames:
        names.append(plain_name(frame.function))
        if not frame.inline:
            groups.append(_Group(int(frame.pc, 16), tuple(names)))
            names = []
    return groups


def _their_groups(frames: Sequence[OracleFrame]) -> list[_Group]:
    groups = []
    names: list[str] = []
    for frame in frames:
        if frame.kind == "tailcall":
            names = []  # what is inlined in it is no more on the stack than itself
            continue
        names.append(plain_name(frame.name))
        if frame.kind != "inline":
            groups.append(_Group(frame.pc, tuple(names)))
            names = []
    return groups


def differences(ours: Thread, theirs: Sequence[OracleFrame]) -> list[Difference]:
    """What differs, in the order of the stack; frames are matched by their pc.

    Frames that the report left out for its size are not missed. Their tail-call frames, which
    have no place on the stack, are passed over. A name that only we know is no difference.
    """
    mine, other = _our_groups(ours.frames), _their_groups(theirs)
    if ours.frames_total > len(mine):
        other = other[: len(mine)]
    found = []
    i = j = 0
    while i < len(mine) or j < len(other):
        if i < len(mine) and j < len(other) and mine[i].pc == other[j].pc:
            found += _names(i, mine[i], other[j])
            i, j = i + 1, j + 1
        elif j < len(other) and other[j].pc not in {group.pc for group in mine[i:]}:
            found.append(Difference("theirs", "", _label(other[j]), i))
            j += 1
        else:
            found.append(Difference("ours", _label(mine[i]), "", i))
            i += 1
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
        Difference("name", ours, theirs, index)
        for ours, theirs in zip(mine.names, other.names, strict=True)
        if theirs and ours != theirs
    ]


def follows(frames: Sequence[Frame], expected: Sequence[str]) -> bool:
    """Whether the functions are the expected ones from frame 0; `?` is any one frame, `...` any
    number of them (implied at the end), `*` inside a name any text."""
    names = [plain_name(frame.function) for frame in frames]

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
