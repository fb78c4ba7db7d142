"""What memory an instruction of x86 touches, and how: capstone's operands, with what it leaves out
or tells otherwise than the processor does.

capstone 5 calls most stores of vectors reads (movups, all of AVX), gives wrong sizes for saved
states, and no operands for what an instruction touches implicitly.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ...elf.arch import Arch
from .decoded import Access

_WORDS = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_PREFIXES = ("lock ", "rep ", "repe ", "repne ", "bnd ", "notrack ", "xacquire ", "xrelease ",
             "data16 ")  # fmt: skip
_NO_ACCESS = ("lea", "nop", "prefetch", "endbr")
# What writes to memory that is its first operand, by the beginnings of its names
_STORES = ("mov", "v", "extract", "pextr", "fst", "fnst", "fist", "fbstp", "fsave", "fnsave",
           "fxsave", "xsave", "stmxcsr", "ins", "set")  # fmt: skip
_LOADS = ("vldmxcsr", "vgather", "vscatterpf", "outs", "frstor", "fxrstor", "xrstor", "fldenv",
          "ver")  # fmt: skip
# Bytes of a saved state; 0: as many as the processor has (Intel's manual, volume 1, 8.1 and 10.5)
_STATES = {"fnsave": 108, "fsave": 108, "frstor": 108, "fxsave": 512, "fxsave64": 512,
           "fxrstor": 512, "fxrstor64": 512}  # fmt: skip
_ACCUMULATORS = {8: "rbx", 4: "ebx"}  # xlatb's table


def bare_mnemonic(mnemonic: str) -> str:
    """The instruction's name without its prefixes (`cmpxchg` of `lock cmpxchg`)."""
    for prefix in _PREFIXES:
        mnemonic = mnemonic.removeprefix(prefix)
    return mnemonic


def memory_accesses(instruction: Any, registers: dict[str, int], arch: Arch) -> list[Access]:
    """What capstone's (detailed) instruction touches, by the registers' values before it ran:
    what it touches implicitly first. Vectors of addresses are left out."""
    import capstone

    name = bare_mnemonic(str(instruction.mnemonic))
    found = _implicit(name, registers, arch)
    if name.startswith(_NO_ACCESS):
        return found
    inner = _BRACKETS.findall(str(instruction.op_str))
    for number, op in enumerate(instruction.operands):
        if op.type != capstone.x86.X86_OP_MEM:
            continue
        text = inner.pop(0) if inner else ""
        access = _operand(instruction, op, text, registers, arch.mask)
        if access is None:
            continue
        access = _as_it_is(access, name, number)
        if name in ("bt", "bts", "btr", "btc"):
            access = _bit(access, instruction, registers, arch.mask)
        found.append(access)
    return found


def _as_it_is(access: Access, name: str, number: int) -> Access:
    """The access as the processor makes it: its kind and its size."""
    kind, size = access.kind, access.size
    if name.startswith("cmpxchg"):
        kind = "read and write"  # it writes what it read where that is not equal
    elif name.startswith(_LOADS):
        kind = "read"
    elif number == 0 and name.startswith(_STORES):
        kind = "write"
    if name in _STATES:
        size = _STATES[name]
    elif name.startswith(("xsave", "xrstor")):
        size = 0
    return Access(
        kind, access.address, size, access.text, access.registers, access.values, access.base,
        access.index, access.scale,
    )  # fmt: skip


def _bit(access: Access, instruction: Any, registers: dict[str, int], mask: int) -> Access:
    """A bit by its number in a register may lie far from the operand's address."""
    import capstone

    op = instruction.operands[1]
    if op.type != capstone.x86.X86_OP_REG:
        return access
    name = str(instruction.reg_name(op.reg))
    value = register_value(name, registers)
    if value is None or not op.size:
        return access
    bits = 8 * int(op.size)
    value -= (value >> bits - 1) << bits
    address = access.address + value // bits * int(op.size) & mask
    return Access(
        access.kind, address, access.size, f"{access.text}, bit {value} ({name})",
        access.registers, access.values, access.base,
    )  # fmt: skip


def _implicit(name: str, registers: dict[str, int], arch: Arch) -> list[Access]:
    """The stack word that push, call, pop, ret and leave touch; what has no operand at all."""
    sp, word = arch.sp, arch.word
    value = registers.get(sp, 0)
    values = ((sp, value),)
    if name.startswith(("push", "call", "lcall", "enter")):
        return [Access("write", value - word & arch.mask, word, f"{sp} - {word}", (sp,), values)]
    if name.startswith(("pop", "ret")) and not name.startswith("popcnt"):
        return [Access("read", value, word, sp, (sp,), values)]
    if name == "leave":
        value = registers.get(arch.fp, 0)
        return [Access("read", value, word, arch.fp, (arch.fp,), ((arch.fp, value),))]
    if name == "xlatb":
        base = _ACCUMULATORS[arch.long]
        start, index = register_value(base, registers), register_value("al", registers)
        if start is None or index is None:
            return []
        address, text = start + index & arch.mask, f"{base} + al"
        read = (base, start), ("al", index)
        return [Access("read", address, 1, text, (base, "al"), read, base)]
    if name in ("maskmovdqu", "vmaskmovdqu", "maskmovq"):
        base = "rdi" if arch.long == 8 else "edi"
        start = registers.get(base, 0)
        size = 8 if name == "maskmovq" else 16
        return [Access("write", start, size, base, (base,), ((base, start),), base)]
    return []


def _operand(
    instruction: Any, op: Any, text: str, registers: dict[str, int], mask: int
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
    if any(name.startswith("e") for name in parts):
        address &= 0xFFFFFFFF
    if op.mem.segment:
        segment = str(instruction.reg_name(op.mem.segment))
        if segment in ("fs", "gs"):
            start = registers.get(segment + "_base", 0)
            address += start
            parts.append(segment)
            values.append((segment + "_base", start))
    kinds = {capstone.CS_AC_READ: "read", capstone.CS_AC_WRITE: "write"}
    return Access(
        kinds.get(op.access, "read and write"), address & mask, int(op.size), text, tuple(parts),
        tuple(values), base, index, int(op.mem.scale),
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
