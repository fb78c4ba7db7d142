"""Parsing of /proc texts in capture, hostile ones included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture import filesystems
from usercrash.capture.filesystems import FileSystems, parse_mountinfo
from usercrash.capture.procfs import (
    MANY,
    MapTable,
    namespace_ids,
    read_at,
    read_ends,
    read_record,
    stat_fields,
    stat_number,
    status_field,
)
from usercrash.capture.sockets import socket_facts
from usercrash.model.maps import parse_maps
from usercrash.model.notes import NoteLog

MAPS = b"\n".join(
    (
        b"00400000-0041f000 r--p 00000000 08:01 17 /usr/bin/x y",
        b"0041f000-00420000 rw-p 0001f000 08:01 17 /usr/bin/x y",
        b"7f0000000000-7f0000001000 ---p 00000000 00:00 0 ",
        b"7f0000001000-7f0000009000 rw-p 00000000 00:00 0 ",
        b"7f0000009000-7f000000a000 r--p 00000000 08:02 18 /tmp/a 00:00 0 b",
        b"7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]",
        b"7ffd00030000-7ffd00032000 r-xp 00000000 00:00 0                          [vdso]",
        b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
        b"",
    )
)


def test_stat_with_a_hostile_name() -> None:
    stat = b"7 (a) R 1\nb) (c) S 3 7 7 0 -1 4194560 1 2 3\n"
    assert stat_fields(stat)[:3] == [b"S", b"3", b"7"]
    assert stat_number(stat, 4) == 3
    assert stat_number(stat, 52) == 0
    assert stat_number(b"", 4) == 0


def test_status_keys_are_matched_whole() -> None:
    status = b"Name:\tUid:\\n0\nXUid:\t5\nUid:\t1\t2\t3\t4\nNSpid:\t100\t7\nNSpidX:\t9\n"
    assert status_field(status, b"Uid") == b"1\t2\t3\t4"
    assert status_field(status, b"Name") == b"Uid:\\n0"
    assert status_field(status, b"Gid") == b""
    assert namespace_ids(status) == [100, 7]
    assert namespace_ids(b"NSpid:\tx\n") == []


@given(st.binary(max_size=300), st.integers(0, 60))
def test_stat_takes_any_bytes(data: bytes, field: int) -> None:
    stat_number(data, max(field, 4))
    status_field(data, b"Uid")
    namespace_ids(data)


def test_map_table_finds_as_a_full_parse_does() -> None:
    table, full = MapTable(MAPS), parse_maps(MAPS)
    for mapping in full:
        for address in (mapping.start, mapping.end - 1):
            found = table.find(address)
            assert found is not None and found.start == mapping.start
    assert table.find(0x420000) is None and table.find(0) is None
    assert table.find((1 << 64) + 5) is None
    assert [m.path for m in table.files()] == [m.path for m in full if m.is_file]
    vdso = table.named(b"[vdso]")
    assert vdso is not None and vdso.start == 0x7FFD00030000


def test_a_map_cut_short_loses_its_last_line_only() -> None:
    assert len(MapTable(MAPS[:-10]).lines) == len(MapTable(MAPS).lines) - 1
    assert MapTable(b"").lines == []


@pytest.mark.parametrize("lookups", [0, MANY])
def test_what_may_be_written_to(lookups: int) -> None:
    table = MapTable(MAPS)
    table.expect(lookups)
    assert table.writable(0x7F0000001008) == (0x7F0000001000, 0x7F0000009000)
    for address in (0, 0x400008, 0x41F000 - 1, 0x420000, 0x7F0000000000, 1 << 64, 1 << 70):
        assert table.writable(address) is None
    assert table.writable(0x41FFFF) == (0x41F000, 0x420000)
    found = table.find(0x7FFD00030000)
    assert found is not None and found.path == b"[vdso]"


def test_a_file_that_is_mapped_again_and_again_is_looked_at_a_few_times() -> None:
    again = b"".join(
        b"%012x-%012x %s 00000000 08:01 17 /bin/x\n" % (start, start + 4096, perms)
        for number in range(1000)
        for start, perms in ((0x100000000000 + number * 8192, b"r--p"),)
    )
    code = b"".join(
        b"%012x-%012x r-xp 00001000 08:01 17 /bin/x\n" % (start, start + 4096)
        for start in range(0x200000000000, 0x200000400000, 8192)
    )
    table = MapTable(again + code + MAPS)
    modules = list(table.modules())
    assert 4 < len([m for m in modules if m.path == b"/bin/x" and m.offset == 0]) < 50
    assert 4 < len([m for m in modules if m.path == b"/bin/x" and m.executable]) < 50
    assert {m.path for m in modules} == {b"/bin/x", b"/usr/bin/x y", b"/tmp/a 00:00 0 b"}
    assert [m.path for m in table.distinct()] == [b"/bin/x", b"/usr/bin/x y", b"/tmp/a 00:00 0 b"]
    assert len(list(table.files())) == 1000 + 512 + 3


@given(st.binary(max_size=400), st.integers(0, 1 << 65), st.sampled_from([0, MANY]))
def test_map_table_takes_any_bytes(data: bytes, address: int, lookups: int) -> None:
    table = MapTable(data)
    table.expect(lookups)
    table.find(address)
    table.writable(address)
    list(table.files())
    list(table.modules())
    list(table.distinct())
    table.named(b"[vdso]")


def test_mountinfo() -> None:
    text = (
        b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
        b"37 35 0:300 / /a\\040-\\040b rw - fuse.sshfs x rw\n"
        b"38 35 bad / / rw - ext4 x rw\n"
    )
    assert parse_mountinfo(text) == {b"62:00": b"ext3", b"00:12c": b"fuse.sshfs"}


@given(st.binary(max_size=300))
def test_mountinfo_takes_any_bytes(data: bytes) -> None:
    parse_mountinfo(data + b" 1:2 / x - y z")


def test_file_systems_of_this_process() -> None:
    proc = os.open(f"/proc/self/task/{os.getpid()}", os.O_RDONLY)
    try:
        systems = FileSystems(proc)
        fd = os.memfd_create("test")
        device = os.fstat(fd).st_dev
        os.close(fd)
        text = b"%02x:%02x" % (os.major(device), os.minor(device))
        assert systems.opens(text) and not systems.pages_answer(text)
        assert not systems.opens(b"ff:ff") and systems.type_of(b"ff:ff") == b""
    finally:
        os.close(proc)


def test_file_system_outside_of_a_chroot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of a process in a chroot ends at its root directory; init's does not."""
    tables = {
        b"mountinfo": b"2 1 0:5 / /proc rw - proc proc rw\n",
        b"/proc/1/mountinfo": b"1 0 254:0 / / rw - ext4 /dev/vda rw\n",
    }
    monkeypatch.setattr(filesystems, "read_at", lambda fd, name, limit: tables.get(name, b""))
    systems = FileSystems(-1)
    assert systems.opens(b"fe:00") and systems.pages_answer(b"fe:00")
    assert systems.type_of(b"00:05") == b"proc" and not systems.opens(b"00:05")


