"""What the plan wants of made-up processes."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.link_map import (
    find_dynamic,
    find_symbol,
    gnu_hash,
    loader_ranges,
    read_dynamic,
)
from usercrash.capture.plan import plan
from usercrash.capture.procfs import MapTable
from usercrash.elf.arch.i386 import ARCH as I386
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.model.snapshot import ThreadState
from usercrash.model.types import Tid

PAGE = 4096
STACK = 0x7FFD00000000
HEAP = 0x555500000000
GUARD = 0x7F0000000000
WORKER = GUARD + PAGE
EXE = 0x400000
MAPS = (
    f"{EXE:08x}-{EXE + 0x1000:08x} r--p 00000000 08:01 17 /bin/x\n"
    f"{EXE + 0x1000:08x}-{EXE + 0x2000:08x} r-xp 00001000 08:01 17 /bin/x\n"
    f"{HEAP:x}-{HEAP + 0x10000:x} rw-p 00000000 00:00 0 [heap]\n"
    f"{GUARD:x}-{WORKER:x} ---p 00000000 00:00 0 \n"
    f"{WORKER:x}-{WORKER + 0x100000:x} rw-p 00000000 00:00 0 \n"
    f"{STACK:x}-{STACK + 0x800000:x} rw-p 00000000 00:00 0 [stack]\n"
).encode()


class Fake:
    """Memory as a dictionary of address to bytes."""

    def __init__(self, parts: dict[int, bytes]) -> None:
        self.parts = parts

    def read(self, address: int, size: int) -> bytes:
        for start, data in self.parts.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""


def thread(number: int = 1, **registers: int) -> ThreadState:
    values = dict.fromkeys(ARCH.prstatus_registers, 0)
    values.update(registers)
    return ThreadState(Tid(number), Tid(number), values)


def covered(ranges: list[tuple[int, int, str]], address: int) -> str | None:
    for start, size, reason in ranges:
        if start <= address < start + size:
            return reason
    return None


def make(
    threads: list[ThreadState], memory: Fake | None = None, texts: bool = False, **more: int
) -> list[tuple[int, int, str]]:
    read = (memory or Fake({})).read
    return plan(threads, MapTable(MAPS), {}, read, ARCH, texts=texts, **more)


def test_the_crashing_thread_comes_first_and_whole() -> None:
    sp = STACK + 0x700000
    ranges = make([thread(rsp=sp, rip=EXE + 0x1234, rax=HEAP + 0x800)])
    assert covered(ranges, sp - ARCH.red_zone) == "crashing stack"
    assert covered(ranges, STACK + 0x800000 - 1) == "crashing stack"
    assert covered(ranges, EXE + 0x1234 - 256) == "code"
    assert covered(ranges, EXE + 0x1234 + 255) == "code"
    assert covered(ranges, HEAP + 0x800 - 256) == "rax"
    assert covered(ranges, HEAP + 0x800 + 511) == "rax"
    assert covered(ranges, sp - 2 * PAGE) is None


def test_a_stack_pointer_in_the_guard_page() -> None:
    ranges = make([thread(rsp=GUARD + 8)])
    assert covered(ranges, WORKER) == "crashing stack"
    assert covered(ranges, WORKER + 0xFFFFF) == "crashing stack"


def test_a_stack_pointer_below_the_main_stack() -> None:
    ranges = make([thread(rsp=STACK - 64)])
    assert covered(ranges, STACK) == "crashing stack"


def test_a_stack_pointer_far_from_everything() -> None:
    ranges = make([thread(rsp=0x123456789)])
    assert not any(reason == "crashing stack" for _, _, reason in ranges)


def test_other_stacks_are_limited_and_shared_fairly() -> None:
    first, second = STACK + 0x700000, WORKER + 0x1000
    threads = [thread(1, rsp=first), thread(2, rsp=second, rip=EXE + 0x1800), thread(3, rsp=second)]
    ranges = make(threads, other_stack=256 << 10)
    kept = [(start, size) for start, size, reason in ranges if reason == "stack"]
    assert covered(ranges, second - ARCH.red_zone) == "stack"
    assert kept[0][1] <= (32 << 10) + 64
    assert sum(size for _, size in kept) <= (256 << 10) + 128
    assert covered(ranges, EXE + 0x1800) == "code"


def test_the_stack_that_a_handler_interrupted() -> None:
    """A signal context on the handler's stack names the sp and pc before the signal."""
    context = struct.pack("<QQQQ", WORKER + 0x8000, EXE + 0x1900, 0x246, 0x002B000000000033)
    top = HEAP + 0x4000
    memory = Fake({top: b"\x11" * 800 + context + b"\0" * 100})
    ranges = make([thread(rsp=top, rip=EXE + 0x1100)], memory)
    assert covered(ranges, WORKER + 0x8000) == "interrupted stack"
    assert covered(ranges, WORKER + 0xFFFFF) == "interrupted stack"
    assert covered(ranges, EXE + 0x1900) == "code"


