"""AArch64, ARM and RISC-V: every stack is gdb's, and has the names of the functions."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.analysed import Analysed, analyse, their_groups
from tests.support.commands import program
from tests.support.cross import Crashed, compile_for, crash
from tests.support.cross_targets import AARCH64, ARM, TARGETS, Target
from tests.support.oracle import gdb_frames
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.unwinding.unwind import Trust
from usercrash.elf.headers import EHDR64, NT_PRSTATUS, PHDR64, encode_note
from usercrash.model.snapshot import ElfNote

SOURCE = Path("crash.c")
BARE = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g0")
FAULT = ["leaf", "inner", "middle"]


@pytest.fixture(params=["aarch64", "arm", "riscv64"])
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


def crashed(
    target: Target, place: Path, how: str, *flags: str, strip: bool = False
) -> tuple[Crashed, Analysed]:
    done = crash(target, compile_for(target, SOURCE, *flags, strip=strip), place, how)
    return done, analyse(done.core)


def ours_as_gdbs(ours: Analysed, done: Crashed) -> None:
    """All threads have gdb's pcs, as far as gdb came."""
    theirs = gdb_frames(done.core, done.program, sysroot=done.target.sysroot)
    for number, thread in enumerate(ours.image.threads):
        mine = [frame.pc for frame in ours.stack(number).frames]
        wanted = [pc for pc, _ in their_groups(theirs[thread.tid])]
        assert list(map(hex, mine[: len(wanted)])) == list(map(hex, wanted))


@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-static",)], ids=" ".join)
def test_nested(target: Target, tmp_path: Path, flags: tuple[str, ...]) -> None:
    done, ours = crashed(target, tmp_path, "nested", *flags)
    stack = ours.stack()
    names = ours.names(stack)
    assert names[:4] == [*FAULT, "main"]
    assert stack.end == "end of stack"
    assert ours.image.threads[0].signal == 11
    places = [ours.locations(frame)[-1] for frame in stack.frames[:4]]
    assert all(place.file and place.file.endswith("program.c") for place in places)
    lines = [place.line for place in places]
    source = compile_for(target, SOURCE, *flags).with_name("program.c").read_text().splitlines()
    if "-O0" in flags:  # (optimized, the brace behind it has the same instruction)
        assert "return *pointer" in source[(lines[0] or 0) - 1]
    assert "leaf(nowhere)" in source[(lines[1] or 0) - 1]
    ours_as_gdbs(ours, done)


@pytest.mark.parametrize("how", ["signal", "siginfo"])
def test_signal_handler(target: Target, tmp_path: Path, how: str) -> None:
    """Through the trampoline, which on AArch64 and RISC-V is qemu's own page of code, on ARM the
    C library's."""
    done, ours = crashed(target, tmp_path, how, "-O2")
    stack = ours.stack()
    names = ours.names(stack)
    prefix = "info_" if how == "siginfo" else ""
    assert names[:4] == [*FAULT, f"{prefix}handler"]
    assert [frame.signal_frame for frame in stack.frames].index(True) == 4
    assert stack.frames[5].exact and stack.frames[5].trust == Trust.CONTEXT
    at = names.index("raise")
    assert names[at + 1 : at + 3] == [f"in_{prefix}signal", "main"]
    assert stack.end == "end of stack"
    # gdb 13 comes to no end on this aarch64 core (why is not known); on arm it was not asked.
    if target.name == "riscv64":
        ours_as_gdbs(ours, done)


def test_threads(target: Target, tmp_path: Path) -> None:
    """The C library's own functions have no call frame information on ARM and RISC-V: how they
    begin tells their frames."""
    _, ours = crashed(target, tmp_path, "thread", "-O2")
    stacks = [ours.stack(number) for number in range(2)]
    assert ours.names(stacks[0])[:4] == [*FAULT, "worker"]
    assert ours.names(stacks[1])[-5:-3] == ["on_thread", "main"]
    assert [stack.end for stack in stacks] == ["end of stack"] * 2


def test_abort(target: Target, tmp_path: Path) -> None:
    _, ours = crashed(target, tmp_path, "abort", "-O2")
    stack = ours.stack()
    names = ours.names(stack)
    at = names.index("abort")
    assert names[at + 1 : at + 3] == ["aborts", "main"]
    assert stack.end == "end of stack"


def test_jump_to_a_bad_address(target: Target, tmp_path: Path) -> None:
    _, ours = crashed(target, tmp_path, "jump", "-O2")
    stack = ours.stack()
    assert stack.frames[0].pc == 64
    assert ours.names(stack)[1:3] == ["calls_nowhere", "main"]
    assert stack.frames[1].trust == Trust.CALL_RECOVERY


