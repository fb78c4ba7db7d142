"""x86-64 code: Intel SDM volume 2, System V psABI, <asm/sigcontext.h>."""

from __future__ import annotations

from .machine_code import CodeFacts, Prologue, SignalFrame


class _X86_64(CodeFacts):
    __slots__ = ()

    def call_target(self, before: bytes, address: int) -> int | None:
        if len(before) >= 5 and before[-5] == 0xE8:
            return address + int.from_bytes(before[-4:], "little", signed=True) & (1 << 64) - 1
        # FF /2 with its ModRM byte 2, 3, 4, 6 or 7 bytes before (Intel SDM vol. 2, CALL)
        for length in (2, 3, 4, 6, 7):
            if len(before) >= length and before[-length] == 0xFF:
                modrm = before[-length + 1]
                if modrm & 0x38 == 0x10 and _ff_length(before[-length:]) == length:
                    return 0
        return None

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        if at.startswith(b"\xf3\x0f\x1e\xfa"):  # endbr64: an entry
            return 0, None
        if at.startswith((b"\x55\x48\x89\xe5", b"\x55\x48\x8b\xec")):  # push rbp; mov rbp, rsp
            return 0, None
        if before.endswith(b"\x55") and at.startswith((b"\x48\x89\xe5", b"\x48\x8b\xec")):
            return 8, 0
        if at[:1] == b"\xc3" or at.startswith((b"\xf2\xc3", b"\xf3\xc3")):  # ret
            return 0, None
        if at.startswith(b"\x5d\xc3"):  # pop rbp; ret
            return 8, 0
        return None


def _ff_length(code: bytes) -> int:
    """The length of an FF /2 instruction (without prefixes) by its ModRM and SIB bytes."""
    mod, rm = code[1] >> 6, code[1] & 7
    if mod == 3:
        return 2
    length = 2
    if rm == 4:
        length += 1
        if mod == 0 and len(code) > 2 and code[2] & 7 == 5:
            length += 4
    if mod == 0 and rm == 5:
        length += 4
    return length + (0, 1, 4)[mod]


# <asm/sigcontext.h>, <asm/ucontext.h>: struct ucontext at the stack pointer, uc_mcontext at 40
_X86_64_SIGCONTEXT = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx",
    "rax", "rcx", "rsp", "rip",
)  # fmt: skip

_FACTS = _X86_64(
    signal_frames=(
        SignalFrame(
            (
                b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05",  # mov rax, 15 (rt_sigreturn); syscall
                b"\xb8\x0f\x00\x00\x00\x0f\x05",  # mov eax, 15; syscall
            ),
            tuple((name, 40 + 8 * at) for at, name in enumerate(_X86_64_SIGCONTEXT)),
        ),
    ),
    frame_makers=tuple(
        entry + push
        for entry in (b"", b"\xf3\x0f\x1e\xfa")  # endbr64
        for push in (b"\x55\x48\x89\xe5", b"\x55\x48\x8b\xec")  # push rbp; mov rbp, rsp
    ),
)

FACTS = {"x86_64": _FACTS}
