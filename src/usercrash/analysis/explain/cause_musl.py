"""musl's C library ends a program without a word: by an instruction that faults (a_crash()), where
the heap or a stack is damaged; and its free() runs into what free() itself left behind.

mallocng (musl 1.2.1 and later, src/malloc/mallocng/meta.h and free.c) keeps four bytes before each
block: [-4] 0, or 1 where a larger offset stands before; [-3] the slot's number and what is left of
it; [-2, -1] the distance to its group's header, in units of 16 bytes. free() makes [-3] 255 and
the distance 0; nothing else of a freed block changes.
"""

from __future__ import annotations

from ...report import Cause, Frame
from ..instructions.decoded import Access, Decoded
from .scene import Scene, cause, frame_words, seen

UNIT = 16
FREED_HEAD = b"\0\xff\0\0"
_STACK_CHECKS = ("__stack_chk_fail", "__stack_chk_fail_local")
# The allocator's functions that crash; the first two are the C library's own names for what it
# gives out as free() and realloc().
_FREEING = ("__libc_free", "__libc_realloc", "free", "realloc", "malloc_usable_size")
_INSIDE = ("get_meta", "nontrivial_free", "__libc_malloc_impl", "alloc_slot", "alloc_group")


def in_musl(scene: Scene, instruction: Decoded | None, access: Access | None) -> Cause | None:
    """The cause where the fault is musl's way to end a program, or of its free(); else None."""
    frames = [frame for frame in scene.frames if not frame.inline]
    if not frames:
        return None
    first, stops = frames[0], instruction is not None and instruction.mnemonic == "hlt"
    if first.function in _STACK_CHECKS:
        return _smashed(frames)
    if not _is_allocator(frames, stops):
        return None
    evidence = [seen("instruction", instruction.text, "")] if instruction is not None else []
    if stops:
        if _is_named(frames):
            text = f"the heap is corrupt, or free() was given a bad pointer{_found_by(frames)}"
        else:
            text = f"musl's C library stopped: the heap is corrupt, mostly{_found_by(frames)}"
        return cause(
            "abort", text,
            "musl checks the heap where it uses it, and stops by hlt. Blocks that were overrun or "
            "freed twice are found so.",
            reason="heap-corruption", certainty="likely", evidence=evidence,
        )  # fmt: skip
    return _bad_block(scene, frames, access) if access is not None else None


def is_musl(frame: Frame) -> bool:
    """Whether the frame's module is musl's C library."""
    directory, _, name = (frame.module or "").rpartition("/")
    return name.startswith("ld-musl-") or (name.startswith("libc.") and "musl" in directory)


def _is_named(frames: list[Frame]) -> bool:
    names = [frame.function for frame in frames[:3]]
    return names[0] in _FREEING[:2] or (
        names[0] in _INSIDE and any(name in _FREEING for name in names[1:])
    )


def _is_allocator(frames: list[Frame], stops: bool) -> bool:
    if _is_named(frames):  # (glibc has functions of the first names, which do not stop so)
        return stops or frames[0].function in (*_INSIDE, *_FREEING[:2])
    return is_musl(frames[0]) and frames[0].function is None


def _smashed(frames: list[Frame]) -> Cause:
    where = next((frame for frame in frames if frame.function not in _STACK_CHECKS), None)
    return cause(
        "abort",
        "a buffer on the stack was overrun" + (f" in {frame_words(where)}" if where else ""),
        reason="stack-smashing",
        evidence=[seen("function", frames[0].function or "", "called where a stack's mark is bad")],
    )


def _bad_block(scene: Scene, frames: list[Frame], access: Access) -> Cause | None:
    """get_meta() of mallocng, by what it reads: [block − 3], or the third word of what the group's
    first word points to."""
    value = dict(access.values).get(access.base)
    if value is None or access.index:
        return None
    if access.size == 1 and access.address == value - 3 and value % UNIT == 0:
        return _never_given(
            frames, f"Nothing is mapped at the block's address, {value:#x}: it was given back to "
            "the system before, or never was one of malloc()'s.", value,
        )  # fmt: skip
    if access.size != 8 or access.address - value != 2 * scene.arch.word:
        return None
    for name in scene.arch.pointer_registers:
        block = scene.registers.get(name, 0)
        head = scene.memory(block - 4, 4) if block % UNIT == 0 and block else b""
        if len(head) < 4 or head[0]:
            continue
        group = block - UNIT * (int.from_bytes(head[2:], scene.arch.byte_order) + 1)
        if scene.word(group) != value:
            continue
        if head != FREED_HEAD:
            words = f"There is no head of a block before {block:#x}."
            return _never_given(frames, words, block)
        return cause(
            "abort", f"the same memory was freed twice{_found_by(frames)}",
            f"The block {block:#x} has the mark that musl's free() leaves.",
            reason="double-free", certainty="likely",
            evidence=[seen(name, block, "a block"), seen("bytes before it", head.hex(" "),
                                                         "the head of a freed block")],
        )  # fmt: skip
    return None


def _never_given(frames: list[Frame], words: str, block: int) -> Cause:
    return cause(
        "abort", f"free() of a pointer that malloc() never gave, or freed twice{_found_by(frames)}",
        words, reason="invalid-free", certainty="likely", evidence=[seen("block", block)],
    )  # fmt: skip


def _found_by(frames: list[Frame]) -> str:
    for frame in frames:
        if not (is_musl(frame) or frame.function in (*_FREEING, *_INSIDE)):
            return f", found by {frame_words(frame)}"
    return ""
