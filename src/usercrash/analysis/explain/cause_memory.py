"""Why a memory access failed: SIGSEGV and SIGBUS that the thread itself caused.

What is told rests on three things that must agree: the address that the kernel gives,
the operands of the instruction at the pc, and the mappings. Where they do not, less is said.
"""

from __future__ import annotations

import msgspec

from ...report import Cause
from ..facts.signals import SIGBUS, SigInfo
from ..instructions.disassembly import Access, Decoded
from ..instructions.x86_code import SYSCALL_INSTRUCTIONS
from .access import did, fault_evidence, matching_access, operand_words, pointers
from .cause_bus import bus_error
from .cause_jump import bad_jump, bad_target
from .cause_mapping import bad_address
from .pointer_clues import with_clue
from .scene import NULL_PAGE, Scene, cause
from .stack_overflow import stack_overflow

_NULL_REACH = 1 << 20  # with a register that is null, a larger offset
_ALIGNED = ("movaps", "movapd", "movdqa", "movntps", "movntpd", "movntdq", "movntdqa")


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
    return msgspec.structs.replace(found, evidence=[*found.evidence, *evidence])


def _find(scene: Scene, info: SigInfo, instruction: Decoded | None, access: Access | None) -> Cause:
    jump = bad_jump(scene, info)
    if jump is not None:
        return jump
    if info.address is None:
        return _without_address(scene, info, instruction)
    if info.number == SIGBUS:
        return bus_error(scene, info, info.address, instruction, access)
    overflow = stack_overflow(scene, info.address)
    if overflow is not None:
        return overflow
    null = _null_pointer(scene, info.address, access)
    if null is not None:
        return null
    return bad_address(scene, info, info.address, access)


# --- general protection: the kernel knows no address ---


def _without_address(scene: Scene, info: SigInfo, instruction: Decoded | None) -> Cause:
    kind = "bus-error" if info.number == SIGBUS else "bad-address"
    if instruction is None:
        words = "mostly a non-canonical pointer" if scene.x86 else "the kernel does not name it"
        return cause(kind, f"protection fault without an address: {words}", certainty="possible")
    target = bad_target(scene, instruction)
    if target is not None:
        return target
    for access in instruction.accesses:
        if not scene.places.is_canonical(access.address):
            return _non_canonical(scene, kind, access)
    misaligned = _misaligned(scene, kind, instruction)
    if misaligned is not None:
        return misaligned
    if instruction.privileged:
        return cause(
            "illegal-instruction",
            f"privileged instruction: {instruction.text}",
            reason="privileged",
        )
    if scene.x86 and not instruction.accesses:
        return _undelivered(scene, kind, instruction)
    return cause(
        kind, f"protection fault in the instruction {instruction.text}",
        _bad_stack_words(scene), certainty="possible",
    )  # fmt: skip


def _undelivered(scene: Scene, kind: str, instruction: Decoded) -> Cause:
    """The kernel sends the same signal where it cannot write the frame of a signal's handler
    (force_sigsegv() in kernel/signal.c): the instruction has nothing to do with it then."""
    called = scene.memory(scene.pc - 2, 2) in SYSCALL_INSTRUCTIONS
    return cause(
        kind,
        "the kernel could not start the handler of a signal: there was no room for its frame",
        _bad_stack_words(scene) or "The handler's own stack (sigaltstack) may be bad or too small.",
        f"The instruction there, {instruction.text}, touches no memory, so it is not at fault.",
        reason="no-signal-stack",
        certainty="likely" if called else "possible",
    )


def _bad_stack_words(scene: Scene) -> str:
    place = scene.places.find(scene.sp)
    if not scene.places.mappings or (place is not None and place.writable):
        return ""
    return (
        f"The stack pointer {scene.sp:#x} is bad, {scene.places.where(scene.sp)}: perhaps the "
        "kernel found no stack for a signal's handler."
    )


def _non_canonical(scene: Scene, kind: str, access: Access) -> Cause:
    text = f"{did(access)} at {access.address:#x}, an impossible (non-canonical) address"
    found = cause(kind, text, operand_words(scene, access), reason="non-canonical")
    return with_clue(scene, found, [value for _, value in pointers(scene, access)])


def _misaligned(scene: Scene, kind: str, instruction: Decoded) -> Cause | None:
    """A vector instruction whose operand must be, and is not, a multiple of its size."""
    if not instruction.mnemonic.lstrip("v").startswith(_ALIGNED):
        return None
    for access in instruction.accesses:
        if access.size and access.address % access.size:
            return cause(
                kind,
                f"misaligned operand: {instruction.mnemonic} needs a multiple of "
                f"{access.size}, not {access.address:#x}",
                operand_words(scene, access),
                "The stack pointer was not aligned to 16 bytes at a call."
                if access.registers and set(access.registers) <= {scene.arch.sp, scene.arch.fp}
                else "",
                reason="misaligned",
            )
    return None


# --- a null pointer ---


def _null_pointer(scene: Scene, address: int, access: Access | None) -> Cause | None:
    bits = 8 * scene.arch.long
    signed = address - (1 << bits) if address >> bits - 1 else address
    null = [name for name in _bases(access) if scene.registers.get(name) == 0]
    if not 0 <= signed < NULL_PAGE and not (null and abs(signed) < _NULL_REACH):
        return None
    what = "null pointer"
    if signed > 0:
        what += f" plus {signed:#x}"
    elif signed < 0:
        what += f" minus {-signed:#x}"
    what_it_did = f"{did(access)} at {address:#x}" if access else f"access to {address:#x}"
    return cause(
        "null-pointer",
        f"{what}: {what_it_did}" + (f" ({null[0]} is 0)" if null else ""),
        "" if null or not access else operand_words(scene, access),
        reason="null-offset" if signed else "null",
        certainty="certain" if 0 <= signed < NULL_PAGE else "likely",
    )


def _bases(access: Access | None) -> tuple[str, ...]:
    return access.registers if access else ()
