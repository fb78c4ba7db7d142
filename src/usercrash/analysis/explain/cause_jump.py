"""Calls, jumps and returns to what is not code."""

from __future__ import annotations

from ...report import Cause
from ..facts.signals import SigInfo
from ..instructions.decoded import Decoded
from .pointer_clues import with_clue, with_link
from .scene import NULL_PAGE, Scene, cause, frame_words, seen

JUMPS = ("call", "jmp")
_CALL_DIRECTLY = 0xE8
_ENDBR64, _BND = b"\xf3\x0f\x1e\xfa", b"\xf2"
_JUMP_BY_TABLE = b"\xff\x25"


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
        return _to_null(scene, origin)
    place = scene.places.find(pc)
    if scene.executable(pc - 1) and (place is None or place.start == pc):
        return cause(
            "jump-to-bad-address",
            f"execution ran past the end of the code at {pc:#x}",
            reason="end-of-code",
            certainty="likely",
            evidence=[seen("pc", pc, scene.places.where(pc))],
        )
    pattern = scene.pattern(pc)
    found = cause(
        "jump-to-bad-address",
        f"jump to {pc:#x}, {scene.places.where(pc)}{origin}",
        f"The address is {pattern}." if pattern else "",
        _overwritten(scene, origin),
        "Data is not executable: what stands there was taken for code." if place else "",
        reason="not-executable" if place else "not-mapped",
        evidence=[seen("pc", pc, scene.places.where(pc))],
    )
    return with_link(scene, found, pc) if place else with_clue(scene, found, [pc])


def _to_null(scene: Scene, origin: str) -> Cause:
    pc = scene.pc
    if pc:
        text = f"jump to address {pc:#x}, close to null"
        return cause("jump-to-null", text + origin, reason="null-call")
    if not origin and _is_return(scene):
        return cause(
            "jump-to-null", "return to address 0: the return address was overwritten",
            "It is 0 where the stack pointer has just passed, and nothing called from there."
            if not scene.arch.link else "",
            reason="null-return", certainty="likely",
        )  # fmt: skip
    text = "call through a null function pointer" + origin if origin else "jump to address 0"
    return cause("jump-to-null", text, reason="null-call")


def _origin(scene: Scene) -> str:
    """` from f+0x1c at x.c:3`: the caller, where the unwinder is sure of one."""
    if len(scene.frames) < 2 or scene.frames[1].trust not in ("cfi", "call-recovery"):
        return ""
    if _called_another(scene, int(scene.frames[1].pc, 16)):
        return f", from a function that was called by {frame_words(scene.frames[1])}"
    return f", from {frame_words(scene.frames[1])}"


def _called_another(scene: Scene, returns: int) -> bool:
    """Whether the call before a return address leads to a function of a fixed address, which then
    must have jumped on as the last thing that it did. (The linkage table jumps on, too.)"""
    if not scene.x86:
        return False
    data = scene.memory(returns - 5, 5)
    if len(data) < 5 or data[0] != _CALL_DIRECTLY:
        return False
    target = returns + int.from_bytes(data[1:], "little", signed=True) & scene.arch.mask
    code = scene.memory(target, 8).removeprefix(_ENDBR64).removeprefix(_BND)
    return target != scene.pc and bool(code) and not code.startswith(_JUMP_BY_TABLE)


def _is_return(scene: Scene) -> bool:
    """Whether the jump looks like one by `ret`: that leaves its target just below the stack
    pointer. (Elsewhere a call would have left another return address in the register for it.)"""
    if scene.arch.link:
        return scene.registers.get(scene.arch.link) == scene.pc
    return scene.word(scene.sp - scene.arch.word) == scene.pc


def _overwritten(scene: Scene, origin: str) -> str:
    """Where a return address was changed to the pc."""
    if scene.arch.link or origin or not _is_return(scene):
        return ""
    return "It stands just below the stack pointer: a return address was overwritten."


def jump_target(scene: Scene, instruction: Decoded) -> int | None:
    """Where a return, call or jump of x86 leads to, None where that is not known."""
    if instruction.mnemonic.startswith("ret"):
        return scene.word(scene.sp)
    if instruction.operand is not None:
        return instruction.operand
    # The operand is in memory; call's other access is the push of the return address.
    reads = [access for access in instruction.accesses if access.kind == "read"]
    return scene.word(reads[0].address) if reads and reads[0].size else None


def bad_target(scene: Scene, instruction: Decoded) -> Cause | None:
    """The cause if the instruction is a return, call or jump to an address that no process can
    have."""
    name = instruction.mnemonic
    if name.startswith("ret"):
        words, why = "return to", "The return address on the stack was overwritten."
    elif name in JUMPS:
        words, why = f"{name} to", ""
        reads = [access for access in instruction.accesses if access.kind == "read"]
        if reads and not scene.places.is_canonical(reads[0].address):
            return None  # reading the pointer failed, not the jump
    else:
        return None
    target = jump_target(scene, instruction)
    if target is None or scene.places.is_canonical(target):
        return None
    pattern = scene.pattern(target)
    found = cause(
        "jump-to-bad-address",
        f"{words} {target:#x}, an impossible (non-canonical) address",
        why,
        f"The address is {pattern}." if pattern else "",
        reason="non-canonical",
        evidence=[seen("instruction", instruction.text), seen("target", target, pattern)],
    )
    return with_clue(scene, found, [target])
