"""Why a memory access failed: SIGSEGV and SIGBUS that the thread itself caused.

What is told rests on three things that must agree: the address that the kernel gives,
the operands of the instruction at the pc, and the mappings. Where they do not, less is said.
"""

from __future__ import annotations

import msgspec

from ...report import Cause
from ..facts.signals import SIGBUS, SigInfo
from ..instructions.decoded import Access, Decoded
from .access import fault_evidence, matching_access
from .cause_bus import bus_error
from .cause_jump import bad_jump
from .cause_mapping import bad_address
from .cause_musl import in_musl
from .cause_null import pointer_to_nothing
from .cause_protection import without_address
from .scene import Scene
from .stack_overflow import stack_overflow


def explain_fault(scene: Scene, info: SigInfo) -> Cause:
    """The cause of a SIGSEGV or SIGBUS with a code above 0."""
    instruction = scene.decode(scene.registers)
    access = matching_access(instruction, info.address) if info.address is not None else None
    found = _find(scene, info, instruction, access)
    if access is None and instruction is not None and len(instruction.accesses) == 1:
        access = instruction.accesses[0]
    if found.kind.startswith("jump-to") and found.reason != "end-of-code":
        return found  # the instruction at the pc is not what failed
    evidence = fault_evidence(scene, info, instruction, access)
    found = _with_strange_code(scene, found)
    return msgspec.structs.replace(found, evidence=[*found.evidence, *evidence])


def _with_strange_code(scene: Scene, found: Cause) -> Cause:
    """What ran without a name in memory that can be written may have been no code at all."""
    place = scene.places.find(scene.pc)
    named = scene.frames and scene.frames[0].function is not None
    if named or place is None or not (place.writable and place.executable):
        return found
    words = f"What ran is in {scene.places.name(place)}, which can be written: it may be data."
    return msgspec.structs.replace(found, details=[*found.details, words])


def _find(scene: Scene, info: SigInfo, instruction: Decoded | None, access: Access | None) -> Cause:
    jump = bad_jump(scene, info)
    if jump is not None:
        return jump
    by_musl = in_musl(scene, instruction, access)
    if by_musl is not None:
        return by_musl
    if info.address is None:
        return without_address(scene, info, instruction)
    if info.number == SIGBUS:
        return bus_error(scene, info, info.address, instruction, access)
    overflow = stack_overflow(scene, info.address)
    if overflow is not None:
        return overflow
    null = pointer_to_nothing(scene, info.address, access)
    if null is not None:
        return null
    return bad_address(scene, info, info.address, access)
