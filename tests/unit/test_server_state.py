"""What a server tells of itself: in one packet, and what it counts."""

from __future__ import annotations

import os

import pytest
from tests.support.server_states import STATE

from usercrash import protocol, server_state
from usercrash.errors import FormatError
from usercrash.server.tally import SAME_NS, Tally
from usercrash.server_state import Counts, Queue, Workers
from usercrash.storage.events import INCOMPLETE, LOST, PUBLISHED


def test_a_state_fits_into_its_packet() -> None:
    tally = Tally()
    for number in range(50):
        tally.announced(number)
        tally.held(number, b"\xff" * 64, "coredump_socket", 10**9)
    tally.held(51, b"last", "core_pattern", 5)
    state = tally.state(listening=True, workers=STATE.workers, queue=STATE.queue, watching=True)
    data = server_state.encode(state)
    assert protocol.encode_state(protocol.State(data))
    back = server_state.decode(data)
    assert 1 < len(back.holds) <= server_state.MAX_HOLDS and back.holds[0].name == "last"
    assert back.counts.announced == 50 and back.pid == os.getpid()


def test_a_state_of_another_version_is_read_as_far_as_it_is_known() -> None:
    assert server_state.decode(b'{"pid": 1, "since_ns": 2, "news": [1]}').pid == 1
    with pytest.raises(FormatError):
        server_state.decode(b'{"pid": "x", "since_ns": 2}')


def test_the_tally_counts() -> None:
    tally = Tally()
    tally.announced(7, 1000 * SAME_NS)
    tally.announced()
    for outcome in (PUBLISHED, PUBLISHED, INCOMPLETE, LOST):
        tally.closed(outcome)
    tally.missed(3)
    counts = tally.state(
        listening=False, workers=Workers(), queue=Queue(), watching=False, overwritten=4
    ).counts
    assert counts == Counts(
        announced=2, complete=2, incomplete=1, lost=1, missed=None, overwritten=4
    )
    assert tally.knows(7, 1000 * SAME_NS + SAME_NS)
    assert not tally.knows(7, 1002 * SAME_NS) and not tally.knows(8, 1000 * SAME_NS)
    for pid in range(10_000, 20_000):
        tally.announced(pid)
    assert not tally.knows(7, 1000 * SAME_NS)
