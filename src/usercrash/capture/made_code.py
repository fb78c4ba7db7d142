"""Code that a compiler made at run time, as far as a stack leads through it.

It lies in no file, so that nobody has it later. Whoever walks the stack without call frame
information believes a return address only where a call instruction stands before it: what is kept
is a little code around every word of the stacks that points to such code. Imported only where
the maps show code in no file.
"""

from __future__ import annotations

from array import array

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..elf.arch import Arch
    from ..model.snapshot import ThreadState
    from .plan import Range

MAX_BYTES = 1 << 20
_MAX_STACK = 256 << 10  # bytes of one stack that are looked through
_MAX_WORDS = 1 << 20  # of all stacks
_MAX_PLACES = 8192
_ANONYMOUS, _MEMFD = b"xp 00000000 00:00 0", b" /memfd:"
_BEFORE, _SIZE = 32, 64  # a call before the address, and a trampoline's code behind it


def made_code(
    threads: Iterable[ThreadState],
    maps: Iterable[bytes],
    pieces: list[tuple[int, bytes]],
    arch: Arch,
) -> Iterator[Range]:
    """The code around what the stacks among `pieces` point to, the crashing thread's first;
    `maps` are the lines of its table."""
    ranges = _merged(_span(line) for line in maps if _is_made(line))
    if not ranges or arch.order != "<":
        return
    stacks = sorted(pieces)
    left = _MAX_WORDS
    seen: set[int] = set()
    for thread in threads:
        for words in _words(stacks, thread.registers.get(arch.sp, 0), arch):
            left -= len(words)
            for start, end in ranges:
                for value in [word for word in words if start < word < end]:
                    place = value - _BEFORE & -_BEFORE
                    if place not in seen:
                        seen.add(place)
                        yield place, _SIZE, "code made at run time"
            if left <= 0 or len(seen) >= _MAX_PLACES:
                return


def _is_made(line: bytes) -> bool:
    """Whether a line of maps is of code in no file (nor in the kernel's vdso)."""
    if _ANONYMOUS in line:
        path = line.partition(_ANONYMOUS)[2].strip()
        return not path or path.startswith(b"[anon")
    return _MEMFD in line and b"x" in line.split(b" ", 2)[1]


def _span(line: bytes) -> tuple[int, int]:
    start, _, rest = line.partition(b"-")
    return int(start, 16), int(rest.partition(b" ")[0], 16)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Adjacent spans as one: a compiler's memory is in pieces of changing permissions."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if result and start - result[-1][1] <= 1 << 20:
            result[-1] = result[-1][0], end
        else:
            result.append((start, end))
    return result[:64]


def _words(stacks: list[tuple[int, bytes]], sp: int, arch: Arch) -> Iterator[array[int]]:
    """The words of the stack from its pointer on, as far as they were taken."""
    size = arch.word
    sp &= -size
    end = sp + _MAX_STACK
    for start, data in stacks:
        if start + len(data) <= sp:
            continue
        if start > sp or sp >= end:
            return
        data = data[sp - start : end - start]
        words = array("Q" if size == 8 else "I")
        words.frombytes(data[: len(data) // size * size])
        yield words
        sp = start + len(data) if start > sp else sp + len(data)
