"""A real server tells its state; one that is stopped does not, and that is said."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.kernel import SECONDS, Installation, command
from usercrash import protocol
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.server_state import State, decode


@pytest.fixture
def place() -> Iterator[Installation]:
    with Installation("[server]\nworkers = 1\n") as found:
        found.start_server()
        yield found


def state_of(place: Installation) -> State:
    done = command("status", "--json", config=place.config)
    assert done.stderr == ""
    return decode(json.dumps(json.loads(done.stdout)["server"]).encode())


def test_a_crash_is_counted_and_its_hold_shown(place: Installation) -> None:
    before = state_of(place)
    assert place.server is not None and before.pid == place.server.pid
    assert before.counts.announced == 0 and before.holds == []
    pid = os.getpid()
    event = CrashEvent(SOURCE_PIPE, time.time_ns(), Pid(pid), Tid(pid), 11, 1, b"odd\x1b\n", b"", 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(place.run / protocol.SOCKET_NAME))
        announce = protocol.Announce(event, os.urandom(16))
        protocol.send(client, protocol.encode_announce(announce))
        _, fds = protocol.receive(client)
        os.write(fds[0], b"a report\n")
        done = protocol.Complete(0, 9, 0, 4_200_000)
        protocol.send(client, protocol.encode_complete(done))
        protocol.close_all(fds)
    deadline = time.monotonic() + SECONDS
    while not (state := state_of(place)).holds:
        assert time.monotonic() < deadline
    assert state.counts.announced == 1
    [hold] = state.holds
    assert (hold.pid, hold.name, hold.hold_ns) == (pid, "odd\x1b\n", 4_200_000)
    assert hold.source == SOURCE_PIPE


def test_a_stopped_server(place: Installation) -> None:
    server = place.server
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    try:
        done = command("status", config=place.config)
    finally:
        server.send_signal(signal.SIGCONT)
    assert done.returncode == 1 and done.stderr == ""
    assert f"the server (pid {server.pid}) does not answer (in 2 s)" in done.stdout
    assert state_of(place).pid == server.pid
