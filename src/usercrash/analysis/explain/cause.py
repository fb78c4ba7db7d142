"""Why it died, in one line: the report's `cause`.

A wrong cause is worse than none: each says how certain it is, and where nothing is known,
the line repeats what the signal says.
"""

from __future__ import annotations

from dataclasses import replace

from ...report import Cause, Frame
from ..core.places import count_bytes
from ..facts.proc_texts import number
from ..facts.signals import (
    FPE_INTDIV,
    FPE_INTOVF,
    SI_KERNEL,
    SI_USER,
    SIGABRT,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGQUIT,
    SIGSEGV,
    SIGSYS,
    SIGTRAP,
    SIGXCPU,
    SIGXFSZ,
    SYS_SECCOMP,
    SigInfo,
    code_words,
    signal_name,
    signal_words,
)
from ..facts.syscalls import syscall_name
from .cause_abort import explain_abort
from .cause_guess import guess_fault
from .cause_memory import explain_fault
from .scene import Handled, Scene, cause, frame_words

_INT3 = 0xCC
_NO_ORIGIN = "The core does not say where the signal came from."


def explain(scene: Scene) -> Cause:
    """The cause of a crash; for a live dump, that it has not crashed."""
    info = scene.info
    if info is None:
        return cause("none", "not crashed: dumped on request", reason="on-request")
    if info.code is None:
        return _without_code(scene, info)
    if not info.is_fault:
        return _sent(scene, info)
    found = _fault(scene, info)
    if scene.handled:
        first = scene.handled[0]
        words = f"It happened in the program's handler of {signal_name(first.info.number)}."
        found = _with_detail(found, words)
    return found


def _with_detail(found: Cause, *details: str) -> Cause:
    return cause(
        found.kind, found.summary, *found.details, *details,
        reason=found.reason, certainty=found.certainty, message=found.abort_message,
    )  # fmt: skip


def _fault(scene: Scene, info: SigInfo) -> Cause:
    """A signal with a code above 0: the kernel's or the processor's."""
    if info.number in (SIGSEGV, SIGBUS):
        return explain_fault(scene, info)
    if info.number == SIGFPE:
        return _arithmetic(scene, info)
    if info.number == SIGILL:
        return _illegal(scene)
    if info.number == SIGTRAP:
        return _trap(scene, info)
    if info.number == SIGSYS:
        return _system_call(scene, info)
    return _by_kernel(scene, info)


# --- sent by somebody ---


def _sent(scene: Scene, info: SigInfo) -> Cause:
    pid, uid = info.sender or (0, 0)
    name = signal_name(info.number)
    if info.sender is None:
        words = code_words(info.number, info.code) or f"code {info.code}"
        return cause("sent-by-process", f"{name}: {words}", certainty="likely", reason="other")
    if pid in scene.own_ids:
        return _by_itself(scene, info)
    if pid == 0:
        return cause(
            "sent-by-process",
            f"{name} was sent from outside of its pid namespace (uid {uid})",
            reason="outside",
            certainty="likely",
        )
    who = f"process {pid}" + (f" ({scene.sender_comm})" if scene.sender_comm else "")
    watchdog = ""
    if info.number == SIGABRT and scene.sender_comm == "systemd" and info.code == SI_USER:
        watchdog = "systemd sends SIGABRT when a service's watchdog time is over (WatchdogSec=)."
    place = f"It was in {frame_words(scene.frames[0])}." if scene.frames else ""
    return cause(
        "sent-by-process",
        f"{name} was sent by {who} of uid {uid}",
        watchdog,
        place,
        reason="kill",
    )


def _by_itself(scene: Scene, info: SigInfo) -> Cause:
    """raise(), abort(), kill(getpid()); or a handler that passes the first signal on."""
    for handled in scene.handled:
        first = _before_handler(scene, handled)
        origin = handled.info
        if origin.code is None:  # a frame without siginfo
            origin = guess_fault(first, origin.number) or origin
        if origin.is_fault:
            found = _fault(first, origin)
        elif origin.code is None:
            continue
        elif handled.info.number == info.number and not _own(scene, handled.info):
            found = _sent(first, handled.info)
        else:
            continue
        words = f"The program's own handler caught {signal_name(handled.info.number)} and "
        words += "sent it again." if handled.info.number == info.number else "ended the program."
        return _with_detail(found, words)
    if info.number == SIGABRT:
        return explain_abort(scene)
    guess = guess_fault(scene, info.number)
    if guess is not None:
        return _less_certain(
            _fault(scene, guess),
            "The signal came from the process itself: its handler seems to have caught the fault "
            "and sent it again.",
        )
    caller = next((f for f in scene.frames if not (f.inline or _raises(f))), None)
    by = f", in {frame_words(caller)}" if caller else ""
    return cause(
        "raised", f"{signal_name(info.number)} was raised by the process itself{by}", reason="raise"
    )


def _own(scene: Scene, info: SigInfo) -> bool:
    return info.sender is not None and info.sender[0] in scene.own_ids


def _before_handler(scene: Scene, handled: Handled) -> Scene:
    """The scene at the moment when the handled signal came."""
    frames = [frame for frame in scene.frames if frame.index >= handled.frame]
    return replace(
        scene, info=handled.info, registers=handled.registers, handled=(), frames=frames,
        sender_comm="",
    )  # fmt: skip


def _raises(frame: Frame) -> bool:
    return frame.function in _RAISERS or frame.module == "[vdso]"


_RAISERS = frozenset({
    "raise", "gsignal", "kill", "__kill", "pthread_kill", "__pthread_kill", "tgkill", "__GI_raise",
    "__GI___pthread_kill", "__pthread_kill_implementation", "__pthread_kill_internal", "__GI_kill",
    "pthread_kill@@GLIBC_2.34", "sigqueue", "syscall",
})  # fmt: skip


