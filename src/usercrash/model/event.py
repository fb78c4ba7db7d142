"""The crash as it was announced: who, when, which signal, through which entrance."""

from __future__ import annotations

from .types import Pid, Tid

# How the event came to us; the words stand in JSON as `event.source`.
SOURCE_PIPE = "core_pattern"
SOURCE_SOCKET = "coredump_socket"
SOURCE_DEBUGGER = "debugger"
SOURCE_RUN = "run"
SOURCE_CORE = "core_file"

# %d of core_pattern: who may see the dump. The kernel never offers 0.
DUMP_MODE_UNKNOWN = -1
DUMP_MODE_USER = 1
DUMP_MODE_ROOT = 2


class CrashEvent:
    """One crash (or one live dump), in the ids of the initial pid namespace.

    `time_ns` is CLOCK_REALTIME in nanoseconds, taken when we first heard of it;
    `start_ticks` is field 22 of /proc/PID/stat (clock ticks after boot, 0 when
    unknown) and, with `boot_id` and `pid`, identifies the process for ever.
    `signal` is 0 for a live dump. `name` is what `%e` said: any bytes, never
    to be taken for comm. `tid` 0 means that the thread is not known yet.
    """

    __slots__ = (
        "source", "time_ns", "pid", "tid", "signal", "dump_mode", "name",
        "boot_id", "start_ticks",
    )  # fmt: skip

    def __init__(
        self,
        source: str,
        time_ns: int,
        pid: Pid,
        tid: Tid,
        signal: int,
        dump_mode: int = DUMP_MODE_UNKNOWN,
        name: bytes = b"",
        boot_id: bytes = b"",
        start_ticks: int = 0,
    ) -> None:
        self.source = source
        self.time_ns = time_ns
        self.pid = pid
        self.tid = tid
        self.signal = signal
        self.dump_mode = dump_mode
        self.name = name
        self.boot_id = boot_id
        self.start_ticks = start_ticks

    def to_fields(self) -> dict[bytes, bytes]:
        """The event as text fields, for the minicore's note."""
        return {
            b"source": self.source.encode(),
            b"time_ns": b"%d" % self.time_ns,
            b"pid": b"%d" % self.pid,
            b"tid": b"%d" % self.tid,
            b"signal": b"%d" % self.signal,
            b"dump_mode": b"%d" % self.dump_mode,
            b"name": self.name,
            b"boot_id": self.boot_id,
            b"start_ticks": b"%d" % self.start_ticks,
        }

    @classmethod
    def from_fields(cls, fields: dict[bytes, bytes]) -> CrashEvent:
        """The inverse of `to_fields`; missing or odd fields read as 0 or empty."""

        def number(key: bytes) -> int:
            try:
                return int(fields.get(key, b"0"))
            except ValueError:
                return 0

        return cls(
            fields.get(b"source", b"").decode("ascii", "replace"),
            number(b"time_ns"),
            Pid(number(b"pid")),
            Tid(number(b"tid")),
            number(b"signal"),
            number(b"dump_mode"),
            fields.get(b"name", b""),
            fields.get(b"boot_id", b""),
            number(b"start_ticks"),
        )
