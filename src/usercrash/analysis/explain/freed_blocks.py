"""What allocators leave in memory that was given back to them, found in it or in a bad pointer.

glibc (malloc/malloc.c, since 2.32) keeps in the first word of a freed block of its small lists
`(address of the word >> 12) XOR (address of the next free block)`, in the second word of a block in
the thread's cache a random key. So a program that follows such a word has used freed memory, and
the word itself shows it. Larger blocks stand in lists of two directions (fd and bk). musl marks the
head of a freed block (cause_musl), and leaves what was in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...model.maps import Mapping
from ...report import Evidence
from .cause_musl import FREED_HEAD, UNIT
from .scene import Scene, frame_sp, seen

_PAGE_BITS = 12
SMALLEST = 1 << 16  # smaller values could be anything
_MAX_HOLDERS = 256  # words of the innermost frames that are looked at
_LOCALS = 2  # frames
_OBJECT = 256  # bytes of a freed object that are looked at


@dataclass(frozen=True, slots=True)
class Clue:
    """`words` continue "…: "; `reason` as in Cause, "" for what is no more than a hint."""

    words: str
    reason: str = ""
    certainty: str = "likely"
    evidence: list[Evidence] = field(default_factory=list)


def freed_memory(scene: Scene, value: int) -> Clue | None:
    """The clue if a bad pointer is what an allocator wrote into freed memory, or stands in such."""
    word = scene.arch.word
    if scene.arch.long != word or not SMALLEST <= value < 1 << 8 * word:
        return None
    if not scene.places.mappings:
        return None
    if scene.places.find(value) is not None:
        return None  # a good one
    found = _freed_by_musl(scene, value) if _may_be_musl(scene) else None
    if found is not None:
        return found
    if scene.places.is_near(value):
        return None  # where the heap is low, hidden forms of addresses lie in it, and are mapped
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
    if following % _unit(scene) == 0 and _is_heap(scene.places.find(following)):
        return Clue(
            "what free() leaves in a block of memory",
            "freed-memory",
            evidence=[seen("pointer", value, f"glibc's hidden form of {following:#x} in the heap, "
                           "the next one in a list of freed blocks")],
        )  # fmt: skip
    return None


def _in_freed_block(scene: Scene, value: int, block: int) -> Clue | None:
    """The clue if the first words at `block` are those of a freed block, and hold the value."""
    first, second = scene.word(block), scene.word(block + scene.arch.word)
    if first is None or value not in (first, second):
        return None
    following = first ^ block >> _PAGE_BITS
    if following and (following % _unit(scene) or not _is_heap(scene.places.find(following))):
        return None
    if value == second and (scene.places.find(value) or scene.pattern(value)):
        return None  # the cache's key is a random number
    word = scene.arch.word
    size = scene.word(block - word)
    held = f" of {(size & ~7) - word} bytes" if size and 4 * word <= size <= 1 << 20 else ""
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
        if candidate in tried or candidate % _unit(scene):
            continue
        tried.add(candidate)
        if _is_heap(scene.places.find(candidate)) and (
            scene.word(candidate) == value or scene.word(candidate + scene.arch.word) == value
        ):
            yield candidate


def _pointers(scene: Scene) -> Iterator[int]:
    yield from (scene.registers.get(name, 0) for name in scene.arch.pointer_registers)
    frames = [one for one in scene.frames if frame_sp(one) is not None][: _LOCALS + 1]
    if not frames:
        return
    low = scene.sp - scene.arch.red_zone
    high = frame_sp(frames[-1]) or low
    word = scene.arch.word
    size = min(max(high - low, 0), _MAX_HOLDERS * word)
    data = scene.memory(low, size)
    for at in range(0, len(data) - word + 1, word):
        yield int.from_bytes(data[at : at + word], scene.arch.byte_order)


def _unit(scene: Scene) -> int:
    """What the address of a block of glibc's is a multiple of (MALLOC_ALIGNMENT)."""
    return 16 if scene.x86 else 2 * scene.arch.word


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


# --- musl ---


def _may_be_musl(scene: Scene) -> bool:
    paths = {place.path for place in scene.places.mappings}
    return any(b"musl" in path for path in paths) or not any(b".so" in path for path in paths)


def _freed_by_musl(scene: Scene, value: int) -> Clue | None:
    word = scene.arch.word
    wanted = value.to_bytes(word, scene.arch.byte_order)
    for block in dict.fromkeys(_pointers(scene)):
        place = scene.places.find(block)
        if block % UNIT or place is None or not place.writable:
            continue
        if scene.memory(block - len(FREED_HEAD), len(FREED_HEAD)) != FREED_HEAD:
            continue
        data = scene.memory(block, _OBJECT)
        at = next((n for n in range(0, len(data), word) if data[n : n + word] == wanted), None)
        if at is not None:
            return Clue(
                f"what stands in a freed block at {block:#x}",
                "freed-memory",
                evidence=[
                    seen(f"bytes before {block:#x}", FREED_HEAD.hex(" "),
                         "musl's head of a freed block"),
                    seen("pointer", value, f"byte {at} of that block"),
                ],
            )  # fmt: skip
    return None


# --- glibc: lists of larger blocks ---


def freed_large(scene: Scene, value: int) -> Clue | None:
    """The clue if a function pointer is a link of a freed block that is too large for the small
    lists: those links lead to other such blocks, or into the C library's own data."""
    if scene.arch.long != 8 or not scene.places.mappings:
        return None
    for block in _holders(scene, value):
        chunk, following, previous = block - 16, scene.word(block), scene.word(block + 8)
        if following is None or previous is None:
            continue
        if scene.word(following + 24) == chunk == scene.word(previous + 16):
            return Clue(
                f"what stands in a freed block at {block:#x}",
                "freed-memory",
                evidence=[seen("pointer", value, f"a link of the block {block:#x} in glibc's list "
                               "of freed ones, which leads back to it")],
            )  # fmt: skip
    return None
