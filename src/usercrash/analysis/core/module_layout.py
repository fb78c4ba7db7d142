"""How a file's mappings lie: which belong together, how far the file was moved.

By the mappings and the file's program headers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...elf.headers import PF_X, ProgramHeader
from ...errors import FormatError
from ...model.maps import Mapping
from ..binary.elf_file import ElfFile
from .image import CoreImage

HEADERS_SIZE = 4096  # bytes at a module's start where its ELF and program headers stand
PAGES = (4096, 8192, 16384, 65536)  # what segments may have been rounded to
_LARGEST = PAGES[-1]


def runs_of_files(image: CoreImage, mappings: Iterable[Mapping]) -> Iterator[list[Mapping]]:
    """Mappings of one file that follow each other in address order, as one load made them.

    Anonymous memory between (a gap between segments, the zero-filled rest) does not end
    a run; another file does, and so does the same file's beginning, unless the headers say
    that several segments begin there (small files: the first page holds all of them).
    """
    run: list[Mapping] = []
    for mapping in mappings:
        if not mapping.path or mapping.path[:1] == b"[":
            if mapping.path and run:  # [heap], [stack] … end what came before
                yield run
                run = []
            continue
        if run:
            last = run[-1]
            same = (last.path, last.device, last.inode) == (
                mapping.path, mapping.device, mapping.inode,
            )  # fmt: skip
            again = mapping.offset < last.offset or mapping.offset == 0
            if not same or (again and not _belongs(image, run, mapping)):
                yield run
                run = []
        run.append(mapping)
    if run:
        yield run


def _belongs(image: CoreImage, run: list[Mapping], mapping: Mapping) -> bool:
    """Whether a mapping shows a segment of the file that begins with the run, by the headers that
    memory has of it."""
    first = run[0]
    if first.offset:
        return False
    try:
        elf = ElfFile(image.read(first.start, HEADERS_SIZE))
    except FormatError:
        return False
    loads = elf.loads
    bias = first.start - (loads[0].vaddr - loads[0].offset) if loads else 0
    return any(
        mapping.start - mapping.offset == segment.vaddr - segment.offset + bias
        and mapping.offset < segment.offset + segment.filesz
        and mapping.end <= -(-(segment.vaddr + segment.memsz + bias) // _LARGEST) * _LARGEST
        for segment in loads[1:]
    )


def bias_of(run: list[Mapping], elf: ElfFile | None) -> int:
    """Address in memory − link-time address, by the PT_LOAD that a mapping shows.

    Mappings with code are asked first: data may be mapped at odd offsets.
    """
    for mapping in sorted(run, key=lambda row: not row.executable):
        segment = _shown(mapping, elf.loads) if elf is not None else None
        if segment is not None:
            return mapping.start - mapping.offset + segment.offset - segment.vaddr
    for segment in elf.loads[:1] if elf is not None else ():
        if run[0].offset in {segment.offset & -page for page in PAGES}:
            return run[0].start - run[0].offset + segment.offset - segment.vaddr
    return run[0].start - run[0].offset


def _shown(mapping: Mapping, loads: list[ProgramHeader]) -> ProgramHeader | None:
    """The segment that a mapping shows: one of the same permissions that begins where it begins
    (in pages of whatever size), else one that it is a part of."""
    likely = [one for one in loads if bool(one.flags & PF_X) == mapping.executable]
    for page in PAGES:
        for segment in likely:
            if mapping.offset == segment.offset & -page:
                return segment
    for segment in likely:
        if segment.offset <= mapping.offset < segment.offset + segment.filesz:
            return segment
    return None


def laid_out(mappings: list[Mapping], headers: ElfFile | None, bias: int) -> bool:
    """Whether mappings without (known) code are those of a loaded file: one begins where each
    segment does. A file that is only read is mapped as it lies."""
    if headers is None or not headers.loads:
        return False
    begins = {(row.start, row.offset) for row in mappings}
    return any(
        all(
            (segment.vaddr + bias & -page, segment.offset & -page) in begins
            for segment in headers.loads
        )
        for page in PAGES
    )
