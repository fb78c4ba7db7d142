"""Takes the connections of clients and workers, and keeps their deadlines."""

from __future__ import annotations

import math
import os
import selectors
import socket
import time

from ..peer_credentials import peer_ids
from .incident import Desk, Incident, State


class Reception:
    """Accepts on the clients' socket; each connection becomes an incident."""

    def __init__(
        self, listener: socket.socket, selector: selectors.BaseSelector, desk: Desk
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._desk = desk
        self._incidents: set[Incident] = set()
        self._told = False  # that no descriptor is left
        selector.register(listener, selectors.EVENT_READ, self._accept)

    @property
    def collecting(self) -> int:
        """How many crashes are being collected at the moment."""
        return sum(one.state is State.COLLECTING for one in self._incidents)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: those in work will give some back
                if not self._told:
                    self._desk.say(f"accept: {error.strerror}")
                self._told = True
                time.sleep(0.01)
                return
            self._told = False
            pid = peer(sock)
            if pid is None:
                sock.close()
                continue
            sock.setblocking(False)
            # Taken out of the epoll set before it is closed: a child that was forked a moment ago
            # still has it, and so would the set, under a number that is another's by then.
            incident = Incident(sock, pid, self._desk, self._selector.unregister)
            self._incidents.add(incident)
            self._selector.register(
                sock, selectors.EVENT_READ, lambda incident=incident: self._progress(incident)
            )
            self._progress(incident)  # the announcement is usually there already

    def _progress(self, incident: Incident) -> None:
        """Let the incident take what came, and see where it stands afterwards."""
        incident.on_readable()
        if incident.state is State.HANDED_BACK:
            self._selector.register(
                incident.pidfd, selectors.EVENT_READ, lambda: self._settle(incident)
            )
        elif incident.state is State.DONE:
            self._incidents.discard(incident)

    def _settle(self, incident: Incident) -> None:
        self._selector.unregister(incident.pidfd)
        self._incidents.discard(incident)
        incident.settle()

    def next_due(self) -> float | None:
        """Monotonic seconds of the earliest deadline; None without one."""
        first = min((incident.deadline for incident in self._incidents), default=math.inf)
        return None if first == math.inf else first

    def act(self, now: float) -> None:
        """Give up those that are past their deadlines."""
        for incident in [one for one in self._incidents if now > one.deadline]:
            if incident.state is State.HANDED_BACK:
                self._settle(incident)
                continue
            self._incidents.discard(incident)
            what = "request" if incident.state is State.CONNECTED else "completion notice"
            incident.give_up(f"no {what} within its time")


def peer(sock: socket.socket) -> int | None:
    """The peer's process id if it is root or has our own uid; None for anybody else."""
    try:
        pid, uid = peer_ids(sock)
    except OSError:
        return None
    return pid if uid in (0, os.geteuid()) else None
