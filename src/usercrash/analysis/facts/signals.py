"""siginfo_t, decoded: which signal, why the kernel sent it, where, and who asked for it.

Layout: <asm-generic/siginfo.h> for 64-bit and 32-bit processes; MIPS has si_code before si_errno.
Names: the same header and arch/x86/include/uapi/asm/signal.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from struct import Struct

from ... import report
from ...elf.arch import Arch
from .syscalls import syscall_name

SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV = 3, 4, 5, 6, 7, 8, 11
SIGXCPU, SIGXFSZ, SIGSYS = 24, 25, 31

SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_TKILL = 0, 0x80, -1, -2, -6
SEGV_MAPERR, SEGV_ACCERR, SEGV_PKUERR, SEGV_CPERR = 1, 2, 4, 10
BUS_ADRALN, BUS_ADRERR, BUS_MCEERR_AR, BUS_MCEERR_AO = 1, 2, 4, 5
ILL_ILLOPN, SYS_SECCOMP = 2, 1
FPE_INTDIV, FPE_INTOVF = 1, 2
AUDIT_ARCH_I386 = 0x40000003

# Number: (name, plain words); x86 and every other architecture that we name but MIPS, SPARC, Alpha.
_SIGNALS = {
    1: ("SIGHUP", "terminal or its controlling process gone"),
    2: ("SIGINT", "interrupted from the keyboard"),
    3: ("SIGQUIT", "asked to quit with a core dump"),
    4: ("SIGILL", "illegal instruction"),
    5: ("SIGTRAP", "breakpoint or trace trap"),
    6: ("SIGABRT", "aborted"),
    7: ("SIGBUS", "bus error"),
    8: ("SIGFPE", "arithmetic error"),
    9: ("SIGKILL", "killed"),
    10: ("SIGUSR1", "user-defined signal 1"),
    11: ("SIGSEGV", "segmentation fault"),
    12: ("SIGUSR2", "user-defined signal 2"),
    13: ("SIGPIPE", "wrote to a pipe that nobody reads"),
    14: ("SIGALRM", "alarm clock"),
    15: ("SIGTERM", "asked to terminate"),
    16: ("SIGSTKFLT", "coprocessor stack fault"),
    17: ("SIGCHLD", "a child changed its state"),
    18: ("SIGCONT", "continue"),
    19: ("SIGSTOP", "stop"),
    20: ("SIGTSTP", "stopped from the keyboard"),
    21: ("SIGTTIN", "background process read from the terminal"),
    22: ("SIGTTOU", "background process wrote to the terminal"),
    23: ("SIGURG", "urgent data on a socket"),
    24: ("SIGXCPU", "processor time limit exceeded"),
    25: ("SIGXFSZ", "file size limit exceeded"),
    26: ("SIGVTALRM", "virtual timer expired"),
    27: ("SIGPROF", "profiling timer expired"),
    28: ("SIGWINCH", "terminal window resized"),
    29: ("SIGIO", "input or output possible"),
    30: ("SIGPWR", "power failure"),
    31: ("SIGSYS", "bad system call"),
}

_GENERAL_CODES = {
    0: ("SI_USER", "sent by a process (kill)"),
    0x80: ("SI_KERNEL", "sent by the kernel"),
    -1: ("SI_QUEUE", "sent by a process (sigqueue)"),
    -2: ("SI_TIMER", "a timer expired"),
    -3: ("SI_MESGQ", "a message queue changed its state"),
    -4: ("SI_ASYNCIO", "asynchronous input or output completed"),
    -5: ("SI_SIGIO", "queued SIGIO"),
    -6: ("SI_TKILL", "sent by a thread (tgkill, raise)"),
    -7: ("SI_DETHREAD", "execve ended the other threads"),
    -60: ("SI_ASYNCNL", "asynchronous name lookup completed"),
}

# <asm/siginfo.h> of MIPS: SI_ASYNCIO, SI_TIMER, SI_MESGQ
_MIPS_CODES = {-2: -4, -3: -2, -4: -3}

_CODES: dict[int, dict[int, tuple[str, str]]] = {
    SIGSEGV: {
        1: ("SEGV_MAPERR", "nothing is mapped at the address"),
        2: ("SEGV_ACCERR", "the mapping does not permit this access"),
        3: ("SEGV_BNDERR", "bounds check failed"),
        4: ("SEGV_PKUERR", "memory protection key forbids it"),
        5: ("SEGV_ACCADI", "ADI not enabled for the mapping"),
        6: ("SEGV_ADIDERR", "disrupting memory corruption error"),
        7: ("SEGV_ADIPERR", "precise memory corruption error"),
        8: ("SEGV_MTEAERR", "memory tag mismatch (asynchronous)"),
        9: ("SEGV_MTESERR", "memory tag mismatch"),
        10: ("SEGV_CPERR", "control protection: return address or indirect branch refused"),
    },
    SIGBUS: {
        1: ("BUS_ADRALN", "misaligned address"),
        2: ("BUS_ADRERR", "no memory behind the address"),
        3: ("BUS_OBJERR", "hardware error of the object"),
        4: ("BUS_MCEERR_AR", "uncorrectable memory error was consumed"),
        5: ("BUS_MCEERR_AO", "uncorrectable memory error was found"),
    },
    SIGFPE: {
        1: ("FPE_INTDIV", "integer division error"),
        2: ("FPE_INTOVF", "integer overflow"),
        3: ("FPE_FLTDIV", "floating-point division by zero"),
        4: ("FPE_FLTOVF", "floating-point overflow"),
        5: ("FPE_FLTUND", "floating-point underflow"),
        6: ("FPE_FLTRES", "floating-point result is inexact"),
        7: ("FPE_FLTINV", "invalid floating-point operation"),
        8: ("FPE_FLTSUB", "subscript out of range"),
        14: ("FPE_FLTUNK", "undiagnosed floating-point exception"),
        15: ("FPE_CONDTRAP", "trap on condition"),
    },
    SIGILL: {
        1: ("ILL_ILLOPC", "illegal operation code"),
        2: ("ILL_ILLOPN", "the processor refused the instruction"),
        3: ("ILL_ILLADR", "illegal addressing mode"),
        4: ("ILL_ILLTRP", "illegal trap"),
        5: ("ILL_PRVOPC", "privileged instruction"),
        6: ("ILL_PRVREG", "privileged register"),
        7: ("ILL_COPROC", "coprocessor error"),
        8: ("ILL_BADSTK", "internal stack error"),
        9: ("ILL_BADIADDR", "unimplemented instruction address"),
    },
    SIGTRAP: {
        1: ("TRAP_BRKPT", "breakpoint"),
        2: ("TRAP_TRACE", "single step"),
        3: ("TRAP_BRANCH", "branch taken"),
        4: ("TRAP_HWBKPT", "hardware breakpoint or watchpoint"),
        5: ("TRAP_UNK", "undiagnosed trap"),
        6: ("TRAP_PERF", "performance event"),
    },
    SIGSYS: {
        1: ("SYS_SECCOMP", "refused by a seccomp filter"),
        2: ("SYS_USER_DISPATCH", "system call user dispatch"),
    },
}

# The signals whose positive codes come with an address.
_WITH_ADDRESS = frozenset({SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP})
_WITH_SENDER = frozenset({SI_USER, SI_QUEUE, SI_TKILL})


@dataclass(frozen=True, slots=True)
class SigInfo:
    """One siginfo_t. `code` is None where there was only a signal number.

    `address` is si_addr, None where it says nothing (on x86 with SI_KERNEL: a general
    protection fault names no address). `sender` is (si_pid, si_uid) as the process
    saw them: in its own namespaces, pid 0 for a sender outside of them. `own_number` is the
    machine's, where `number` is what it means (0: the same). `audit` is the AUDIT_ARCH_* of
    the system call (<linux/audit.h>): whose numbers it counts by; 0 where that is not known.
    """

    number: int
    code: int | None = None
    errno: int = 0
    address: int | None = None
    sender: tuple[int, int] | None = None
    system_call: int | None = None
    protection_key: int | None = None
    own_number: int = 0
    audit: int = 0

    @property
    def is_fault(self) -> bool:
        """Raised by the processor or the kernel for what the thread itself did."""
        return self.code is not None and self.code > 0


_SAME: Mapping[int, int] = {}


def of_machine(info: SigInfo, arch: Arch) -> SigInfo | None:
    """A signal as a machine numbers it, with the number that means the same everywhere; None for
    one that nobody else has (SIGEMT)."""
    number = arch.signals.get(info.number, info.number)
    code = info.code
    if arch.code_first and code is not None:
        code = _MIPS_CODES.get(code, code)
    return replace(info, number=number, code=code, own_number=info.number) if number else None


def decode_siginfo(
    data: bytes,
    word: int = 8,
    order: str = "<",
    code_first: bool = False,
    signals: Mapping[int, int] = _SAME,
) -> SigInfo | None:
    """The siginfo of an NT_SIGINFO descriptor or a signal frame; None if it is cut short
    or names no signal. `word` is the size of a pointer in bytes, `order` that of bytes ("<",
    ">"); with `code_first` si_code stands before si_errno; `signals` are the machine's own
    numbers (Arch.signals), which the result keeps."""
    fields = 16 if word == 8 else 12
    if len(data) < fields + 24:
        return None
    number, errno, code = Struct(order + "iii").unpack_from(data)
    if code_first:
        errno, code = code, errno
    if not 1 <= number <= 64:
        return None
    kind = signals.get(number, number)
    pointer = Struct(order + ("Q" if word == 8 else "I"))
    address = sender = system_call = key = None
    audit = 0
    if code in _WITH_SENDER:
        sender = Struct(order + "iI").unpack_from(data, fields)  # si_pid, si_uid
    elif code > 0 and kind == SIGSYS:
        address = pointer.unpack_from(data, fields)[0]
        system_call, audit = Struct(order + "iI").unpack_from(data, fields + word)
    elif code > 0 and code != SI_KERNEL and kind in _WITH_ADDRESS:
        address = pointer.unpack_from(data, fields)[0]
        if kind == SIGSEGV and code == SEGV_PKUERR:
            key = Struct(order + "I").unpack_from(data, fields + 2 * word)[0]
    return SigInfo(number, code, errno, address, sender, system_call, key, audit=audit)


def call_machine(info: SigInfo, machine: str) -> str:
    """By whose numbers a refused system call is counted: a program of x86-64 can make those of
    i386 (int 0x80)."""
    return "i386" if info.audit == AUDIT_ARCH_I386 and machine == "x86_64" else machine


def signal_name(number: int) -> str:
    """`SIGSEGV`, `SIGRTMIN+3` (the kernel's 32 is the C library's own) or `signal 99`."""
    if number in _SIGNALS:
        return _SIGNALS[number][0]
    if 34 <= number <= 64:
        return f"SIGRTMIN+{number - 34}" if number > 34 else "SIGRTMIN"
    return f"signal {number}"


def signal_words(number: int) -> str:
    """What the signal means, in plain words ("segmentation fault")."""
    return _SIGNALS.get(number, ("", "real-time signal" if 32 <= number <= 64 else ""))[1]


def code_name(number: int, code: int | None) -> str:
    """`SEGV_MAPERR`, `SI_USER` …; empty where the code is unknown or absent."""
    return _code(number, code)[0]


def code_words(number: int, code: int | None) -> str:
    """What the code adds, in plain words."""
    return _code(number, code)[1]


def _code(number: int, code: int | None) -> tuple[str, str]:
    if code is None:
        return "", ""
    if code > 0 and code in _CODES.get(number, {}):
        return _CODES[number][code]
    if code == SI_KERNEL and number in (SIGSEGV, SIGBUS):
        # Linux x86: exc_general_protection and exc_stack_segment know no address.
        return "SI_KERNEL", "protection fault without an address, mostly a non-canonical one"
    return _GENERAL_CODES.get(code, ("", ""))


def to_report(info: SigInfo, machine_name: str, sender_comm: str = "") -> report.Signal:
    """The signal as the report has it; `machine_name` (`x86_64`) names the system call table."""
    sender = None
    if info.sender is not None:
        sender = report.Sender(pid=info.sender[0], uid=info.sender[1], comm=sender_comm)
    call = None
    if info.system_call is not None:
        name = syscall_name(call_machine(info, machine_name), info.system_call)
        call = report.SystemCall(number=info.system_call, name=name)
    words = [signal_words(info.number), code_words(info.number, info.code)]
    if info.code == SI_KERNEL and machine_name not in ("x86_64", "x32", "i386"):
        words[1] = _GENERAL_CODES[SI_KERNEL][1]
    return report.Signal(
        number=info.own_number or info.number,
        name=signal_name(info.number),
        code=info.code,
        code_name=code_name(info.number, info.code),
        fault_address=None if info.address is None else f"{info.address:#x}",
        sender=sender,
        system_call=call,
        description=": ".join(word for word in words if word),
    )
