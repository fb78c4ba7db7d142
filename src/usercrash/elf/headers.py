"""ELF headers, program headers and notes (System V gABI chapters 4 and 5, <elf.h>).

Readers here never trust a length: they check it against the bytes that are there
and raise `FormatError`, or end early where a partial answer is useful (notes).
"""

from __future__ import annotations

from _struct import Struct

from ..errors import FormatError
from ..model.snapshot import ElfNote
from ..model.types import TYPE_CHECKING

ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB, ELFDATA2MSB = 1, 2
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
# <elf.h>: the machines that some code has to tell apart; elf/arch knows all.
EM_386, EM_PPC64, EM_S390, EM_ARM, EM_X86_64, EM_AARCH64 = 3, 21, 22, 40, 62, 183
PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_PHDR, PT_GNU_EH_FRAME = 1, 2, 4, 6, 0x6474E550
PF_X, PF_W, PF_R = 1, 2, 4
PN_XNUM = 0xFFFF

NT_PRSTATUS, NT_FPREGSET, NT_PRPSINFO, NT_AUXV = 1, 2, 3, 6
NT_SIGINFO, NT_FILE, NT_X86_XSTATE = 0x53494749, 0x46494C45, 0x202
NT_386_TLS = 0x200
NT_GNU_BUILD_ID = 3

# <linux/auxvec.h>, <asm/auxvec.h>: the types of the auxiliary vector's entries.
AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY = 3, 4, 5, 6, 9
AT_UID, AT_EUID, AT_GID, AT_EGID = 11, 12, 13, 14
AT_RANDOM, AT_EXECFN, AT_SYSINFO_EHDR = 25, 31, 33

# <elf.h>: Elf64_Ehdr, Elf32_Ehdr, Elf64_Phdr, Elf32_Phdr, Elf64_Nhdr; little-endian forms.
EHDR64 = Struct("<16sHHIQQQIHHHHHH")
EHDR32 = Struct("<16sHHIIIIIHHHHHH")
PHDR64 = Struct("<IIQQQQQQ")
PHDR32 = Struct("<IIIIIIII")
NHDR = Struct("<III")
assert (EHDR64.size, EHDR32.size, PHDR64.size, PHDR32.size, NHDR.size) == (64, 52, 56, 32, 12)

if TYPE_CHECKING:
    from collections.abc import Iterator


class ElfHeader:
    """The fields of an ELF header that we use. `phnum` is raw: PN_XNUM means "see elsewhere"."""

    __slots__ = (
        "elf_class", "entry", "flags", "little", "machine", "order", "phentsize", "phnum", "phoff",
        "shentsize", "shnum", "shoff", "shstrndx", "type",
    )  # fmt: skip

    def __init__(self, data: bytes | memoryview) -> None:
        """Parse the first bytes of a file; FormatError unless it is ELF of a known class."""
        if len(data) < 16 or bytes(data[:4]) != b"\x7fELF":
            raise FormatError("not an ELF file")
        self.elf_class = data[4]
        self.little = data[5] == ELFDATA2LSB
        self.order = "<" if self.little else ">"
        if self.elf_class not in (ELFCLASS32, ELFCLASS64) or data[5] not in (1, 2):
            raise FormatError("ELF file of an unknown class or byte order")
        layout = EHDR64 if self.elf_class == ELFCLASS64 else EHDR32
        if not self.little:
            layout = Struct(">" + layout.format[1:])
        if len(data) < layout.size:
            raise FormatError("ELF header cut short")
        (_, self.type, self.machine, _, self.entry, self.phoff, self.shoff, self.flags, _,
         self.phentsize, self.phnum, self.shentsize, self.shnum,
         self.shstrndx) = layout.unpack_from(data)  # fmt: skip


class ProgramHeader:
    """One program header, the same fields for both classes."""

    __slots__ = ("type", "flags", "offset", "vaddr", "paddr", "filesz", "memsz", "align")

    def __init__(
        self, type: int, flags: int, offset: int, vaddr: int, paddr: int,
        filesz: int, memsz: int, align: int,
    ) -> None:  # fmt: skip
        self.type = type
        self.flags = flags
        self.offset = offset
        self.vaddr = vaddr
        self.paddr = paddr
        self.filesz = filesz
        self.memsz = memsz
        self.align = align


def parse_program_headers(
    header: ElfHeader, data: bytes | memoryview, count: int
) -> list[ProgramHeader]:
    """`count` program headers from the start of `data`; fewer where `data` is cut short."""
    wide = header.elf_class == ELFCLASS64
    layout = PHDR64 if wide else PHDR32
    if not header.little:
        layout = Struct(">" + layout.format[1:])
    result = []
    step = max(header.phentsize, layout.size)
    for number in range(min(count, len(data) // step)):
        row = layout.unpack_from(data, number * step)
        if wide:
            kind, flags, offset, vaddr, paddr, filesz, memsz, align = row
        else:
            kind, offset, vaddr, paddr, filesz, memsz, flags, align = row
        result.append(ProgramHeader(kind, flags, offset, vaddr, paddr, filesz, memsz, align))
    return result


def iter_notes(data: bytes | memoryview, little: bool = True) -> Iterator[ElfNote]:
    """The notes of a PT_NOTE segment with 4-byte alignment (cores, build-ids).

    Ends silently at the first note that is cut short: what came before is good.
    """
    for kind, name_start, name_end, desc_start, desc_end in note_places(data, little):
        owner = bytes(data[name_start:name_end]).rstrip(b"\0")
        yield ElfNote(owner, kind, bytes(data[desc_start:desc_end]))


def note_places(
    data: bytes | memoryview, little: bool = True
) -> Iterator[tuple[int, int, int, int, int]]:
    """The same without copies: type, and where owner and descriptor begin and end."""
    unpack = NHDR.unpack_from if little else Struct(">III").unpack_from
    position, end = 0, len(data)
    while position + 12 <= end:
        name_size, desc_size, kind = unpack(data, position)
        name_start = position + 12
        desc_start = name_start + (name_size + 3 & ~3)
        desc_end = desc_start + desc_size
        if desc_end > end:
            return
        yield kind, name_start, name_start + name_size, desc_start, desc_end
        position = desc_start + (desc_size + 3 & ~3)


def encode_note(note: ElfNote) -> bytes:
    """One note with its padding, little-endian."""
    owner = note.owner + b"\0"
    return b"".join((
        NHDR.pack(len(owner), len(note.desc), note.type),
        owner, b"\0" * (-len(owner) & 3),
        note.desc, b"\0" * (-len(note.desc) & 3),
    ))  # fmt: skip
