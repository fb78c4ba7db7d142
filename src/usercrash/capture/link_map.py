"""The dynamic loader's own data in a process: what debuggers find the libraries by.

AT_PHDR of the auxiliary vector → PT_DYNAMIC → DT_DEBUG → struct r_debug → the
chain of struct link_map (<link.h>), and glibc's `__abort_msg` through libc's dynamic symbols.
Everything read is checked for sense: the process may have written anything there.
"""

from __future__ import annotations

from _struct import Struct

from ..elf.headers import AT_PHDR, AT_PHENT, AT_PHNUM
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]
    Range = tuple[int, int, str]

_PT_DYNAMIC, _PT_PHDR = 2, 6
_DT_STRTAB, _DT_SYMTAB, _DT_DEBUG, _DT_GNU_HASH = 5, 6, 21, 0x6FFFFEF5
_MAX_LINKS = 4096
_MAX_DYNAMIC = 8192
_MAX_NAME = 4096
_MAX_CHAIN = 4096
_CHAIN_BLOCK = 64  # entries of a chain that are read at once
_MAX_EQUAL = 8  # symbols of one hash whose names are looked at: two are rare
_MAX_LIBRARIES = 16  # of one name, in namespaces of their own (dlmopen)
_ABORT_MESSAGE = 4096
_GLIB_MESSAGE = 1024

_HALF = Struct("<I")


class _Layout:
    """The structures for one size of an address: Elf64_Phdr, Elf64_Dyn and Elf64_Sym of <elf.h>
    or their 32-bit forms, struct link_map and r_debug of <link.h>; little-endian."""

    __slots__ = ("dyn", "link", "long", "mask", "phdr", "phdr_vaddr", "root", "sym", "sym_order")

    def __init__(self, long: int) -> None:
        self.long = long
        self.mask = (1 << 8 * long) - 1
        wide = long == 8
        self.phdr, self.phdr_vaddr = Struct("<IIQQQQQQ" if wide else "<8I"), 3 if wide else 2
        self.dyn = Struct("<QQ" if wide else "<II")
        self.link = Struct("<5Q" if wide else "<5I")  # l_addr, l_name, l_ld, l_next, l_prev
        # r_version, r_map, r_brk, r_state, r_ldbase, r_next (version 2)
        self.root = Struct("<I4xQQI4xQQ" if wide else "<6I")
        self.sym = Struct("<IBBHQQ" if wide else "<IIIBBH")
        self.sym_order = (0, 3, 4) if wide else (0, 5, 1)  # st_name, st_shndx, st_value


_WIDE = _Layout(8)


def _layout(long: int) -> _Layout:
    return _WIDE if long == 8 else _Layout(long)


def loader_ranges(auxv: dict[int, int], read: Read, long: int = 8) -> Iterator[Range]:
    """The ranges that hold the loader's data; `long` is the size of an address in bytes."""
    layout = _layout(long)
    dynamic = find_dynamic(auxv, read, long)
    if not dynamic:
        return
    table = read_dynamic(read, dynamic, long)
    yield dynamic, len(table), "dynamic"
    tags = _tags(table, layout)
    root = tags.get(_DT_DEBUG, 0)
    links: list[tuple[int, bytes, int]] = []
    seen = 0
    while root and seen < 16:  # one r_debug for each namespace of dlmopen
        seen += 1
        data = read(root, layout.root.size)
        yield root, layout.root.size, "r_debug"
        if len(data) < layout.root.size:
            break
        version, first, _, _, _, following = layout.root.unpack(data)
        yield from _chain(read, first, links, layout)
        root = following if version >= 2 else 0
    yield from _abort_message(read, links, layout)


def find_dynamic(auxv: dict[int, int], read: Read, long: int = 8) -> int:
    """The address of the executable's .dynamic, 0 if it has none."""
    return _executable(auxv, read, long)[1]


def exports(auxv: dict[int, int], read: Read, name: bytes, long: int = 8) -> bool:
    """Whether the executable has a dynamic symbol of this name."""
    bias, dynamic = _executable(auxv, read, long)
    return bool(dynamic) and find_symbol(read, bias, dynamic, name, long) != 0


