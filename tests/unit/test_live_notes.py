"""Notes made for a live process are those that the kernel would write."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.analysis.core.elf_notes import parse_auxv, parse_file_note, parse_psinfo
from usercrash.analysis.facts.signals import SigInfo, decode_siginfo
from usercrash.capture import live_registers
from usercrash.capture.live_notes import (
    ProcessIds,
    auxv_long,
    file_note,
    own_auxv,
    prpsinfo,
    prstatus,
    siginfo_of,
)
from usercrash.elf.arch import Arch, arch_of
from usercrash.elf.arch.i386 import ARCH as I386
from usercrash.elf.arch.x86_64 import ARCH, X32
from usercrash.model.maps import Mapping

OWN = Path("/proc/self/stat").read_bytes()


def test_ids_of_ourselves() -> None:
    ids = ProcessIds(OWN)
    assert (ids.ppid, ids.pgrp, ids.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert ids.nice == os.nice(0)
    assert ids.state in b"RSD"


def test_a_name_cannot_shift_fields() -> None:
    ids = ProcessIds(b"7 (a) R 1 (b) S 3 4 5 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0\n")
    assert (ids.comm, ids.state, ids.ppid, ids.start_ticks) == (b"a) R 1 (b", b"S", 3, 99)


@given(st.binary(max_size=200))
def test_any_bytes_are_ids_or_a_value_error(data: bytes) -> None:
    try:
        ProcessIds(data)
    except ValueError:
        return


def test_prstatus_has_the_kernels_layout() -> None:
    registers = struct.pack("<27Q", *range(1, 28))
    siginfo = struct.pack("<iii", 11, 0, 1).ljust(128, b"\0")
    desc = prstatus(ARCH, 42, 11, siginfo, 0x4000, ProcessIds(OWN), registers).desc
    assert len(desc) == ARCH.prstatus_size
    signal, tid, values = ARCH.parse_prstatus(desc)
    assert (signal, tid) == (11, 42)
    assert list(values.values()) == list(range(1, 28))
    assert struct.unpack_from("<iii", desc) == (11, 1, 0)  # signo, code, errno
    assert struct.unpack_from("<Q", desc, 24) == (0x4000,)
    assert struct.unpack_from("<iii", desc, 36) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert struct.unpack_from("<i", desc, 328) == (1,)


def test_prpsinfo_has_the_kernels_layout() -> None:
    desc = prpsinfo(7, ProcessIds(OWN), 1000, 0xFFFFFFFE, b"prog\0one\0" + b"x" * 100).desc
    assert len(desc) == 136
    assert struct.unpack_from("<IIi", desc, 16) == (1000, 0xFFFFFFFE, 7)
    assert desc[56:].startswith(b"prog one xxx")
    assert desc[-1] == 0


def test_file_note_is_read_back() -> None:
    mappings = [
        Mapping(0x1000, 0x3000, b"r-xp", 0x2000, b"08:01", 5, b"/bin/a"),
        Mapping(0x5000, 0x6000, b"rw-p", 0, b"08:01", 6, b"/lib/b", deleted=True),
    ]
    desc = file_note(mappings, 4096).desc
    assert struct.unpack_from("<8Q", desc) == (2, 4096, 0x1000, 0x3000, 2, 0x5000, 0x6000, 0)
    assert desc[64:] == b"/bin/a\0/lib/b (deleted)\0"


@pytest.mark.parametrize("uid", [0, -1, 2**32 - 1])
def test_odd_user_ids_are_packed(uid: int) -> None:
    assert len(prpsinfo(1, ProcessIds(OWN), uid, uid, b"").desc) == 136


# --- of processes with addresses of 32 bits ---


@pytest.mark.parametrize(("arch", "size"), [(I386, 144), (X32, 296)])
def test_prstatus_of_32_bits(arch: Arch, size: int) -> None:
    count = len(arch.prstatus_registers)
    letter = "Q" if arch.word == 8 else "I"
    registers = struct.pack(f"<{count}{letter}", *range(1, count + 1))
    siginfo = struct.pack("<iii", 11, 0, 1).ljust(128, b"\0")
    desc = prstatus(arch, 42, 11, siginfo, 1 << 40 | 0x4000, ProcessIds(OWN), registers).desc
    assert len(desc) == arch.prstatus_size == size
    assert arch.parse_prstatus(desc)[:2] == (11, 42)
    assert list(arch.parse_prstatus(desc)[2].values()) == list(range(1, count + 1))
    assert struct.unpack_from("<II", desc, 16) == (0, 0x4000)


def test_prpsinfo_of_32_bits() -> None:
    desc = prpsinfo(7, ProcessIds(OWN), 1000, 70_000, b"prog\0one", 4).desc
    assert len(desc) == 124
    assert struct.unpack_from("<HHi", desc, 8) == (1000, 65534, 7)
    info = parse_psinfo(desc, I386)
    assert info is not None and (info.pid, info.args) == (7, b"prog one")


def test_files_and_auxiliary_vector_of_32_bits() -> None:
    mapping = Mapping(0xF7000000, 0xF7002000, b"r-xp", 0x3000, b"08:01", 5, b"/lib/a")
    (row,) = parse_file_note(file_note([mapping], 4096, 4).desc, I386)
    assert (row.start, row.end, row.offset, row.path) == (0xF7000000, 0xF7002000, 0x3000, b"/lib/a")
    pairs = struct.pack("<8I", 3, 0x8048034, 4, 32, 25, 0xFFFF0000, 0, 0)
    assert auxv_long(pairs + bytes(64)) == 4
    assert own_auxv(pairs + bytes(64), 4) == pairs
    assert parse_auxv(pairs, I386) == {3: 0x8048034, 4: 32, 25: 0xFFFF0000}
    wide = struct.pack("<6Q", 3, 0x400040, 4, 56, 0, 0)
    assert auxv_long(wide) == auxv_long(b"") == 8
    assert own_auxv(wide, 8) == wide


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (struct.pack("<iii4xQ", 11, 0, 1, 0x10), SigInfo(11, 1, 0, 0x10)),
        (
            struct.pack("<iii4xQ8xI", 11, 0, 4, 0x10, 5),
            SigInfo(11, 4, 0, 0x10, protection_key=5),
        ),
        (struct.pack("<iii4xiIQ", 6, 0, -6, 77, 1000, 9), SigInfo(6, -6, 0, None, (77, 1000))),
        (
            struct.pack("<iii4xQiI", 31, 0, 1, 0xF7001000, 20, 0x40000003),
            SigInfo(31, 1, 0, 0xF7001000, None, 20, audit=0x40000003),
        ),
    ],
)  # fmt: skip
def test_a_siginfo_as_a_32_bit_process_has_it(native: bytes, expected: SigInfo) -> None:
    whole = native.ljust(128, b"\0")
    assert len(siginfo_of(whole, 4)) == 128 and siginfo_of(whole, 8) == whole
    assert decode_siginfo(siginfo_of(whole, 4), 4) == expected


@given(st.binary(max_size=130), st.sampled_from([4, 8]))
def test_any_siginfo_and_vector(data: bytes, long: int) -> None:
    siginfo_of(data, long)
    auxv_long(data)
    assert data.startswith(own_auxv(data, long))


@pytest.mark.parametrize(
    ("machine", "elf_class", "register", "audit"),  # (<linux/audit.h>)
    [
        (62, 2, "orig_rax", 0xC000003E), (62, 1, "orig_rax", 0xC000003E),
        (3, 1, "orig_eax", 0x40000003), (183, 2, "x8", 0xC00000B7), (40, 1, "r7", 0x40000028),
    ],
)  # fmt: skip
def test_a_kill_by_seccomp(machine: int, elf_class: int, register: str, audit: int) -> None:
    arch = arch_of(machine, elf_class)
    assert arch is not None
    data = bytearray(live_registers.set_size(arch))
    for name, value in ((register, 20), (arch.pc, 0x1234)):
        at = arch.prstatus_registers.index(name) * arch.word
        data[at : at + arch.word] = value.to_bytes(arch.word, "little")
    info = decode_siginfo(live_registers.seccomp_siginfo(arch, bytes(data)), arch.long)
    assert info == SigInfo(31, 1, 0, 0x1234, None, 20, audit=audit)


def test_a_thread_that_waits_in_the_kernel() -> None:
    text = b"3 0x0 0x1 0x2 0x3 0x4 0x5 0xffffd0a8 0xf7fc7559\n"
    values = live_registers.named(I386, live_registers.waiting(text, I386) or b"")
    assert (values["esp"], values["eip"], values["eax"]) == (0xFFFFD0A8, 0xF7FC7559, 0)
    assert live_registers.waiting(b"running\n", I386) is None


@pytest.mark.parametrize(
    ("machine", "phent", "names"),
    [
        ("x86_64", 56, ["x86_64", "i386"]), ("x86_64", 32, ["i386", "x32"]),
        ("aarch64", 56, ["aarch64"]),
        ("aarch64", 32, ["arm"]), ("riscv64", 56, []),
    ],
)  # fmt: skip
def test_which_programs_a_machine_runs(
    machine: str, phent: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = os.uname_result(("Linux", "", "", "", machine))
    monkeypatch.setattr(os, "uname", lambda: system)
    auxv = struct.pack("<4I" if phent == 32 else "<4Q", 4, phent, 0, 0)
    assert [arch.name for arch in live_registers.arches_of(auxv)] == names
