"""SIGILL and SIGTRAP: instructions that the processor refuses, and those that are there to stop."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...report import Cause
from ..facts.signals import SI_KERNEL, SIGTRAP, SigInfo, code_words
from ..instructions.decoded import Decoded
from .cause_jump import bad_jump
from .cause_texts import fatal_log
from .scene import Scene, cause, frame_words, seen
from .trap_instructions import Trap, trap_at

_INT3 = 0xCC
_UD2 = b"\x0f\x0b"
_UNDEFINED = {b"\x0f\xb9": "ud1", b"\x0f\xff": "ud0"}
_UD1 = b"\x67\x0f\xb9"  # ud1 eax, [eax] or [eax + N], as clang marks its checks

# The checks of clang's -fsanitize-trap, in the order of SanitizerHandler (CodeGenFunction.h,
# LLVM 14 to 18), which is the number in the instruction.
_CHECKS = (
    "a sum that does not fit", "unreachable code was reached",
    "an indirect call against control flow integrity", "a quotient that does not fit, or by zero",
    "an object of another type", "a floating-point number that does not fit an integer",
    "a call of a function of another type", "a conversion that changed the number",
    "a builtin with an invalid argument", "an invalid cast of an Objective-C object",
    "a value that its type does not have (bool, enum)", "a function without its return value",
    "a product that does not fit", "a negation that does not fit", "null for an argument",
    "null as a return value", "null for an argument that may not be null",
    "null as a return value that may not be null", "an index out of bounds",
    "a pointer beyond its object", "a shift by too many bits, or of a negative number",
    "a difference that does not fit", "a null or misaligned pointer, or too small an object",
    "a wrong assumption of alignment", "an array of variable length that is not positive",
)  # fmt: skip

# Groups of capstone's (X86_GRP_*) that are no sets of instructions which a processor may lack.
_NO_SETS = ("jump", "call", "ret", "int", "iret", "privilege", "branch_relative", "vm", "mode32",
            "mode64", "16bitmode", "not64bitmode", "novlx", "fpu", "cmov")  # fmt: skip


def illegal(scene: Scene, info: SigInfo) -> Cause:
    """The cause of a SIGILL of the processor's."""
    if scene.places.mappings and not scene.executable(scene.pc):
        jump = bad_jump(scene, info)
        if jump is not None:
            return jump
        where = scene.places.where(scene.pc)
        return cause("jump-to-bad-address", f"jump to {scene.pc:#x}, {where}")
    data = scene.memory(scene.pc, 15)
    if scene.x86 and data[:2] == _UD2:
        return _trap_on_purpose(scene)
    if scene.x86 and data[:2] in _UNDEFINED:
        return _undefined(scene, _UNDEFINED[data[:2]])
    if scene.x86 and data[:3] == _UD1 and data[3:4] in (b"\0", b"\x40"):
        number = data[4] if data[3] and len(data) > 4 else 0
        return _failed_check(scene, number, f"ud1 eax, [eax + {number}]")
    stop = trap_at(scene)
    if stop is not None:
        return _stopped(scene, stop)
    if not data or not scene.x86:
        return cause("illegal-instruction", f"illegal instruction at {scene.pc:#x}")
    instruction = scene.decode(scene.registers)
    if instruction is None:
        return cause(
            "illegal-instruction",
            f"no instruction at {scene.pc:#x}: the bytes there are {data[:8].hex(' ')}",
            "Execution came into data, or into the middle of an instruction.",
            reason="no-instruction",
            certainty="likely",
        )
    if instruction.privileged:
        text = f"privileged instruction: {instruction.text}"
        return cause("illegal-instruction", text, reason="privileged")
    found = _refused(instruction)
    place = scene.places.find(scene.pc)
    if place is None or not place.writable:
        return found
    return msgspec.structs.replace(
        found,
        details=["The code there is in memory that can be written: data may have been taken for "
                 "code.", *found.details],
    )  # fmt: skip


