"""Machine instructions near the pc, by capstone: the adapter to an untyped library.

capstone takes 40 ms to import, so it is imported when it is first needed; a parent
that forks for each analysis calls `preload` once. Whatever goes wrong in it, there is
only no disassembly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ...elf.arch import Arch

MAX_INSTRUCTION = 15  # bytes, x86
X86 = ("x86_64", "x32", "i386")  # architectures whose instructions are understood, by Arch.name
# By Arch.name: capstone's architecture and modes. What stands here and not in X86 is only listed.
_BIG = "CS_MODE_BIG_ENDIAN"
_ENGINES = {
    "x86_64": ("CS_ARCH_X86", "CS_MODE_64"),
    "x32": ("CS_ARCH_X86", "CS_MODE_64"),
    "i386": ("CS_ARCH_X86", "CS_MODE_32"),
    "aarch64": ("CS_ARCH_ARM64", "CS_MODE_ARM"),
    "riscv64": ("CS_ARCH_RISCV", "CS_MODE_RISCV64", "CS_MODE_RISCVC"),
    "ppc64le": ("CS_ARCH_PPC", "CS_MODE_64"),
    "ppc64": ("CS_ARCH_PPC", "CS_MODE_64", _BIG),
    "ppc": ("CS_ARCH_PPC", "CS_MODE_32", _BIG),
    "s390x": ("CS_ARCH_SYSZ", _BIG),
    "mips": ("CS_ARCH_MIPS", "CS_MODE_MIPS32", _BIG),
    "mipsel": ("CS_ARCH_MIPS", "CS_MODE_MIPS32"),
    "mips64": ("CS_ARCH_MIPS", "CS_MODE_MIPS64", _BIG),
    "mips64el": ("CS_ARCH_MIPS", "CS_MODE_MIPS64"),
    "sparc": ("CS_ARCH_SPARC", _BIG),
    "sparc64": ("CS_ARCH_SPARC", "CS_MODE_V9", _BIG),
}
_WORDS = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")


@dataclass(frozen=True, slots=True)
class Access:
    """A memory operand of an instruction: [address, address + size) is read or written
    (`kind` "read", "write", "read and write"), computed as `text` from `registers`, whose `values`
    stand by name ("fs_base" for what fs adds): `base` plus `scale` times `index`, where these are
    there, and a constant."""

    kind: str
    address: int
    size: int
    text: str
    registers: tuple[str, ...]
    values: tuple[tuple[str, int], ...] = ()
    base: str = ""
    index: str = ""
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """One instruction. `operand` is the (unsigned) value of the first operand, None if
    unknown, `operand_text` how it is written; `bits` its width. `reads` are the registers among
    its operands that it reads, with their values. `groups` are capstone's names of the instruction
    sets and sorts that it belongs to."""

    address: int
    data: bytes
    mnemonic: str
    text: str
    accesses: tuple[Access, ...] = ()
    privileged: bool = False
    operand: int | None = None
    operand_text: str = ""
    bits: int = 0
    reads: tuple[tuple[str, int], ...] = ()
    groups: tuple[str, ...] = ()


def preload(arch: Arch) -> None:
    """Imports and sets up what later calls need (40 ms)."""
    _engine(arch.name, False)
    _engine(arch.name, True)


@cache
def _engine(name: str, detail: bool) -> Any:
    """A capstone engine for an architecture's name, None where capstone or it is missing."""
    if name not in _ENGINES:
        return None
    try:
        import capstone
    except (ImportError, OSError):
        return None
    kind, *modes = (getattr(capstone, constant) for constant in _ENGINES[name])
    engine = capstone.Cs(kind, sum(modes))
    engine.detail = detail
    return engine


def decode(arch: Arch, data: bytes, registers: dict[str, int]) -> Decoded | None:
    """The instruction at the pc, with its memory operands by the registers' values before it
    ran; None if the bytes are no instruction of x86 (or are too few, or there is no capstone)."""
    engine = _engine(arch.name, True) if arch.name in X86 else None
    if engine is None or not data:
        return None
    pc = registers[arch.pc]
    for instruction in engine.disasm(data[:MAX_INSTRUCTION], pc, 1):
        return _decoded(instruction, registers, arch)
    return None


def _decoded(instruction: Any, registers: dict[str, int], arch: Arch) -> Decoded:
    import capstone

    accesses = _implicit(instruction, registers, arch)
    operand, operand_text, bits = None, "", 0
    mnemonic = str(instruction.mnemonic)
    touches = not mnemonic.startswith(("lea", "nop", "prefetch", "endbr"))
    reads = []
    for number, op in enumerate(instruction.operands):
        access = None
        if op.type == capstone.x86.X86_OP_MEM and touches:
            access = _memory_operand(instruction, op, registers, arch.mask)
            if access is not None:
                accesses.append(access)
        if op.type == capstone.x86.X86_OP_REG and op.access & capstone.CS_AC_READ:
            name = str(instruction.reg_name(op.reg))
            value = register_value(name, registers)
            reads += [(name, value)] if value is not None else []
        if number == 0:
            bits = op.size * 8
            if op.type == capstone.x86.X86_OP_REG:
                operand_text = instruction.reg_name(op.reg)
                operand = register_value(operand_text, registers)
            elif access is not None:
                operand_text = access.text
    text = f"{mnemonic} {instruction.op_str}".strip()
    return Decoded(
        int(instruction.address),
        bytes(instruction.bytes),
        mnemonic,
        text,
        tuple(accesses),
        capstone.CS_GRP_PRIVILEGE in instruction.groups or mnemonic in ("hlt", "in", "out"),
        operand,
        operand_text,
        bits,
        tuple(reads),
        tuple(str(instruction.group_name(group)) for group in instruction.groups),
    )


