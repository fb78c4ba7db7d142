"""The message with which the C library ended the program: `__abort_msg` in its memory.

glibc (include/assert.h, posix/libc_fatal.c) keeps a pointer to
`struct abort_msg_s { unsigned int size; char msg[]; }` in a variable that its dynamic symbol
table names for debuggers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from typing import Literal

from ..binary.elf_file import SHT_DYNSYM, SHT_SYMTAB, ElfFile, Section
from ..core.modules import Module

MAX_MESSAGE = 16 << 10
_SYMBOL = b"__abort_msg"
# Elf64_Sym: st_name, st_info and st_other, st_shndx, st_value, st_size; Elf32_Sym has them in
# another order. Those that we need, and their order.
_SYM64, _SYM32 = ("IxxHQ8x", (0, 1, 2)), ("II6xH", (0, 2, 1))


def abort_message(modules: Iterable[Module], read: Callable[[int, int], bytes]) -> bytes | None:
    """The text without its final NUL; None where there is none, or its memory is not known."""
    for module in modules:
        base = module.path.rpartition(b"/")[2]
        if not (base.startswith((b"libc.so", b"libc-")) or module.main) or module.elf is None:
            continue
        value = symbol_value(module.elf, _SYMBOL)
        if value is None:
            continue
        word = 8 if module.elf.wide else 4
        order: Literal["little", "big"] = "little" if module.elf.header.little else "big"
        pointer = read(value + module.bias, word)
        if len(pointer) < word or not any(pointer):
            continue
        address = int.from_bytes(pointer, order)
        size = int.from_bytes(read(address, 4).ljust(4, b"\0"), order)
        text = read(address + 4, min(size, MAX_MESSAGE)).partition(b"\0")[0]
        if text:
            return text
    return None


def symbol_value(elf: ElfFile, name: bytes) -> int | None:
    """The link-time address of a defined symbol of this name, by `.dynsym`, then `.symtab`.

    Without a section table (which a stripped file may lack) nothing is found.
    """
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
    fields, (st_name, index, value) = _SYM64 if elf.wide else _SYM32
    layout = Struct(elf.header.order + fields)
    for row in layout.iter_unpack(rows[: len(rows) // layout.size * layout.size]):
        if row[st_name] == at + 1 and row[index]:
            return int(row[value])
    return None
