"""Which memory of a crashed process is worth keeping.

Pure: the process is seen through its maps, its registers and a `read` callback,
so that it runs on a core file as well as on a process.
"""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING
from .link_map import loader_ranges
from .pointed import ABORT_STACK, FAULT_STACK, pointed
from .procfs import MANY, PAGE, bisect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..elf.arch import Arch
    from ..model.maps import Mapping
    from ..model.snapshot import ThreadState
    from .procfs import MapTable

    Read = Callable[[int, int], bytes]
    Range = tuple[int, int, str]  # address, size, reason

_GRAIN = 64  # ranges begin and end at multiples of it: fewer and larger pieces
_CODE_BEFORE = _CODE_AFTER = 256
_REGISTER_BEFORE, _REGISTER_AFTER = 256, 512
_FIRST_OF_OTHERS = 32 << 10  # of each other stack, before any of them gets more
_GUARD_REACH = 16 << 20  # how far above a stack pointer outside all mappings its stack may begin
_CONTEXT_SEARCH = 1 << 20
_MAX_CONTEXTS = 8
_MAX_HEADERS = 1000
_FUTEX_BEFORE, _FUTEX_AFTER = 32, 64  # the mutex, semaphore … around the word that is waited for
_MAX_FUTEXES = 64  # distinct ones: threads that are many mostly wait for the same few
_TLS = 512  # bytes of a thread's variables
_TOP = 1 << 64
_ARM = 40  # e_machine (<elf.h>)

# Elf64_Phdr and Elf32_Phdr (<elf.h>), and where p_offset and p_filesz stand in them.
_PHDR = {2: (Struct("<IIQQQQQQ"), 2, 5), 1: (Struct("<8I"), 1, 4)}

# Where a signal handler was entered, the interrupted registers lie on its stack (struct
# sigcontext, <asm/sigcontext.h>). By machine: eight bytes of it that can hardly be anything
# else, the distances from them to sp and pc, the size of both.
_SIGNAL_CONTEXT = {
    62: (b"\x33\0\0\0\0\0\x2b\0", -24, -16, 8),  # x86-64: cs 0x33, gs 0, fs 0, ss 0x2b
    3: (b"\x2b\0\0\0\x2b\0\0\0", 20, 48, 4),  # i386 under a 64-bit kernel: es, ds 0x2b
    183: (b"\x01\x80\x50\x46\x10\x02\0\0", -32, -24, 8),  # aarch64: the FPSIMD record's head
}


def plan(
    threads: list[ThreadState],
    maps: MapTable,
    auxv: dict[int, int],
    read: Read,
    arch: Arch | None,
    crashing_stack: int = 16 << 20,
    other_stack: int = 256 << 10,
    max_ranges: int = 20_000,
    fault: int | None = None,
    texts: bool = False,
) -> list[Range]:
    """(address, size, reason) in order of worth, without overlaps.

    `threads` has the crashing thread first; `auxv` is AT_* to value; `read` gives
    what is readable up to the first gap; `fault` is the address that the signal
    names; with `texts` more of what the stack points to is kept: of those that ended
    themselves. Sizes are upper bounds: parts that are not there cost nothing.
    """
    chosen = _Chosen(max_ranges, many=len(threads) >= MANY)
    for address, size, reason in _wanted(
        threads, maps, auxv, read, arch, crashing_stack, other_stack, fault, texts
    ):
        chosen.add(address, size, reason)
    return chosen.ranges


def besides(pieces: list[tuple[int, bytes]], ranges: Iterable[Range]) -> list[Range]:
    """What of `ranges` is not among the pieces that were taken already."""
    chosen = _Chosen(1 << 20, many=len(pieces) >= MANY)
    for address, data in pieces:
        chosen.add(address, len(data), "")
    taken = len(chosen.ranges)
    for address, size, reason in ranges:
        chosen.add(address, size, reason)
    return chosen.ranges[taken:]


