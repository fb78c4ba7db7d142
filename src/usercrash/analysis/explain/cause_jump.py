"""Calls, jumps and returns to what is not code."""

from __future__ import annotations

from ...report import Cause
from ..core.places import pattern_words
from ..facts.signals import SigInfo
from ..instructions.disassembly import Decoded
from .pointer_clues import with_clue
from .scene import NULL_PAGE, Scene, cause, frame_words, seen


def bad_jump(scene: Scene, info: SigInfo) -> Cause | None:
    """The cause if the pc itself is bad: the fault is that of fetching an instruction there."""
    pc = scene.pc
    mapped = bool(scene.places.mappings)
    if not mapped or scene.executable(pc):
        address = info.address
        if mapped and address is not None and pc < address < pc + 15:
            code_ended = not scene.executable(address) and scene.executable(pc)
            if code_ended and scene.decode(scene.registers) is None:
                return cause(
                    "jump-to-bad-address",
                    f"execution ran past the end of the code at {address:#x}",
                    reason="end-of-code",
                    certainty="likely",
                )
        return None
    if info.address not in (None, pc):
        return None  # the fault is elsewhere: the mappings that we know are not all
    origin = _origin(scene)
    if pc < NULL_PAGE:
        what = "a null function pointer" if pc == 0 else f"address {pc:#x}, close to null"
        text = f"call through {what}" if pc == 0 else f"jump to {what}"
        return cause("jump-to-null", text + origin, reason="null-call")
    place = scene.places.find(pc)
    if place is None and scene.executable(pc - 1):
        return cause(
            "jump-to-bad-address",
            f"execution ran past the end of the code at {pc:#x}",
            reason="end-of-code",
            certainty="likely",
            evidence=[seen("pc", pc, scene.places.where(pc))],
        )
    pattern = pattern_words(pc, scene.arch.long, scene.arch.order)
    found = cause(
        "jump-to-bad-address",
        f"jump to {pc:#x}, {scene.places.where(pc)}{origin}",
        f"The address is {pattern}." if pattern else "",
        _overwritten(scene),
        "Data is not executable: what stands there was taken for code." if place else "",
        reason="not-executable" if place else "not-mapped",
        evidence=[seen("pc", pc, scene.places.where(pc))],
    )
    return found if place else with_clue(scene, found, [pc])


def _origin(scene: Scene) -> str:
    """` from f+0x1c at x.c:3`: the caller, where the unwinder is sure of one."""
    if len(scene.frames) > 1 and scene.frames[1].trust in ("cfi", "call-recovery"):
        return f", from {frame_words(scene.frames[1])}"
    return ""


def _overwritten(scene: Scene) -> str:
    """A jump by `ret` leaves its target just below the stack pointer, where return addresses are
    on the stack."""
    if scene.arch.link:
        return ""
    below = scene.word(scene.sp - scene.arch.word)
    if below == scene.pc and len(scene.frames) < 2:
        return "It stands just below the stack pointer: a return address was overwritten."
    return ""


def bad_target(scene: Scene, instruction: Decoded) -> Cause | None:
    """The cause if the instruction is a return, call or jump to an address that no process can
    have."""
    name = instruction.mnemonic
    if name.startswith("ret"):
        target = scene.word(scene.sp)
        words = "return to"
        why = "The return address on the stack was overwritten."
    elif name in ("call", "jmp"):
        target, words, why = instruction.operand, f"{name} to", ""
        if target is None:
            # The operand is in memory; call's other access is the push of the return address.
            reads = [access for access in instruction.accesses if access.kind == "read"]
            target = scene.word(reads[0].address) if reads else None
            if reads and not scene.places.is_canonical(reads[0].address):
                return None  # reading the pointer failed, not the jump
    else:
        return None
    if target is None or scene.places.is_canonical(target):
        return None
    pattern = pattern_words(target, scene.arch.long, scene.arch.order)
    found = cause(
        "jump-to-bad-address",
        f"{words} {target:#x}, an impossible (non-canonical) address",
        why,
        f"The address is {pattern}." if pattern else "",
        reason="non-canonical",
        evidence=[seen("instruction", instruction.text), seen("target", target, pattern)],
    )
    return with_clue(scene, found, [target])
