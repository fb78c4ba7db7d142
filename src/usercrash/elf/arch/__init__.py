"""One table for each architecture: everything that capture and the unwinder ask of an ABI.

A new architecture is a new module with an `ARCH` and its name in `arch_of`.
"""

from __future__ import annotations

from _struct import Struct


class Arch:
    """What an ABI fixes. Offsets and sizes are in bytes.

    `prstatus_registers` are the names in the order of the kernel's elf_gregset_t,
    `word` the size of one; `dwarf_registers` maps DWARF numbers to names;
    `return_column` is the DWARF number of the return address.
    """

    __slots__ = (
        "_gregset", "_place", "_place_order",
        "name", "machine", "elf_class", "word", "prstatus_size", "prstatus_signal", "prstatus_tid",
        "prstatus_offset", "prstatus_registers", "pc", "sp", "fp", "dwarf_registers",
        "return_column", "callee_saved", "red_zone", "pointer_registers",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        machine: int,
        elf_class: int,
        word: int,
        prstatus_size: int,
        prstatus_signal: int,
        prstatus_tid: int,
        prstatus_offset: int,
        prstatus_registers: tuple[str, ...],
        pc: str,
        sp: str,
        fp: str,
        dwarf_registers: dict[int, str],
        return_column: int,
        callee_saved: tuple[str, ...],
        red_zone: int,
        pointer_registers: tuple[str, ...],
    ) -> None:
        self.name = name
        self.machine = machine
        self.elf_class = elf_class
        self.word = word
        self.prstatus_size = prstatus_size
        self.prstatus_signal = prstatus_signal
        self.prstatus_tid = prstatus_tid
        self.prstatus_offset = prstatus_offset
        self.prstatus_registers = prstatus_registers
        self._gregset = Struct(f"<{len(prstatus_registers)}{'Q' if word == 8 else 'I'}")
        self._place, self._place_order = _place_of(
            word, prstatus_tid, prstatus_offset, prstatus_registers, pc, sp
        )
        self.pc = pc
        self.sp = sp
        self.fp = fp
        self.dwarf_registers = dwarf_registers
        self.return_column = return_column
        self.callee_saved = callee_saved
        self.red_zone = red_zone
        self.pointer_registers = (
            pointer_registers  # those that may hold an address, in report order
        )

    def parse_prstatus(self, desc: bytes) -> tuple[int, int, dict[str, int]]:
        """(signal, tid, registers) of an NT_PRSTATUS descriptor; ValueError if cut short."""
        start = self.prstatus_offset
        end = start + self.word * len(self.prstatus_registers)
        if len(desc) < end:
            raise ValueError(f"NT_PRSTATUS of {len(desc)} bytes, at least {end} expected")
        signal = int.from_bytes(desc[self.prstatus_signal : self.prstatus_signal + 2], "little")
        tid = int.from_bytes(desc[self.prstatus_tid : self.prstatus_tid + 4], "little")
        values = self._gregset.unpack_from(desc, start)
        return signal, tid, dict(zip(self.prstatus_registers, values, strict=True))

    def parse_place(self, data: bytes | memoryview, start: int) -> tuple[int, int, int]:
        """(tid, pc, sp) of the NT_PRSTATUS descriptor that begins at `start` and is whole."""
        values = self._place.unpack_from(data, start)
        tid, pc, sp = self._place_order
        return values[tid], values[pc], values[sp]


def _place_of(
    word: int, tid: int, offset: int, registers: tuple[str, ...], pc: str, sp: str
) -> tuple[Struct, tuple[int, int, int]]:
    """The layout that takes only thread, pc and sp out of a prstatus, and which is which."""
    at = (tid, offset + registers.index(pc) * word, offset + registers.index(sp) * word)
    kinds = ("i", "Q" if word == 8 else "I", "Q" if word == 8 else "I")
    layout, end = "<", 0
    order = sorted(range(3), key=lambda number: at[number])
    for number in order:
        layout += f"{at[number] - end}x{kinds[number]}"
        end = at[number] + (4 if number == 0 else word)
    return Struct(layout), (order.index(0), order.index(1), order.index(2))


def arch_of(machine: int, elf_class: int) -> Arch | None:
    """The table for an ELF header's e_machine and class, None where there is none yet."""
    from . import x86_64

    for arch in (x86_64.ARCH,):
        if (arch.machine, arch.elf_class) == (machine, elf_class):
            return arch
    return None