def _implicit(instruction: Any, registers: dict[str, int], arch: Arch) -> list[Access]:
    """The stack word that push, call, pop, ret and leave touch."""
    mnemonic = str(instruction.mnemonic)
    sp, word = arch.sp, arch.word
    value = registers.get(sp, 0)
    values = ((sp, value),)
    if mnemonic.startswith(("push", "call", "lcall", "enter")):
        return [Access("write", value - word & arch.mask, word, f"{sp} - {word}", (sp,), values)]
    if mnemonic.startswith(("pop", "ret")) and not mnemonic.startswith("popcnt"):
        return [Access("read", value, word, sp, (sp,), values)]
    if mnemonic == "leave":
        value = registers.get(arch.fp, 0)
        return [Access("read", value, word, arch.fp, (arch.fp,), ((arch.fp, value),))]
    return []


def _memory_operand(
    instruction: Any, op: Any, registers: dict[str, int], mask: int
) -> Access | None:
    import capstone

    parts, values = [], []
    base = index = ""
    address = int(op.mem.disp)
    for reg, scale in ((op.mem.base, 1), (op.mem.index, op.mem.scale)):
        if not reg:
            continue
        name = str(instruction.reg_name(reg))
        if name == "rip":
            address += instruction.address + instruction.size
            continue
        value = register_value(name, registers)
        if value is None:
            return None  # a vector register: many addresses at once
        address += value * int(scale)
        parts.append(name)
        values.append((name, value))
        if reg == op.mem.base:
            base = name
        else:
            index = name
    if op.mem.segment:
        segment = str(instruction.reg_name(op.mem.segment))
        if segment in ("fs", "gs"):
            start = registers.get(segment + "_base", 0)
            address += start
            parts.append(segment)
            values.append((segment + "_base", start))
    kinds = {capstone.CS_AC_READ: "read", capstone.CS_AC_WRITE: "write"}
    kind = kinds.get(op.access, "read and write")
    text = str(instruction.op_str)
    opening, closing = text.find("["), text.find("]")
    inner = text[opening + 1 : closing] if 0 <= opening < closing else text
    return Access(
        kind, address & mask, int(op.size), inner, tuple(parts), tuple(values), base, index,
        int(op.mem.scale),
    )  # fmt: skip


@cache
def _sub_registers() -> dict[str, tuple[str, int, int]]:
    """x86-64 register name to (its 64-bit register, shift, bits)."""
    table: dict[str, tuple[str, int, int]] = {}
    for letter in "abcd":
        whole = f"r{letter}x"
        table |= {
            whole: (whole, 0, 64),
            f"e{letter}x": (whole, 0, 32),
            f"{letter}x": (whole, 0, 16),
            f"{letter}l": (whole, 0, 8),
            f"{letter}h": (whole, 8, 8),
        }
    for name in ("si", "di", "bp", "sp"):
        whole = "r" + name
        table |= {
            whole: (whole, 0, 64),
            "e" + name: (whole, 0, 32),
            name: (whole, 0, 16),
            name + "l": (whole, 0, 8),
        }
    for whole in _WORDS:
        table |= {
            whole: (whole, 0, 64),
            whole + "d": (whole, 0, 32),
            whole + "w": (whole, 0, 16),
            whole + "b": (whole, 0, 8),
        }
    return table


def register_value(name: str, registers: dict[str, int]) -> int | None:
    """The value of a register or of a part of one (`eax`, `r8d`); None for others."""
    whole, shift, bits = _sub_registers().get(name, (name, 0, 64))
    value = registers.get(whole)
    if value is None and whole.startswith("r"):
        value = registers.get("e" + whole[1:])  # a program of 32 bits
    return None if value is None else value >> shift & (1 << bits) - 1


def whole_register(name: str) -> str:
    """The register of x86 that one is a part of, by its 64-bit name; others as they are."""
    return _sub_registers().get(name, (name, 0, 0))[0]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a listing; `text` is empty for bytes that are no instruction."""

    address: int
    data: bytes
    text: str


def listing(
    arch: Arch, data: bytes, start: int, pc: int, function: int | None, before: int, after: int
) -> list[Line]:
    """At most `before` instructions in front of the pc, the one at it and `after` behind it.

    `data` are the bytes from `start` on. x86 cannot be decoded backwards: begin at the
    function's start where it is known and within the data, else at the nearest byte
    from which the instructions meet the pc.
    """
    engine = _engine(arch.name, False)
    if engine is None or not start <= pc < start + len(data):
        return []
    behind = _run(engine, data[pc - start :], pc, after + 1)
    if not behind:
        return [Line(pc, data[pc - start : pc - start + 1], "")]
    front: list[Line] = []
    if before and pc > start:
        candidates = [] if function is None else [function]
        # 16 instructions are rarely longer than 80 bytes: those starts that meet the
        # pc nearly always agree on the last few instructions.
        candidates += range(max(start, pc - 10 * before), pc)
        for origin in candidates:
            if not start <= origin < pc:
                continue
            lines = _run(engine, data[origin - start : pc - start], origin, 1 << 16)
            if lines and lines[-1].address + len(lines[-1].data) == pc:
                front = lines[-before:]
                break
    return front + behind


def _run(engine: Any, data: bytes, address: int, count: int) -> list[Line]:
    return [
        Line(at, data[at - address : at - address + size], f"{mnemonic} {operands}".strip())
        for at, size, mnemonic, operands in engine.disasm_lite(data, address, count)
    ]
