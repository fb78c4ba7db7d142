"""Exceptions, panics and messages in memory: read where all agrees, never made up."""

from __future__ import annotations

import struct
from collections.abc import Mapping as Memory
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_cause import ABORT, HEAP, MAPPINGS, STACK, frame

from usercrash.analysis.core.places import Places
from usercrash.analysis.explain.cause import explain
from usercrash.analysis.explain.cxx_exception import find_thrown
from usercrash.analysis.explain.pointer_clues import clue_of, flipped_bit
from usercrash.analysis.explain.scene import Scene
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.model.maps import Mapping

SP = STACK + 0x8000
WHERE = range(SP, SP + 256)
OBJECT = HEAP + 0x1080
TYPE, NAME, TEXT = HEAP + 0x2000, HEAP + 0x2100, HEAP + 0x2200
GNU = 0x474E5543432B2B00
KEY = 0x9E3779B97F4A7C15  # what stands in the second word of a freed block


def scene(pieces: Memory[int, bytes], names: tuple[str, ...] = (), **registers: int) -> Scene:
    values = dict.fromkeys(ARCH.prstatus_registers, 0) | {"rsp": SP, "rip": 0x400000} | registers

    def read(address: int, size: int) -> bytes:
        for start, data in pieces.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    frames = [frame(name, number) for number, name in enumerate(names)]
    return Scene(
        ABORT, ARCH, values, read, lambda address: False, lambda registers: None,
        Places(MAPPINGS), frames, own_ids=frozenset({42}),
    )  # fmt: skip


def thrown(
    name: bytes, thing: bytes, text: bytes = b"", count: int = 1, mark: int = GNU
) -> dict[int, bytes]:
    """The memory of one exception, and a stack that points to it."""
    record = struct.pack("<QQ", count, 0)  # before the type: the count of references
    record += struct.pack("<QQQQQii", TYPE, 0, 0, 0, 0, 1, 0) + bytes(32)
    record += struct.pack("<QQQQ", mark, 0, 0, 0) + thing
    return {
        OBJECT - 128: record,
        TYPE: struct.pack("<QQQ", 0x402010, NAME, 0),
        NAME: name + b"\0",
        TEXT: text + b"\0",
        SP: struct.pack("<QQ", 7, OBJECT).ljust(256, b"\0"),
    }


def test_types_and_texts() -> None:
    cases = [
        (b"i", struct.pack("<i", -5), "int: -5"),
        (b"PKc", struct.pack("<Q", TEXT), 'char const*: "shelf"'),
        (b"St13runtime_error", struct.pack("<QQ", 1, TEXT), 'std::runtime_error: "shelf"'),
        (b"N3own4typeE", struct.pack("<QQ", 1, TEXT), "own::type"),
    ]
    for name, thing, words in cases:
        found = find_thrown(scene(thrown(name, thing, b"shelf")), WHERE)
        assert found is not None and found.words == words


def test_what_is_no_exception_any_more() -> None:
    freed = thrown(b"i", bytes(4), count=0x5555555AB)
    assert find_thrown(scene(freed), WHERE) is None
    assert find_thrown(scene(thrown(b"i", bytes(4), mark=GNU | 1)), WHERE) is None
    assert find_thrown(scene(thrown(b"not a \xff type", bytes(4))), WHERE) is None


def test_two_exceptions_are_none() -> None:
    memory = thrown(b"i", bytes(4))
    other = OBJECT + 0x800
    memory[other - 128] = memory[OBJECT - 128]
    memory[SP] = struct.pack("<QQQ", 7, OBJECT, other).ljust(256, b"\0")
    assert find_thrown(scene(memory), WHERE) is None


def freed_block(heap: int) -> tuple[int, Scene]:
    """glibc's hidden form of an address in a freed block of 40 bytes, to which rbx points."""
    block = heap + 0x3010
    hidden = heap + 0x3110 ^ block >> 12
    memory = {block - 16: struct.pack("<QQQQ", 0, 0x31, hidden, KEY)}
    mapping = Mapping(heap, heap + 0x21000, b"rw-p", path=b"[heap]")
    return hidden, replace(scene(memory, rbx=block), places=Places([mapping, MAPPINGS[-1]]))


def test_marks_of_freed_memory() -> None:
    heap = 0x555555A00000
    hidden, here = freed_block(heap)
    for value in (hidden, KEY):
        found = clue_of(here, value)
        assert found is not None and found.reason == "freed-memory"
        assert found.words == f"what stands in a freed block of 40 bytes at {heap + 0x3010:#x}"
    # (of a heap at a low address the hidden form lies in the heap itself)
    hidden, low = freed_block(HEAP)
    assert low.places.is_near(hidden) and clue_of(low, hidden) is None
    assert clue_of(here, heap + 0x3000) is None
    assert clue_of(here, 0x123456) is None
    poisoned = clue_of(here, 0xDDDDDDDDDDDDDDDD)
    assert poisoned is not None and poisoned.reason == "freed-memory"
    unset = clue_of(here, 0xCCCCCCCCCCCCCCCC)
    assert unset is not None and not unset.reason


def test_one_bit() -> None:
    found = flipped_bit(scene({}), HEAP + 0x40 | 1 << 44)
    assert found is not None and "bit 44" in found.words and found.certainty == "possible"
    assert flipped_bit(scene({}), HEAP + 0x40 | 3 << 44) is None
    assert flipped_bit(scene({}), HEAP + 0x21008) is None  # near the heap: that says more


NAMES = st.sampled_from([
    "__GI_abort", "std::terminate()", "__cxa_throw", "__gxx_personality_v0", "rust_panic", "main",
    "std::panicking::panic_with_hook", "_Py_FatalErrorFunc", "g_logv", "g_assertion_message",
    "__sanitizer::Die", "__cxa_pure_virtual",
])  # fmt: skip
WORDS = st.one_of(
    st.sampled_from([0, 1, 7, 37, OBJECT, OBJECT - 32, HEAP, TYPE, NAME, SP, STACK, 1 << 63, GNU]),
    st.integers(0, (1 << 64) - 1),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(NAMES, min_size=1, max_size=6),
    st.lists(WORDS, max_size=40),
    st.lists(WORDS, max_size=60),
)
def test_any_memory(names: list[str], stack: list[int], heap: list[int]) -> None:
    memory = {
        SP: struct.pack(f"<{len(stack)}Q", *stack),
        HEAP: struct.pack(f"<{len(heap)}Q", *heap),
        OBJECT - 256: struct.pack(f"<{len(heap)}Q", *heap),
    }
    found = explain(scene(memory, tuple(names), rbx=OBJECT))
    assert found.summary and found.kind in ("abort", "raised")
