"""x86-64 and x32 code: Intel SDM volume 2, System V psABI; signal frames."""

from __future__ import annotations

from .machine_code import CodeFacts, SignalFrame
from .x86_code import X86


class _X86_64(X86):
    __slots__ = ()
    word = 8
    endbr = b"\xf3\x0f\x1e\xfa"
    moves = (b"\x48\x89\xe5", b"\x48\x8b\xec")  # mov rbp, rsp


# struct sigcontext_64 (<asm/sigcontext.h>)
_SIGCONTEXT = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx",
    "rax", "rcx", "rsp", "rip",
)  # fmt: skip


def _facts(call: bytes, context: int) -> CodeFacts:
    """`call`: the number of rt_sigreturn; `context`: where uc_mcontext stands, as struct ucontext
    (<asm/ucontext.h>) begins at the stack pointer. Behind its 256 bytes: the signal mask of the
    kernel, 8 bytes, and the siginfo_t (arch/x86/include/asm/sigframe.h)."""
    return _X86_64(
        signal_frames=(
            SignalFrame(
                (
                    b"\x48\xc7\xc0" + call + b"\x0f\x05",  # mov rax, the number; syscall
                    b"\xb8" + call + b"\x0f\x05",  # mov eax
                ),
                tuple((name, context + 8 * at) for at, name in enumerate(_SIGCONTEXT)),
                siginfo=context + 256 + 8,
            ),
        ),
        frame_makers=_X86_64.makers(),
    )


FACTS = {
    "x86_64": _facts((15).to_bytes(4, "little"), 40),
    "x32": _facts((1 << 30 | 513).to_bytes(4, "little"), 24),
}
