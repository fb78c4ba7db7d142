"""One table for each architecture: everything that capture and the unwinder ask of an ABI.

A new architecture is a new module with its tables in `ARCHES`, named in `_MODULES`.
"""

from __future__ import annotations

from _struct import Struct

from ...model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal

# struct elf_prstatus (<linux/elfcore.h>) by the size of a long: where pr_cursig, pr_pid and pr_reg
# stand, where longs are aligned to their size.
_PRSTATUS = {8: (12, 32, 112), 4: (12, 24, 72)}


class Arch:
    """What an ABI fixes. Offsets and sizes are in bytes.

    `order` is that of bytes ("<" or ">"), `long` the size of the kernel's long and of an address,
    `word` that of a register in a dump and where it is saved. `prstatus_registers` are the names
    in the order of the kernel's elf_gregset_t ("": unused). `dwarf_registers` maps DWARF numbers to
    names, `return_column` is the DWARF number of the return address. Where the pc has no DWARF
    number it gets one behind the others; `pc_slot` is it in any case. `link` names the register
    in which a call leaves its return address ("": on the stack).

    `code_mask` has the bits of a return address that belong to the address;
    `return_distance` is what has to be added to it (SPARC keeps the call's own). `stack_bias` is
    the distance from the stack pointer to the stack, `cfa_is_sp` whether a frame's CFA
    is its caller's stack pointer. `flags` (value, mask) of the ELF header tell ABIs of one machine
    apart. `float_registers`: where NT_FPREGSET has 64-bit registers, and their names, where
    compilers keep others' values in them. `signals`: the machine's own signal numbers and
    those of <asm-generic/signal.h> that they stand for; `code_first`: siginfo_t has si_code before
    si_errno. `delayed`: the register with the address that follows the pc, where jumps happen
    one instruction late and a dump says so. `program_machine`: the e_machine of the files that its
    processes map, where that is not the core's `machine`. `call` names the registers with the
    number and the arguments of the system call that a thread is in (the number is −1 else), `futex`
    has the numbers of futex(), `restart` that of restart_syscall(), which goes on with a call that
    was interrupted (−2: none). They are empty where a dump does not tell.
    """

    __slots__ = (
        "_gregset", "_place", "_place_names", "call", "callee_saved", "cfa_is_sp", "code_first",
        "code_mask", "delayed", "dwarf_registers", "elf_class", "flags", "float_registers", "fp",
        "futex", "link", "long", "machine", "mask", "name", "numbers", "order", "pc", "pc_slot",
        "pointer_registers", "prstatus_offset", "prstatus_registers", "prstatus_signal",
        "program_machine", "prstatus_size", "prstatus_tid", "red_zone", "return_column",
        "restart", "return_distance", "signals", "slots", "sp", "stack_bias", "word",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        machine: int,
        elf_class: int,
        order: str = "<",
        word: int = 0,
        prstatus: tuple[int, int, int] | None = None,
        prstatus_registers: tuple[str, ...],
        pc: str,
        sp: str,
        fp: str,
        link: str = "",
        dwarf_registers: dict[int, str],
        return_column: int,
        callee_saved: tuple[str, ...],
        red_zone: int = 0,
        pointer_registers: tuple[str, ...],
        code_mask: int = -1,
        return_distance: int = 0,
        stack_bias: int = 0,
        cfa_is_sp: bool = True,
        flags: tuple[int, int] = (0, 0),
        float_registers: tuple[int, tuple[str, ...]] = (0, ()),
        signals: dict[int, int] | None = None,
        code_first: bool = False,
        delayed: str = "",
        program_machine: int = 0,
        call: tuple[str, ...] = (),
        futex: tuple[int, ...] = (),
        restart: int = -2,
    ) -> None:
        self.name = name
        self.machine = machine
        self.elf_class = elf_class
        self.order = order
        self.long = 4 * elf_class
        self.word = word or self.long
        self.mask = (1 << 8 * self.word) - 1
        self.prstatus_signal, self.prstatus_tid, self.prstatus_offset = (
            prstatus or _PRSTATUS[self.long]
        )
        end = self.prstatus_offset + self.word * len(prstatus_registers) + 4  # pr_fpvalid
        self.prstatus_size = end + -end % (self.word if prstatus is None else 2)
        self.prstatus_registers = prstatus_registers
        letter = "Q" if self.word == 8 else "I"
        self._gregset = Struct(f"{order}{len(prstatus_registers)}{letter}")
        self._place, self._place_names = self._place_of(letter, (pc, sp, *call[:2]))
        self.pc = pc
        self.sp = sp
        self.fp = fp
        self.link = link
        self.dwarf_registers = dwarf_registers
        self.return_column = return_column
        self.numbers = {known: number for number, known in dwarf_registers.items()}
        self.pc_slot = self.numbers.setdefault(pc, max(dwarf_registers) + 1)
        self.slots = max(self.numbers.values()) + 1
        self.callee_saved = callee_saved
        self.red_zone = red_zone
        self.pointer_registers = pointer_registers  # that may hold an address, in report order
        self.code_mask = code_mask & self.mask
        self.return_distance = return_distance
        self.stack_bias = stack_bias
        self.cfa_is_sp = cfa_is_sp
        self.flags = flags
        self.float_registers = float_registers
        self.signals = signals or {}
        self.code_first = code_first
        self.delayed = delayed
        self.program_machine = program_machine or machine
        self.call = call
        self.futex = futex
        self.restart = restart

    def is_of(self, machine: int, elf_class: int, order: str, flags: int) -> bool:
        """Whether the header of a core with this e_machine, class, byte order, e_flags is."""
        value, mask = self.flags
        mine = (self.machine, self.elf_class, self.order)
        return mine == (machine, elf_class, order) and flags & mask == value

    def runs(self, machine: int, elf_class: int, order: str, flags: int) -> bool:
        """The same of a program or library that its processes map."""
        return machine == self.program_machine and self.is_of(self.machine, elf_class, order, flags)

    def parse_prstatus(self, desc: bytes) -> tuple[int, int, dict[str, int]]:
        """(signal, tid, registers) of an NT_PRSTATUS descriptor; ValueError if cut short."""
        start = self.prstatus_offset
        end = start + self.word * len(self.prstatus_registers)
        if len(desc) < end:
            raise ValueError(f"NT_PRSTATUS of {len(desc)} bytes, at least {end} expected")
        order = self.byte_order
        signal = int.from_bytes(desc[self.prstatus_signal : self.prstatus_signal + 2], order)
        tid = int.from_bytes(desc[self.prstatus_tid : self.prstatus_tid + 4], order)
        values = self._gregset.unpack_from(desc, start)
        registers = dict(zip(self.prstatus_registers, values, strict=True))
        registers.pop("", None)
        return signal, tid, registers

    def parse_floats(self, desc: bytes) -> dict[str, int]:
        """The `float_registers` of an NT_FPREGSET descriptor; none of them if it is cut short."""
        start, names = self.float_registers
        if len(desc) < start + 8 * len(names):
            return {}
        layout = Struct(f"{self.order}{len(names)}Q")
        return dict(zip(names, layout.unpack_from(desc, start), strict=True))

    def parse_place(self, data: bytes | memoryview, start: int) -> tuple[int, dict[str, int]]:
        """The tid, and of the registers pc, sp, the number of the system call and its first
        argument, of the NT_PRSTATUS descriptor that begins at `start` and is whole."""
        values = dict(zip(self._place_names, self._place.unpack_from(data, start), strict=True))
        return values.pop(""), values

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """The byte order as int.from_bytes has it."""
        return "little" if self.order == "<" else "big"

    def _place_of(self, letter: str, names: tuple[str, ...]) -> tuple[Struct, tuple[str, ...]]:
        """The layout that takes only thread ("") and these registers out of a prstatus, and which
        is which."""
        kinds = [(self.prstatus_tid, 4, "i", "")]
        for name in names:
            at = self.prstatus_offset + self.prstatus_registers.index(name) * self.word
            kinds.append((at, self.word, letter, name))
        layout, end = self.order, 0
        for at, size, kind, _ in sorted(kinds):
            layout += f"{at - end}x{kind}"
            end = at + size
        return Struct(layout), tuple(name for _, _, _, name in sorted(kinds))


# e_machine (<linux/elf-em.h>) and the module that knows it.
_MODULES = {
    2: "sparc",
    3: "i386",
    4: "m68k",
    8: "mips",
    18: "sparc",
    20: "power",
    21: "power",
    22: "s390",
    40: "arm",
    43: "sparc",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}

# By the kernel's machine (uname -m): e_machine and class of the programs that it runs, its own
# kind first.
PROGRAMS = {
    "x86_64": ((62, 2), (3, 1), (62, 1), (3, 2)),
    "aarch64": ((183, 2), (40, 1)),
}


def arch_of(machine: int, elf_class: int, order: str = "<", flags: int = 0) -> Arch | None:
    """The table for an ELF header's e_machine, class, byte order and e_flags; None where there
    is none."""
    module = _MODULES.get(machine)
    if module is None:
        return None
    # (importlib would have to be imported first)
    for arch in __import__(f"{__name__}.{module}", fromlist=("ARCHES",)).ARCHES:
        if arch.is_of(machine, elf_class, order, flags):
            found: Arch = arch
            return found
    return None