# --- arithmetic ---


def _arithmetic(scene: Scene, info: SigInfo) -> Cause:
    instruction = scene.decode(scene.registers)
    if info.code in (FPE_INTDIV, FPE_INTOVF) and instruction is not None:
        if instruction.mnemonic in ("div", "idiv"):
            divisor = instruction.operand
            if divisor is None and instruction.accesses:
                access = instruction.accesses[-1]
                data = scene.memory(access.address, access.size)
                divisor = int.from_bytes(data, "little") if len(data) == access.size else None
            if divisor == 0:
                return cause(
                    "division-by-zero",
                    f"integer division by zero ({instruction.operand_text} is 0)",
                )
            if divisor is not None:
                return cause(
                    "division-overflow",
                    "integer division whose result does not fit "
                    f"(divisor {_signed(divisor, instruction.bits)}; the lowest number by −1?)",
                    reason="overflow",
                )
        return cause(
            "division-by-zero", "integer division error: by zero, or the result does not fit",
            certainty="likely",
        )  # fmt: skip
    if info.code in (FPE_INTDIV, FPE_INTOVF):
        kind = "division-by-zero" if info.code == FPE_INTDIV else "arithmetic"
        return cause(kind, code_words(SIGFPE, info.code), certainty="likely")
    words = code_words(SIGFPE, info.code) or "arithmetic error"
    return cause("arithmetic", words, reason="floating-point")


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if bits and value >> bits - 1 else value


# --- instructions ---


def _illegal(scene: Scene) -> Cause:
    if scene.places.mappings and not scene.executable(scene.pc):
        where = scene.places.where(scene.pc)
        return cause("jump-to-bad-address", f"jump to {scene.pc:#x}, {where}")
    data = scene.memory(scene.pc, 8)
    instruction = scene.decode(scene.registers)
    if scene.x86 and data[:2] == b"\x0f\x0b":
        return cause(
            "illegal-instruction",
            "ud2: a trap placed on purpose, where execution should never come",
            "Compilers place it for __builtin_trap, unreachable code and some runtime checks.",
            reason="trap",
        )
    if not data or not scene.x86:
        return cause("illegal-instruction", f"illegal instruction at {scene.pc:#x}")
    if instruction is None:
        return cause(
            "illegal-instruction",
            f"no instruction at {scene.pc:#x}: the bytes there are {data.hex(' ')}",
            "Execution came into data, or into the middle of an instruction.",
            reason="no-instruction",
            certainty="likely",
        )
    return cause(
        "illegal-instruction",
        f"the processor refused the instruction {instruction.text}",
        "It may lack the instruction set extension that the program was built for.",
        reason="unsupported",
        certainty="likely",
    )


def _trap(scene: Scene, info: SigInfo) -> Cause:
    if info.code == SI_KERNEL:
        # int3 is a trap: the pc stands behind it.
        before = scene.memory(scene.pc - 1, 1)
        if scene.x86 and before == bytes([_INT3]):
            return cause("breakpoint", "a breakpoint instruction (int3), and no debugger",
                         reason="int3")  # fmt: skip
        return cause("breakpoint", "a trap instruction, and no debugger", certainty="likely")
    words = code_words(SIGTRAP, info.code) or f"trap, code {info.code}"
    return cause("breakpoint", f"{words}, and no debugger", reason="trap")


def _system_call(scene: Scene, info: SigInfo) -> Cause:
    call = info.system_call
    if call is None:
        return cause("seccomp", "a bad system call", certainty="likely")
    name = syscall_name(scene.arch.name, call)
    text = f"{name}() (system call {call})" if name else f"system call {call}"
    if info.code == SYS_SECCOMP:
        return cause("seccomp", f"a seccomp filter forbids {text}", reason="filter")
    return cause("seccomp", f"{text} refused: {code_words(SIGSYS, info.code)}", reason="dispatch")


# --- from the kernel, without a fault ---


def _by_kernel(scene: Scene, info: SigInfo) -> Cause:
    name = signal_name(info.number)
    if info.number == SIGQUIT:
        return cause("quit", "SIGQUIT from the terminal (Ctrl-\\)", reason="terminal")
    if info.number == SIGXCPU:
        soft = scene.limits.get("Max cpu time", "")
        return cause("cpu-limit", "the processor time limit is used up"
                     + (f": {soft} seconds" if soft.isdecimal() else ""))  # fmt: skip
    if info.number == SIGXFSZ:
        size = number(scene.limits.get("Max file size", "").encode("ascii", "replace"))
        return cause("file-size-limit", "a file grew past the file size limit"
                     + (f" of {count_bytes(size)}" if size is not None else ""))  # fmt: skip
    words = signal_words(info.number)
    return cause("unknown", f"{name} from the kernel: {words}", certainty="unknown")


def _without_code(scene: Scene, info: SigInfo) -> Cause:
    """A core that only names the signal: what the instruction shows, if it shows a fault."""
    guess = guess_fault(scene, info.number)
    if guess is not None:
        return _less_certain(_fault(scene, guess), _NO_ORIGIN)
    if info.number == SIGABRT:
        return _less_certain(explain_abort(scene), _NO_ORIGIN)
    name = signal_name(info.number)
    return cause("unknown", f"{name}: {signal_words(info.number)}", certainty="unknown")


def _less_certain(found: Cause, why: str) -> Cause:
    return cause(
        found.kind, found.summary, *found.details, why,
        reason=found.reason, certainty="likely", message=found.abort_message,
    )  # fmt: skip
