"""Signals of the kernel that are no faults: refused system calls, limits, the terminal."""

from __future__ import annotations

from ...report import Cause
from ..core.places import count_bytes
from ..facts.proc_texts import number
from ..facts.signals import (
    SIGQUIT,
    SIGSYS,
    SIGXCPU,
    SIGXFSZ,
    SYS_SECCOMP,
    SigInfo,
    call_machine,
    code_words,
    signal_name,
    signal_words,
)
from ..facts.syscalls import syscall_name
from .scene import Scene, cause, seen

# The arguments of a call by int 0x80, in a program of x86-64
_I386_CALL = ("rbx", "rcx", "rdx", "rsi", "rdi", "rbp")
_GROWING = frozenset({
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate",
    "sendfile", "splice", "copy_file_range", "truncate64", "ftruncate64", "sendfile64",
})  # fmt: skip


def system_call(scene: Scene, info: SigInfo) -> Cause:
    """The cause of a SIGSYS of the kernel's."""
    call = info.system_call
    if call is None:
        return cause("seccomp", "a bad system call", certainty="likely")
    machine = call_machine(info, scene.arch.name)
    name = syscall_name(machine, call)
    other = f" of {machine}" if machine != scene.arch.name else ""
    text = f"{name}() (system call {call}{other})" if name else f"system call {call}{other}"
    registers = _I386_CALL if other else scene.arch.call[1:]
    arguments = [scene.registers.get(register) for register in registers]
    evidence = [seen("system call", str(call), name)]
    shown = ", ".join(f"{value:#x}" for value in arguments if value is not None)
    words = f"The call was {name or call}({shown}), with all six registers." if shown else ""
    if info.code == SYS_SECCOMP:
        return cause("seccomp", f"a seccomp filter forbids {text}", words, reason="filter",
                     evidence=evidence)  # fmt: skip
    return cause("seccomp", f"{text} refused: {code_words(SIGSYS, info.code)}", words,
                 reason="dispatch", evidence=evidence)  # fmt: skip


# --- from the kernel, without a fault ---


def by_kernel(scene: Scene, info: SigInfo) -> Cause:
    """The cause of any other signal with a code above 0."""
    name = signal_name(info.number)
    if info.number == SIGQUIT:
        return cause("quit", "SIGQUIT from the terminal (Ctrl-\\)", reason="terminal")
    if info.number == SIGXCPU:
        return _cpu_limit(scene)
    if info.number == SIGXFSZ:
        return file_size_limit(scene)
    words = signal_words(info.number)
    return cause("unknown", f"{name} from the kernel: {words}", certainty="unknown")


def _cpu_limit(scene: Scene) -> Cause:
    """The kernel adds a second to the soft limit when it sends the signal (check_process_timers()
    in kernel/time/posix-cpu-timers.c). A limit of real-time scheduling gives the same signal."""
    soft = scene.limits.get("Max cpu time", "")
    if not soft.isdecimal() or scene.limits.get("Max realtime timeout", "unlimited").isdecimal():
        return cause("cpu-limit", "the processor time limit is used up")
    seconds = max(int(soft) - 1, 1)
    words = "1 second" if seconds == 1 else f"{seconds:,} seconds"
    return cause(
        "cpu-limit", f"the processor time limit is used up: {words}",
        "It is RLIMIT_CPU (ulimit -t; LimitCPU= of a systemd unit).",
        evidence=[seen("limit", soft, "seconds, one of which the kernel added with the signal")],
    )  # fmt: skip


def file_grew(scene: Scene) -> bool:
    """Whether the thread is in a system call that makes files larger: then the kernel sent SIGXFSZ,
    although it says that the process did (generic_write_check_limits(), fs/read_write.c)."""
    if not scene.arch.call:
        return False
    number = scene.registers.get(scene.arch.call[0], -1)
    return syscall_name(scene.arch.name, number) in _GROWING


def file_size_limit(scene: Scene) -> Cause:
    """The cause of a SIGXFSZ of the kernel's."""
    size = number(scene.limits.get("Max file size", "").encode("ascii", "replace"))
    call = (
        syscall_name(scene.arch.name, scene.registers.get(scene.arch.call[0], -1))
        if scene.arch.call
        else ""
    )
    place = f", in {call}()" if call in _GROWING else ""
    return cause(
        "file-size-limit",
        "a file grew past the file size limit"
        + (f" of {count_bytes(size)}" if size is not None else "") + place,
        "It is RLIMIT_FSIZE (ulimit -f; LimitFSIZE= of a systemd unit).",
    )  # fmt: skip
