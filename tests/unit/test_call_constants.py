"""Constants that calls get, from code made by compilers and by hand; never those of another way to
the call."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.build import need

from usercrash.analysis.instructions.call_constants import call_constants
from usercrash.elf.arch.aarch64 import ARCHES as AARCH64
from usercrash.elf.arch.x86_64 import ARCH

CODE = 0x401000
NOPS = b"\x90" * 200
CALL = b"\xe8\0\0\0\0"


def constants(before: bytes, after: bytes = NOPS, ahead: bytes = NOPS) -> dict[str, int]:
    """Of a call behind that code."""
    code = ahead + before + CALL + after
    back = CODE + len(ahead + before + CALL)

    def read(address: int, size: int) -> bytes:
        return code[address - CODE :][:size] if address >= CODE else b""

    return call_constants(read, ARCH, back)


LEA_RDI = b"\x48\x8d\x3d\x10\0\0\0"  # lea rdi, [rip + 0x10]
MOV_ESI = b"\xbe\x2a\0\0\0"  # mov esi, 42


def test_addresses_and_numbers() -> None:
    end = CODE + len(NOPS) + len(LEA_RDI)
    assert constants(LEA_RDI + MOV_ESI) == {"rdi": end + 0x10, "rsi": 42}
    # through another register, and zero
    assert constants(b"\xb8\x07\0\0\0" + b"\x48\x89\xc2" + b"\x31\xc9") == {"rdx": 7, "rcx": 0}


@pytest.mark.parametrize(
    "code",
    [
        b"\x48\x8b\x3d\x10\0\0\0",  # mov rdi, [rip + 0x10]
        MOV_ESI + b"\x01\xc6",  # add esi, eax
        MOV_ESI + b"\x40\xb6\x01",  # mov sil, 1
        MOV_ESI + CALL,  # a call keeps none of them
        MOV_ESI + b"\xc3",  # ret
        MOV_ESI + b"\x0f\x0b",  # ud2
        MOV_ESI + b"\x5e",  # pop rsi
    ],
)
def test_what_is_no_constant(code: bytes) -> None:
    assert constants(code) == {}


def test_code_that_a_jump_may_skip() -> None:
    """`jne` from far away, and `jmp` from near, to behind the first of two constants."""
    assert constants(LEA_RDI + MOV_ESI, b"\xeb" + bytes([256 - 12]) + NOPS) == {"rsi": 42}
    back = len(LEA_RDI + MOV_ESI + CALL)
    far = b"\x90" * 3000
    distance = len(LEA_RDI) - (back + len(far) + 6)
    jump = b"\x0f\x85" + distance.to_bytes(4, "little", signed=True)
    assert constants(LEA_RDI + MOV_ESI, far + jump + bytes(40_000)) == {"rsi": 42}
    assert constants(LEA_RDI + MOV_ESI, far + bytes(40_000)).keys() == {"rdi", "rsi"}


def test_other_machines_and_what_is_no_call() -> None:
    assert call_constants(lambda address, size: (MOV_ESI + CALL) * 40, AARCH64[0], CODE) == {}
    assert call_constants(lambda address, size: b"\x90" * size, ARCH, CODE) == {}
    assert call_constants(lambda address, size: b"", ARCH, CODE) == {}


@settings(deadline=None)  # (the first one loads the decoder)
@given(st.binary(max_size=400))
def test_any_bytes(code: bytes) -> None:
    assert isinstance(constants(code), dict)


SOURCE = """
__asm__(".text; .fill 300, 1, 0x90");
void failed(const char *file, int line, const char *condition) __attribute__((noreturn));
void maybe(int value);
int check(int a, int b)
{
    if (a == 1) failed("one.c", 11, "a != 1");
    maybe(b);
    if (b == 2) failed("one.c", 12, "b != 2");
    if (a + b == 3) failed("one.c", 13, "a + b != 3");
    return a * b;
}
int _start(void) { return check(1, 2); }
void failed(const char *file, int line, const char *condition)
{
    for (;;) __asm__ volatile("" :: "r"(file), "r"(line), "r"(condition) : "memory");
}
void maybe(int value) { __asm__ volatile("" :: "r"(value)); }
"""


OWN = {"gcc": ("-fno-ipa-cp", "-fno-ipa-sra"), "clang": ()}  # the arguments stay arguments


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
def test_code_of_compilers(compiler: str, level: str, tmp_path: Path) -> None:
    """All three, or, where the compiler joined the ways to one call, what they have in common."""
    (tmp_path / "check.c").write_text(SOURCE)
    exe = tmp_path / "check"
    flags = [
        "-w",
        "-fno-inline",
        "-nostdlib",
        "-static",
        "-fno-pie",
        "-no-pie",
        "-ffreestanding",
        *OWN.get(compiler, ()),
    ]
    command = [need(compiler, compiler), level, *flags, "-o", str(exe), str(tmp_path / "check.c")]
    subprocess.run(command, check=True)
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(exe)], check=True, capture_output=True,
        text=True,
    ).stdout  # fmt: skip
    lines = [line.split("\t") for line in listing.splitlines() if line.startswith("  ")]
    text = exe.read_bytes()
    found = set()
    for one, following in pairwise(lines):
        if "call" in one[1] and "<failed>" in one[1]:
            values = call_constants(_reader(text), ARCH, int(following[0].strip(" :"), 16))
            assert values.get("rsi", 11) in (11, 12, 13)
            if {"rdi", "rsi", "rdx"} <= values.keys():
                words = _reader(text)(values["rdx"], 16).partition(b"\0")[0]
                assert words == {11: b"a != 1", 12: b"b != 2", 13: b"a + b != 3"}[values["rsi"]]
                found.add(values["rsi"])
    assert found == {11, 12, 13} or level == "-Os"


def _reader(data: bytes):  # type: ignore[no-untyped-def]
    """Reads a static program's memory from its file."""
    headers = int.from_bytes(data[32:40], "little")
    count = int.from_bytes(data[56:58], "little")
    loads = []
    for at in range(headers, headers + 56 * count, 56):
        if int.from_bytes(data[at : at + 4], "little") == 1:
            offset, address = (
                int.from_bytes(data[at + off : at + off + 8], "little") for off in (8, 16)
            )
            size = int.from_bytes(data[at + 32 : at + 40], "little")
            loads.append((address, offset, size))

    def read(address: int, size: int) -> bytes:
        for start, offset, length in loads:
            if start <= address < start + length:
                begin = offset + address - start
                return data[begin : min(begin + size, offset + length)]
        return b""

    return read
