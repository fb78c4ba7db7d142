"""Why a memory access failed: SIGSEGV and SIGBUS that the thread itself caused.

What is told rests on three things that must agree: the address that the kernel gives,
the operands of the instruction at the pc, and the mappings. Where they do not, less is said.
"""

from __future__ import annotations

from ...report import Cause
from ..core.places import count_bytes, pattern_words
from ..facts.signals import (
    BUS_ADRALN,
    BUS_ADRERR,
    BUS_MCEERR_AO,
    BUS_MCEERR_AR,
    SEGV_ACCERR,
    SEGV_CPERR,
    SEGV_PKUERR,
    SIGBUS,
    SigInfo,
)
from ..instructions.disassembly import Access, Decoded
from .scene import Scene, cause, frame_words
from .stack_overflow import stack_overflow

NULL_PAGE = 4096  # below it an address is a null pointer plus a small offset
_NULL_REACH = 1 << 20  # with a register that is null, a larger offset
_ALIGNED = ("movaps", "movapd", "movdqa", "movntps", "movntpd", "movntdq", "movntdqa")


def explain_fault(scene: Scene, info: SigInfo) -> Cause:
    """The cause of a SIGSEGV or SIGBUS with a code above 0."""
    instruction = scene.decode(scene.registers)
    jump = _jump(scene, info)
    if jump is not None:
        return jump
    if info.address is None:
        return _without_address(scene, info, instruction)
    if info.number == SIGBUS:
        return _bus_error(scene, info, info.address, instruction)
    overflow = stack_overflow(scene, info.address)
    if overflow is not None:
        return overflow
    access = matching_access(instruction, info.address)
    null = _null_pointer(scene, info.address, access)
    if null is not None:
        return null
    return _bad_address(scene, info, info.address, access)


def matching_access(instruction: Decoded | None, address: int) -> Access | None:
    """The operand that touches the address. The kernel may give any byte of it, and for
    an access across a page the first byte of the second page."""
    for access in instruction.accesses if instruction else ():
        if access.address <= address < access.address + max(access.size, 1):
            return access
    return None


# --- the pc itself is bad ---


def _jump(scene: Scene, info: SigInfo) -> Cause | None:
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
    pattern = pattern_words(pc, scene.arch.long, scene.arch.order)
    where = scene.places.where(pc)
    return cause(
        "jump-to-bad-address",
        f"jump to {pc:#x}, {where}{origin}",
        f"The address is {pattern}." if pattern else "",
        _overwritten(scene),
        reason="not-executable" if scene.places.find(pc) else "not-mapped",
    )


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


# --- general protection: the kernel knows no address ---


def _without_address(scene: Scene, info: SigInfo, instruction: Decoded | None) -> Cause:
    kind = "bus-error" if info.number == SIGBUS else "bad-address"
    if instruction is None:
        words = "mostly a non-canonical pointer" if scene.x86 else "the kernel does not name it"
        return cause(kind, f"protection fault without an address: {words}", certainty="possible")
    target = _bad_target(scene, instruction)
    if target is not None:
        return target
    for access in instruction.accesses:
        if not scene.places.is_canonical(access.address):
            return cause(
                kind,
                f"{_did(access)} at {access.address:#x}, an impossible (non-canonical) address",
                _operand_words(scene, access),
                reason="non-canonical",
            )
    misaligned = _misaligned(scene, kind, instruction)
    if misaligned is not None:
        return misaligned
    if instruction.privileged:
        return cause(
            "illegal-instruction",
            f"privileged instruction: {instruction.text}",
            reason="privileged",
        )
    place = scene.places.find(scene.sp)
    undelivered = scene.places.mappings and (place is None or not place.writable)
    return cause(
        kind,
        f"protection fault in the instruction {instruction.text}",
        # The kernel sends the same code where it cannot write a signal frame.
        f"The stack pointer {scene.sp:#x} is bad, {scene.places.where(scene.sp)}: perhaps the "
        "kernel found no stack for a signal's handler."
        if undelivered
        else "",
        certainty="possible",
    )


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
                _operand_words(scene, access),
                "The stack pointer was not aligned to 16 bytes at a call."
                if access.registers and set(access.registers) <= {scene.arch.sp, scene.arch.fp}
                else "",
                reason="misaligned",
            )
    return None


