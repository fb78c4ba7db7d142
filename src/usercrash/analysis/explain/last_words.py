"""The message with which the C library ended the program: `__abort_msg` in its memory.

glibc (include/assert.h, posix/libc_fatal.c) keeps a pointer to
`struct abort_msg_s { unsigned int size; char msg[]; }` in a variable that its dynamic symbol
table names for debuggers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct

from ..binary.elf_file import SHT_DYNSYM, SHT_SYMTAB, ElfFile, Section
from ..core.modules import Module

MAX_MESSAGE = 16 << 10
_SYMBOL = b"__abort_msg"
_SYM64 = Struct("<IBBHQQ")  # Elf64_Sym: st_name st_info st_other st_shndx st_value st_size
assert _SYM64.size == 24


def abort_message(modules: Iterable[Module], read: Callable[[int, int], bytes]) -> bytes | None:
    """The text without its final NUL; None where there is none, or its memory is not known."""
    for module in modules:
        base = module.path.rpartition(b"/")[2]
        if not (base.startswith((b"libc.so", b"libc-")) or module.main) or module.elf is None:
            continue
        value = symbol_value(module.elf, _SYMBOL)
        if value is None:
            continue
        pointer = read(value + module.bias, 8)
        if len(pointer) < 8 or not any(pointer):
            continue
        address = int.from_bytes(pointer, "little")
        size = int.from_bytes(read(address, 4).ljust(4, b"\0"), "little")
        text = read(address + 4, min(size, MAX_MESSAGE)).partition(b"\0")[0]
        if text:
            return text
    return None


def symbol_value(elf: ElfFile, name: bytes) -> int | None:
    """The link-time address of a defined symbol of this name, by `.dynsym`, then `.symtab`.

    Without a section table (which a stripped file may lack) nothing is found.
    """
    if not elf.wide or not elf.header.little:
        return None
    for kind in (SHT_DYNSYM, SHT_SYMTAB):
        for table in elf.sections:
            if table.type == kind and table.link < len(elf.sections):
                found = _in_table(elf, table, elf.sections[table.link], name)
                if found is not None:
                    return found
    return None


def _in_table(elf: ElfFile, table: Section, strings: Section, name: bytes) -> int | None:
    names = elf.view[strings.offset : strings.offset + min(strings.size, 64 << 20)]
    at = bytes(names).find(b"\0" + name + b"\0")
    if at < 0:
        return None
    rows = elf.view[table.offset : table.offset + min(table.size, 256 << 20)]
    for st_name, _, _, index, value, _ in _SYM64.iter_unpack(rows[: len(rows) // 24 * 24]):
        if st_name == at + 1 and index:
            return int(value)
    return None
