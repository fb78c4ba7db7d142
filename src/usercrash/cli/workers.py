"""Several processes that do the same work on numbered things, for a verb that has many of them.

(No thread anywhere: each of the processes forks for each analysis.)
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

_HEAD = struct.Struct("<Q")  # the number of a thing, the bytes that follow


@dataclass(slots=True)
class _Worker:
    pid: int
    link: socket.socket
    number: int = -1  # what it works on


def in_parallel(
    count: int, at_once: int, work: Callable[[int], bytes]
) -> Iterator[tuple[int, bytes | None]]:
    """`work` for each number below `count`, in processes of which at most `at_once` run.

    Gives (number, what it gave) as they come; None for one whose process died of it.
    """
    left = iter(range(count))
    selector = selectors.DefaultSelector()
    workers: list[_Worker] = []
    try:
        for number in left:
            worker = _start(work, workers)
            workers.append(worker)
            selector.register(worker.link, selectors.EVENT_READ, worker)
            _give(worker, number)
            if len(workers) >= at_once:
                break
        while workers:
            for key, _ in selector.select():
                worker = key.data
                answer = _answer(worker.link)
                yield worker.number, answer
                number = next(left, -1)
                if answer is None or number < 0:
                    selector.unregister(worker.link)
                    workers.remove(worker)
                    _end(worker)
                if answer is None and number >= 0:
                    worker = _start(work, workers)
                    workers.append(worker)
                    selector.register(worker.link, selectors.EVENT_READ, worker)
                if number >= 0:
                    _give(worker, number)
    finally:
        selector.close()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)  # our child, not reaped yet
            _end(worker)


def _start(work: Callable[[int], bytes], others: list[_Worker]) -> _Worker:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        for worker in others:
            worker.link.close()
        _serve(work, theirs)
    theirs.close()
    return _Worker(pid, ours)


def _serve(work: Callable[[int], bytes], link: socket.socket) -> None:
    """The worker; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        while len(head := link.recv(_HEAD.size, socket.MSG_WAITALL)) == _HEAD.size:
            answer = work(_HEAD.unpack(head)[0])
            link.sendall(_HEAD.pack(len(answer)))
            link.sendall(answer)
        code = 0
    except OSError:
        code = 2  # nobody is there to be told
    finally:
        os._exit(code)


def _give(worker: _Worker, number: int) -> None:
    worker.number = number
    with suppress(OSError):  # it died: that shows when its answer is read
        worker.link.sendall(_HEAD.pack(number))


def _answer(link: socket.socket) -> bytes | None:
    try:
        head = link.recv(_HEAD.size, socket.MSG_WAITALL)
        if len(head) < _HEAD.size:
            return None
        size = _HEAD.unpack(head)[0]
        data = link.recv(size, socket.MSG_WAITALL) if size else b""
        return data if len(data) == size else None
    except OSError:
        return None


def _end(worker: _Worker) -> None:
    worker.link.close()
    os.waitpid(worker.pid, 0)
