"""The stubs of a file's procedure linkage table: which function each leads to, by the word of the
global offset table that its code reads and the relocation that fills this in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...elf.arch import arch_of
from ...elf.headers import EM_PPC64
from ..binary.elf_file import ElfFile
from ..binary.imports import Imports
from ..instructions.machine_code import CodeFacts, code_facts

_TABLE_BIAS = 0x8000  # of Power's r2 over the begin of its table (ELF v2 ABI, section 2.3.3)


@dataclass(frozen=True, slots=True)
class Linked:
    """A stub: its link-time address, the word that its jump reads (None where that is not known),
    and the function's name (the linker's); None for one that has none."""

    start: int
    slot: int | None
    name: bytes | None


class LinkageStubs:
    """The stubs of one file, by link-time addresses; nothing is read before it is asked for."""

    def __init__(self, elf: ElfFile) -> None:
        self._elf = elf
        self.imports = Imports(elf)
        header = elf.header
        arch = arch_of(header.machine, header.elf_class, header.order, header.flags)
        self._facts: CodeFacts | None = code_facts(arch) if arch is not None else None
        self._known: dict[int, Linked | None] = {}

    def at(self, address: int) -> Linked | None:
        """The stub one of whose instructions begins at an address."""
        if address not in self._known:
            self._known[address] = self._at(address) if self._may_hold(address) else None
        return self._known[address]

    def _at(self, address: int) -> Linked | None:
        if self._facts is None:
            return None
        found = self._facts.stub(self._elf.read_at, address, self._table)
        if found is None:
            return None
        # (where no section tells, it is a stub if the dynamic linker knows its word)
        if self._places is None and self.imports.symbol_of(found.slot, found.number) is None:
            return None
        return Linked(found.start, found.slot, self.imports.name_of(found.slot, found.number))

    def is_unbound(self, address: int) -> bool:
        """Whether an address is in the stubs or their head: what a word holds that is not bound
        yet."""
        if self._places is not None:
            return self._may_hold(address)
        read = self._elf.read_at
        by_code = self._facts is not None and self._facts.linkage(read, address) is not None
        return by_code or self.at(address) is not None

    def _may_hold(self, address: int) -> bool:
        places = self._places
        return places is None or any(start <= address < end for start, end in places)

    def called(self, before: bytes, address: int) -> int | None:
        """The word of the global offset table that the call before an address reads, where it
        does so without a stub; None for any other code."""
        if self._facts is None:
            return None
        return self._filled(self._facts.called_slot(before, address, self._table))

    def jumped(self, before: bytes, address: int) -> int | None:
        """The same of a jump."""
        if self._facts is None:
            return None
        return self._filled(self._facts.jumped_slot(before, address, self._table))

    def _filled(self, slot: int | None) -> int | None:
        """The word, if the dynamic linker fills it in, and not the program a pointer of its own."""
        return slot if slot is not None and self.imports.symbol_of(slot) else None

    @cached_property
    def _places(self) -> list[tuple[int, int]] | None:
        """The sections of stubs; None where there are no sections, or the machine's linkers have
        stubs among other code."""
        if not self._elf.sections or self._elf.header.machine == EM_PPC64:
            return None
        return [
            (one.address, one.address + one.size)
            for one in self._elf.sections
            if one.name.startswith((b".plt", b".iplt"))
        ]

    @cached_property
    def _table(self) -> int:
        """What the register holds that stubs find their words by."""
        if self._elf.header.machine != EM_PPC64:
            return self.imports.table
        section = self._elf.section(b".got")
        return section.address + _TABLE_BIAS if section is not None else 0
