"""The one line why, from scenes made by hand: bytes of instructions, registers, mappings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usercrash.analysis.core.places import Places, StackOwner, pattern_words
from usercrash.analysis.explain.cause import explain
from usercrash.analysis.explain.scene import Handled, Scene
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


def test_v8_without_memory() -> None:
    result = aborted(
        "__GI_abort", "node::OOMErrorHandler(char const*, v8::OOMDetails const&)",
        "v8::internal::V8::FatalProcessOutOfMemory(v8::internal::Isolate*, char const*)",
        "v8::internal::Heap::FatalProcessOutOfMemory(char const*)", "grow(int)",
    )  # fmt: skip
    assert result.reason == "javascript-memory"
    assert result.summary == "V8 had no more memory for JavaScript, by grow(int) at x.c:4"


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