def test_the_stack_that_a_handler_of_a_32_bit_process_interrupted() -> None:
    """struct sigcontext_32: gs, fs, es, ds, edi, esi, ebp, esp, …, eip."""
    stack, other, code = 0xFFF00000, 0xF7C00000, 0x8049000
    maps = (
        f"{code:08x}-{code + 0x1000:08x} r-xp 00001000 08:01 17 /bin/x\n"
        f"{other:08x}-{other + 0x10000:08x} rw-p 00000000 00:00 0 \n"
        f"{stack:08x}-{stack + 0x10000:08x} rw-p 00000000 00:00 0 [stack]\n"
    ).encode()
    context = struct.pack("<15I", 0x63, 0, 0x2B, 0x2B, 1, 2, 3, other + 0x800, *range(6), code + 64)
    values = dict.fromkeys(I386.prstatus_registers, 0) | {"esp": stack + 0x100, "eip": code}
    memory = Fake({stack + 0x100: bytes(40) + context + bytes(64)})
    threads = [ThreadState(Tid(1), Tid(1), values)]
    ranges = plan(threads, MapTable(maps), {}, memory.read, I386)
    assert covered(ranges, other + 0x800) == "interrupted stack"
    assert covered(ranges, code + 64) == "code"
    assert covered(ranges, stack + 0x100) == "crashing stack"


def test_a_build_id_of_a_32_bit_file() -> None:
    header = bytearray(PAGE)
    header[:5] = b"\x7fELF\1"
    struct.pack_into("<I", header, 28, 52)
    struct.pack_into("<H", header, 44, 1)
    struct.pack_into("<8I", header, 52, 4, 0x1800, 0, 0, 0x24, 0x24, 4, 4)
    assert covered(make([thread()], Fake({EXE: bytes(header)})), EXE + 0x1800) == "ELF note"


def test_elf_headers_and_build_id_outside_the_first_page() -> None:
    header = bytearray(PAGE)
    header[:5] = b"\x7fELF\2"
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<H", header, 56, 1)
    struct.pack_into("<IIQQQQQQ", header, 64, 4, 4, 0x1800, 0, 0, 0x24, 0x24, 4)
    ranges = make([thread()], Fake({EXE: bytes(header)}))
    assert covered(ranges, EXE) == covered(ranges, EXE + PAGE - 1) == "ELF header"
    assert covered(ranges, EXE + 0x1800) == "ELF note"


def test_the_fault_address() -> None:
    ranges = make([thread()], fault=HEAP + 0x3000)
    assert covered(ranges, HEAP + 0x3000) == "fault address"


words = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 8, EXE, HEAP, GUARD, WORKER, STACK, STACK - 8, (1 << 64) - 1]),
)


@given(
    st.lists(st.fixed_dictionaries({"rsp": words, "rip": words, "rax": words}), max_size=6),
    st.binary(max_size=200),
    words,
)
def test_any_registers_give_disjoint_ranges(
    registers: list[dict[str, int]], data: bytes, fault: int
) -> None:
    threads = [thread(n + 1, **values) for n, values in enumerate(registers)]
    memory = Fake({WORKER: data, EXE: b"\x7fELF" + data})
    auxv = {3: WORKER, 4: 56, 5: 3}
    ranges = plan(threads, MapTable(MAPS), auxv, memory.read, ARCH, fault=fault)
    end = 0
    for start, size, _ in sorted(ranges):
        assert start >= end and size > 0 and start + size <= 1 << 64
        end = start + size


# -- the dynamic loader's data ---------------------------------------------------------


def image(bias: int, relocated: bool) -> dict[int, bytes]:
    """A library of two symbols with DT_GNU_HASH, its dynamic section at bias + 0x2000."""
    names = b"\0other\0__abort_msg\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 7, 17, 0, 5, 0x3010, 8)
    hashes = struct.pack("<IIIIQII", 1, 1, 1, 0, 0, 1, gnu_hash(b"__abort_msg") | 1)
    base = bias if relocated else 0
    table = [(0x6FFFFEF5, base + 0x100), (6, base + 0x400), (5, base + 0x800), (0, 0)]
    return {
        bias + 0x100: hashes,
        bias + 0x400: symbols,
        bias + 0x800: names,
        bias + 0x2000: b"".join(struct.pack("<QQ", *pair) for pair in table),
    }


