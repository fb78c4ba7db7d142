"""The dynamic symbol table where no section header tells of it: by PT_DYNAMIC, in a file or in
memory (System V gABI chapter 5; DT_GNU_HASH as glibc's dl-lookup.c reads it)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...elf.headers import EM_S390, PT_DYNAMIC

if TYPE_CHECKING:
    from .elf_file import ElfFile

Read = Callable[[int, int], bytes]  # (link-time address, size): fewer bytes where there are none

DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ = 0, 4, 5, 6, 10
DT_MIPS_SYMTABNO, DT_GNU_HASH = 0x70000011, 0x6FFFFEF5
_MAX_DYNAMIC = 4096
_MAX_SYMBOLS = 1_000_000
_MAX_STRINGS = 64 << 20
_EM_ALPHA = 0x9026  # not in elf/arch: its cores are not read


def dynamic_tags(elf: ElfFile, read: Read) -> dict[int, int]:
    """The entries of PT_DYNAMIC up to DT_NULL; the first of each tag counts."""
    segment = elf.segment(PT_DYNAMIC)
    if segment is None:
        return {}
    layout = struct.Struct(elf.order + ("qQ" if elf.wide else "iI"))
    table = read(segment.vaddr, min(segment.memsz // layout.size, _MAX_DYNAMIC) * layout.size)
    found: dict[int, int] = {}
    for tag, value in layout.iter_unpack(table[: len(table) // layout.size * layout.size]):
        if tag == DT_NULL:
            break
        found.setdefault(tag, value)
    return found


def dynamic_symbols(elf: ElfFile, read: Read, bias: int = 0) -> tuple[bytes, bytes]:
    """(symbols, strings) as they lie in `.dynsym` and `.dynstr`; empty where they cannot be found.

    In memory the loader may have added the `bias` to the addresses in PT_DYNAMIC already.
    """
    tags = dynamic_tags(elf, read)
    for tag in (DT_HASH, DT_GNU_HASH, DT_SYMTAB, DT_STRTAB):
        value = tags.get(tag, 0)
        if bias and value and elf.segment_at(value) is None:
            tags[tag] = value - bias
    symbols, strings = tags.get(DT_SYMTAB), tags.get(DT_STRTAB)
    if symbols is None or strings is None:
        return b"", b""
    count = min(_count(elf, read, tags), _MAX_SYMBOLS)
    text = read(strings, min(tags.get(DT_STRSZ, 0), _MAX_STRINGS))
    return read(symbols, count * (24 if elf.wide else 16)), text


def _count(elf: ElfFile, read: Read, tags: dict[int, int]) -> int:
    if DT_MIPS_SYMTABNO in tags:
        return tags[DT_MIPS_SYMTABNO]
    if DT_HASH in tags:
        wide = elf.wide and elf.header.machine in (EM_S390, _EM_ALPHA)
        layout = struct.Struct(elf.order + ("QQ" if wide else "II"))
        data = read(tags[DT_HASH], layout.size)
        return int(layout.unpack(data)[1]) if len(data) == layout.size else 0
    if DT_GNU_HASH in tags:
        return _count_gnu(elf, read, tags[DT_GNU_HASH])
    return 0


def _count_gnu(elf: ElfFile, read: Read, at: int) -> int:
    """One more than the last symbol that a chain of DT_GNU_HASH reaches."""
    head = read(at, 16)
    if len(head) < 16:
        return 0
    buckets, first, bloom, _ = _words(elf, head)
    at += 16 + bloom * (8 if elf.wide else 4)
    table = read(at, 4 * min(buckets, _MAX_SYMBOLS))
    last = max(_words(elf, table), default=0)
    if last < first:
        return first
    chain = at + 4 * buckets
    while last < _MAX_SYMBOLS:
        piece = read(chain + 4 * (last - first), 4096)
        for word in _words(elf, piece):
            last += 1
            if word & 1:
                return last
        if len(piece) < 4096:
            break
    return last


def _words(elf: ElfFile, data: bytes) -> tuple[int, ...]:
    count = len(data) // 4
    words: tuple[int, ...] = struct.unpack(f"{elf.order}{count}I", data[: 4 * count])
    return words
