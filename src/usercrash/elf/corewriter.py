"""Writes a snapshot as an ELF core file: the minicore.

Readers: gdb, lldb, eu-stack, drgn and our own analysis. Memory that was not
captured is absent. A segment with a file size of 0 would tell elfutils that the memory was
there and is lost, and it would not look into the files.
"""

from __future__ import annotations

from ..model.minicore import encode_own_notes
from ..model.snapshot import Load, Snapshot
from .headers import (
    EHDR32,
    EHDR64,
    ELFCLASS32,
    ELFCLASS64,
    ELFDATA2LSB,
    ET_CORE,
    PHDR32,
    PHDR64,
    PT_LOAD,
    PT_NOTE,
    encode_note,
)

_PAGE = 4096
_TOP_32 = 1 << 32
_MAX_LOADS = 65_000  # e_phnum has 16 bits, 0xffff says that it is elsewhere


def write_core(snapshot: Snapshot) -> list[bytes]:
    """The core as chunks, in order. The first is the ELF header alone: a caller that writes it
    last leaves an incomplete file that is no ELF file.

    Little-endian, of the snapshot's class; a snapshot without one (the stream was empty)
    makes a 64-bit core of machine 0, whose notes still hold the event and the facts.
    """
    wide = snapshot.elf_class != ELFCLASS32
    loads = sorted(snapshot.loads, key=lambda load: load.address)
    if not wide and loads and loads[-1].address + len(loads[-1].data) > _TOP_32:
        # A 32-bit process may have gone over to 64-bit code and mapped memory from there.
        below = [load for load in loads if load.address + len(load.data) <= _TOP_32]
        what = f"{len(loads) - len(below)} pieces of memory"
        snapshot.notes.add("core file", what, "a 32-bit ELF file has no such addresses")
        loads = below
    if len(loads) > _MAX_LOADS:
        what = f"{len(loads) - _MAX_LOADS} pieces of memory"
        snapshot.notes.add("core file", what, "an ELF file holds no more")
        del loads[_MAX_LOADS:]
    notes = [encode_note(note) for note in snapshot.elf_notes]
    notes += [encode_note(note) for note in encode_own_notes(snapshot)]
    header_size = EHDR64.size if wide else EHDR32.size
    step = PHDR64.size if wide else PHDR32.size
    notes_at = header_size + step * (1 + len(loads))
    notes_size = sum(map(len, notes))
    rows = [_row(wide, PT_NOTE, 0, notes_at, 0, notes_size, 0, 4)]
    chunks = []
    position = notes_at + notes_size
    align = _alignment(loads)
    for load in loads:
        padding = -position % align
        if padding:
            chunks.append(b"\0" * padding)
        position += padding
        size = len(load.data)
        rows.append(_row(wide, PT_LOAD, load.flags, position, load.address, size, size, align))
        chunks.append(load.data)
        position += size
    return [_header(snapshot.machine, wide, len(rows)), b"".join(rows), *notes, *chunks]


def _alignment(loads: list[Load]) -> int:
    """The largest power of two, at most a page, that all addresses are multiples of.

    elfutils reads a segment as if it began at its address rounded down to the
    smallest p_align of the file, and ignores a p_align of 1.
    """
    bits = _PAGE
    for load in loads:
        bits |= load.address
    return bits & -bits


def _header(machine: int, wide: bool, phnum: int) -> bytes:
    layout, step = (EHDR64, PHDR64.size) if wide else (EHDR32, PHDR32.size)
    ident = b"\x7fELF" + bytes((ELFCLASS64 if wide else ELFCLASS32, ELFDATA2LSB, 1)) + b"\0" * 9
    return layout.pack(
        ident, ET_CORE, machine, 1, 0, layout.size, 0, 0, layout.size, step, phnum, 0, 0, 0
    )


def _row(
    wide: bool, kind: int, flags: int, offset: int, vaddr: int, filesz: int, memsz: int, align: int
) -> bytes:
    if wide:
        return PHDR64.pack(kind, flags, offset, vaddr, 0, filesz, memsz, align)
    return PHDR32.pack(kind, offset, vaddr, 0, filesz, memsz, flags, align)