def test_a_symbol_through_the_hash_table() -> None:
    for relocated in (True, False):
        read = Fake(image(WORKER, relocated)).read
        assert find_symbol(read, WORKER, WORKER + 0x2000, b"__abort_msg") == WORKER + 0x3010
        assert find_symbol(read, WORKER, WORKER + 0x2000, b"absent") == 0


def test_the_chain_of_link_maps_and_the_abort_message() -> None:
    bias = 0x7F5500000000
    link, second, root = HEAP + 0x100, HEAP + 0x200, HEAP + 0x300
    memory = image(bias, relocated=True)
    memory |= {
        EXE + 0x40: struct.pack("<IIQQQQQQ", 2, 6, 0, HEAP, 0, 32, 32, 8),
        HEAP: struct.pack("<QQQQ", 21, root, 0, 0),
        root: struct.pack("<IIQQIIQQ", 1, 0, link, 0, 0, 0, 0, 0),
        link: struct.pack("<QQQQQ", 0, HEAP + 0x400, HEAP, second, 0),
        # the chain ends in a circle
        second: struct.pack("<QQQQQ", bias, HEAP + 0x410, bias + 0x2000, link, link),
        HEAP + 0x400: b"\0" * 16,
        HEAP + 0x410: b"/lib/libc.so.6\0\0",
        bias + 0x3010: struct.pack("<Q", HEAP + 0x800),
        HEAP + 0x800: struct.pack("<I", 4096) + b"x: assertion failed",
    }
    ranges = list(loader_ranges({3: EXE + 0x40, 4: 56, 5: 1}, Fake(memory).read, 8))
    found = {(start, reason) for start, _, reason in ranges}
    assert {
        (link, "link_map"), (second, "link_map"), (root, "r_debug"), (HEAP, "dynamic"),
        (HEAP + 0x410, "link_map name"), (bias + 0x3010, "__abort_msg"),
        (HEAP + 0x800, "abort message"),
    } <= found  # fmt: skip
    assert len(ranges) < 20


def test_the_loader_of_a_32_bit_process() -> None:
    bias, heap = 0xF7000000, 0x56000000
    link, root = heap + 0x100, heap + 0x300
    hashes = struct.pack("<7I", 1, 1, 1, 0, 0, 1, gnu_hash(b"__abort_msg") | 1)
    table = [(0x6FFFFEF5, bias + 0x100), (6, bias + 0x400), (5, bias + 0x800), (0, 0)]
    memory = {
        bias + 0x100: hashes,
        bias + 0x400: bytes(16) + struct.pack("<IIIBBH", 1, 0x3010, 4, 17, 0, 5),
        bias + 0x800: b"\0__abort_msg\0",
        bias + 0x2000: b"".join(struct.pack("<II", *pair) for pair in table),
        EXE + 0x34: struct.pack("<8I", 2, 0, heap, 0, 16, 16, 6, 4),
        heap: struct.pack("<4I", 21, root, 0, 0),
        root: struct.pack("<6I", 1, link, 0, 0, 0, 0),
        link: struct.pack("<5I", bias, heap + 0x400, bias + 0x2000, 0, 0),
        heap + 0x400: b"/lib32/libc.so.6\0\0",
        bias + 0x3010: struct.pack("<I", heap + 0x800),
        heap + 0x800: struct.pack("<I", 4096) + b"x: assertion failed",
    }
    ranges = list(loader_ranges({3: EXE + 0x34, 4: 32, 5: 1}, Fake(memory).read, 4))
    assert {
        (heap, 16, "dynamic"), (root, 24, "r_debug"), (link, 20, "link_map"),
        (heap + 0x400, 17, "link_map name"), (bias + 0x2000, 32, "dynamic"),
        (bias + 0x3010, 4, "__abort_msg"), (heap + 0x800, 4096, "abort message"),
    } == set(ranges)  # fmt: skip


@given(st.binary(max_size=600), st.lists(words, min_size=3, max_size=3), st.sampled_from([8, 4]))
def test_any_memory_of_the_loader(data: bytes, where: list[int], long: int) -> None:
    read = Fake({where[0]: data, WORKER: data * 3}).read
    auxv = {3: where[0], 4: 7 * long, 5: 9} if long == 8 else {3: where[0], 4: 32, 5: 9}
    assert len(list(loader_ranges(auxv, read, long))) < 20_000
    find_dynamic(auxv, read, long)
    find_symbol(read, where[1], where[0], b"x", long)
    assert len(read_dynamic(read, WORKER, long)) <= 8192