def _bad_target(scene: Scene, instruction: Decoded) -> Cause | None:
    """A return, call or jump to an address that no process can have."""
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
    return cause(
        "jump-to-bad-address",
        f"{words} {target:#x}, an impossible (non-canonical) address",
        why,
        f"The address is {pattern}." if pattern else "",
        reason="non-canonical",
    )


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
    did = f"{_did(access)} at {address:#x}" if access else f"access to {address:#x}"
    return cause(
        "null-pointer",
        f"{what}: {did}" + (f" ({null[0]} is 0)" if null else ""),
        "" if null or not access else _operand_words(scene, access),
        reason="null-offset" if signed else "null",
        certainty="certain" if 0 <= signed < NULL_PAGE else "likely",
    )


def _bases(access: Access | None) -> tuple[str, ...]:
    return access.registers if access else ()


# --- an address that means something, but not this ---


def _bad_address(scene: Scene, info: SigInfo, address: int, access: Access | None) -> Cause:
    did = _did(access) if access else "access"
    place = scene.places.find(address)
    where = scene.places.where(address)
    pattern = pattern_words(address, scene.arch.long, scene.arch.order)
    details = [f"The address is {pattern}." if pattern else "", _operand_words(scene, access)]
    reason, certainty = "not-mapped", "certain"
    if info.code == SEGV_PKUERR:
        key = f"key {info.protection_key}" if info.protection_key else "key"
        return cause("bad-address", f"{did} at {address:#x} against a memory protection {key}",
                     *details, reason="protection-key")  # fmt: skip
    if info.code == SEGV_CPERR:
        return cause("bad-address", "control protection: a return or an indirect branch went "
                     "where it may not", reason="control-protection")  # fmt: skip
    if place is not None:
        reason = "protected"
        if info.code == SEGV_ACCERR and place.perms.startswith(b"---"):
            where = f"in {scene.places.name(place)}, which nobody may touch"
            reason = "no-access"
        elif info.code == SEGV_ACCERR and access and "write" in access.kind and not place.writable:
            where = f"in {scene.places.name(place)}"
            where += "" if "read-only" in where else ", which is read only"
            reason = "read-only"
        elif info.code != SEGV_ACCERR:
            details.append("It was not mapped at the moment of the fault; it is in the map below.")
            certainty = "likely"
    sp_place = scene.places.find(scene.sp)
    if scene.places.mappings and (sp_place is None or not sp_place.writable):
        details.append(f"The stack pointer {scene.sp:#x} is bad: {scene.places.where(scene.sp)}.")
    return cause(
        "bad-address", f"{did} at {address:#x}, {where}", *details,
        reason=reason, certainty=certainty,
    )  # fmt: skip


def _did(access: Access | None) -> str:
    """`read of 8 bytes`."""
    if access is None:
        return "access"
    return f"{access.kind} of {count_bytes(access.size)}" if access.size else access.kind


def _operand_words(scene: Scene, access: Access | None) -> str:
    """How the address came about: `[rax + 8], rax is 0x41…, the text "AAAA"`."""
    if access is None or not access.registers:
        return ""
    parts = []
    for name in access.registers:
        value = scene.registers.get(name)
        if value is None or name in ("fs", "gs"):
            continue
        pattern = pattern_words(value, scene.arch.word, scene.arch.order)
        parts.append(f"{name} is {value:#x}" + (f", {pattern}" if pattern else ""))
    return f"The address is [{access.text}]: {'; '.join(parts)}." if parts else ""


# --- SIGBUS ---


def _bus_error(scene: Scene, info: SigInfo, address: int, instruction: Decoded | None) -> Cause:
    access = matching_access(instruction, address)
    did = _did(access)
    place = scene.places.find(address)
    if info.code == BUS_ADRALN:
        words = _operand_words(scene, access)
        return cause("bus-error", f"misaligned {did} at {address:#x}", words, reason="misaligned")
    if info.code in (BUS_MCEERR_AR, BUS_MCEERR_AO):
        return cause("bus-error", f"the memory at {address:#x} is damaged: hardware error",
                     "See the kernel's log for machine checks.", reason="hardware")  # fmt: skip
    if info.code == BUS_ADRERR and place is not None and place.path[:1] == b"/":
        shared = place.path.startswith((b"/dev/shm/", b"/memfd:", b"/SYSV"))
        name = scene.places.name(place).rpartition(" of ")[2]
        return cause(
            "bus-error",
            f"{did} at {address:#x}, in a part of {name} that is not there",
            "Shared memory shorter than its mapping, or no space left for it."
            if shared
            else "The file is shorter than its mapping (cut after it was mapped), or unreadable.",
            f"It is byte {address - place.start + place.offset:#x} of the file.",
            reason="past-end-of-file",
            certainty="likely",
        )
    where = scene.places.where(address)
    return cause("bus-error", f"{did} at {address:#x}, {where}", certainty="likely")
