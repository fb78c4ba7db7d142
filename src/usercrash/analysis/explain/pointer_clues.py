"""What the value of a bad pointer gives away: that free() wrote it, that it is a filler, that it is
text, that one bit of it is wrong, or that it was cut."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...report import Cause
from .freed_blocks import SMALLEST, Clue, freed_large, freed_memory
from .scene import Scene, seen

_FLIPS = range(36, 63)  # bits whose change leads nowhere near: lower ones reach other mappings
_FREED_FILLERS = ("freed memory", "junk-filled memory (0x5a")
_MAX_MAPPED = 256 << 20  # with more memory too many numbers of 32 bits would be halves of addresses


def clue_of(scene: Scene, value: int) -> Clue | None:
    """What a pointer gives away that led to a fault; None if nothing."""
    found = freed_memory(scene, value)
    if found is not None:
        return found
    pattern = scene.pattern(value)
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
        return _of_freed_memory(found, clue)
    for value in values:
        hint = cut_pointer(scene, value) or flipped_bit(scene, value)
        if hint is not None:
            return msgspec.structs.replace(
                found, details=[*found.details, hint.words],
                evidence=[*hint.evidence, *found.evidence],
            )  # fmt: skip
    return found


def with_link(scene: Scene, found: Cause, value: int) -> Cause:
    """The cause of a jump into data, with what the target gives away."""
    clue = freed_large(scene, value)
    return found if clue is None else _of_freed_memory(found, clue)


def _of_freed_memory(found: Cause, clue: Clue) -> Cause:
    return msgspec.structs.replace(
        found,
        summary=f"use of freed memory: {found.summary}",
        reason=clue.reason,
        certainty=clue.certainty,
        details=[f"The bad pointer is {clue.words}.", *found.details],
        evidence=[*clue.evidence, *found.evidence],
    )


# --- half of a pointer ---


def cut_pointer(scene: Scene, value: int) -> Clue | None:
    """The hint that a number is the lower half of an address of this process: what is left of a
    pointer that went through an int, as the result of a function without a declaration does."""
    if scene.arch.long != 8 or not scene.places.mappings:
        return None
    if not SMALLEST <= value < 1 << 32 and value >> 31 != (1 << 33) - 1:
        return None
    if sum(place.size for place in scene.places.mappings if place.readable) > _MAX_MAPPED:
        return None
    low, found = value & 0xFFFFFFFF, None
    for place in scene.places.mappings:
        whole = place.start & -(1 << 32) | low
        whole += (whole < place.start) << 32
        if whole < place.end and place.readable:
            if found is not None:
                return None
            found = whole, place
    if found is None:
        return None
    whole, place = found
    return Clue(
        f"It may be the lower half of {whole:#x}, in {scene.places.name(place)}: a pointer that "
        "was kept in a number of 32 bits (as the result of a function that was not declared is).",
        certainty="possible",
        evidence=[seen("pointer", value, f"the lower half of {whole:#x}")],
    )


# --- one wrong bit ---


def flipped_bit(scene: Scene, value: int) -> Clue | None:
    """The hint that exactly one changed bit makes the pointer a good one. That proves nothing:
    it is told only where nothing better is known."""
    if not scene.places.mappings or value < SMALLEST or scene.places.is_near(value):
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
