"""x86-64 and x32 code: Intel SDM volume 2, System V psABI; signal frames."""

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
                if modrm & 0x38 == 0x10 and ff_length(before[-length:]) == length:
                    return 0
        return None

    def jump_target(self, before: bytes, address: int) -> int | None:
        if len(before) >= 5 and before[-5] == 0xE9:
            return address + int.from_bytes(before[-4:], "little", signed=True) & (1 << 64) - 1
        return None

    def may_jump(self, code: bytes, address: int, target: int) -> bool:
        for at in range(1, len(code) - 3):
            jump = code[at - 1] == 0xE9  # jmp rel32, jcc rel32
            if jump or (code[at - 1] & 0xF0 == 0x80 and at > 1 and code[at - 2] == 0x0F):
                distance = int.from_bytes(code[at : at + 4], "little", signed=True)
                if address + at + 4 + distance == target:
                    return True
        return False

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


def ff_length(code: bytes) -> int:
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
        frame_makers=tuple(
            entry + push
            for entry in (b"", b"\xf3\x0f\x1e\xfa")  # endbr64
            for push in (b"\x55\x48\x89\xe5", b"\x55\x48\x8b\xec")  # push rbp; mov rbp, rsp
        ),
    )


FACTS = {
    "x86_64": _facts((15).to_bytes(4, "little"), 40),
    "x32": _facts((1 << 30 | 513).to_bytes(4, "little"), 24),
}
