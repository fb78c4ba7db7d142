"""The memory operand of the faulting instruction: which it is, how its address came about, and
what it rests on, for the report's evidence."""

from __future__ import annotations

from collections.abc import Sequence

from ...report import Evidence
from ..core.places import count_bytes
from ..facts.signals import SigInfo, code_words, signal_name
from ..instructions.decoded import Access, Decoded
from .scene import Scene, seen


def matching_access(instruction: Decoded | None, address: int) -> Access | None:
    """The operand that touches the address. The kernel may give any byte of it, and for
    an access across a page the first byte of the second page."""
    for access in instruction.accesses if instruction else ():
        if access.address <= address < access.address + max(access.size, 1):
            return access
    return None


def did(access: Access | None) -> str:
    """`read of 8 bytes`."""
    if access is None:
        return "access"
    return f"{access.kind} of {count_bytes(access.size)}" if access.size else access.kind


def pointers(access: Access | None) -> list[tuple[str, int]]:
    """The registers that the operand's address is made of, and their values, the base first."""
    if access is None:
        return []
    values = dict(access.values)
    return [(name, values[name]) for name in access.registers if name in values]


def operand_words(scene: Scene, access: Access | None) -> str:
    """How the address came about: `[rax + 8], rax is 0x41…, the text "AAAA"`."""
    parts = []
    for name, value in pointers(access):
        pattern = scene.pattern(value)
        parts.append(f"{name} is {value:#x}" + (f", {pattern}" if pattern else ""))
    for name, value in access.values if access is not None else ():
        if name.endswith("_base"):
            parts.append(f"{name.removesuffix('_base')} begins at {value:#x}")
    text = access.text if access is not None else ""
    return f"The address is [{text}]: {'; '.join(parts)}." if parts else ""


def fault_evidence(
    scene: Scene, info: SigInfo, instruction: Decoded | None, access: Access | None
) -> list[Evidence]:
    """What every explanation of a fault rests on: the signal, the instruction, its registers."""
    found = [_signal(info)]
    if instruction is not None:
        found.append(seen("instruction", instruction.text, _accesses(instruction, access)))
    for name, value in pointers(access):
        found.append(seen(name, value, _register_words(scene, value)))
    if info.address is not None and scene.places.mappings:
        found.append(seen("mapping", info.address, scene.places.where(info.address)))
    return found


def _signal(info: SigInfo) -> Evidence:
    words = signal_name(info.number)
    if info.code is not None and info.address is not None:
        words += f" at {info.address:#x}"
    return seen("signal", words, code_words(info.number, info.code) if info.code else "")


def _accesses(instruction: Decoded, access: Access | None) -> str:
    shown: Sequence[Access] = (access,) if access is not None else instruction.accesses
    return "; ".join(f"{did(one)} at {one.address:#x}" for one in shown)


def _register_words(scene: Scene, value: int) -> str:
    if value == 0:
        return "null"
    pattern = scene.pattern(value)
    if pattern:
        return pattern
    return scene.places.where(value) if scene.places.mappings else ""
