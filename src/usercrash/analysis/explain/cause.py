"""Why it died, in one line: the report's `cause`.

A wrong cause is worse than none: each says how certain it is, and where nothing is known,
the line repeats what the signal says.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ...report import Cause, Frame
from ..facts.signals import (
    SI_USER,
    SIGABRT,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGSYS,
    SIGTRAP,
    SIGXFSZ,
    SigInfo,
    code_words,
    signal_name,
    signal_words,
)
from ..facts.syscalls import syscall_name
from .cause_abort import ended_by_trap, explain_abort
from .cause_arithmetic import arithmetic
from .cause_guess import guess_fault
from .cause_instruction import illegal, trap
from .cause_kernel import by_kernel, file_grew, file_size_limit, system_call
from .cause_memory import explain_fault
from .scene import Handled, Scene, cause, frame_words

_FAULTS = (SIGSEGV, SIGFPE, SIGILL)
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
        words = "It happened in a signal handler of the program's."
        if first.info.number:
            words = f"It happened in the program's handler of {signal_name(first.info.number)}."
        found = _with_detail(found, words)
    return found


def _with_detail(found: Cause, *details: str) -> Cause:
    return msgspec.structs.replace(found, details=[*found.details, *details])


def _fault(scene: Scene, info: SigInfo) -> Cause:
    """A signal with a code above 0: the kernel's or the processor's."""
    if info.number in (SIGSEGV, SIGBUS):
        return explain_fault(scene, info)
    if info.number == SIGFPE:
        return arithmetic(scene, info)
    if info.number in (SIGILL, SIGTRAP):
        read = illegal if info.number == SIGILL else trap
        return ended_by_trap(scene) or read(scene, info)
    if info.number == SIGSYS:
        return system_call(scene, info)
    return by_kernel(scene, info)


# --- sent by somebody ---


def _sent(scene: Scene, info: SigInfo) -> Cause:
    pid, uid = info.sender or (0, 0)
    name = signal_name(info.number)
    if info.number == SIGXFSZ and pid in scene.own_ids and file_grew(scene):
        return file_size_limit(scene)
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
            numbers = (origin.number,) if origin.number else _FAULTS
            guesses = [guess_fault(first, number) for number in numbers]
            origin = next((guess for guess in guesses if guess is not None), origin)
        if origin.is_fault:
            found = _fault(first, origin)
            if handled.info.code is None:
                found = _less_certain(found, "The handler's frame does not name its signal.")
        elif origin.code is None:
            continue
        elif handled.info.number == info.number and not _own(scene, handled.info):
            found = _sent(first, handled.info)
        else:
            continue
        words = f"The program's own handler caught {signal_name(origin.number)} and "
        words += "sent it again." if origin.number == info.number else "ended the program."
        return _with_detail(found, words)
    if info.number == SIGABRT:
        found = explain_abort(scene)
        return (_sent_to_handler(scene) if found.reason == "abort" else None) or found
    guess = guess_fault(scene, info.number)
    if guess is not None:
        return _less_certain(
            _fault(scene, guess),
            "The signal came from the process itself: its handler seems to have caught the fault "
            "and sent it again.",
        )
    caller = next((f for f in scene.frames if not (f.inline or _raises(f))), None)
    by = f", in {frame_words(caller)}" if caller else ""
    if not _is_raising(scene):
        return cause(
            "raised", f"{signal_name(info.number)} was sent by the process to itself",
            f"It came from another thread of it, or earlier: this one was{by.lstrip(',')}."
            if by else "",
            reason="raise",
        )  # fmt: skip
    return cause(
        "raised", f"{signal_name(info.number)} was raised by the process itself{by}", reason="raise"
    )


def _sent_to_handler(scene: Scene) -> Cause | None:
    """What came before abort() in a handler of faults, if somebody had sent the signal: such
    handlers (of Ruby, Java and many a logger) end the program whoever it was."""
    for handled in scene.handled:
        if handled.info.number in (*_FAULTS, SIGBUS) and handled.info.code is not None:
            words = f"The program's own handler caught {signal_name(handled.info.number)} and "
            return _with_detail(
                _sent(_before_handler(scene, handled), handled.info), words + "ended the program."
            )
    return None


def _own(scene: Scene, info: SigInfo) -> bool:
    return info.sender is not None and info.sender[0] in scene.own_ids


def _before_handler(scene: Scene, handled: Handled) -> Scene:
    """The scene at the moment when the handled signal came."""
    frames = [frame for frame in scene.frames if frame.index >= handled.frame]
    return replace(
        scene, info=handled.info, registers=handled.registers, handled=(), frames=frames,
        sender_comm="",
    )  # fmt: skip


def _is_raising(scene: Scene) -> bool:
    """Whether the thread was sending a signal, as far as its system call or its stack tells."""
    number = scene.registers.get(scene.arch.call[0], -1) if scene.arch.call else -1
    call = syscall_name(scene.arch.name, number)
    if call and call not in _UNBLOCKING:
        return call in _SENDING
    outer = [frame for frame in scene.frames if not frame.inline][:3]
    return not outer or outer[0].function is None or any(map(_raises, outer))


def _raises(frame: Frame) -> bool:
    return frame.signal_frame or frame.function in _RAISERS or frame.module == "[vdso]"


_SENDING = frozenset({
    "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
})  # fmt: skip
_UNBLOCKING = ("rt_sigprocmask", "sigprocmask")  # as raise() of older C libraries does at its end
_RAISERS = frozenset({
    "raise", "gsignal", "kill", "__kill", "pthread_kill", "__pthread_kill", "tgkill", "__GI_raise",
    "__GI___pthread_kill", "__pthread_kill_implementation", "__pthread_kill_internal", "__GI_kill",
    "pthread_kill@@GLIBC_2.34", "sigqueue", "syscall",
})  # fmt: skip


# --- a core without siginfo ---


def _without_code(scene: Scene, info: SigInfo) -> Cause:
    """A core that only names the signal: what the instruction shows, if it shows a fault."""
    guess = guess_fault(scene, info.number)
    if guess is not None:
        return _less_certain(_fault(scene, guess), _NO_ORIGIN)
    if info.number == SIGABRT:
        found = explain_abort(scene)
        if found.reason != "raised":  # that rests on nothing but the signal
            return _less_certain(found, _NO_ORIGIN)
    name = signal_name(info.number)
    return cause("unknown", f"{name}: {signal_words(info.number)}", certainty="unknown")


def _less_certain(found: Cause, why: str) -> Cause:
    certainty = "likely" if found.certainty == "certain" else found.certainty
    return msgspec.structs.replace(found, details=[*found.details, why], certainty=certainty)
