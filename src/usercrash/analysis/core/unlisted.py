"""Which files a core's mappings show where no note lists them (NT_FILE).

Emulators, and kernels before 3.7, write such cores. The auxiliary vector says where the
program's headers and entry lie, the dynamic loader's chain of struct link_map (<link.h>) where
each library was loaded and under which name. A file counts only if what memory shows of its
headers, its entry and its segments' places agree.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ...elf.headers import (
    AT_ENTRY,
    AT_EXECFN,
    AT_PAGESZ,
    AT_PHDR,
    PF_W,
    PF_X,
    PT_DYNAMIC,
    PT_PHDR,
    ProgramHeader,
)
from ...errors import FormatError
from ...model.maps import Mapping
from ..binary.elf_file import ElfFile
from .core_mappings import permissions_of
from .image import CoreImage
from .module_files import NAMED, FileProvider
from .module_layout import PAGES

_MAX_LINKS = 4096
_MAX_NAME = 4096
_MAX_DYNAMIC = 512  # entries
# DT_DEBUG, and what MIPS has for it: the address of a pointer, and its distance from the entry
_DT_DEBUG, _DT_MIPS_RLD_MAP, _DT_MIPS_RLD_MAP_REL = 21, 0x70000016, 0x70000035


def name_mappings(image: CoreImage, provider: FileProvider, program: FileProvider | None) -> None:
    """Give the mappings of a core without a list of files the paths and offsets that they show.

    `program` has the executable's file where somebody named it.
    """
    if image.file_rows or any(row.path[:1] == b"/" for row in image.mappings):
        return
    found = _program(image, provider, program)
    if found is None:
        return
    path, elf, bias = found
    _name(image, path, elf, bias)
    for name, base in _libraries(image, elf, bias):
        for opened in provider.candidates(name, b"00:00", 0, None):
            try:
                library = ElfFile(opened.data)
            except (FormatError, ValueError):
                continue
            finally:
                opened.close()
            if image.runs(library.header) and _name(image, name, library, base):
                break


def _program(
    image: CoreImage, provider: FileProvider, program: FileProvider | None
) -> tuple[bytes, ElfFile, int] | None:
    """The executable: its path, file, and bias."""
    path = _text(image, image.auxv.get(AT_EXECFN, 0))
    sources = [program] if program is not None else []
    sources += [provider] if path[:1] == b"/" else []
    for source in sources:
        for opened in source.candidates(path, b"00:00", 0, None):
            try:
                elf = ElfFile(opened.data)
            except (FormatError, ValueError):
                continue
            finally:
                opened.close()
            bias = _program_bias(image, elf)
            if bias is not None:
                return path if path[:1] == b"/" else opened.name, elf, bias
            if source is program:
                name = opened.name.decode("utf-8", "backslashreplace")
                image.notes.add("modules", f"{NAMED}{name}", f"refused: {_why_not(image, elf)}")
    return None


def _why_not(image: CoreImage, elf: ElfFile) -> str:
    """Why a file is not the executable of a core."""
    if not image.runs(elf.header):
        return "it is for another machine"
    return "its entry and program headers do not lie as the process had them"


def _program_bias(image: CoreImage, elf: ElfFile) -> int | None:
    """Where the executable was loaded, None if it is another one: entry and program headers must
    have the same distance."""
    if not image.runs(elf.header):
        return None
    headers = elf.segment(PT_PHDR)
    at = headers.vaddr if headers is not None else _address_of(elf, elf.header.phoff)
    phdr, entry = image.auxv.get(AT_PHDR), image.auxv.get(AT_ENTRY)
    if at is None or phdr is None or entry is None:
        return None
    bias = phdr - at
    return bias if entry == elf.header.entry + bias and bias % _page_size(image) == 0 else None


def _address_of(elf: ElfFile, offset: int) -> int | None:
    for segment in elf.loads:
        if segment.offset <= offset < segment.offset + segment.filesz:
            address: int = segment.vaddr + offset - segment.offset
            return address
    return None


def _name(image: CoreImage, path: bytes, elf: ElfFile, bias: int) -> bool:
    """Write path and offset into the mappings of a file's segments, if all that hold code or
    data of it are there. Where the core has the file's headers, by which it will be known, some
    may be left out, as gcore leaves out code: they get mappings."""
    page = _page_size(image)
    start = _address_of(elf, 0)
    with_headers = start is not None and image.read(start + bias, 4) == b"\x7fELF"
    rows: list[tuple[Mapping, int]] = []
    for segment in elf.loads:
        if not segment.filesz:
            continue
        found = [
            (mapping, segment.offset + mapping.start - segment.vaddr - bias & -page)
            for mapping in image.mappings
            if _shows(mapping, segment, bias, page)
        ]
        if found:
            rows += found
            continue
        start = segment.vaddr + bias & -page
        end = segment.vaddr + bias + segment.filesz + page - 1 & -page
        if not with_headers or any(one.start < end and start < one.end for one in image.mappings):
            return False
        rows.append((Mapping(start, end, permissions_of(segment.flags)), segment.offset & -page))
    for mapping, offset in rows:
        mapping.path, mapping.offset = path, max(0, offset)
    known = set(map(id, image.mappings))
    image.mappings += [mapping for mapping, _ in rows if id(mapping) not in known]
    image.mappings.sort(key=lambda mapping: mapping.start)
    return bool(rows)


def _page_size(image: CoreImage) -> int:
    """Bytes of a page, as the kernel told the program."""
    told = image.auxv.get(AT_PAGESZ, 0)
    return told if told in PAGES else PAGES[0]


def _shows(mapping: Mapping, segment: ProgramHeader, bias: int, page: int) -> bool:
    start = segment.vaddr + bias
    if not start & -page <= mapping.start < start + segment.filesz or mapping.path:
        return False
    return mapping.executable == bool(segment.flags & PF_X) or bool(segment.flags & PF_W)


def _libraries(image: CoreImage, elf: ElfFile, bias: int) -> Iterator[tuple[bytes, int]]:
    """(path, bias) of each library, by the loader's chain."""
    root = _debug_root(image, elf, bias)
    long = image.arch.long
    # struct r_debug: r_version (as a long, with its padding), r_map; struct link_map: l_addr,
    # l_name, l_ld, l_next
    link = _word(image, root + long) if root else 0
    seen: set[int] = set()
    while link and link not in seen and len(seen) < _MAX_LINKS:
        seen.add(link)
        base, name = _word(image, link), _word(image, link + long)
        path = _text(image, name)
        if path[:1] == b"/":
            yield path, base
        link = _word(image, link + 3 * long)


