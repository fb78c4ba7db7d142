"""The one line why, from scenes made by hand: bytes of instructions, registers, mappings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usercrash.analysis.core.patterns import pattern_words
from usercrash.analysis.core.places import Places, StackOwner
from usercrash.analysis.explain.cause import explain
from usercrash.analysis.explain.scene import Handled, Scene, frame_words
from usercrash.analysis.facts.allocators import fills
from usercrash.analysis.facts.signals import SigInfo
from usercrash.analysis.instructions import disassembly
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.model.maps import Mapping
from usercrash.report import Cause, Fold, Frame, Source

CODE, DATA, HEAP, GUARD, STACK = 0x400000, 0x402000, 0x500000, 0x7F0000000000, 0x7FFFF0000000
WORKER = GUARD + 0x1000
MAPPINGS = [
    Mapping(CODE, CODE + 0x1000, b"r-xp", 0, b"08:01", 5, b"/bin/app"),
    Mapping(CODE + 0x1000, CODE + 0x2000, b"r--p", 0x1000, b"08:01", 5, b"/bin/app"),
    Mapping(DATA, DATA + 0x1000, b"rw-p", 0x2000, b"08:01", 5, b"/bin/app"),
    Mapping(HEAP, HEAP + 0x21000, b"rw-p", path=b"[heap]"),
    Mapping(GUARD, GUARD + 0x1000, b"---p"),
    Mapping(WORKER, WORKER + 0x800000, b"rw-p"),
    Mapping(STACK, STACK + 0x21000, b"rw-p", path=b"[stack]"),
]


def frame(function: str | None, index: int = 0, trust: str = "cfi", line: int = 0) -> Frame:
    return Frame(
        index=index, pc=hex(CODE + index), function=function, linkage_name=None, offset=4,
        module="/lib/libc.so.6" if (function or "").startswith("__") else "/bin/app",
        module_offset="0x4", build_id="ab", source=Source(file="/src/x.c", line=line)
        if line else None, inline=False, trust=trust,
    )  # fmt: skip


def scene(
    info: SigInfo | None,
    code: bytes = b"",
    frames: Sequence[Frame] = (),
    memory: dict[int, bytes] | None = None,
    message: str | None = None,
    folds: Sequence[Fold] = (),
    main: bool = True,
    handled: Sequence[Handled] = (),
    mappings: Sequence[Mapping] = MAPPINGS,
    sender: str = "",
    **registers: int,
) -> Scene:
    values = dict.fromkeys(ARCH.prstatus_registers, 1 << 20) | {"rip": CODE, "rsp": STACK + 0x8000}
    values |= registers
    pieces = {values["rip"]: code} | (memory or {})

    def read(address: int, size: int) -> bytes:
        for start, data in pieces.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    places = Places(mappings, [StackOwner(9, "worker", WORKER, WORKER + 0x7FF000, False)])
    return Scene(
        info, ARCH, values, read,
        lambda a: any(m.executable and m.start <= a < m.end for m in mappings),
        lambda r: disassembly.decode(ARCH, read(r["rip"], 15), dict(r)),
        places, frames, folds, len(frames), frozenset({42, 43}), main,
        0 if main else WORKER + 0x7FF000,
        {"Max stack size": "8388608", "Max cpu time": "3"}, message, sender, handled,
    )  # fmt: skip


def why(*args: object, **kwargs: object) -> Cause:
    return explain(scene(*args, **kwargs))  # type: ignore[arg-type]


def segv(address: int, code: int = 1) -> SigInfo:
    return SigInfo(11, code, 0, address)


LOAD = b"\x8b\x40\x10"  # mov eax, [rax + 0x10]
STORE = b"\x48\x89\x08"  # mov [rax], rcx


def test_null_pointer() -> None:
    result = why(segv(0x10), LOAD, rax=0)
    assert result.kind == "null-pointer" and result.certainty == "certain"
    assert result.summary == "null pointer plus 0x10: read of 4 bytes at 0x10 (rax is 0)"
    assert why(segv(0), STORE, rax=0).summary == (
        "null pointer: write of 8 bytes at 0x0 (rax is 0)"
    )
    assert why(segv(8)).summary == "null pointer plus 0x8: access to 0x8"


def test_null_pointer_with_large_and_negative_offset() -> None:
    code = b"\x8b\x80\x00\x00\x01\x00"  # mov eax, [rax + 0x10000]
    assert why(segv(0x10000), code, rax=0).kind == "null-pointer"
    code = b"\x8b\x40\xf8"  # mov eax, [rax - 8]
    result = why(segv((1 << 64) - 8), code, rax=0)
    assert (result.kind, result.certainty) == ("null-pointer", "likely")
    assert why(segv(0x10000), LOAD, rax=0xFFF0).kind == "bad-address"


def test_bad_address_and_how_it_lies() -> None:
    heap_end = HEAP + 0x21000
    result = why(segv(heap_end + 16), LOAD, rax=heap_end)
    assert result.kind == "bad-address"
    assert result.summary == (
        "read of 4 bytes at 0x521010, not mapped, 16 bytes past the end of the heap"
    )
    assert "not mapped, 4 bytes before the start of the main" in why(segv(STACK - 4)).summary
    assert why(segv(0x600000000000), LOAD, rax=0x600000000000 - 16).summary.endswith("not mapped")


def test_read_only_and_no_access() -> None:
    result = why(segv(CODE + 0x1800, 2), STORE, rax=CODE + 0x1800)
    assert result.reason == "read-only"
    assert result.summary == ("write of 8 bytes at 0x401800, in read-only data of app")
    guarded = why(segv(GUARD + 8, 2), LOAD, rax=GUARD - 8)
    assert guarded.reason == "guard-page"
    assert guarded.summary.endswith("in the guard below the stack of thread 9 (worker)")
    assert why(segv(CODE + 0x18, 2), STORE, rax=CODE + 0x18).reason == "write-to-code"


def test_pointer_that_is_text() -> None:
    value = int.from_bytes(b"GET /ind", "little")
    result = why(SigInfo(11, 0x80), LOAD, rax=value)
    assert (result.kind, result.reason) == ("bad-address", "non-canonical")
    assert any('the text "GET /ind"' in detail for detail in result.details)
    assert pattern_words(0x41) == ""


ONES = (1 << 64) - 1


def test_pointers_that_are_errors_and_indexes() -> None:
    result = why(segv(0xF), LOAD, rax=ONES)
    assert (result.kind, result.reason, result.certainty) == (
        "bad-address", "error-value", "certain",
    )  # fmt: skip
    assert "the pointer is −1, as mmap() returns" in result.summary
    result = why(segv(8), LOAD, rax=ONES - 7)
    assert (result.reason, result.certainty) == ("error-value", "likely")
    assert "an error number (ENOEXEC), or null less 8" in result.summary
    by_index = b"\x8b\x04\x88"  # mov eax, [rax + rcx*4]
    # an index of 0 says nothing of the array
    assert why(segv(0x54320), by_index, rax=0x54320, rcx=0).kind == "bad-address"
    result = why(segv(0x4000000), by_index, rax=0, rcx=0x1000000)
    assert (result.kind, result.certainty) == ("null-pointer", "likely")
    assert "index 16,777,216, of 4 bytes each" in result.details[0]


VECTORS = [
    (b"\x0f\x11\x00", "write of 16 bytes"),  # movups [rax], xmm0
    (b"\x0f\x10\x00", "read of 16 bytes"),  # movups xmm0, [rax]
    (b"\xc5\xfe\x7f\x00", "write of 32 bytes"),  # vmovdqu [rax], ymm0
    (b"\xc5\xfe\x6f\x00", "read of 32 bytes"),  # vmovdqu ymm0, [rax]
    (b"\xc4\xe2\x75\x8e\x00", "write of 32 bytes"),  # vpmaskmovd [rax], ymm1, ymm0
    (b"\x66\x0f\xd6\x00", "write of 8 bytes"),  # movq [rax], xmm0
    (b"\x66\x48\x0f\x3a\x16\x00\x01", "write of 8 bytes"),  # pextrq [rax], xmm0, 1
    (b"\xdd\x18", "write of 8 bytes"),  # fstp qword [rax]
    (b"\x0f\xae\x00", "write of 512 bytes"),  # fxsave [rax]
    (b"\x0f\xae\x10", "read of 4 bytes"),  # ldmxcsr [rax]
    (b"\xf0\x48\x0f\xb1\x08", "read and write of 8 bytes"),  # lock cmpxchg [rax], rcx
    (b"\x0f\x38\xf1\x08", "write of 4 bytes"),  # movbe [rax], ecx
]


@pytest.mark.parametrize(("code", "did"), VECTORS, ids=[one.hex() for one, _ in VECTORS])
def test_what_is_read_and_what_is_written(code: bytes, did: str) -> None:
    assert why(segv(0x600000000000), code, rax=0x600000000000).summary.startswith(did + " at")


def test_operands_that_are_not_written() -> None:
    at = 0x600000000000
    result = why(segv(at), b"\xa6", rsi=HEAP, rdi=at)  # cmpsb
    assert result.details == [f"The address is [rdi]: rdi is {at:#x}."]
    result = why(segv(at + 5), b"\xd7", rbx=at, rax=5)  # xlatb
    assert result.summary.startswith("read of 1 byte")
    result = why(segv(at + 8), b"\x66\x0f\xf7\xc1", rdi=at)  # maskmovdqu
    assert result.summary.startswith("write of 16 bytes")
    result = why(segv(HEAP + 0x22000), b"\x48\x0f\xab\x08", rax=HEAP, rcx=8 * 0x22000)  # bts
    assert result.summary.startswith("read and write of 8 bytes")
    assert result.details == ["The address is [rax, bit 1114112 (rcx)]: rax is 0x500000."]


def test_general_protection() -> None:
    fault = SigInfo(11, 0x80)
    assert why(fault, b"\x66\x0f\xfe\x00", rax=HEAP + 4).reason == "misaligned"  # paddd
    assert why(fault, b"\xf0\x48\x0f\xc7\x08", rax=HEAP + 8).reason == "misaligned"  # cmpxchg16b
    assert why(fault, b"\x0f\xae\x00", rax=HEAP + 8).reason == "misaligned"  # fxsave
    assert why(fault, b"\x0f\x10\x00", rax=HEAP + 4).reason != "misaligned"  # movups
    assert why(fault, b"\xcd\x42").reason == "refused"  # int 0x42
    assert why(fault, b"\x0f\x32").reason == "privileged"  # rdmsr
    assert why(fault, b"\xf3\x48\x0f\xae\xd0").reason == "refused"  # wrfsbase rax
    # gathers may touch anything
    gather = b"\xc4\xe2\x6d\x90\x04\x88"
    assert why(fault, gather, rax=1 << 60).certainty == "possible"


def test_verdicts_of_the_kernel() -> None:
    fault, behind = SigInfo(11, 0x80), {CODE - 2: b"\x0f\x05"}
    result = why(fault, b"\x89\xc5", memory=behind, orig_rax=234)  # tgkill
    assert (result.reason, result.certainty) == ("no-signal-stack", "likely")
    for number in (15, ONES):
        result = why(fault, b"\x89\xc5", memory=behind, orig_rax=number)
        assert (result.reason, result.certainty) == ("bad-signal-frame", "likely")
    result = why(fault, b"\x89\xc5", memory=behind, orig_rax=24)  # sched_yield
    assert (result.reason, result.certainty) == ("kernel-verdict", "possible")
    assert why(fault, LOAD, rax=HEAP, orig_rax=ONES).reason == "kernel-verdict"


def test_returns_and_tail_calls() -> None:
    zero = {STACK + 0x7FF8: bytes(8)}
    result = why(segv(0), memory=zero, frames=[frame(None)], rip=0)
    assert (result.reason, result.certainty) == ("null-return", "likely")
    assert why(segv(0), frames=[frame(None)], rip=0).summary == "jump to address 0"
    called = CODE + 0x100
    caller = frame("main", 1, "call-recovery", 7)
    call = b"\xe8" + (called - CODE - 1).to_bytes(4, "little")
    tail = {CODE - 4: call, called: b"\x31\xc0\xff\xe7"}
    result = why(segv(0), memory=tail, frames=[frame(None), caller], rip=0)
    assert result.summary.endswith(", from a function that was called by main at x.c:7")
    table = {CODE - 4: call, called: b"\xf3\x0f\x1e\xfa\xff\x25\0\0"}
    result = why(segv(0), memory=table, frames=[frame(None), caller], rip=0)
    assert result.summary.endswith(", from main at x.c:7")
    assert why(segv(CODE + 0x1000, 2), rip=CODE + 0x1000).reason == "end-of-code"


def test_patterns() -> None:
    assert pattern_words(0x5A5A5A5A5A5A5A5A).startswith("junk-filled memory (0x5a")
    assert pattern_words(0x6B6B6B6B6B6B6B7B).startswith("freed memory (0x6b…), plus 0x10, or")
    assert pattern_words(0xFEEEFEEEFEEEFEE6) == "freed memory (0xfeee…), minus 0x8"
    assert pattern_words(ONES) == "−1" and pattern_words(ONES - 1) == ""
    assert pattern_words(int.from_bytes("NAME".encode("utf-16-le"), "little")) == (
        'the text "NAME" in UTF-16'
    )
    assert pattern_words(0x400A000000000000) == "the floating-point number 3.25"
    assert pattern_words(0x7FFFF7DD1234) == "" and pattern_words(0) == ""
    assert pattern_words(0x5A5A5A5A, 4).startswith("junk-filled")


def test_fills_of_the_allocator() -> None:
    perturbed = fills(b"A=1\0MALLOC_PERTURB_=0x69\0", [b"/lib/libc.so.6"])
    assert pattern_words(0x6969696969696969, fills=perturbed).startswith("freed memory (0x69…")
    assert pattern_words(0x9696969696969696, fills=perturbed).startswith("uninitialized memory")
    assert fills(b"GLIBC_TUNABLES=glibc.malloc.check=1:glibc.malloc.perturb=90", []).keys() == {
        90, 165,
    }  # fmt: skip
    assert fills(b"MALLOC_PERTURB_=x\0GLIBC_TUNABLES=\0", []) == {}
    jemalloc = fills(b"", [b"/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"])
    assert pattern_words(0xA5A5A5A5A5A5A5A5, fills=jemalloc).startswith("uninitialized memory")


def test_half_of_a_pointer() -> None:
    whole = WORKER + 0x123450
    result = why(segv((whole & 0xFFFFFFFF) + 0x10), LOAD, rax=whole & 0xFFFFFFFF)
    assert f"It may be the lower half of {whole:#x}, in the stack" in result.details[-1]
    assert not any("half" in line for line in why(segv(0x900010), LOAD, rax=0x900000).details)


def test_good_pointers_are_no_marks_of_free() -> None:
    """Hidden forms of addresses lie near them where those are small."""
    far = b"\x8b\x80\x00\x00\x10\x00"  # mov eax, [rax + 0x100000]
    assert why(segv(HEAP + 0x100000), far, rax=HEAP).reason == "not-mapped"
    for value in range(HEAP + 0x21000, HEAP + 0x23000, 16):
        result = why(segv(value + 16), LOAD, rax=value)
        assert result.reason in ("not-mapped", "past-end"), result


def test_system_call_of_another_machine() -> None:
    info = SigInfo(31, 1, 0, CODE, None, 20, audit=0x40000003)
    result = why(info, rbx=7)
    assert result.summary == "a seccomp filter forbids getpid() (system call 20 of i386)"
    assert "getpid(0x7, " in result.details[0]


def test_signals_of_other_threads() -> None:
    own = SigInfo(11, -6, 0, None, (42, 0))
    result = why(own, b"\x90", [frame("pause"), frame("main", 1)], orig_rax=34)  # pause
    assert result.summary == "SIGSEGV was sent by the process to itself"
    result = why(own, b"\x90", [frame("pause"), frame("main", 1)], orig_rax=62)  # kill
    assert result.summary == "SIGSEGV was raised by the process itself, in pause+0x4"


def test_return_and_call_to_no_address() -> None:
    bad = 0x4141414141414141
    memory = {STACK + 0x8000: bad.to_bytes(8, "little")}
    result = why(SigInfo(11, 0x80), b"\xc3", memory=memory)
    assert result.kind == "jump-to-bad-address" and "return to 0x4141" in result.summary
    result = why(SigInfo(11, 0x80), b"\xff\xd0", rax=bad)
    assert result.kind == "jump-to-bad-address" and "call to 0x4141" in result.summary
    memory = {HEAP: bad.to_bytes(8, "little")}
    assert why(SigInfo(11, 0x80), b"\xff\x10", memory=memory, rax=HEAP).kind == (
        "jump-to-bad-address"
    )


def test_misaligned_and_privileged() -> None:
    result = why(SigInfo(11, 0x80), b"\x0f\x29\x04\x24", rsp=STACK + 8)  # movaps [rsp], xmm0
    assert result.reason == "misaligned" and "multiple of 16" in result.summary
    result = why(SigInfo(11, 0x80), b"\xf4")  # hlt
    assert (result.kind, result.reason) == ("illegal-instruction", "privileged")


def test_jumps() -> None:
    frames = [frame(None), frame("main", 1, "call-recovery", 7)]
    result = why(segv(0), frames=frames, rip=0)
    assert result.kind == "jump-to-null"
    assert result.summary == "call through a null function pointer, from main at x.c:7"
    result = why(segv(HEAP, 2), rip=HEAP)
    assert (result.kind, result.reason) == ("jump-to-bad-address", "not-executable")
    assert result.summary == f"jump to {HEAP:#x}, in the heap"
    assert why(segv(0x123456, 1), rip=0x123456).reason == "not-mapped"


def test_stack_overflow_of_main_and_worker() -> None:
    push = b"\x55"
    fold = Fold(start=0, length=1, times=34921)
    result = why(segv(STACK - 8), push, [frame("rec")], folds=[fold], rsp=STACK)
    assert (result.kind, result.certainty) == ("stack-overflow", "certain")
    assert result.summary == (
        "stack overflow: the main thread's stack of 132 KiB is used up, by 34,921 calls of rec"
    )
    result = why(segv(WORKER - 8, 2), push, main=False, rsp=WORKER)
    assert (result.kind, result.certainty) == ("stack-overflow", "certain")
    assert why(segv(WORKER - 8, 2), LOAD, rax=WORKER - 24).kind == "bad-address"
    # an index that runs below the stack, far from the stack pointer
    assert why(segv(STACK - 8), LOAD, rax=STACK - 24, rsp=STACK + 0x20000).kind == "bad-address"


def test_arithmetic() -> None:
    fpe = SigInfo(8, 1, 0, CODE)
    result = why(fpe, b"\xf7\xf9", rcx=0)  # idiv ecx
    assert (result.kind, result.summary) == (
        "division-by-zero",
        "integer division by zero (ecx is 0)",
    )
    assert why(fpe, b"\xf7\xf9", rcx=0xFFFFFFFF).kind == "division-overflow"
    memory = {HEAP: bytes(8)}
    assert why(fpe, b"\x48\xf7\x38", memory=memory, rax=HEAP).kind == "division-by-zero"
    assert why(SigInfo(8, 3, 0, CODE)).summary == "floating-point division by zero"


def test_division_by_what_is_not_known() -> None:
    fpe, table = SigInfo(8, 1, 0, CODE), b"\xf7\x3d\0\0\0\0"  # idiv dword ptr [rip]
    result = why(fpe, table, rax=100, rdx=0)
    assert (result.kind, result.certainty) == ("division-by-zero", "certain")
    assert result.summary == "integer division by zero (rip must be 0)"
    minus = (1 << 32) - 1
    assert why(fpe, table, rax=minus - 99, rdx=minus).certainty == "certain"
    # the lowest number by -1, or a dividend of more bits
    assert why(fpe, table, rax=1 << 31, rdx=minus).certainty == "likely"
    assert why(fpe, table, rax=100, rdx=5).certainty == "likely"
    unsigned = b"\xf7\x35\0\0\0\0"
    assert why(fpe, unsigned, rax=minus, rdx=0).certainty == "certain"
    assert why(fpe, unsigned, rax=5, rdx=1).certainty == "likely"
    late = why(SigInfo(8, 3, 0, CODE), b"\x9b")  # wait
    assert late.details == [
        "The x87 unit tells of it at its next instruction, so it was one before this."
    ]


def test_hardware_error() -> None:
    for code in (4, 5):
        result = why(SigInfo(7, code, 0, HEAP + 5), LOAD, rax=HEAP)
        assert (result.kind, result.reason) == ("bus-error", "hardware")
        assert (
            result.summary
            == f"the memory at {HEAP + 5:#x}, in the heap, is damaged: hardware error"
        )


def test_data_that_ran() -> None:
    page = Mapping(0x10000000, 0x10001000, b"rwxp")
    result = why(segv(0x6F), b"\x20\x77\x6f", rip=0x10000000, rdi=0, mappings=[page])
    assert result.kind == "null-pointer" and "it may be data" in result.details[-1]
    frames = [frame("Builtins_Call")]
    result = why(segv(0x6F), b"\x20\x77\x6f", frames=frames, rip=0x10000000, rdi=0,
                 mappings=[page])  # fmt: skip
    assert not result.details


def test_index_that_ran_over_an_end() -> None:
    by_index = b"\x8a\x04\x08"  # mov al, [rax + rcx]
    result = why(segv(HEAP + 0x21000), by_index, rax=HEAP + 0x1000, rcx=0x20000)
    assert result.reason == "past-end" and "right behind the end of the heap" in result.summary


def test_instructions() -> None:
    ill = SigInfo(4, 2, 0, CODE)
    assert why(ill, b"\x0f\x0b\0\0").reason == "trap"
    assert why(ill, b"\x62\xf1\x7c\x48\x28\x00").reason in ("unsupported", "no-instruction")
    result = why(ill, b"\x06\x06\x06\x06\x06\x06\x06\x06")
    assert result.reason == "no-instruction" and "06 06" in result.summary
    assert why(SigInfo(5, 0x80), memory={CODE - 1: b"\xcc"}).reason == "int3"


def test_bus_error() -> None:
    mapping = Mapping(0x10000000, 0x10002000, b"rw-s", 0x3000, b"08:01", 9, b"/data/file")
    result = why(
        SigInfo(7, 2, 0, 0x10001000), LOAD, rax=0x10000FF0, mappings=[*MAPPINGS[:1], mapping]
    )
    assert (result.kind, result.reason) == ("bus-error", "past-end-of-file")
    assert "a part of file that is not there" in result.summary


def test_system_call() -> None:
    result = why(SigInfo(31, 1, 0, CODE, None, 59))
    assert result.summary == "a seccomp filter forbids execve() (system call 59)"


def test_senders() -> None:
    result = why(SigInfo(11, 0, 0, None, (77, 1000)), frames=[frame("f")], sender="bash")
    assert result.kind == "sent-by-process"
    assert result.summary == "SIGSEGV was sent by process 77 (bash) of uid 1000"
    assert why(SigInfo(3, -6, 0, None, (42, 0))).kind == "raised"
    for number, name in ((3, "SIGQUIT"), (6, "SIGABRT")):
        raised = why(SigInfo(number, -6, 0, None, (42, 0)), frames=[frame("raise"), frame("shell")])
        assert raised.summary == f"{name} was raised by the process itself, in shell+0x4"
    assert why(SigInfo(3, 0x80)).kind == "quit"
    # (the kernel adds a second to the limit with the signal)
    assert why(SigInfo(24, 0x80)).summary == "the processor time limit is used up: 2 seconds"
    assert why(SigInfo(11, 0, 0, None, (0, 0))).reason == "outside"
    watchdog = why(SigInfo(6, 0, 0, None, (1, 0)), sender="systemd")
    assert "watchdog" in watchdog.details[0]
    assert why(None).kind == "none"


def test_signal_passed_on_by_its_handler() -> None:
    handled = Handled(segv(0x10), {"rip": CODE, "rax": 0, "rsp": STACK + 0x9000}, 3)
    result = why(SigInfo(11, -6, 0, None, (42, 0)), LOAD, handled=[handled])
    assert result.kind == "null-pointer"
    assert "caught SIGSEGV and sent it again" in result.details[-1]
    result = why(ABORT, LOAD, handled=[handled])
    assert result.kind == "null-pointer"
    assert "caught SIGSEGV and ended the program" in result.details[-1]
    sent = Handled(SigInfo(11, 0, 0, None, (77, 5)), {"rip": CODE, "rsp": STACK + 0x9000}, 3)
    result = why(SigInfo(11, -6, 0, None, (42, 0)), handled=[sent])
    assert (result.kind, result.summary) == (
        "sent-by-process",
        "SIGSEGV was sent by process 77 of uid 5",
    )


def test_signal_sent_to_a_handler_that_aborts() -> None:
    """As Ruby and Java do."""
    names = ["__raise", "__GI_abort", "rb_bug", "<handler>", "kill", "shop"]
    frames = [frame(name, index) for index, name in enumerate(names)]
    registers = {"rip": CODE, "rsp": STACK + 0x9000}
    for sender, words in (
        (42, "SIGSEGV was raised by the process itself, in shop+0x4"),
        (77, "SIGSEGV was sent by process 77 of uid 5"),
    ):
        sent = Handled(SigInfo(11, 0, 0, None, (sender, 5)), registers, 4)
        result = why(ABORT, frames=frames, handled=[sent])
        assert result.summary == words
        assert (
            result.details[-1] == "The program's own handler caught SIGSEGV and ended the program."
        )
    # What the handler found wrong is nearer; and who sends SIGTERM is not to blame for an abort().
    checked = [frame("__raise"), frame("__assert_fail", 1), *frames[2:]]
    assert why(ABORT, frames=checked, handled=[sent]).reason == "assertion"
    asked = Handled(SigInfo(15, 0, 0, None, (77, 5)), registers, 4)
    assert why(ABORT, frames=frames, handled=[asked]).summary == "abort() called by rb_bug+0x4"


def test_signal_sent_again_after_its_handler_returned() -> None:
    again = SigInfo(11, -6, 0, None, (42, 0))
    result = why(again, LOAD, rax=0)
    assert (result.kind, result.certainty) == ("null-pointer", "likely")
    assert "seems to have caught the fault" in result.details[-1]
    assert why(again, STORE, rax=DATA).kind == "raised"
    assert why(again, STORE, rax=CODE).reason == "write-to-code"
    assert why(again, STORE, rax=CODE + 0x1000).reason == "read-only"
    after_call = {CODE - 2: b"\x0f\x05"}
    assert why(again, LOAD, rax=0, memory=after_call).kind == "raised"
    assert why(SigInfo(8, -6, 0, None, (42, 0)), b"\xf7\xf9", rcx=0).kind == "division-by-zero"
    assert why(SigInfo(4, -6, 0, None, (42, 0)), b"\x0f\x0b").reason == "trap"


ABORT = SigInfo(6, -6, 0, None, (42, 0))


def aborted(*names: str, message: str | None = None) -> Cause:
    return why(ABORT, frames=[frame(n, i, line=i) for i, n in enumerate(names)], message=message)


def test_abort() -> None:
    result = aborted("__pthread_kill_implementation", "__GI_raise", "__GI_abort", "main")
    assert (result.kind, result.summary) == ("abort", "abort() called by main at x.c:3")
    result = aborted(
        "__raise", "__assert_fail", "main", message="app: x.c:3: f: Assertion `0' failed.\n"
    )
    assert result.reason == "assertion"
    assert result.summary == "assertion failed: app: x.c:3: f: Assertion `0' failed."
    assert result.abort_message is not None
    result = aborted("__raise", "free", message="free(): double free detected in tcache 2\n")
    assert result.reason == "double-free"
    assert aborted("__raise", message="malloc(): corrupted top size").reason == "heap-corruption"
    result = aborted("__raise", "__stack_chk_fail", "copy", message="*** stack smashing detected")
    assert result.summary == "a buffer on the stack was overrun in copy at x.c:2"
    assert aborted("__raise", "__chk_fail").reason == "buffer-overflow"


def test_a_long_name_has_no_arguments_in_a_cause() -> None:
    name = "shop::price(std::map<int, std::string, std::less<int>> const&, std::string const&)"
    for function, linkage, words in (
        (name, "_ZN4shop5price", "shop::price at x.c:3"),
        (name, None, f"{name} at x.c:3"),  # (a symbol that is called so)
        ("shop::price(int)", "_ZN4shop5price", "shop::price(int) at x.c:3"),
    ):
        own = msgspec.structs.replace(frame(function, line=3), linkage_name=linkage)
        assert frame_words(own) == words


def test_v8_without_memory() -> None:
    result = aborted(
        "__GI_abort", "node::OOMErrorHandler(char const*, v8::OOMDetails const&)",
        "v8::internal::V8::FatalProcessOutOfMemory(v8::internal::Isolate*, char const*)",
        "v8::internal::Heap::FatalProcessOutOfMemory(char const*)", "grow(int)",
    )  # fmt: skip
    assert result.reason == "javascript-memory"
    assert result.summary == "V8 had no more memory for JavaScript, by grow(int) at x.c:4"


def test_v8_ends_by_a_trap() -> None:
    """As a release build does, and with the instruction that its compiler takes for a trap."""
    names = ["v8::base::OS::Abort()", "v8::internal::Isolate::CreateMessageOrAbort(int)",
             "v8::internal::Isolate::Throw(int)", "main"]  # fmt: skip
    frames = [frame(name, index) for index, name in enumerate(names)]
    for info in (SigInfo(5, 0x80), SigInfo(4, 2, CODE)):
        result = why(info, b"\x0f\x0b", frames=frames)
        assert (result.kind, result.reason) == ("abort", "javascript-uncaught")
        assert result.summary == "an uncaught JavaScript exception"
        assert "standard error" in result.details[0]
        other = why(info, b"\x0f\x0b", frames=[frames[0], *frames[2:]])
        assert other.kind in ("breakpoint", "illegal-instruction")


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        ([None, None, None], "uncaught-exception"),
        (
            [None, "guard_abort(char const*)", None],
            "abort",
        ),  # (it has names)
        ([], "abort"),  # (nothing tells what led there)
    ],
)
def test_thrown_in_a_library_without_names(between: list[str | None], reason: str) -> None:
    """libc++abi without symbols: it has but the names that it exports."""
    libc, abi = "/usr/lib/libc.so.6", "/usr/lib/libc++abi.so.1.0"
    rows: list[tuple[str | None, str]] = [
        ("__pthread_kill_implementation", libc), ("abort", libc), *((one, abi) for one in between),
        ("__cxa_throw", abi), ("shop::price(int)", "/usr/bin/shop"), ("main", "/usr/bin/shop"),
    ]  # fmt: skip
    frames = [
        msgspec.structs.replace(frame(name or "", at), function=name, module=module)
        for at, (name, module) in enumerate(rows)
    ]
    assert why(ABORT, frames=frames).reason == reason


def test_who_aborted_in_a_static_program_of_musl() -> None:
    names = ["__restore_sigs", "raise", "abort", "shop::price(int)", "main"]
    frames = [
        msgspec.structs.replace(frame(name, at), module="/bin/app") for at, name in enumerate(names)
    ]
    assert why(ABORT, frames=frames).summary.startswith("abort() called by shop::price(int)")


def test_terminate() -> None:
    result = aborted("__raise", "std::terminate()", "__cxa_throw", "parse(char const*)", "main")
    assert result.reason == "uncaught-exception"
    assert (
        result.summary == "C++ exception that nobody caught, thrown in parse(char const*) at x.c:3"
    )
    result = aborted("__raise", "std::terminate()", "std::thread::~thread()", "main")
    assert result.reason == "joinable-thread"
    assert (
        aborted("__raise", "std::terminate()", "__cxa_pure_virtual", "f").reason == "pure-virtual"
    )
    assert aborted("__raise", "std::terminate()").reason == "terminate"
    assert aborted("__raise", "rust_panic", "f").reason == "rust-panic"


def test_without_siginfo() -> None:
    result = why(SigInfo(11), LOAD, rax=0)
    assert (result.kind, result.certainty) == ("null-pointer", "likely")
    assert why(SigInfo(11)).kind == "unknown"
    assert why(SigInfo(11), rip=0).kind == "jump-to-null"


def test_without_mappings() -> None:
    assert why(segv(0x10), LOAD, rax=0, mappings=[]).kind == "null-pointer"
    assert why(segv(0x7000000000), LOAD, rax=0x7000000000 - 16, mappings=[]).kind == "bad-address"


VALUES = st.sampled_from([0, 8, CODE, DATA, HEAP, GUARD, STACK, STACK - 8, 1 << 63, (1 << 64) - 1])


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([3, 4, 5, 6, 7, 8, 11, 24, 25, 31, 1, 40]),
    st.sampled_from([None, -60, -6, -1, 0, 1, 2, 3, 4, 5, 10, 0x80]),
    st.one_of(st.none(), VALUES),
    st.binary(max_size=16),
    VALUES,
    VALUES,
    VALUES,
    st.sampled_from([None, (42, 0), (7, 0), (0, 0)]),
)
def test_anything(
    number: int,
    code: int | None,
    address: int | None,
    data: bytes,
    rip: int,
    rsp: int,
    rax: int,
    sender: tuple[int, int] | None,
) -> None:
    info = SigInfo(number, code, 0, address, sender)
    assert why(info, data, rip=rip, rsp=rsp, rax=rax, rcx=rax).summary


@pytest.mark.parametrize("message", ["", "\n", "\x1b[31m\nx"])
def test_odd_messages(message: str) -> None:
    assert aborted("__raise", message=message).kind == "abort"
