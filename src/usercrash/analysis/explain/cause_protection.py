"""SIGSEGV and SIGBUS for which the kernel knows no address: on x86 a general protection fault, or
the kernel's own verdict over a process in whose memory it found or could put nothing that it needs
(force_sigsegv() and force_sig(SIGSEGV) in kernel/signal.c, arch/x86/kernel/signal.c,
kernel/rseq.c)."""

from __future__ import annotations

from ...report import Cause
from ..facts.signals import SIGBUS, SigInfo
from ..facts.syscalls import syscall_name
from ..instructions.decoded import Access, Decoded
from ..instructions.x86_code import SYSCALL_INSTRUCTIONS
from ..instructions.x86_operands import bare_mnemonic
from .access import did, operand_words, pointers
from .cause_jump import JUMPS, bad_target, jump_target
from .pointer_clues import with_clue
from .scene import Scene, cause

_ALIGNED = ("movaps", "movapd", "movdqa", "movntps", "movntpd", "movntdq", "movntdqa")
# Bytes that an operand's address must be a multiple of, where that is not its size
_MULTIPLES = {"fxsave": 16, "fxsave64": 16, "fxrstor": 16, "fxrstor64": 16, "cmpxchg16b": 16}
_STATES = ("xsave", "xrstor")  # 64
# Instructions of SSE whose operand of 16 bytes may lie anywhere
_ANYWHERE = ("movup", "movdqu", "lddqu", "pcmpestr", "pcmpistr")
# Those that fault for what stands in registers, or for how the process is set up
_REFUSED = {
    "int": "only the kernel may raise this interrupt",
    "rdtsc": "the process may not read the time stamp counter (prctl PR_SET_TSC)",
    "rdtscp": "the process may not read the time stamp counter (prctl PR_SET_TSC)",
    "cpuid": "the process may not ask for the processor's features (ARCH_SET_CPUID)",
} | dict.fromkeys(
    ("wrfsbase", "wrgsbase", "xgetbv", "rdpkru", "wrpkru", "rdpmc", "ldmxcsr", "vldmxcsr", "retf",
     "retfq", "ljmp", "lcall", "fxrstor", "fxrstor64", "xrstor", "xrstor64", "xrstors"),
    "the processor refuses its operand",
)  # fmt: skip
_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
# System calls in whose end a signal is delivered that the thread sent itself, unblocked or waited
# for
_DELIVERING = frozenset({
    "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
    "rt_sigprocmask", "sigprocmask", "rt_sigsuspend", "sigsuspend", "pause", "alarm", "setitimer",
})  # fmt: skip
_RETURNING = ("rt_sigreturn", "sigreturn")


def without_address(scene: Scene, info: SigInfo, instruction: Decoded | None) -> Cause:
    """The cause of a SIGSEGV or SIGBUS that names no address."""
    kind = "bus-error" if info.number == SIGBUS else "bad-address"
    if instruction is None or not scene.x86:
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
    if instruction.privileged and instruction.operand_text not in _SEGMENTS:
        text = f"privileged instruction: {instruction.text}"
        return cause("illegal-instruction", text, reason="privileged")
    why = _REFUSED.get(bare_mnemonic(instruction.mnemonic), "")
    if instruction.operand_text in _SEGMENTS:
        why = "the processor refuses its operand"
    if why:
        text = f"the processor refused to run {instruction.text}: {why}"
        return cause("illegal-instruction", text, reason="refused", certainty="likely")
    if _is_innocent(scene, instruction):
        return _by_verdict(scene, kind, instruction)
    return cause(
        kind, f"protection fault in the instruction {instruction.text}",
        _bad_stack_words(scene), certainty="possible",
    )  # fmt: skip


def _is_innocent(scene: Scene, instruction: Decoded) -> bool:
    """Whether the instruction cannot have faulted, as far as is known."""
    name = bare_mnemonic(instruction.mnemonic)
    if "[" in instruction.text and not instruction.accesses:
        return name.startswith(("lea", "nop", "prefetch"))
    if name in JUMPS or name.startswith("ret"):
        target = jump_target(scene, instruction)
        return target is not None and scene.executable(target)
    return all(_is_possible(scene, access) for access in instruction.accesses)


def _is_possible(scene: Scene, access: Access) -> bool:
    """Whether nothing forbids the access, as far as is known."""
    place = scene.places.find(access.address)
    if place is None:
        return False
    return place.readable and (place.writable or "write" not in access.kind)


def _by_verdict(scene: Scene, kind: str, instruction: Decoded) -> Cause:
    """The kernel's own SIGSEGV: the instruction at the pc has nothing to do with it."""
    number = scene.registers.get(scene.arch.call[0], -1) if scene.arch.call else -1
    call = syscall_name(scene.arch.name, number)
    innocent = f"The instruction there, {instruction.text}, is not at fault."
    came_back = scene.memory(scene.pc - 2, 2) in SYSCALL_INSTRUCTIONS
    if came_back and (call in _RETURNING or number & 0xFFFFFFFF == 0xFFFFFFFF):
        # (the kernel takes the mark of a system call away when it takes up what was interrupted)
        return cause(
            kind,
            "the kernel could not return from a signal's handler: its frame on the stack is bad",
            innocent,
            reason="bad-signal-frame",
            certainty="likely",
        )
    bad_stack = _bad_stack_words(scene)
    if bad_stack or (came_back and call in _DELIVERING):
        return cause(
            kind,
            "the kernel could not start the handler of a signal: there was no room for its frame",
            bad_stack or "The handler's own stack (sigaltstack) may be bad or too small.",
            innocent,
            reason="no-signal-stack",
            certainty="likely" if came_back else "possible",
        )
    return cause(
        kind,
        "the kernel found something in the process's memory that it could not use",
        "It may be the stack for a signal's handler (sigaltstack), the frame of one that returned, "
        "or the thread's area for restartable sequences (rseq).",
        innocent,
        reason="kernel-verdict",
        certainty="possible",
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
    values = [value for _, value in pointers(access)]
    pattern = "" if values else scene.pattern(access.address)
    found = cause(
        kind, text, operand_words(scene, access), f"The address is {pattern}." if pattern else "",
        reason="non-canonical",
    )  # fmt: skip
    return with_clue(scene, found, values or [access.address])


def _misaligned(scene: Scene, kind: str, instruction: Decoded) -> Cause | None:
    """An instruction whose operand must be, and is not, a multiple of some number of bytes."""
    for access in instruction.accesses:
        multiple = _multiple(instruction, access)
        if multiple and access.address % multiple:
            return cause(
                kind,
                f"misaligned operand: {bare_mnemonic(instruction.mnemonic)} needs a multiple of "
                f"{multiple}, not {access.address:#x}",
                operand_words(scene, access),
                "The stack pointer was not aligned to 16 bytes at a call."
                if access.registers and set(access.registers) <= {scene.arch.sp, scene.arch.fp}
                else "",
                reason="misaligned",
            )
    return None


def _multiple(instruction: Decoded, access: Access) -> int:
    """What the operand's address must be a multiple of; 0 for anything."""
    name = bare_mnemonic(instruction.mnemonic)
    if name in _MULTIPLES:
        return _MULTIPLES[name]
    if name.startswith(_STATES):
        return 64
    if name.lstrip("v").startswith(_ALIGNED):
        return access.size
    # SSE, not AVX: all but some of its moves (Intel's manual, volume 2, 2.4, exception type 4)
    of_sse = any(group.startswith(("sse", "ssse", "aes", "pclmul")) for group in instruction.groups)
    if of_sse and access.size == 16 and not name.startswith(("v", *_ANYWHERE)):
        return 16
    return 0
