"""Memory that cannot hang: only pages that are there."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.filesystems import FileSystems
from usercrash.capture.memory import Memory
from usercrash.capture.procfs import PAGE, MapTable
from usercrash.model.notes import NoteLog


class Own:
    """This process's memory, guarded; counts what was read past the guard."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.mem = os.open("/proc/self/mem", os.O_RDONLY)
        self.proc = os.open(f"/proc/self/task/{os.getpid()}", os.O_RDONLY)
        maps = MapTable(Path("/proc/self/maps").read_bytes())
        self.notes = NoteLog()
        systems = FileSystems(self.proc)
        self.memory = Memory(self._read, self.proc, maps, systems, self.notes)

    def _read(self, address: int, size: int) -> bytes:
        self.asked.append((address, size))
        try:
            return os.pread(self.mem, size, address)
        except (OSError, OverflowError):
            return b""

    def close(self) -> None:
        self.memory.close()
        os.close(self.mem)
        os.close(self.proc)


def address_of(area: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def test_pages_that_were_never_touched_are_left_out() -> None:
    area = mmap.mmap(-1, 16 * PAGE)
    for page in (0, 1, 2, 5, 6, 15):
        area[page * PAGE : page * PAGE + 1] = b"x"
    start = address_of(area)
    own = Own()
    try:
        pieces = list(own.memory.pieces(start, 16 * PAGE))
        assert [((at - start) // PAGE, len(data) // PAGE) for at, data in pieces] == [
            (0, 3), (5, 2), (15, 1)
        ]  # fmt: skip
        assert own.memory.read(start + PAGE + 8, 4 * PAGE) == bytes(area[PAGE + 8 : 3 * PAGE])
        assert own.memory.read(start + 3 * PAGE, 8) == b""
        assert len(own.asked) == 4
    finally:
        own.close()


def test_small_reads_share_a_page() -> None:
    """One read of a page serves all that is asked of it, also what goes on into the next."""
    area = mmap.mmap(-1, 4 * PAGE)
    area[: 2 * PAGE] = bytes(range(256)) * (2 * PAGE // 256)
    start = address_of(area)
    own = Own()
    try:
        assert own.memory.read(start + 8, 4) == area[8:12]
        assert own.memory.read(start + 100, 40) == area[100:140]
        assert own.memory.pieces(start + 64, 64) == [(start + 64, area[64:128])]
        assert own.asked == [(start, PAGE)]
        assert own.memory.read(start + PAGE - 8, 1024) == area[PAGE - 8 : PAGE + 1016]
        assert own.memory.read(start + 2 * PAGE - 8, 1024) == area[2 * PAGE - 8 : 2 * PAGE]
        assert own.asked == [(start, PAGE), (start + PAGE, PAGE)]
        assert own.memory.read(start, 0) == b"" and own.memory.pieces(start, 0) == []
        assert own.memory.pieces(start + 8, -1) == []
    finally:
        own.close()


def test_a_page_of_a_file_is_fetched_where_its_file_system_answers(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"f" * 4 * PAGE)
    with open(path, "rb") as file:
        area = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE)
    start = address_of(area)
    own = Own()
    try:
        device = os.stat(path).st_dev
        name = b"%02x:%02x" % (os.major(device), os.minor(device))
        fetched = FileSystems(own.proc).pages_answer(name)
        assert own.memory.read(start, 4 * PAGE) == (b"f" * 4 * PAGE if fetched else b"")
    finally:
        own.close()


def test_addresses_that_no_process_has() -> None:
    own = Own()
    try:
        for address in (0, 0xFFFFFFFFFF600000, (1 << 64) - 8, 1 << 63, 1 << 64, 1 << 70):
            assert own.memory.read(address, 64) == b""
            assert list(own.memory.pieces(address, 3 * PAGE)) == []
        assert own.asked == []
    finally:
        own.close()


class Pretend(FileSystems):
    """Everything lies on a disk."""

    def __init__(self, kind: bytes = b"ext4") -> None:
        super().__init__(-1)
        self.kind = kind

    def type_of(self, device: bytes) -> bytes:
        return self.kind


def test_registers_of_devices_are_not_read() -> None:
    maps = MapTable(
        b"7f0000000000-7f0000004000 rw-s 00000000 00:06 9 /dev/mem\n"
        b"7f0000004000-7f0000008000 rw-p 00000000 00:06 8 /dev/zero\n"
    )
    memory = Memory(lambda address, size: b"m" * size, -1, maps, Pretend(b"devtmpfs"), NoteLog())
    pieces = list(memory.pieces(0x7F0000002000, 4 * PAGE))
    assert pieces == [(0x7F0000004000, b"m" * 2 * PAGE)]


@given(st.integers(0, 1 << 65), st.integers(0, 1 << 14), st.binary(max_size=64))
def test_any_range_ends(address: int, size: int, text: bytes) -> None:
    memory = Memory(lambda at, n: b"", -1, MapTable(text), Pretend(), NoteLog())
    assert list(memory.pieces(address, size)) == [] and memory.read(address, size) == b""