def _wanted(
    threads: list[ThreadState],
    maps: MapTable,
    auxv: dict[int, int],
    read: Read,
    arch: Arch | None,
    crashing_stack: int,
    other_stack: int,
    fault: int | None,
    texts: bool,
) -> Iterator[Range]:
    if arch and threads:
        yield from _crashing(threads[0], maps, read, arch, crashing_stack)
    if fault is not None:
        yield fault - _REGISTER_BEFORE, _REGISTER_BEFORE + _REGISTER_AFTER, "fault address"
    if arch:
        yield from loader_ranges(auxv, read, arch.long)
    yield from _headers(maps, read)
    if vdso := maps.named(b"[vdso]"):
        yield vdso.start, vdso.size, "vdso"
    if arch and arch.machine == _ARM and (page := maps.named(b"[sigpage]")):
        yield page.start, page.size, "signal trampolines"
    if arch:
        if threads:
            yield from _pointed(threads[0], maps, read, arch, texts)
        yield from _futexes(threads, arch)
        yield from _others(threads[1:], maps, arch, other_stack)


def _pointed(
    thread: ThreadState, maps: MapTable, read: Read, arch: Arch, texts: bool
) -> Iterator[Range]:
    sp = thread.registers[arch.sp]
    if where := maps.writable(sp):
        start = max(sp - arch.red_zone, where[0])
        size = min(ABORT_STACK if texts else FAULT_STACK, where[1] - start)
        yield from pointed(read(start, size), where, maps, read, arch, texts)
    if texts and (block := thread.registers.get("fs_base", 0)) > _TLS:
        yield block - _TLS, _TLS, "variables of the thread"  # which exception it handles


def _futexes(threads: list[ThreadState], arch: Arch) -> Iterator[Range]:
    """What threads wait for in futex(): who holds it stands beside its word. (A call that goes on
    after it was interrupted may be futex(), too.)"""
    if not arch.call:
        return
    number, first = arch.call[:2]
    words = {
        thread.registers.get(first, 0): None
        for thread in threads
        if thread.registers.get(number) in (*arch.futex, arch.restart)
    }
    for word in list(words)[:_MAX_FUTEXES]:
        yield word - _FUTEX_BEFORE, _FUTEX_BEFORE + _FUTEX_AFTER, "futex"


def _others(threads: list[ThreadState], maps: MapTable, arch: Arch, limit: int) -> Iterator[Range]:
    """The other threads: the innermost part of every stack, the code, the rest of the stacks."""
    first = min(_FIRST_OF_OTHERS, limit)
    larger = []
    maps.expect(len(threads))
    sp_name = arch.sp
    for thread in threads:
        place = _stack(thread.registers[sp_name], maps, arch, limit)
        if place:
            start, size = place
            yield start, min(size, first), "stack"
            if size > first:
                larger.append((start, size, "stack"))
    for pc in {thread.registers[arch.pc]: None for thread in threads}:
        yield _code(pc)
    yield from larger


def _crashing(
    thread: ThreadState, maps: MapTable, read: Read, arch: Arch, limit: int
) -> Iterator[Range]:
    """The crashing thread: its stack, the stacks that signal handlers interrupted on it,
    the code at each pc, the memory around each register."""
    registers = thread.registers
    yield _code(registers[arch.pc])
    place = _stack(registers[arch.sp], maps, arch, limit)
    if place:
        yield *place, "crashing stack"
        top = registers[arch.sp]
        for sp, pc in _interrupted(read(top, min(place[1], _CONTEXT_SEARCH)), arch):
            if place := _stack(sp, maps, arch, limit):
                yield *place, "interrupted stack"
                yield _code(pc)
    for name in arch.pointer_registers:
        value = registers.get(name, 0)
        if value >= PAGE:
            yield value - _REGISTER_BEFORE, _REGISTER_BEFORE + _REGISTER_AFTER, name


def _code(pc: int) -> Range:
    return pc - _CODE_BEFORE, _CODE_BEFORE + _CODE_AFTER, "code"


def _stack(sp: int, maps: MapTable, arch: Arch, limit: int) -> tuple[int, int] | None:
    """Where it begins and its size: from the red zone below `sp` to the end of the mapping, at
    most `limit`. A thread that ran out of stack has its sp in the guard page, or below it: its
    stack is the next writable mapping above."""
    place = maps.writable(sp)
    if place:
        start = max(sp - arch.red_zone, place[0])
        return start, min(place[1] - start, limit)
    mapping = _next_writable(maps, sp)
    return (mapping.start, min(mapping.size, limit)) if mapping else None


