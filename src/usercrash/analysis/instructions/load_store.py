"""What memory an instruction of a load-and-store machine touches: AArch64, ARM, RISC-V.

Taken from capstone's text, as its operands lack sizes and, for some, the kind of access. Sources:
the Arm Architecture Reference Manuals (A64: C6.2, A32 and T32: F5.1), the RISC-V manual, volume I.
What is not understood is left out: nothing is told of it then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ...elf.arch import Arch
from .decoded import Access

Finder = Callable[[str, str, Mapping[str, int], Arch], list[Access]]

_ARM_MEMORY = re.compile(
    r"\[(\w+)(?:, (?:#(-?(?:0x)?[0-9a-f]+)|(-?)(\w+)(?:, (lsl|uxtw|sxtw|sxtx)(?: #(\d+))?)?))?\]",
    re.ASCII,
)
_RISC_V_MEMORY = re.compile(r"(?:(-?(?:0x)?[0-9a-f]+))?\((\w+)\)$", re.ASCII)
_FIRST_REGISTER = re.compile(r"(\w)\d+|(wzr|wsp)|(xzr|sp)", re.ASCII)
_LIST = re.compile(r"\{([^}]*)\}")
ENGINES = ("aarch64", "a32", "t32", "riscv64")  # of disassembly
_ALIASES = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12"}
_WIDTHS = {"b": 1, "h": 2, "w": 4, "s": 4, "d": 8, "x": 8, "q": 16}
# AArch64's read-modify-write instructions begin so; the forms without a result begin with st
_ATOMICS = re.compile(
    r"(?:ld|st)(?:add|clr|eor|set|smax|smin|umax|umin)(?:a?l?)(?:b|h)?|(?:cas|swp)p?(?:a?l?)(?:b|h)?",
    re.ASCII,
)
_A64 = re.compile(r"(?:ld|st)(?!g)\w+", re.ASCII)
_A64_SUFFIX = re.compile(r"(?:ld|st)(?:a|l|u|t|x|ax|lx|apu?|lu)?r(sb|sh|sw|b|h)?", re.ASCII)
_A32 = re.compile(r"(ldr|str|ldrex|strex|lda|stl|ldaex|stlex|vldr|vstr)(sb|sh|b|h|d)?(?:t)?"
                  r"(?:eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(?:\.w)?(?:\.32|\.64)?",
                  re.ASCII)  # fmt: skip
_RISC_V = re.compile(r"(?:c\.)?f?(l|s)(b|h|w|d)u?(?:sp)?", re.ASCII)
_RISC_V_ATOMIC = re.compile(r"(lr|sc|amo\w+)\.(w|d)(?:\.\w+)?", re.ASCII)


def memory_accesses(
    mnemonic: str, operands: str, registers: Mapping[str, int], arch: Arch
) -> list[Access]:
    """What the instruction touches, by the registers' values before it ran; empty where nothing, or
    where it is not understood."""
    finder = _FINDERS.get(arch.name)
    if finder is _of_arm:
        registers = {**registers, **{name: registers.get(one, 0) for name, one in _ALIASES.items()}}
    return finder(mnemonic, operands, registers, arch) if finder is not None else []


# --- AArch64 ---


def _of_aarch64(
    mnemonic: str, operands: str, registers: Mapping[str, int], arch: Arch
) -> list[Access]:
    if mnemonic == "dc" and operands.startswith("zva, "):
        name = operands.removeprefix("zva, ")
        value = registers.get(name)
        if value is None:
            return []
        return [Access("write", value & -64, 64, name, (name,), ((name, value),), name)]
    if _ATOMICS.fullmatch(mnemonic):
        kind = "read and write"
    elif _A64.fullmatch(mnemonic):
        kind = "read" if mnemonic.startswith("ld") else "write"
    else:
        return []
    found = _arm_operand(kind, _a64_size(mnemonic, operands), operands, registers, arch)
    return [found] if found is not None else []


def _a64_size(mnemonic: str, operands: str) -> int:
    """The bytes that are touched; 0 where that is not known (lists of vectors)."""
    if operands.startswith("{"):
        return 0
    parts = operands.split(", ")
    if mnemonic.startswith(("stxr", "stlxr", "stxp", "stlxp")):
        parts = parts[1:]  # behind the status
    first = _FIRST_REGISTER.match(parts[0])
    if first is None:
        return 0
    width = _WIDTHS.get(first[1] or ("w" if first[2] else "x"), 0)
    if mnemonic.startswith(("ldp", "stp", "ldnp", "stnp", "ldxp", "ldaxp", "stxp", "stlxp")):
        return 8 if mnemonic == "ldpsw" else 2 * width
    if mnemonic.startswith("casp"):
        return 2 * width
    suffix = _A64_SUFFIX.fullmatch(mnemonic)
    if suffix is not None and suffix[1]:
        return {"b": 1, "h": 2, "w": 4}[suffix[1][-1]]
    if _ATOMICS.fullmatch(mnemonic) and mnemonic[-1] in "bh":
        return _WIDTHS[mnemonic[-1]]
    return width


# --- ARM, and what AArch64 has alike ---


def _of_arm(mnemonic: str, operands: str, registers: Mapping[str, int], arch: Arch) -> list[Access]:
    found = _A32.fullmatch(mnemonic)
    if found is None:
        return _arm_list(mnemonic, operands, registers, arch)
    kind = "read" if found[1].startswith(("ld", "vld")) else "write"
    if found[1].startswith("v"):
        size = 8 if operands.startswith("d") else 4
    else:
        size = {"b": 1, "h": 2, "d": 8}.get((found[2] or "w")[-1], 4)
    access = _arm_operand(kind, size, operands, registers, arch)
    return [access] if access is not None else []


def _arm_list(
    mnemonic: str, operands: str, registers: Mapping[str, int], arch: Arch
) -> list[Access]:
    """push, pop, ldm and stm: words in a row."""
    name = mnemonic.removesuffix(".w")
    listed = _LIST.search(operands)
    if listed is None or name not in _LISTS:
        return []
    kind, before, down = _LISTS[name]
    count = 0
    for part in listed[1].split(", "):
        first, _, last = part.partition("-")
        count += int(last[1:]) - int(first[1:]) + 1 if last else 1
    base = "sp" if name in ("push", "pop") else operands.partition(",")[0].rstrip("!")
    value = registers.get(base)
    if value is None:
        return []
    size = 4 * count
    address = value - size + (0 if before else 4) if down else value + (4 if before else 0)
    return [Access(kind, address & arch.mask, size, base, (base,), ((base, value),), base)]


# Its kind, whether the first word lies beside the base, and whether the words lie below it
_LISTS = {
    "push": ("write", True, True), "pop": ("read", False, False),
    "stm": ("write", False, False), "ldm": ("read", False, False),
    "stmdb": ("write", True, True), "ldmdb": ("read", True, True),
    "stmib": ("write", True, False), "ldmib": ("read", True, False),
    "stmda": ("write", False, True), "ldmda": ("read", False, True),
}  # fmt: skip


def _arm_operand(
    kind: str, size: int, operands: str, registers: Mapping[str, int], arch: Arch
) -> Access | None:
    found = _ARM_MEMORY.search(operands)
    if found is None:
        return None
    base = found[1]
    value = registers.get(base)
    if value is None or base == "pc":
        return None
    if not found[4]:
        distance = int(found[2], 0) if found[2] else 0
        return Access(kind, value + distance & arch.mask, size, found[0][1:-1], (base,),
                      ((base, value),), base)  # fmt: skip
    index, shift = found[4], int(found[6] or 0)
    number = _index(index, found[5] or "", registers)
    if number is None:
        return None
    address = value + (-(number << shift) if found[3] else number << shift)
    bits = 8 * arch.long
    return Access(kind, address & arch.mask, size, found[0][1:-1], (base, index),
                  ((base, value), (index, number & (1 << bits) - 1)), base, index,
                  1 << shift)  # fmt: skip


def _index(name: str, extend: str, registers: Mapping[str, int]) -> int | None:
    narrow = name.startswith("w")
    value = registers.get("x" + name[1:] if narrow else name)
    if value is None or not narrow:
        return value
    value &= 0xFFFFFFFF
    return value - (1 << 32) if extend == "sxtw" and value >> 31 else value


# --- RISC-V ---


def _of_riscv(
    mnemonic: str, operands: str, registers: Mapping[str, int], arch: Arch
) -> list[Access]:
    plain, atomic = _RISC_V.fullmatch(mnemonic), _RISC_V_ATOMIC.fullmatch(mnemonic)
    found = _RISC_V_MEMORY.search(operands)
    if found is None or not (plain or atomic):
        return []
    if plain is not None:
        kind, size = "read" if plain[1] == "l" else "write", _WIDTHS[plain[2]]
    else:
        assert atomic is not None
        kind = {"lr": "read", "sc": "write"}.get(atomic[1], "read and write")
        size = _WIDTHS[atomic[2]]
    base, distance = found[2], int(found[1] or "0", 0)
    value = registers.get(base)
    if value is None:
        return []
    sign = "-" if distance < 0 else "+"
    text = base + (f" {sign} {abs(distance):#x}" if distance else "")
    return [Access(kind, value + distance & arch.mask, size, text, (base,), ((base, value),), base)]


_FINDERS: dict[str, Finder] = {
    "aarch64": _of_aarch64, "aarch64_be": _of_aarch64, "arm": _of_arm, "armeb": _of_arm,
    "riscv64": _of_riscv,
}  # fmt: skip
