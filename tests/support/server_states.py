"""What a server may tell of itself."""

from __future__ import annotations

from usercrash.server_state import Counts, Hold, Queue, State, Workers

HOSTILE = "evil\x1b[31m\n\u202ename"

STATE = State(
    pid=4711,
    since_ns=1_767_323_045_000_000_000,
    version="9.9",
    listening=True,
    workers=Workers(waiting=2, busy=1, wanted=3),
    queue=Queue(waiting=5, running=2, crashes=2000, megabytes=1024),
    counts=Counts(announced=12, complete=9, incomplete=1, lost=1, duplicate=1, missed=3),
    holds=[
        Hold(time_ns=1_767_323_046_000_000_000, pid=10, name="worker", source="coredump_socket",
             hold_ns=3_120_000),
        Hold(time_ns=1_767_323_045_000_000_000, pid=11, name=HOSTILE, source="core_pattern",
             hold_ns=21_000_000),
    ],
)  # fmt: skip