KEPT = """
import os, subprocess
from usercrash.capture import filesystems
from usercrash.capture.filesystems import FileSystems, keep_mounts, parse_mountinfo

reads = []
parse = filesystems.parse_mountinfo
filesystems.parse_mountinfo = lambda text: reads.append(text) or parse(text)
keep_mounts()

def kind():
    proc = os.open(f"/proc/self/task/{os.getpid()}", os.O_RDONLY)
    device = os.stat(PLACE).st_dev
    found = FileSystems(proc).type_of(b"%02x:%02x" % (os.major(device), os.minor(device)))
    os.close(proc)
    return found

before = kind()
for _ in range(3):
    assert kind() == before
assert len(reads) == 1, len(reads)
subprocess.run(["mount", "-t", "tmpfs", "none", PLACE], check=True)
assert kind() == b"tmpfs"
child = os.fork()
if child == 0:
    assert kind() == b"tmpfs"
    subprocess.run(["umount", PLACE], check=True)
    assert kind() == before
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert kind() == before
assert len(reads) == 3, len(reads)
"""


def test_a_table_of_mounts_that_is_kept_follows_them(tmp_path: Path) -> None:
    """Also where a child that inherited it has been told of the change first."""
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs a mount namespace of its own")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", f"PLACE = {str(tmp_path)!r}\n{KEPT}"],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_own_sockets_only() -> None:
    import socket

    with socket.socket(socket.AF_INET) as mine, socket.socket(socket.AF_INET) as other:
        for one in (mine, other):
            one.bind(("127.0.0.1", 0))
            one.listen()
        inode = b"%d" % os.fstat(mine.fileno()).st_ino
        proc = os.open(f"/proc/self/task/{os.getpid()}", os.O_RDONLY)
        notes = NoteLog()
        facts = socket_facts(proc, {inode}, float("inf"), notes)
        os.close(proc)
    assert list(facts) == [b"@net/tcp"] and notes == []
    heading, line = facts[b"@net/tcp"].strip().split(b"\n")
    assert b"local_address" in heading and line.split()[9] == inode


def test_read_at_stops_at_its_limit() -> None:
    assert len(read_at(None, b"/proc/self/maps", 100)) == 100
    assert read_at(None, b"/proc/self/maps", 1 << 20).endswith(b"\n")


def test_read_record_takes_all_of_a_record() -> None:
    status = read_record(None, b"/proc/self/status")
    assert status.startswith(b"Name:") and status.endswith(b"\n")
    assert len(read_record(None, b"/proc/self/status", 100)) == 100


def test_read_record_of_a_file_that_is_longer_than_one_read(tmp_path: Path) -> None:
    file = tmp_path / "long"
    file.write_bytes(b"0123456789" * 10_000)
    assert read_record(None, os.fsencode(file)) == b"0123456789" * 10_000
    assert read_record(None, os.fsencode(file), 50_000) == b"0123456789" * 5_000


def test_both_ends_of_a_long_file(tmp_path: Path) -> None:
    file = tmp_path / "long"
    lines = [b"line %06d\n" % number for number in range(100_000)]
    file.write_bytes(b"".join(lines))
    name = os.fsencode(file)
    assert read_ends(None, name, 2 << 20, float("inf")) == (b"".join(lines), True)
    text, whole = read_ends(None, name, 200_000, float("inf"))
    kept = text.splitlines(keepends=True)
    assert not whole and kept[0] == lines[0] and kept[-1] == lines[-1]
    assert set(kept) <= set(lines) and 150_000 < len(text) < 300_000
    text, whole = read_ends(None, name, 2 << 20, 0.0)
    assert not whole and lines[0] in text and lines[-1] not in text
    empty = tmp_path / "empty"
    empty.touch()
    assert read_ends(None, os.fsencode(empty), 100, 0.0) == (b"", True)
