"""The notes of a core, also those behind one that is malformed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from ...elf.headers import note_places
from ...model import minicore

Place = tuple[int, int, int, int, int]  # type; begin and end of the owner, and of the descriptor

_OWNERS = (b"CORE", b"LINUX", b"GDB", minicore.OWNER)  # who writes notes of cores
_NAME = re.compile(rb"[ -~]{1,64}\0*")  # what may be anybody's who does
_MAX_RESUMED = 64
_MAX_HITS = 10_000  # of what looks like a header, for each of these


def core_notes(data: memoryview, little: bool, malformed: Callable[[], None]) -> Iterator[Place]:
    """The notes in `data`, as `note_places` gives them. Where one has a size that cannot be, or
    leads to what bears no owner's name, `malformed` is called (once), and it goes on with the next
    one that looks like a core's."""
    start = 0
    for times in range(_MAX_RESUMED):
        # What a wrong size leads to may look like notes, but not like notes of these owners.
        known = reached = start
        for kind, *places in note_places(data[start:], little):
            name, name_end, begin, end = (place + start for place in places)
            owner = bytes(data[name:name_end])
            if not _NAME.fullmatch(owner):
                break  # with its sizes it might pass over any number of true ones
            reached = end
            if owner.rstrip(b"\0") in _OWNERS:
                known = end
            yield kind, name, name_end, begin, end
        if not any(data[reached + 3 & -4 : reached + 4096]):
            return
        if times == 0:
            malformed()
        # (`known` may be the malformed one's own begin: not the same again)
        following = _next(_heads(little), data, (known + 3 & -4) + 4, little)
        if following is None:
            return
        start = following


@cache
def _heads(little: bool) -> re.Pattern[bytes]:
    return re.compile(b"|".join(_head(owner, little) for owner in _OWNERS), re.DOTALL)


def _head(owner: bytes, little: bool) -> bytes:
    """What the header of a note of this owner looks like."""
    size = (len(owner) + 1).to_bytes(4, "little" if little else "big")
    return re.escape(size) + b".{8}" + re.escape(owner) + b"\0"


def _next(heads: re.Pattern[bytes], data: memoryview, start: int, little: bool) -> int | None:
    """Where the next note begins that is whole."""
    for _ in range(_MAX_HITS):
        found = heads.search(data, start)
        if found is None:
            break
        at = found.start()
        if at % 4 == 0 and next(note_places(data[at:], little), None) is not None:
            return at
        start = at + 1
    return None
