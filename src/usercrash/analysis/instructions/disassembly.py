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
from . import load_store
from .decoded import Decoded
from .x86_operands import bare_mnemonic, memory_accesses, register_value

MAX_INSTRUCTION = 15  # bytes, x86
X86 = ("x86_64", "x32", "i386")  # architectures whose instructions are understood, by Arch.name
# By Arch.name: capstone's architecture and modes. What stands neither in X86 nor in
# load_store is only listed.
_BIG = "CS_MODE_BIG_ENDIAN"
_THUMB = 0x20  # of cpsr
_ENGINES = {
    "x86_64": ("CS_ARCH_X86", "CS_MODE_64"),
    "x32": ("CS_ARCH_X86", "CS_MODE_64"),
    "i386": ("CS_ARCH_X86", "CS_MODE_32"),
    "aarch64": ("CS_ARCH_ARM64", "CS_MODE_ARM"),
    "riscv64": ("CS_ARCH_RISCV", "CS_MODE_RISCV64", "CS_MODE_RISCVC"),
    "a32": ("CS_ARCH_ARM", "CS_MODE_ARM"),  # which of the two a function has is told by registers
    "t32": ("CS_ARCH_ARM", "CS_MODE_THUMB"),
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
# Those that capstone does not name so
_PRIVILEGED = ("hlt", "in", "out", "insb", "insd", "insw", "outsb", "outsd", "outsw", "rdmsr",
               "wrmsr", "clts", "lmsw")  # fmt: skip


def preload(arch: Arch) -> None:
    """Imports and sets up what later calls need (40 ms)."""
    capstone_engine(arch.name, False)
    capstone_engine(arch.name, True)


@cache
def capstone_engine(name: str, detail: bool) -> Any:
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
    ran; None if the bytes are no instruction of a machine that is known (or are too few, or there
    is no capstone)."""
    if arch.name not in X86:
        return _decode_other(arch, data, registers)
    engine = capstone_engine(arch.name, True)
    if engine is None or not data:
        return None
    pc = registers[arch.pc]
    for instruction in engine.disasm(data[:MAX_INSTRUCTION], pc, 1):
        return _decoded(instruction, registers, arch)
    return None


def _decode_other(arch: Arch, data: bytes, registers: dict[str, int]) -> Decoded | None:
    name = {"aarch64_be": "aarch64", "arm": "a32", "armeb": "a32"}.get(arch.name, arch.name)
    if name == "a32" and registers.get("cpsr", 0) & _THUMB:
        name = "t32"
    engine = capstone_engine(name, False)
    if engine is None or not data or name not in load_store.ENGINES:
        return None
    pc = registers[arch.pc]
    for line in _run(engine, data[:MAX_INSTRUCTION], pc, 1):
        mnemonic, _, operands = line.text.partition(" ")
        accesses = load_store.memory_accesses(mnemonic, operands, registers, arch)
        return Decoded(pc, line.data, mnemonic, line.text, tuple(accesses))
    return None


def _decoded(instruction: Any, registers: dict[str, int], arch: Arch) -> Decoded:
    import capstone

    accesses = memory_accesses(instruction, registers, arch)
    operand, operand_text, bits = None, "", 0
    mnemonic = str(instruction.mnemonic)
    reads = []
    for number, op in enumerate(instruction.operands):
        if op.type == capstone.x86.X86_OP_REG and op.access & capstone.CS_AC_READ:
            name = str(instruction.reg_name(op.reg))
            value = register_value(name, registers)
            reads += [(name, value)] if value is not None else []
        if number == 0:
            bits = op.size * 8
            if op.type == capstone.x86.X86_OP_REG:
                operand_text = instruction.reg_name(op.reg)
                operand = register_value(operand_text, registers)
            elif op.type == capstone.x86.X86_OP_MEM and accesses:
                operand_text = accesses[-1].text
    return Decoded(
        int(instruction.address),
        bytes(instruction.bytes),
        mnemonic,
        f"{mnemonic} {instruction.op_str}".strip(),
        tuple(accesses),
        capstone.CS_GRP_PRIVILEGE in instruction.groups or bare_mnemonic(mnemonic) in _PRIVILEGED,
        operand,
        operand_text,
        bits,
        tuple(reads),
        tuple(str(instruction.group_name(group)) for group in instruction.groups),
    )


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
    engine = capstone_engine(arch.name, False)
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
