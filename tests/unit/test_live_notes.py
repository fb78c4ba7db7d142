"""Notes made for a live process are those that the kernel would write."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.live_notes import ProcessIds, file_note, prpsinfo, prstatus
from usercrash.elf.arch.x86_64 import ARCH
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
