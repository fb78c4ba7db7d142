"""The constants that a call gets as its arguments, read from the code before it (x86-64).

What a program checks (`assert(books > 0)`) stands as text in its constants, and the code that leads
to the call loads the texts' addresses. Only what certainly ran before the call counts: code that a
jump may skip, by leading to between, does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...elf.arch import Arch
from .disassembly import capstone_engine
from .x86_operands import whole_register

ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
# Bytes of code decoded before the return address, less at the beginning of a file's code; behind it
_BEFORE, _AFTER = (160, 112, 80), 144
_LONGEST = 15
_FAR = 32 << 10  # how far away jumps to that code are looked for
_FAR_JUMP = re.compile(rb"\xe9|\x0f[\x80-\x8f]")
_ENDS = ("jmp", "ret", "ud2", "hlt", "int3", "notrack jmp", "bnd jmp")
_MASK = (1 << 64) - 1

Read = Callable[[int, int], bytes]


def call_constants(read: Read, arch: Arch, back: int) -> dict[str, int]:
    """Register to value, of those of ARGUMENTS that are constants at the call that returns to
    `back`; {} where that cannot be told."""
    decoder = capstone_engine(arch.name, True) if arch.name == "x86_64" else None
    if decoder is None:
        return {}
    code = _decoded(decoder, read, back)
    at = next((number for number, one in enumerate(code) if one.address + one.size == back), -1)
    if at < 0 or not str(code[at].mnemonic).startswith("call"):
        return {}
    targets = _near_targets(code) | _far_targets(read, code[0].address, back)
    known: dict[str, int] = {}
    for one in code[:at]:
        if one.address in targets or str(one.mnemonic).startswith("call"):
            known.clear()
        if str(one.mnemonic) in _ENDS:
            known.clear()
        else:
            _step(one, known)
    if code[at].address in targets:
        return {}
    return {name: known[name] for name in ARGUMENTS if name in known}


def _decoded(decoder: Any, read: Read, back: int) -> list[Any]:
    """The instructions around the call. Code is decoded from some places before it: from most of
    them it falls into step with the real instructions; what most of them agree on is taken."""
    start, data = back, b""
    for before in _BEFORE:
        start = back - before
        data = read(start, before + _AFTER)
        if len(data) >= before:
            break
    else:
        return []  # at the very beginning of what is known
    found: dict[int, list[int]] = {}
    for skipped in range(2 * _LONGEST):
        # (without details, which take twenty times as long)
        rows = list(decoder.disasm_lite(data[skipped:], start + skipped))
        if any(address + size == back for address, size, _, _ in rows):
            # by where it stands a little later: those in step agree
            late = next(row[0] for row in rows if row[0] >= start + 3 * _LONGEST)
            found.setdefault(late, []).append(skipped)
    best = max(found, key=lambda late: len(found[late]), default=0)
    if 2 * len(found.get(best, ())) <= sum(map(len, found.values())):
        return []
    return list(decoder.disasm(data[best - start :], best))


def _near_targets(code: list[Any]) -> set[int]:
    """Where the jumps among these instructions lead."""
    found = set()
    for one in code:
        name = str(one.mnemonic)
        if name.startswith(("j", "loop", "notrack j", "bnd j")):
            text = str(one.op_str)
            if text.startswith("0x"):
                found.add(int(text, 16))
    return found


def _far_targets(read: Read, first: int, back: int) -> set[int]:
    """Where what looks like a long jump, in the code around, leads between these addresses."""
    found = set()
    for start, size in ((first - _FAR, _FAR), (back, _FAR)):
        data = read(start, size)
        if len(data) < size:  # to the first gap: the near end counts
            start, data = _known_part(read, start, size, data, before=start < first)
        for one in _FAR_JUMP.finditer(data):
            end = one.end() + 4
            distance = int.from_bytes(data[one.end() : end], "little", signed=True)
            target = start + end + distance
            if first <= target < back:
                found.add(target)
    return found


def _known_part(read: Read, start: int, size: int, data: bytes, before: bool) -> tuple[int, bytes]:
    """Where less is known than was asked for: what lies behind the gap, if that is the near end."""
    if not before:
        return start, data
    while size > 256:
        size //= 2
        start += size
        nearer = read(start, size)
        if len(nearer) == size:
            return start, nearer
    return start, b""


def _step(one: Any, known: dict[str, int]) -> None:
    """What an instruction does to the constants."""
    name, text = str(one.mnemonic), str(one.op_str)
    target, _, source = text.partition(", ")
    value: int | None = None
    whole = whole_register(target)
    if name == "lea" and (found := re.fullmatch(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]", source)):
        distance = int(found[2], 0)
        end = int(one.address) + int(one.size)
        value = end + distance if found[1] == "+" else end - distance
    elif name in ("mov", "movabs") and re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", source):
        value = int(source, 0)
    elif name == "mov" and "[" not in text:
        value = known.get(whole_register(source)) if source.startswith("r") else None
    elif name == "xor" and target == source:
        value = 0
    _, written = one.regs_access()
    for register in written:
        known.pop(whole_register(str(one.reg_name(register))), None)
    if value is not None and "[" not in target and target[:1] in ("r", "e"):
        known[whole] = value & (
            _MASK if target.startswith("r") and target[-1] != "d" else 0xFFFFFFFF
        )
