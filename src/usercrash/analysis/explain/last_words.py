"""The message with which the C library, or GLib, ended the program: kept in its memory.

glibc (include/assert.h, posix/libc_fatal.c) keeps a pointer to
`struct abort_msg_s { unsigned int size; char msg[]; }` in a variable that its dynamic symbol
table names for debuggers. GLib (glib/gtestutils.c) has such a pointer to a plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..binary.elf_file import ElfFile
from ..core.modules import Module

MAX_MESSAGE = 16 << 10
_SYMBOL, _GLIB_SYMBOL = b"__abort_msg", b"__glib_assert_msg"


def abort_message(modules: Iterable[Module], read: Callable[[int, int], bytes]) -> bytes | None:
    """The text without its final NUL; None where there is none, or its memory is not known."""
    glib = None
    for module in modules:
        base = module.path.rpartition(b"/")[2]
        if base.startswith(b"libglib-2") and module.elf is not None:
            for address in module.addresses_of(_GLIB_SYMBOL):
                glib = _plain_text(module.elf, address, read) or None
        if not (base.startswith((b"libc.so", b"libc-")) or module.main) or module.elf is None:
            continue
        for address in module.addresses_of(_SYMBOL):
            text = _text(module.elf, address, read)
            if text:
                return text
    return glib


def _plain_text(elf: ElfFile, address: int, read: Callable[[int, int], bytes]) -> bytes:
    pointer = read(address, 8 if elf.wide else 4)
    start = int.from_bytes(pointer, elf.byte_order)
    return read(start, MAX_MESSAGE).partition(b"\0")[0] if start else b""


def _text(elf: ElfFile, address: int, read: Callable[[int, int], bytes]) -> bytes:
    """What the variable at an address points to; b"" where that is nothing."""
    word = 8 if elf.wide else 4
    pointer = read(address, word)
    if len(pointer) < word or not any(pointer):
        return b""
    start = int.from_bytes(pointer, elf.byte_order)
    size = int.from_bytes(read(start, 4).ljust(4, b"\0"), elf.byte_order)
    return read(start + 4, min(size, MAX_MESSAGE)).partition(b"\0")[0]
