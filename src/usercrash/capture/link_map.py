"""The dynamic loader's own data in a process: what debuggers find the libraries by.

AT_PHDR of the auxiliary vector → PT_DYNAMIC → DT_DEBUG → struct r_debug → the
chain of struct link_map (<link.h>), and glibc's `__abort_msg` through libc's dynamic symbols.
Everything read is checked for sense: the process may have written anything there.
"""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]
    Range = tuple[int, int, str]

AT_PHDR, AT_PHENT, AT_PHNUM = 3, 4, 5
_PT_DYNAMIC, _PT_PHDR = 2, 6
_DT_STRTAB, _DT_SYMTAB, _DT_DEBUG, _DT_GNU_HASH = 5, 6, 21, 0x6FFFFEF5
_MAX_LINKS = 4096
_MAX_DYNAMIC = 8192
_MAX_NAME = 4096
_MAX_CHAIN = 4096
_ABORT_MESSAGE = 4096

# 64-bit layouts: Elf64_Phdr and Elf64_Sym of <elf.h>, struct link_map and r_debug of <link.h>.
_PHDR = Struct("<IIQQQQQQ")
_DYN = Struct("<QQ")
_LINK = Struct("<QQQQQ")  # l_addr, l_name, l_ld, l_next, l_prev
_R_DEBUG = Struct("<IIQQIIQQ")  # r_version, r_map, r_brk, r_state, r_ldbase, r_next (version 2)
_SYM = Struct("<IBBHQQ")
_HASH_HEADER = Struct("<IIII")
_WORD = Struct("<Q")
_HALF = Struct("<I")


def loader_ranges(auxv: dict[int, int], read: Read, word: int) -> Iterator[Range]:
    """The ranges that hold the loader's data, for 64-bit processes."""
    if word != 8:
        return
    dynamic = find_dynamic(auxv, read)
    if not dynamic:
        return
    table = read_dynamic(read, dynamic)
    yield dynamic, len(table), "dynamic"
    tags = dynamic_tags(table)
    root = tags.get(_DT_DEBUG, 0)
    links: list[tuple[int, bytes, int]] = []
    seen = 0
    while root and seen < 16:  # one r_debug for each namespace of dlmopen
        seen += 1
        data = read(root, _R_DEBUG.size)
        yield root, _R_DEBUG.size, "r_debug"
        if len(data) < _R_DEBUG.size:
            break
        version, _, first, _, _, _, _, following = _R_DEBUG.unpack(data)
        yield from _chain(read, first, links)
        root = following if version >= 2 else 0
    yield from _abort_message(read, links)