def _trap_on_purpose(scene: Scene) -> Cause:
    where = f", in {frame_words(scene.frames[0])}" if scene.frames else ""
    return cause(
        "illegal-instruction",
        f"ud2: a trap placed on purpose, where execution should never come{where}",
        "Compilers place it for __builtin_trap, unreachable code and some runtime checks.",
        reason="trap",
        evidence=[seen("instruction", "ud2", f"at the pc {scene.pc:#x}")],
    )


def _stopped(scene: Scene, stop: Trap) -> Cause:
    """At an instruction of another machine that is there to stop."""
    if stop.check >= 0:
        return _failed_check(scene, stop.check, stop.text)
    where = f", in {frame_words(scene.frames[0])}" if scene.frames else ""
    evidence = [seen("instruction", stop.text, f"at the pc {scene.pc:#x}")]
    if stop.breakpoint:
        return cause(
            "breakpoint",
            f"{stop.text}: a trap placed on purpose, or a breakpoint and no debugger{where}",
            "Compilers place it for __builtin_trap and unreachable code.",
            reason="trap-instruction", evidence=evidence,
        )  # fmt: skip
    return cause(
        "illegal-instruction",
        f"{stop.text}: a trap placed on purpose, where execution should never come{where}",
        "Compilers place it for __builtin_trap, unreachable code and some runtime checks.",
        reason="trap", evidence=evidence,
    )  # fmt: skip


def _undefined(scene: Scene, name: str) -> Cause:
    where = f", in {frame_words(scene.frames[0])}" if scene.frames else ""
    return cause(
        "illegal-instruction",
        f"{name}: an instruction that is undefined on purpose{where}",
        "No processor has it: it is placed where execution should never come.",
        reason="trap",
        evidence=[seen("instruction", name, f"at the pc {scene.pc:#x}")],
    )


def _failed_check(scene: Scene, number: int, text: str) -> Cause:
    words = _CHECKS[number] if number < len(_CHECKS) else f"check number {number}"
    where = f", in {frame_words(scene.frames[0])}" if scene.frames else ""
    return cause(
        "illegal-instruction",
        f"a check of undefined behaviour failed: {words}{where}",
        "clang placed it for -fsanitize with -fsanitize-trap.",
        reason="failed-check",
        certainty="likely",
        evidence=[seen("instruction", text, "its number is the check's")],
    )


def _refused(instruction: Decoded) -> Cause:
    sets = _instruction_sets(instruction.groups)
    names = " and ".join(sets)
    return cause(
        "illegal-instruction",
        f"the processor refused the instruction {instruction.text}"
        + (f", of the instruction set {names}" if sets else ""),
        f"Compare with the flags in /proc/cpuinfo: the program was built for a processor with "
        f"{names}."
        if sets
        else "It may lack the instruction set extension that the program was built for.",
        reason="unsupported",
        certainty="likely",
        evidence=[seen("instruction", instruction.text, names)],
    )


def _instruction_sets(groups: Sequence[str]) -> list[str]:
    return [group.upper() for group in groups if group and group not in _NO_SETS]


def trap(scene: Scene, info: SigInfo) -> Cause:
    """The cause of a SIGTRAP that nobody sent."""
    stop = trap_at(scene)
    if stop is not None:
        return _stopped(scene, stop)
    if info.code == SI_KERNEL:
        log = fatal_log(scene)
        if log is not None:
            return log
        # int3 is a trap: the pc stands behind it.
        before = scene.memory(scene.pc - 1, 1)
        if scene.x86 and before == bytes([_INT3]):
            where = f", in {frame_words(scene.frames[0])}" if scene.frames else ""
            return cause("breakpoint", f"a breakpoint instruction (int3), and no debugger{where}",
                         reason="int3", evidence=[seen("instruction", "int3", "before the pc")],
                         )  # fmt: skip
        return cause("breakpoint", "a trap instruction, and no debugger", certainty="likely")
    words = code_words(SIGTRAP, info.code) or f"trap, code {info.code}"
    return cause("breakpoint", f"{words}, and no debugger", reason="trap")
