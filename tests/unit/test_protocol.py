"""The packets: what goes out comes in, and nothing else is taken."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash import protocol
from usercrash.errors import FormatError
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid


def an_event(name: bytes = b"prog") -> CrashEvent:
    return CrashEvent(SOURCE_PIPE, 1234567890, Pid(41), Tid(42), 11, 1, name, b"b" * 36, 77)


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@given(st.binary(max_size=protocol.MAX_NAME))
def test_announcement_survives_any_name(name: bytes) -> None:
    packet = protocol.decode(protocol.encode_announce(protocol.Announce(an_event(name), b"k" * 16)))
    assert isinstance(packet, protocol.Announce)
    assert packet.key == b"k" * 16
    assert packet.event.to_fields() == an_event(name).to_fields()


def test_a_longer_name_is_cut_not_refused() -> None:
    data = protocol.encode_announce(protocol.Announce(an_event(b"x" * 10_000), b"k" * 16))
    packet = protocol.decode(data)
    assert isinstance(packet, protocol.Announce)
    assert packet.event.name == b"x" * protocol.MAX_NAME
    assert len(data) < protocol.MAX_PACKET


def test_the_other_packets_survive() -> None:
    grant = protocol.decode(protocol.encode_grant(protocol.Grant(b"i" * 16, 1 << 40, 2, 3, 4, 5.5)))
    assert isinstance(grant, protocol.Grant)
    assert (grant.id, grant.max_memory, grant.crashing_stack) == (b"i" * 16, 1 << 40, 2)
    assert (grant.other_stack, grant.max_files, grant.seconds) == (3, 4, 5.5)
    refuse = protocol.decode(protocol.encode_refuse(protocol.Refuse("no space")))
    assert isinstance(refuse, protocol.Refuse) and refuse.reason == "no space"
    files = protocol.decode(protocol.encode_files(protocol.Files(250, 7)))
    assert isinstance(files, protocol.Files) and (files.first, files.count) == (250, 7)
    done = protocol.decode(protocol.encode_complete(protocol.Complete(9, 1, 1 << 33, 5)))
    assert isinstance(done, protocol.Complete)
    assert (done.files, done.report_size, done.core_size, done.hold_ns) == (9, 1, 1 << 33, 5)
    free = protocol.decode(protocol.encode_released(protocol.Released(protocol.FACTS_ONLY)))
    assert isinstance(free, protocol.Released) and free.flags == protocol.FACTS_ONLY


@given(st.binary(max_size=300), st.integers(0, 9))
def test_garbage_is_a_format_error_or_a_packet(body: bytes, kind: int) -> None:
    for data in (body, protocol.HEADER.pack(protocol.MAGIC, kind) + body):
        try:
            packet = protocol.decode(data)
        except FormatError:
            continue
        assert type(packet).__name__ in (
            "Released",
            "Announce", "Grant", "Refuse", "Files", "Complete", "Status", "State",
        )  # fmt: skip


def test_descriptors_travel(pair: tuple[socket.socket, socket.socket], tmp_path: object) -> None:
    left, right = pair
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(protocol.FILES_PER_PACKET)]
    protocol.send(left, protocol.encode_files(protocol.Files(0, len(fds))), fds)
    data, received = protocol.receive(right)
    packet = protocol.decode(data)
    assert isinstance(packet, protocol.Files) and packet.count == len(received) == len(fds)
    assert all(os.fstat(fd).st_rdev == os.fstat(fds[0]).st_rdev for fd in received)
    assert not any(os.get_inheritable(fd) for fd in received)
    protocol.close_all(fds)
    protocol.close_all(received)


def test_an_oversized_packet_is_refused_and_its_descriptors_closed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    left, right = pair
    before = len(os.listdir("/proc/self/fd"))
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    protocol.send(left, b"x" * (protocol.MAX_PACKET + 1), fds)
    with pytest.raises(FormatError, match="larger"):
        protocol.receive(right)
    protocol.close_all(fds)
    assert len(os.listdir("/proc/self/fd")) == before


def test_more_descriptors_than_allowed_leave_none_open(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    left, right = pair
    before = len(os.listdir("/proc/self/fd"))
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(253)]
    protocol.send(left, b"x", fds)
    with pytest.raises(FormatError):
        protocol.receive(right)
    protocol.close_all(fds)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_end_is_an_empty_packet(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    left.close()
    assert protocol.receive(right) == (b"", [])
    with pytest.raises(BrokenPipeError):
        protocol.send(right, b"x")