@pytest.mark.parametrize(
    "flags", [("-O0",), ("-O2", "-fomit-frame-pointer"), ("-O1", "-fno-omit-frame-pointer")],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("strip", [False, True], ids=["symbols", "stripped"])
def test_without_unwind_tables(
    target: Target, tmp_path: Path, flags: tuple[str, ...], strip: bool
) -> None:
    """The program's own functions are all there; with symbols the stack is whole."""
    done, ours = crashed(target, tmp_path, "nested", *flags, *BARE, strip=strip)
    stack = ours.stack()
    whole = compile_for(target, SOURCE, *flags, *BARE)
    symbols = ElfFile(whole.read_bytes()).symbols
    module = ours.modules.find(stack.frames[0].pc)
    assert module is not None
    found = [symbols.find(frame.lookup_pc - module.bias) for frame in stack.frames[:4]]
    names = [one[0].decode() for one in found if one]
    assert names == [*FAULT, "main"]
    if not strip:
        assert stack.end == "end of stack"
    assert done.target is target


JUMPED = """
__attribute__((noinline)) int leaf(int value) { return value + 1; }
__attribute__((noinline)) int late(int *pointer) { return leaf(*pointer) * 3; }
__attribute__((noinline)) int jumps(int *pointer) { return late(pointer + 4); }
__attribute__((noinline)) int outer(int *pointer) { return jumps(pointer) + 1; }
int main(void) { return outer(0) + 2; }
"""


def test_function_that_was_jumped_to_has_made_its_frame(target: Target, tmp_path: Path) -> None:
    """It saved its return address, whose call led to another function: the stack goes on where
    its frame ends, not where it begins."""
    flags = ("-O1", "-foptimize-sibling-calls", "-fno-shrink-wrap", *BARE)
    ours = analyse(crash(target, compile_for(target, JUMPED, *flags), tmp_path).core)
    stack = ours.stack()
    assert ours.names(stack)[:3] == ["late", "outer", "main"]
    assert stack.end == "end of stack"


@pytest.mark.parametrize("mode", ["-mthumb", "-marm"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_exception_index(tmp_path: Path, mode: str, level: str) -> None:
    done, ours = crashed(ARM, tmp_path, "nested", mode, level, "-g0", "-funwind-tables")
    assert not any(
        section.name == b".debug_frame" for section in ElfFile(done.program.read_bytes()).sections
    )
    stack = ours.stack()
    assert ours.names(stack)[:4] == [*FAULT, "main"]
    assert stack.end == "end of stack"
    assert {frame.trust for frame in stack.frames[2:4]} == {Trust.CFI}


def test_signed_return_addresses(tmp_path: Path) -> None:
    """A program built with pointer authentication; qemu's processor signs in earnest."""
    _, ours = crashed(AARCH64, tmp_path, "signal", "-O2", "-mbranch-protection=standard")
    stack = ours.stack()
    names = ours.names(stack)
    assert names[:4] == [*FAULT, "handler"]
    assert names[names.index("raise") + 1 :][:2] == ["in_signal", "main"]
    signed = sum(
        ours.image.read(frame.sp, 4096).count(struct.pack("<Q", frame.pc)) == 0
        for frame in stack.frames[1:3]
    )
    assert signed  # their plain addresses are nowhere on the stack


def test_signatures_in_the_core(tmp_path: Path) -> None:
    """The bits that a core says are a signature's do not count, whatever they are."""
    done, ours = crashed(AARCH64, tmp_path, "nested", "-O2")
    plain = [frame.pc for frame in ours.stack().frames]
    data = done.core.read_bytes()
    for pc in plain[1:]:
        data = data.replace(struct.pack("<Q", pc), struct.pack("<Q", pc | 0x2A << 48))
    assert [frame.pc for frame in analyse(data).stack().frames] == plain


def test_signature_bits_that_the_core_names() -> None:
    """With addresses of 39 bits signatures are longer (NT_ARM_PAC_MASK)."""
    arch = AARCH64.arch
    status = encode_note(ElfNote(b"CORE", NT_PRSTATUS, bytes(arch.prstatus_size)))
    mask = struct.pack("<2Q", 0x007FFF8000000000, 0x007FFF8000000000)
    notes = status + encode_note(ElfNote(b"LINUX", 0x406, mask))
    head = EHDR64.pack(b"\x7fELF\2\1\1" + bytes(9), 4, 183, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    core = head + PHDR64.pack(4, 0, 120, 0, 0, len(notes), 0, 4) + notes
    assert CoreImage.open(core).arch.code_mask == 0xFF80007FFFFFFFFF
    assert arch.code_mask == 0xFF80FFFFFFFFFFFF


def test_report(target: Target, tmp_path: Path) -> None:
    """What people read: names, the cause, the handled signal, and nothing of another machine."""
    done = crash(target, compile_for(target, SOURCE, "-O0"), tmp_path, "siginfo")
    text = subprocess.run(
        [*program("cli"), "analyze", str(done.core)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    understood = target.name in ("aarch64", "arm", "riscv64")
    did = "read of 4 bytes at" if understood else "access to"
    assert f"null pointer plus 0x10: {did} 0x10" in " ".join(text.split())
    assert "#0  leaf" in text
    assert "in_info_signal" in text
    assert "SIGUSR1" in text
    assert not {"rsp", "rax", "non-canonical"} & set(text.replace("=", " ").split())