def _next_writable(maps: MapTable, sp: int) -> Mapping | None:
    first = maps.index_above(sp)
    for number in range(first, first + 4):
        mapping = maps.at(number)
        if mapping is None or mapping.start - sp > _GUARD_REACH:
            return None
        if mapping.writable:
            return mapping
    return None


def _interrupted(stack: bytes, arch: Arch) -> Iterator[tuple[int, int]]:
    """(sp, pc) of each signal context in the bytes of a stack, innermost first."""
    layout = _SIGNAL_CONTEXT.get(arch.machine)
    if layout is None:
        return
    marker, to_sp, to_pc, size = layout
    position, count = stack.find(marker), 0
    while position >= 0 and count < _MAX_CONTEXTS:
        sp, pc = position + to_sp, position + to_pc
        if sp >= 0 and pc + size <= len(stack):
            yield (
                int.from_bytes(stack[sp : sp + size], "little"),
                int.from_bytes(stack[pc : pc + size], "little"),
            )
            count += 1
        position = stack.find(marker, position + 1)


def _headers(maps: MapTable, read: Read) -> Iterator[Range]:
    """The first page of every mapped ELF file, and its build-id note where that lies elsewhere."""
    count = 0
    for mapping in maps.modules():
        if mapping.offset != 0 or not mapping.readable or count >= _MAX_HEADERS:
            continue
        head = read(mapping.start, 4)
        if head != b"\x7fELF":
            continue
        count += 1
        yield mapping.start, min(PAGE, mapping.size), "ELF header"
        yield from _build_id(mapping.start, read(mapping.start, PAGE))


def _build_id(base: int, page: bytes) -> Iterator[Range]:
    """PT_NOTE segments outside the first page."""
    if len(page) < 64 or page[4] not in _PHDR:
        return
    layout, at_offset, at_size = _PHDR[page[4]]
    table, where = (32, 56) if page[4] == 2 else (28, 44)  # e_phoff, e_phnum
    offset = int.from_bytes(page[table : table + (8 if page[4] == 2 else 4)], "little")
    count = min(int.from_bytes(page[where : where + 2], "little"), 64)
    rows = page[offset : offset + count * layout.size]
    for row in layout.iter_unpack(rows[: len(rows) // layout.size * layout.size]):
        file_offset, size = row[at_offset], row[at_size]
        if row[0] == 4 and file_offset + size > PAGE and size <= PAGE:
            # The segment that maps the headers maps the notes, too: same bias.
            yield base + file_offset, size, "ELF note"


class _Chosen:
    """Disjoint ranges in the order in which they were added."""

    __slots__ = ("_bisect", "_ends", "_limit", "_starts", "ranges")

    def __init__(self, limit: int, *, many: bool) -> None:
        self.ranges: list[Range] = []
        self._limit = limit
        self._starts: list[int] = []  # sorted, merged
        self._ends: list[int] = []
        self._bisect = bisect() if many else None

    def add(self, address: int, size: int, reason: str) -> None:
        """Add what of a range is not there yet."""
        start = max(address, 0) // _GRAIN * _GRAIN
        end = min((address + size + _GRAIN - 1) // _GRAIN * _GRAIN, _TOP)
        if size <= 0 or end <= start:
            return
        first = self._first_touching(start)
        last = first
        position, low, high = start, start, end
        while last < len(self._starts) and self._starts[last] <= end:
            if self._starts[last] > position:
                self._append(position, self._starts[last], reason)
            position = max(position, self._ends[last])
            low, high = min(low, self._starts[last]), max(high, self._ends[last])
            last += 1
        if position < end:
            self._append(position, end, reason)
        self._starts[first:last] = [low]
        self._ends[first:last] = [high]

    def _append(self, start: int, end: int, reason: str) -> None:
        if len(self.ranges) < self._limit:
            self.ranges.append((start, end - start, reason))

    def _first_touching(self, start: int) -> int:
        if self._bisect:
            return self._bisect(self._ends, start - 1)
        low, high = 0, len(self._ends)
        while low < high:
            middle = (low + high) // 2
            if self._ends[middle] < start:
                low = middle + 1
            else:
                high = middle
        return low
