"""An address that means something, but not this: what lies there, or beside it, and how far
beyond which mapping's end the access went."""

from __future__ import annotations

import msgspec

from ...model.maps import Mapping
from ...report import Cause, Evidence
from ..core.places import NEAR, count_bytes
from ..facts.signals import SEGV_ACCERR, SEGV_CPERR, SEGV_PKUERR, SigInfo
from ..instructions.decoded import Access
from .access import did, operand_words, pointers
from .pointer_clues import with_clue
from .scene import Scene, cause, seen

_STEP = 4096  # this near to a mapping's end an access went over it, without an index that shows it
_MAX_INDEX = 1 << 31  # a larger one is a pointer
_ARENA = 64 << 20  # glibc's arenas of other threads: HEAP_MAX_SIZE (malloc/arena.c)
_LOW32 = 0xFFFFFFFF


def bad_address(scene: Scene, info: SigInfo, address: int, access: Access | None) -> Cause:
    """The cause of an access to memory that is not there or may not be touched so."""
    details = [operand_words(scene, access)]
    if info.code == SEGV_PKUERR:
        key = f"key {info.protection_key}" if info.protection_key else "key"
        return cause("bad-address", f"{did(access)} at {address:#x} against a memory protection "
                     f"{key}", *details, reason="protection-key")  # fmt: skip
    if info.code == SEGV_CPERR:
        return cause("bad-address", "control protection: a return or an indirect branch went "
                     "where it may not", reason="control-protection")  # fmt: skip
    place = scene.places.find(address)
    if place is not None:
        return _with_bad_stack(scene, _forbidden(scene, info, address, access, place))
    indexed = _indexed(scene, address, access)
    if indexed is not None:
        return _with_bad_stack(scene, indexed)
    pattern = scene.pattern(address)
    found = cause(
        "bad-address", f"{did(access)} at {address:#x}, {scene.places.where(address)}",
        f"The address is {pattern}." if pattern else "", *details,
        reason="past-end" if _past_end(scene, address) else "not-mapped",
    )  # fmt: skip
    values = [value for _, value in pointers(access)]
    return _with_bad_stack(scene, with_clue(scene, found, values or [address]))


def _with_bad_stack(scene: Scene, found: Cause) -> Cause:
    place = scene.places.find(scene.sp)
    if not scene.places.mappings or (place is not None and place.writable):
        return found
    words = f"The stack pointer {scene.sp:#x} is bad: {scene.places.where(scene.sp)}."
    return msgspec.structs.replace(found, details=[*found.details, words])


# --- what is mapped, and may not be touched so ---


def _forbidden(
    scene: Scene, info: SigInfo, address: int, access: Access | None, place: Mapping
) -> Cause:
    where, reason, certainty = scene.places.where(address), "protected", "certain"
    details = [operand_words(scene, access)]
    writes = access is not None and "write" in access.kind and not place.writable
    if info.code != SEGV_ACCERR:
        details.append("It was not mapped at the moment of the fault; it is in the map below.")
        certainty = "likely"
    elif place.perms.startswith(b"---"):
        where, reason = _untouchable(scene, place)
    elif writes and place.executable:
        where = f"in {scene.places.name(place)}, which is read only"
        reason = "write-to-code"
    elif writes:
        where = f"in {scene.places.name(place)}"
        where += "" if "read-only" in where else ", which is read only"
        reason = "read-only"
    pattern = scene.pattern(address)
    return cause(
        "bad-address", f"{did(access)} at {address:#x}, {where}",
        f"The address is {pattern}." if pattern else "", *details,
        reason=reason, certainty=certainty, evidence=_text_there(scene, address, place),
    )  # fmt: skip


def _untouchable(scene: Scene, place: Mapping) -> tuple[str, str]:
    """Where, and the reason, for a mapping without any permission."""
    above, below = scene.places.above(place.start), scene.places.below(place.start - 1)
    owner = None
    if above is not None and above.start == place.end and above.writable and not place.path:
        owner = scene.places.owner(above)
    if owner is not None:
        name = f" ({owner.name})" if owner.name else ""
        return f"in the guard below the stack of thread {owner.tid}{name}", "guard-page"
    adjacent = below is not None and below.end == place.start and below.writable and not below.path
    if adjacent and below is not None and not place.path:
        if below.start % _ARENA == 0 and place.end <= below.start + _ARENA:
            return "in the unused rest of an arena of malloc's, behind its end", "past-end"
        return "in memory that nobody may touch, behind the end of anonymous memory", "no-access"
    return f"in {scene.places.name(place)}, which nobody may touch", "no-access"


def _text_there(scene: Scene, address: int, place: Mapping) -> list[Evidence]:
    """What text a write to constants would have changed."""
    if place.writable or not place.readable or place.executable:
        return []
    data = scene.memory(address, 64).partition(b"\0")[0]
    if len(data) < 3 or not all(0x20 <= byte < 0x7F for byte in data):
        return []
    return [seen("memory there", f'"{data.decode("ascii")}"', "constant text")]


# --- what is not mapped: over which end ---


def _indexed(scene: Scene, address: int, access: Access | None) -> Cause | None:
    """The cause if one register points into a mapping, and an index led out of it."""
    if access is None or not access.index or not access.base:
        return None
    values = dict(access.values)
    base, index = values.get(access.base), values.get(access.index)
    if base is None or index is None:
        return None
    place = scene.places.find(base)
    if place is None or not place.readable:
        return None
    bits = 8 * scene.arch.long
    number = index - (1 << bits) if index >> bits - 1 else index
    if 0 < number <= _LOW32 >> 1 and _past_end(scene, address):
        return None  # it ran on and on
    if not number or abs(number) >= _MAX_INDEX << 1 or scene.places.find(index) is not None:
        return None
    narrow = number - (1 << 32) if _MAX_INDEX <= number <= _LOW32 else None
    words = f"index {number}" + (f" ({narrow} as a number of 32 bits)" if narrow else "")
    reason = "negative-index" if number < 0 or narrow is not None else "large-index"
    name = scene.places.name(place)
    return cause(
        "bad-address",
        f"{did(access)} at {address:#x}, by {words} from {base:#x} in {name}",
        f"That address is {scene.places.where(address)}.",
        operand_words(scene, access),
        reason=reason,
        evidence=[
            seen(access.base, base, f"in {name}"),
            seen(access.index, index, f"the index, of {count_bytes(access.scale)} each"),
        ],
    )


def _past_end(scene: Scene, address: int) -> bool:
    """Whether the address is just past a mapping's end: as of something that runs on and on."""
    below, above = scene.places.below(address), scene.places.above(address)
    if below is None or address - below.end >= min(_STEP, NEAR):
        return False
    return above is None or address - below.end <= above.start - address