def find_dynamic(auxv: dict[int, int], read: Read) -> int:
    """The address of the executable's .dynamic, 0 if it has none."""
    phdr, size = auxv.get(AT_PHDR, 0), auxv.get(AT_PHENT, 0)
    count = min(auxv.get(AT_PHNUM, 0), 128)
    if not phdr or size != _PHDR.size:
        return 0
    data = read(phdr, count * size)
    bias = 0
    dynamic = None
    for number in range(len(data) // size):
        kind, _, _, vaddr, _, _, _, _ = _PHDR.unpack_from(data, number * size)
        if kind == _PT_PHDR:
            bias = phdr - vaddr
        elif kind == _PT_DYNAMIC:
            dynamic = vaddr
    return (bias + dynamic) & 0xFFFFFFFFFFFFFFFF if dynamic is not None else 0


def read_dynamic(read: Read, address: int) -> bytes:
    """The dynamic section at `address` up to DT_NULL, at most 8 KiB."""
    data = read(address, 1024)
    if len(data) == 1024 and _end_of_dynamic(data) < 0:
        data = read(address, _MAX_DYNAMIC)
    end = _end_of_dynamic(data)
    return data[: end + 16] if end >= 0 else data


def _end_of_dynamic(data: bytes) -> int:
    position = data.find(b"\0" * 16)
    while position >= 0 and position % 16:
        position = data.find(b"\0" * 16, position + 1)
    return position


def dynamic_tags(table: bytes) -> dict[int, int]:
    """Tag to value, the last of equal tags."""
    return dict(_DYN.iter_unpack(table[: len(table) // 16 * 16]))


def _chain(read: Read, node: int, links: list[tuple[int, bytes, int]]) -> Iterator[Range]:
    """The link_maps from `node` on with their names and dynamic sections; noted in `links`."""
    seen: set[int] = set()
    while node and node not in seen and len(links) < _MAX_LINKS:
        seen.add(node)
        data = read(node, _LINK.size)
        if len(data) < _LINK.size:
            return
        yield node, _LINK.size, "link_map"
        bias, name_at, dynamic, node, _ = _LINK.unpack(data)
        name = _string(read, name_at)
        yield name_at, len(name) + 1, "link_map name"
        if table := read_dynamic(read, dynamic):
            yield dynamic, len(table), "dynamic"
        links.append((bias, name, dynamic))


def _string(read: Read, address: int) -> bytes:
    data = read(address, 128)
    if len(data) == 128 and b"\0" not in data:
        data = read(address, _MAX_NAME)
    return data.partition(b"\0")[0]


def _abort_message(read: Read, links: list[tuple[int, bytes, int]]) -> Iterator[Range]:
    """`__abort_msg`, a pointer in libc's data, and the message that it points to: struct
    abort_msg_s of glibc's include/stdlib.h, an unsigned size and the text."""
    for bias, name, dynamic in links:
        base = name.rpartition(b"/")[2]
        if not base.startswith((b"libc.so", b"libc-2")):
            continue
        address = find_symbol(read, bias, dynamic, b"__abort_msg")
        pointer = read(address, 8) if address else b""
        if len(pointer) == 8 and (message := _WORD.unpack(pointer)[0]):
            yield address, 8, "__abort_msg"
            size = read(message, 4)
            if len(size) == 4:
                yield message, min(max(_HALF.unpack(size)[0], 64), _ABORT_MESSAGE), "abort message"
        elif address:
            yield address, 8, "__abort_msg"
        return


def find_symbol(read: Read, bias: int, dynamic: int, name: bytes) -> int:
    """The address of a dynamic symbol through DT_GNU_HASH, 0 if it is not found.

    Table layout: four words (buckets, first symbol, bloom words, shift), the bloom
    filter, the buckets, the chains (binutils' elflink.c; there is no other specification).
    """
    tags = dynamic_tags(read_dynamic(read, dynamic))
    # glibc relocates these pointers in memory, musl and others do not.
    table, symbols, strings = (
        value if value >= bias else value + bias
        for value in (tags.get(_DT_GNU_HASH, 0), tags.get(_DT_SYMTAB, 0), tags.get(_DT_STRTAB, 0))
    )
    header = read(table, 16)
    if len(header) < 16 or _DT_GNU_HASH not in tags:
        return 0
    buckets, first, bloom, _ = _HASH_HEADER.unpack(header)
    if not buckets:
        return 0
    code = gnu_hash(name)
    bucket_at = table + 16 + bloom * 8
    index = _read_half(read, bucket_at + code % buckets * 4)
    if index is None or index < first:
        return 0
    chain_at = bucket_at + buckets * 4
    for number in range(index, index + _MAX_CHAIN):
        entry = _read_half(read, chain_at + (number - first) * 4)
        if entry is None:
            return 0
        if entry | 1 == code | 1:
            symbol = read(symbols + number * _SYM.size, _SYM.size)
            if len(symbol) < _SYM.size:
                return 0
            name_offset, _, _, section, value, _ = _SYM.unpack(symbol)
            if section and read(strings + name_offset, len(name) + 1) == name + b"\0":
                return bias + int(value) & 0xFFFFFFFFFFFFFFFF
        if entry & 1:
            return 0
    return 0


def gnu_hash(name: bytes) -> int:
    """The hash of DT_GNU_HASH (Bernstein's, modulo 2^32)."""
    code = 5381
    for byte in name:
        code = (code * 33 + byte) & 0xFFFFFFFF
    return code


def _read_half(read: Read, address: int) -> int | None:
    data = read(address, 4)
    return int.from_bytes(data, "little") if len(data) == 4 else None
