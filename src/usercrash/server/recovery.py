"""After a restart: the crashes that the last server announced and did not close.

Where the collector had finished, its minicore lies in the spool and is analysed now (the ELF
files are opened by path, without privileges, and must have the right build-ids). Where it had
not, it may still be running and publish alone: it gets time for that, and then
what is known is published.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ..config import Config
from ..model.event import CrashEvent
from ..model.types import Pid, Tid
from ..pipeline import Crash
from ..storage.events import DUPLICATE, PUBLISHED, EventLog, Pending
from ..storage.store import Store
from .incident import ALONE_SECONDS, core_is_whole

INTERRUPTED = "the server was stopped while this crash was being collected"
UNKNOWN = "unknown"  # the entrance of a crash of which only the collected files are left


class Recovery:
    """The crashes that are still open from before; `submit` takes over what can go on."""

    def __init__(
        self, config: Config, store: Store, log: EventLog, submit: Callable[[Crash], None]
    ) -> None:
        self._config = config
        self._store = store
        self._log = log
        self._submit = submit
        self._open: dict[str, Pending] = {}
        self._published: set[str] = set()  # seen in the store, and whoever did it may close it
        self._unsure: set[str] = set()  # a claim would not be known, the slots have to be looked at

    def find(self) -> None:
        """Read the event log and the spool. OSError if that cannot be read."""
        found = {pending.id: pending for pending in self._log.pending()}
        nameless = set()
        for crash_id, time_ns in self._store.spooled().items():
            if crash_id not in found:  # the log had no room for it, or it was long ago
                event = CrashEvent(UNKNOWN, time_ns, Pid(0), Tid(0), 0)
                found[crash_id] = Pending(crash_id, bytes.fromhex(crash_id), event)
                nameless.add(crash_id)
        by_time = sorted(found.values(), key=lambda pending: pending.event.time_ns)
        self._open = {pending.id: pending for pending in by_time}
        self._unsure = set(self._open)  # also of claims that are too old to be kept
        self.look()
        self._unsure = nameless

    def ids(self) -> set[str]:
        """The crashes that are still waited for."""
        return set(self._open)

    def look(self) -> None:
        """Settle every crash that can be settled now, in their order."""
        claimed = {one.id for one in self._open.values() if self._store.claimed(one.key)}
        slots: dict[str, int] = {}
        if claimed or not self._unsure.isdisjoint(self._open):
            slots = {entry.id: entry.number for entry in self._store.entries()}
        for pending in list(self._open.values()):
            if pending.id in claimed or pending.id in slots:
                settled = self._closed(pending.id, slots.get(pending.id))
            else:
                settled = self._settled(pending)
            if settled:
                del self._open[pending.id]

    def _closed(self, crash_id: str, slot: int | None) -> bool:
        """Close what was published, unless whoever did it lives to close it: at the next look."""
        if crash_id not in self._published:
            self._published.add(crash_id)
            return False
        if self._log.is_open(crash_id):
            self._log.closed(crash_id, DUPLICATE if slot is None else PUBLISHED, slot)
        self._store.remove_spool(crash_id)
        return True

    def _settled(self, pending: Pending) -> bool:
        crash = Crash(pending.id, pending.key, pending.event, by_path=True)
        try:
            spool = self._store.open_spool(pending.id)
        except FileNotFoundError:
            spool = None
        if spool is not None:
            crash.report, crash.core = spool.report, spool.core
            if core_is_whole(spool.core):
                self._submit(crash)
                return True
        if time.time() < pending.event.time_ns / 1e9 + self._patience(spool is not None):
            if spool is not None:
                spool.close()
            return False
        if spool is not None:
            os.close(spool.core)
        crash.core = -1
        crash.interrupted = INTERRUPTED
        self._submit(crash)
        return True

    def _patience(self, has_spool: bool) -> float:
        """How long after the crash its client may still come to an end by itself, in seconds.

        With a spool, it was being collected for the server that is gone; without, its client
        was alone from the beginning.
        """
        if has_spool:
            return self._config.server.capture_seconds
        return ALONE_SECONDS