def _executable(auxv: dict[int, int], read: Read, long: int) -> tuple[int, int]:
    """The executable's bias, and the address of its .dynamic, 0 if it has none."""
    layout = _layout(long)
    phdr, size = auxv.get(AT_PHDR, 0), auxv.get(AT_PHENT, 0)
    count = min(auxv.get(AT_PHNUM, 0), 128)
    if not phdr or size != layout.phdr.size:
        return 0, 0
    data = read(phdr, count * size)
    bias = 0
    dynamic = None
    for number in range(len(data) // size):
        row = layout.phdr.unpack_from(data, number * size)
        if row[0] == _PT_PHDR:
            bias = phdr - row[layout.phdr_vaddr]
        elif row[0] == _PT_DYNAMIC:
            dynamic = row[layout.phdr_vaddr]
    return bias, (bias + dynamic) & layout.mask if dynamic is not None else 0


def read_dynamic(read: Read, address: int, long: int = 8) -> bytes:
    """The dynamic section at `address` up to DT_NULL, at most 8 KiB."""
    step = 2 * long
    data = read(address, 1024)
    if len(data) == 1024 and _end_of_dynamic(data, step) < 0:
        data = read(address, _MAX_DYNAMIC)
    end = _end_of_dynamic(data, step)
    return data[: end + step] if end >= 0 else data


def _end_of_dynamic(data: bytes, step: int) -> int:
    null = bytes(step)
    position = data.find(null)
    while position >= 0 and position % step:
        position = data.find(null, position + 1)
    return position


def _tags(table: bytes, layout: _Layout) -> dict[int, int]:
    """Tag to value, the last of equal tags."""
    size = layout.dyn.size
    return dict(layout.dyn.iter_unpack(table[: len(table) // size * size]))


def _chain(
    read: Read, node: int, links: list[tuple[int, bytes, int]], layout: _Layout
) -> Iterator[Range]:
    """The link_maps from `node` on with their names and dynamic sections; noted in `links`."""
    seen: set[int] = set()
    size = layout.link.size
    while node and node not in seen and len(links) < _MAX_LINKS:
        seen.add(node)
        data = read(node, size)
        if len(data) < size:
            return
        yield node, size, "link_map"
        bias, name_at, dynamic, node, _ = layout.link.unpack(data)
        name = _string(read, name_at)
        yield name_at, len(name) + 1, "link_map name"
        if table := read_dynamic(read, dynamic, layout.long):
            yield dynamic, len(table), "dynamic"
        links.append((bias, name, dynamic))


def _string(read: Read, address: int) -> bytes:
    data = read(address, 128)
    if len(data) == 128 and b"\0" not in data:
        data = read(address, _MAX_NAME)
    return data.partition(b"\0")[0]


def _abort_message(
    read: Read, links: list[tuple[int, bytes, int]], layout: _Layout
) -> Iterator[Range]:
    """`__abort_msg`, a pointer in libc's data, and the message that it points to: struct
    abort_msg_s of glibc's include/stdlib.h, an unsigned size and the text."""
    long = layout.long
    for bias, _, dynamic in _named(links, b"libglib-2"):
        yield from _glib_message(read, bias, dynamic, long)
    for bias, _, dynamic in _named(links, b"libc.so", b"libc-2"):
        address = find_symbol(read, bias, dynamic, b"__abort_msg", long)
        pointer = read(address, long) if address else b""
        if address:
            yield address, long, "__abort_msg"
        if len(pointer) == long and (message := int.from_bytes(pointer, "little")):
            size = read(message, 4)
            if len(size) == 4:
                yield message, min(max(_HALF.unpack(size)[0], 64), _ABORT_MESSAGE), "abort message"


def _named(links: list[tuple[int, bytes, int]], *names: bytes) -> list[tuple[int, bytes, int]]:
    """The libraries whose files' names begin so, not too many: the process made the list."""
    found = [one for one in links if one[1].rpartition(b"/")[2].startswith(names)]
    return found[:_MAX_LIBRARIES]


def _glib_message(read: Read, bias: int, dynamic: int, long: int) -> Iterator[Range]:
    """`__glib_assert_msg`, a pointer in GLib's data to the text of a failed assertion
    (glib/gtestutils.c)."""
    address = find_symbol(read, bias, dynamic, b"__glib_assert_msg", long)
    pointer = read(address, long) if address else b""
    if len(pointer) == long and any(pointer):
        yield address, long, "__glib_assert_msg"
        yield int.from_bytes(pointer, "little"), _GLIB_MESSAGE, "abort message"


def find_symbol(read: Read, bias: int, dynamic: int, name: bytes, long: int = 8) -> int:
    """The address of a dynamic symbol through DT_GNU_HASH, 0 if it is not found.

    Table layout: four words (buckets, first symbol, bloom words, shift), the bloom filter (words
    of an address's size), the buckets, the chains (binutils' elflink.c; there is no other
    specification).
    """
    layout = _layout(long)
    tags = _tags(read_dynamic(read, dynamic, long), layout)
    # glibc relocates these pointers in memory, musl and others do not.
    table, symbols, strings = (
        value if value >= bias else value + bias
        for value in (tags.get(_DT_GNU_HASH, 0), tags.get(_DT_SYMTAB, 0), tags.get(_DT_STRTAB, 0))
    )
    header = read(table, 16)
    if len(header) < 16 or _DT_GNU_HASH not in tags:
        return 0
    buckets, first, bloom = (_HALF.unpack_from(header, at)[0] for at in (0, 4, 8))
    if not buckets:
        return 0
    code = gnu_hash(name)
    bucket_at = table + 16 + bloom * long
    index = _read_half(read, bucket_at + code % buckets * 4)
    if index is None or index < first:
        return 0
    equal = _equal_hashes(read, bucket_at + buckets * 4, index, first, code)
    for strangers, number in enumerate(equal):
        symbol = read(symbols + number * layout.sym.size, layout.sym.size)
        if len(symbol) < layout.sym.size or strangers >= _MAX_EQUAL:
            return 0
        row = layout.sym.unpack(symbol)
        name_offset, section, value = (row[at] for at in layout.sym_order)
        if section and read(strings + name_offset, len(name) + 1) == name + b"\0":
            return bias + int(value) & layout.mask
    return 0


def _equal_hashes(read: Read, chains: int, index: int, first: int, code: int) -> Iterator[int]:
    """The numbers of the symbols in a chain, from `index` on, whose hash is the wanted one. The
    table begins with the symbol `first`; the lowest bit marks the end."""
    for start in range(index, index + _MAX_CHAIN, _CHAIN_BLOCK):
        data = read(chains + (start - first) * 4, _CHAIN_BLOCK * 4)
        data = data[: len(data) & -4]
        for number, (entry,) in enumerate(_HALF.iter_unpack(data), start):
            if entry | 1 == code | 1:
                yield number
            if entry & 1:
                return
        if len(data) < _CHAIN_BLOCK * 4:
            return


def gnu_hash(name: bytes) -> int:
    """The hash of DT_GNU_HASH (Bernstein's, modulo 2^32)."""
    code = 5381
    for byte in name:
        code = (code * 33 + byte) & 0xFFFFFFFF
    return code


def _read_half(read: Read, address: int) -> int | None:
    data = read(address, 4)
    return int.from_bytes(data, "little") if len(data) == 4 else None
