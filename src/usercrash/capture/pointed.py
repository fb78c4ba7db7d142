"""Memory that the crashing thread's innermost stack points to: what explains a crash often lies
there, such as the object that was used after it was freed, an exception, the text of a panic.

Bounded in bytes and in number; the ranges of one place are kept once.
"""

from __future__ import annotations

from _struct import Struct

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..elf.arch import Arch
    from .procfs import MapTable

    Read = Callable[[int, int], bytes]
    Range = tuple[int, int, str]  # address, size, reason

FAULT_STACK, ABORT_STACK = 384, 8 << 10  # bytes of stack whose words are followed
_BLOCK = 256  # pointers into the same one are one
_FAULT_BLOCKS, _ABORT_BLOCKS = 32, 256
_BEFORE = 128  # kept in front of a block of data that is pointed to
_LONGER = 512  # and behind it, where texts may be
_CONSTANT = 64  # behind a block of constants, which files have, but for relocated ones
_PAGE = 4096

# C++ (the ABI for Itanium): the class at the head of struct _Unwind_Exception, of libstdc++ and of
# libc++abi; how far before it the pointer to the type stands, how far behind it the object.
_CLASSES = (b"\0++CCUNG", b"\0++CGNLC")
_TYPE, _OBJECT = 80, 32
_MAX_BASES, _NAME = 6, 256
_MEMBERS = 48  # bytes of an exception whose pointers are followed
_MAX_RECORDS = 16  # exceptions
_WORD = Struct("<Q")


def pointed(
    stack: bytes, where: tuple[int, int], maps: MapTable, read: Read, arch: Arch, texts: bool
) -> Iterator[Range]:
    """What the words of `stack` point to; `where` (start, end) is the stack's own mapping, which is
    kept anyway. With `texts` also what only those need that ended themselves: constants, longer
    pieces, exceptions."""
    count = len(stack) // arch.word
    letter = "Q" if arch.word == 8 else "I"
    words = Struct(f"{arch.order}{count}{letter}").unpack_from(stack)
    blocks: set[int] = set()
    seen: set[int] = set()  # exceptions
    most = _ABORT_BLOCKS if texts else _FAULT_BLOCKS
    for value in dict.fromkeys(words):
        block = value // _BLOCK
        if value < _PAGE or block in blocks or where[0] <= value < where[1]:
            continue
        if place := maps.writable(value):
            start = max(block * _BLOCK - _BEFORE, place[0])
            size = (block + 1) * _BLOCK + (_LONGER if texts else 0) - start
            yield start, size, "pointed to"
            if texts and arch.word == 8:
                for at in _records(read(start, size), start, seen):
                    yield from _exception(at, read)
        elif texts and _is_constant(maps, value):
            yield block * _BLOCK, _BLOCK + _CONSTANT, "pointed to"
        else:
            continue
        blocks.add(block)
        if len(blocks) == most:
            return


def _is_constant(maps: MapTable, address: int) -> bool:
    mapping = maps.find(address)
    return mapping is not None and mapping.readable and not mapping.executable


def _records(data: bytes, start: int, seen: set[int]) -> Iterator[int]:
    """The addresses of the classes of exceptions in the bytes from `start` on; not those in `seen`,
    which gets them, nor more than _MAX_RECORDS in all."""
    for mark in _CLASSES:
        at = data.find(mark, _TYPE)
        while at >= 0 and len(seen) < _MAX_RECORDS:
            if start + at not in seen:
                seen.add(start + at)
                yield start + at
            at = data.find(mark, at + len(mark))


def _exception(record: int, read: Read) -> Iterator[Range]:
    """Of a C++ exception: its type, the bases of that, itself, what its members point to."""
    head = read(record - _TYPE, _TYPE + _OBJECT + _MEMBERS)
    if len(head) < _TYPE + _OBJECT + 8:
        return
    kind = _word(head, 0)
    for _ in range(_MAX_BASES):
        described = read(kind, 24) if kind >= _PAGE else b""
        if len(described) < 24:
            break
        yield kind, 24, "type of an exception"
        yield _word(described, 8), _NAME, "type of an exception"
        kind = _word(described, 16)
    yield record - _TYPE, _TYPE + _OBJECT + _BEFORE, "exception"
    thing = head[_TYPE + _OBJECT :]
    for offset in range(0, len(thing) // 8 * 8, 8):
        if (pointer := _word(thing, offset)) >= _PAGE:
            yield pointer, _LONGER, "exception"


def _word(data: bytes, at: int) -> int:
    value: int = _WORD.unpack_from(data, at)[0]
    return value
