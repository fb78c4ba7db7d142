"""What each open descriptor is, from the kernel's own texts and from hostile ones."""

from __future__ import annotations

import os
import socket

from hypothesis import given
from hypothesis import strategies as st

from usercrash.analysis.facts.open_files import flag_words, open_files, parse_fdinfo
from usercrash.analysis.facts.sockets import read_sockets
from usercrash.analysis.facts.texts import Texts
from usercrash.model.notes import NoteLog
from usercrash.report import OpenFile

TCP = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    b"inode\n"
    b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  0 0 111 1 0\n"
    b"   1: 0100007F:1F90 0200000A:C350 01 00000005:00000007 00:00000000 00000000  0 0 112 1 0\n"
)
TCP6 = (
    b"  sl  local_address ...\n"
    b"   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A "
    b"00000000:00000000 00:00000000 00000000 0 0 113 1 0\n"
    b"   1: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000200007F:0051 01 "
    b"00000000:00000000 00:00000000 00000000 0 0 114 1 0\n"
)
UNIX = (
    b"Num       RefCount Protocol Flags    Type St Inode Path\n"
    b"0000000000000000: 00000002 00000000 00010000 0001 01 115 /run/a b\n"
    b"0000000000000000: 00000002 00000000 00000000 0005 03 116\n"
)


def files(facts: dict[bytes, bytes]) -> dict[int, OpenFile]:
    notes = NoteLog()
    return {file.fd: file for file in open_files(facts, Texts(notes), notes)}


def sockets_of(numbers: range) -> dict[bytes, bytes]:
    facts = {b"fd/%d" % n: b"socket:[%d]" % n for n in numbers}
    return facts | {b"@net/tcp": TCP, b"@net/tcp6": TCP6, b"@net/unix": UNIX}


def test_sockets() -> None:
    found = files(sockets_of(range(111, 118)))
    assert [found[n].detail for n in range(111, 118)] == [
        "tcp 127.0.0.1:8080 LISTEN, 3 connections waiting",
        "tcp 127.0.0.1:8080 -> 10.0.0.2:50000 ESTABLISHED, 7 bytes unread, 5 bytes unsent",
        "tcp6 [::1]:80 LISTEN",
        "tcp6 [127.0.0.1]:80 -> [127.0.0.2]:81 ESTABLISHED",
        "unix stream /run/a b LISTEN",
        "unix seqpacket connected",
        "",
    ]


def test_kinds() -> None:
    targets: dict[bytes, tuple[bytes, str, str]] = {
        b"/var/log/x": (b"pos:\t12\nflags:\t0102001\n", "file", ""),
        b"/var/lib": (b"pos:\t0\nflags:\t0300000\n", "directory", ""),
        b"/dev/null": (b"flags:\t02\n", "device", ""),
        b"/dev/shm/x": (b"flags:\t02\n", "file", ""),
        b"/memfd:x (deleted)": (b"flags:\t02\n", "memfd", ""),
        b"pipe:[7]": (b"flags:\t01\n", "pipe", "write end"),
        b"anon_inode:[eventfd]": (b"eventfd-count:               2a\n", "eventfd", "count 42"),
        b"anon_inode:[eventpoll]": (
            b"tfd:        3 events:       19 data:  3\ntfd:        5 events: 1\n",
            "epoll",
            "watches 3 5",
        ),
        b"anon_inode:[timerfd]": (
            b"clockid: 1\nticks: 2\nit_value: (0, 500000000)\nit_interval: (1, 0)\n",
            "timerfd",
            "monotonic, due in 0.5 s, then every 1 s, 2 unread",
        ),
        b"anon_inode:[signalfd]": (b"sigmask:\t0000000000004002\n", "signalfd", "SIGINT SIGTERM"),
        b"anon_inode:inotify": (
            b"inotify wd:1 ino:2\ninotify wd:2 ino:3\n",
            "inotify",
            "2 watches",
        ),
        b"anon_inode:[pidfd]": (b"Pid:\t12\n", "pidfd", "process 12"),
        b"anon_inode:[io_uring]": (b"", "io_uring", ""),
        b"anon_inode:[unheard of]": (b"", "anon_inode", ""),
        b"net:[4026531840]": (b"", "namespace", ""),
        b"strange": (b"", "other", ""),
    }
    facts: dict[bytes, bytes] = {}
    for number, (target, (info, _, _)) in enumerate(targets.items()):
        facts |= {b"fd/%d" % number: target, b"fdinfo/%d" % number: info}
    found = files(facts)
    for number, (target, (_, kind, detail)) in enumerate(targets.items()):
        assert (found[number].kind, found[number].detail) == (kind, detail), target
    assert (found[0].position, found[0].flags) == (12, "write, append")
    assert found[4].deleted and found[4].target == "/memfd:x"