def _debug_root(image: CoreImage, elf: ElfFile, bias: int) -> int:
    """The address of the loader's struct r_debug, 0 if it is not known."""
    segment = elf.segment(PT_DYNAMIC)
    if segment is None:
        return 0
    layout = struct.Struct(image.arch.order + ("QQ" if elf.wide else "II"))
    at = segment.vaddr + bias
    size = min(segment.memsz, _MAX_DYNAMIC * layout.size)
    data = image.read(at, size)
    if len(data) < size:  # (on MIPS it is not writable: a core need not have it)
        data = elf.read_at(segment.vaddr, size)
    rows = layout.iter_unpack(data[: len(data) // layout.size * layout.size])
    for number, (tag, value) in enumerate(rows):
        if tag == _DT_DEBUG and value:
            return int(value)
        if tag == _DT_MIPS_RLD_MAP:
            return _word(image, value)
        if tag == _DT_MIPS_RLD_MAP_REL:
            return _word(image, at + number * layout.size + value)
    return 0


def _word(image: CoreImage, address: int) -> int:
    data = image.read(address, image.arch.long)
    return int.from_bytes(data, image.arch.byte_order) if len(data) == image.arch.long else 0


def _text(image: CoreImage, address: int) -> bytes:
    data = image.read(address, _MAX_NAME) if address else b""
    return data.partition(b"\0")[0]
