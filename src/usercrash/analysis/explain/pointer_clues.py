"""What the value of a bad pointer gives away: that free() wrote it, that it is a filler, that it is
text, that one bit of it is wrong.

glibc (malloc/malloc.c, since 2.32) keeps in the first word of a freed block of its small lists
`(address of the word >> 12) XOR (address of the next free block)`, in the second word of a block in
the thread's cache a random key. So a program that follows such a word has used freed memory, and
the word itself shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from ...model.maps import Mapping
from ...report import Cause, Evidence
from ..core.places import NEAR, pattern_words
from .scene import Scene, frame_sp, seen

_PAGE_BITS = 12
_SMALLEST = 1 << 16  # smaller values could be anything
_FLIPS = range(36, 63)  # bits whose change leads nowhere near: lower ones reach other mappings
_FREED_FILLERS = ("freed memory", "junk-filled memory")
_MAX_HOLDERS = 256  # words of the innermost frames that are looked at
_LOCALS = 2  # frames


@dataclass(frozen=True, slots=True)
class Clue:
    """`words` continue "…: "; `reason` as in Cause, "" for what is no more than a hint."""

    words: str
    reason: str = ""
    certainty: str = "likely"
    evidence: list[Evidence] = field(default_factory=list)


def clue_of(scene: Scene, value: int) -> Clue | None:
    """What a pointer gives away that led to a fault; None if nothing."""
    found = _freed(scene, value)
    if found is not None:
        return found
    pattern = pattern_words(value, scene.arch.long, scene.arch.order)
    if pattern:
        reason = "freed-memory" if pattern.startswith(_FREED_FILLERS) else ""
        return Clue(pattern, reason, evidence=[seen("pointer", value, pattern)])
    return None


def with_clue(scene: Scene, found: Cause, values: Sequence[int]) -> Cause:
    """The cause of a bad access or jump, with what the values that its address was made of give
    away. What is certain of it stays in `found`; a clue is no proof, so it makes it likely."""
    for value in values:
        clue = clue_of(scene, value)
        if clue is None:
            continue
        if not clue.reason:
            return msgspec.structs.replace(found, evidence=[*clue.evidence, *found.evidence])
        return msgspec.structs.replace(
            found,
            summary=f"use of freed memory: {found.summary}",
            reason=clue.reason,
            certainty=clue.certainty,
            details=[f"The bad pointer is {clue.words}.", *found.details],
            evidence=[*clue.evidence, *found.evidence],
        )
    for value in values:
        hint = flipped_bit(scene, value)
        if hint is not None:
            return msgspec.structs.replace(
                found, details=[*found.details, hint.words],
                evidence=[*hint.evidence, *found.evidence],
            )  # fmt: skip
    return found


# --- freed memory of glibc's ---


def _freed(scene: Scene, value: int) -> Clue | None:
    if scene.arch.long != 8 or not _SMALLEST <= value < 1 << 64 or not scene.places.mappings:
        return None
    for holder in _holders(scene, value):
        found = _in_freed_block(scene, value, holder)
        if found is not None:
            return found
    page = value << _PAGE_BITS
    place = scene.places.find(page)
    if _is_heap(place):
        return Clue(
            "what free() leaves in a block of memory",
            "freed-memory",
            evidence=[seen("pointer", value, f"the page number of {page:#x} in the heap: glibc's "
                           "mark for the last block of a list of freed ones")],
        )  # fmt: skip
    following = _unmangle(value)
    if following % 16 == 0 and _is_heap(scene.places.find(following)):
        return Clue(
            "what free() leaves in a block of memory",
            "freed-memory",
            evidence=[seen("pointer", value, f"glibc's hidden form of {following:#x} in the heap, "
                           "the next one in a list of freed blocks")],
        )  # fmt: skip
    return None


def _in_freed_block(scene: Scene, value: int, block: int) -> Clue | None:
    """The clue if the first words at `block` are those of a freed block, and hold the value."""
    first, second = scene.word(block), scene.word(block + 8)
    if first is None or value not in (first, second):
        return None
    following = first ^ block >> _PAGE_BITS
    if following and (following % 16 or not _is_heap(scene.places.find(following))):
        return None
    if value == second and (scene.places.find(value) or pattern_words(value)):
        return None  # the cache's key is a random number
    size = scene.word(block - 8)
    held = f" of {(size & ~7) - 8} bytes" if size and 32 <= size <= 1 << 20 else ""
    which = "first" if value == first else "second"
    return Clue(
        f"what stands in a freed block{held} at {block:#x}",
        "freed-memory",
        evidence=[
            seen(f"word at {block:#x}", first, "glibc's hidden form of "
                 + (f"{following:#x}, the next freed block" if following else "the list's end")),
            seen("pointer", value, f"the {which} word of that block"),
        ],
    )  # fmt: skip


def _holders(scene: Scene, value: int) -> Iterator[int]:
    """Blocks in the heap that registers and the innermost frames' words point to, and that hold
    the value."""
    tried = set()
    for candidate in _pointers(scene):
        if candidate in tried or candidate % 16:
            continue
        tried.add(candidate)
        if _is_heap(scene.places.find(candidate)) and (
            scene.word(candidate) == value or scene.word(candidate + 8) == value
        ):
            yield candidate


def _pointers(scene: Scene) -> Iterator[int]:
    yield from (scene.registers.get(name, 0) for name in scene.arch.pointer_registers)
    frames = [one for one in scene.frames if frame_sp(one) is not None][: _LOCALS + 1]
    if not frames:
        return
    low = scene.sp - scene.arch.red_zone
    high = frame_sp(frames[-1]) or low
    size = min(max(high - low, 0), _MAX_HOLDERS * 8)
    data = scene.memory(low, size)
    for at in range(0, len(data) - 7, 8):
        yield int.from_bytes(data[at : at + 8], scene.arch.byte_order)


def _unmangle(value: int) -> int:
    """The pointer whose hidden form this is, where both lie in one page."""
    result = value
    for _ in range(4):  # each round brings twelve more bits
        result = value ^ result >> _PAGE_BITS
    return result


def _is_heap(place: Mapping | None) -> bool:
    if place is None or not place.writable:
        return False
    return place.path == b"[heap]" or not place.path


# --- one wrong bit ---


def flipped_bit(scene: Scene, value: int) -> Clue | None:
    """The hint that exactly one changed bit makes the pointer a good one. That proves nothing:
    it is told only where nothing better is known."""
    if not scene.places.mappings or value < _SMALLEST or _near_something(scene, value):
        return None
    good = []
    for bit in _FLIPS:
        place = scene.places.find(value ^ 1 << bit)
        if place is not None and place.readable:
            good.append((bit, place))
    if len(good) != 1:
        return None
    bit, place = good[0]
    right = value ^ 1 << bit
    words = f"With one bit changed (bit {bit}) the pointer would be {right:#x}, in "
    return Clue(
        f"{words}{scene.places.name(place)}: possibly damaged memory, or a part of it overwritten.",
        certainty="possible",
        evidence=[seen("pointer", value, f"one bit away from {right:#x}")],
    )


def _near_something(scene: Scene, value: int) -> bool:
    below, above = scene.places.below(value), scene.places.above(value)
    if below is not None and value < below.end + NEAR:
        return True
    return above is not None and above.start - value < NEAR