def test_flags() -> None:
    assert flag_words(0o2004002) == "read-write, nonblock, cloexec"
    assert flag_words(0o10000000) == "path"
    assert flag_words(0o4010001) == "write, sync"
    assert flag_words(None) == ""
    assert parse_fdinfo(b"flags:\t09\npos: x\n").flags is None


def test_own_sockets_as_the_kernel_lists_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        inode = os.fstat(server.fileno()).st_ino
        with open("/proc/self/net/tcp", "rb") as table:
            found = read_sockets({b"@net/tcp": table.read()})
        port = server.getsockname()[1]
        assert found[inode].words() == f"tcp 127.0.0.1:{port} LISTEN".encode()


def test_many_files_are_bounded() -> None:
    notes = NoteLog()
    facts = {b"fd/%d" % n: b"/" + b"\xff" * 4000 for n in range(2000)}
    result = open_files(facts, Texts(notes), notes)
    assert len(result) < 2000
    assert any("open files" in note.what for note in notes)


TOKENS = st.lists(
    st.sampled_from(
        [
            b"flags:",
            b"\t",
            b"\n",
            b"0",
            b"02",
            b"tfd:",
            b"it_value:",
            b"(",
            b",",
            b"9" * 30,
            b"sigmask:",
            b"Pid:",
            b"eventfd-count:",
            b"clockid:",
            b"0100007F:1F90",
            b":",
            b" ",
            b"zz",
            b"0A",
        ]
    )
).map(b"".join)
TARGETS = st.sampled_from(
    [
        b"socket:[1]",
        b"pipe:[1]",
        b"anon_inode:[eventfd]",
        b"anon_inode:[eventpoll]",
        b"/x (deleted)",
        b"anon_inode:[timerfd]",
        b"anon_inode:[signalfd]",
        b"anon_inode:inotify",
        b"pidfd:[1]",
        b"\xff\n",
    ]
)


@given(TARGETS, TOKENS, TOKENS, TOKENS)
def test_any_texts(target: bytes, info: bytes, table: bytes, other: bytes) -> None:
    facts = {
        b"fd/1": target,
        b"fdinfo/1": info,
        b"@net/tcp": table,
        b"@net/unix": other,
        b"@net/netlink": table,
        b"@net/packet": other,
        b"fd/x": b"",
        b"fd/99999999999": b"",
    }
    assert files(facts)[1].fd == 1


def test_directories_and_direct_files_of_arm() -> None:
    """O_DIRECT and O_DIRECTORY have each other's values there."""
    facts = {
        b"fd/3": b"/var/lib", b"fdinfo/3": b"pos:\t0\nflags:\t0140000\n",
        b"fd/4": b"/var/lib/data", b"fdinfo/4": b"pos:\t0\nflags:\t0600002\n",
    }  # fmt: skip
    notes = NoteLog()
    for machine in ("aarch64", "arm"):
        rows = open_files(facts, Texts(notes), notes, machine)
        assert [(row.kind, row.flags) for row in rows] == [
            ("directory", "read"), ("file", "read-write, direct"),
        ]  # fmt: skip
    assert [row.kind for row in open_files(facts, Texts(notes), notes)] == ["file", "directory"]
