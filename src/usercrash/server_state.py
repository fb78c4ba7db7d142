"""What a running server tells of itself: the JSON in protocol.State.

Fields are only ever added, with a default: a program of another version reads what it knows.
"""

from __future__ import annotations

import msgspec

from .errors import FormatError

# What fits into one packet, with its header (protocol.MAX_PACKET).
MAX_JSON = 4000
MAX_HOLDS = 10
MAX_NAME = 48


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """Behind the kernel's socket: how many wait for a crash, have one in hand, are configured."""

    waiting: int = 0
    busy: int = 0
    wanted: int = 0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Crashes that are collected: how many wait for their analysis, how many are being analysed,
    and how much room is configured. `full`: of a further one only the facts are kept."""

    waiting: int = 0
    running: int = 0
    crashes: int = 0
    megabytes: int = 0
    full: bool = False


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Crashes since the server started. `missed`: never delivered, as the kernel's log says;
    None where that cannot be read. `overwritten`: records of it that could not be read in time."""

    announced: int = 0
    complete: int = 0
    incomplete: int = 0
    facts_only: int = 0
    lost: int = 0
    duplicate: int = 0
    missed: int | None = None
    overwritten: int = 0


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A process that was held: when it was let go (nanoseconds since the epoch), its name and
    its entrance (the words of `event.source`), for how many nanoseconds."""

    time_ns: int
    pid: int
    name: str
    source: str
    hold_ns: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `since_ns` is when the server started; `listening` whether it listens on the
    kernel's socket; `holds` the last ones, newest first."""

    pid: int
    since_ns: int
    version: str = ""
    listening: bool = False
    workers: Workers = msgspec.field(default_factory=Workers)
    queue: Queue = msgspec.field(default_factory=Queue)
    counts: Counts = msgspec.field(default_factory=Counts)
    holds: list[Hold] = msgspec.field(default_factory=list)


def encode(state: State) -> bytes:
    """As JSON that fits into a packet; the oldest holds go first."""
    data = msgspec.json.encode(state)
    for kept in range(len(state.holds) - 1, -1, -1):
        if len(data) <= MAX_JSON:
            break
        data = msgspec.json.encode(msgspec.structs.replace(state, holds=state.holds[:kept]))
    return data


def decode(data: bytes) -> State:
    """The inverse; FormatError says what is wrong."""
    try:
        return msgspec.json.decode(data, type=State)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise FormatError(str(error)) from error
