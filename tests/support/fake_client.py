"""A client that does what it is told, step by step, and nothing else.

    python -m tests.support.fake_client RUN STEP…

Steps: announce, announce:NAME, grant (wait for it; prints the id), report:TEXT, core:FILE (the
ELF header last, as the real one), half-core:FILE (all but the header), files:N, file:PATH,
complete, complete-with:FILES, packet:HEX, oversized, fds:N (descriptors nobody asked for),
sleep:SECONDS, hang-up, barrier:FIFO (wait until somebody opens it for writing; before the
others, as the connection is made then), scribble (write into the files after everything),
say:TEXT (print a line), die. It prints a line for each wait, so that a test knows where it stands.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from usercrash import protocol
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid

if TYPE_CHECKING:
    from tests.support.kernel import Installation


class FakeClient:
    """Holds the connection and what the server gave."""

    def __init__(self, run: str, barrier: str) -> None:
        if barrier:
            print("waiting", flush=True)
            os.close(os.open(barrier, os.O_RDONLY))
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(f"{run}/{protocol.SOCKET_NAME}")
        self.fds: list[int] = []
        self.core_size = 0
        self.report_size = 0
        self.files = 0

    def announce(self, name: str = "fake") -> None:
        event = CrashEvent(
            SOURCE_PIPE, time.time_ns(), Pid(os.getpid()), Tid(os.getpid()), 11, 1,
            name.encode(), b"", 0,
        )  # fmt: skip
        announce = protocol.Announce(event, os.urandom(16))
        protocol.send(self.sock, protocol.encode_announce(announce))

    def grant(self, _: str) -> None:
        data, self.fds = protocol.receive(self.sock)
        packet = protocol.decode(data)
        print(packet.id.hex() if isinstance(packet, protocol.Grant) else "refused", flush=True)

    def report(self, text: str) -> None:
        self.report_size = os.write(self.fds[0], text.encode())

    def core(self, path: str) -> None:
        self.half_core(path)
        os.pwrite(self.fds[1], Path(path).read_bytes()[:64], 0)

    def half_core(self, path: str) -> None:
        data = Path(path).read_bytes()
        os.pwrite(self.fds[1], data[64:], 64)
        self.core_size = len(data)

    def send_files(self, count: str) -> None:
        self._send([os.open("/proc/self/exe", os.O_RDONLY) for _ in range(int(count))])

    def send_file(self, path: str) -> None:
        self._send([os.open(path, os.O_RDONLY)])

    def _send(self, fds: list[int]) -> None:
        packet = protocol.Files(self.files, len(fds))
        protocol.send(self.sock, protocol.encode_files(packet), fds)
        protocol.close_all(fds)
        self.files += len(fds)

    def complete(self, files: str = "") -> None:
        done = protocol.Complete(
            int(files or self.files), self.report_size, self.core_size, 1_000_000
        )
        protocol.send(self.sock, protocol.encode_complete(done))

    def packet(self, digits: str) -> None:
        self.sock.send(bytes.fromhex(digits))

    def oversized(self, _: str) -> None:
        self.sock.send(b"x" * 100_000)

    def unasked_fds(self, count: str) -> None:
        protocol.send(self.sock, b"x", [0] * int(count))

    def scribble(self, _: str) -> None:
        for fd in self.fds:
            os.pwrite(fd, b"SCRIBBLE" * 1000, 0)

    def sleep(self, seconds: str) -> None:
        time.sleep(float(seconds))

    def say(self, text: str) -> None:
        print(text, flush=True)

    def hang_up(self, _: str) -> None:
        self.sock.close()

    def die(self, _: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def client(place: Installation, *steps: str | Path) -> subprocess.Popen[str]:
    """A process that is such a client of the server at `place`."""
    from tests.support.kernel import SOURCES

    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_client", str(place.run), *map(str, steps)],
        env={"PYTHONPATH": f"{SOURCES}:{Path(__file__).parents[2]}", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def main() -> None:
    wanted = sys.argv[2:]
    barrier = ""
    if wanted[0].startswith("barrier:"):
        barrier = wanted.pop(0).partition(":")[2]
    client = FakeClient(sys.argv[1], barrier)
    steps: dict[str, Callable[[str], None]] = {
        "announce": client.announce, "grant": client.grant, "report": client.report,
        "core": client.core, "half-core": client.half_core, "files": client.send_files,
        "file": client.send_file, "complete": client.complete, "complete-with": client.complete,
        "packet": client.packet, "oversized": client.oversized, "fds": client.unasked_fds,
        "sleep": client.sleep, "hang-up": client.hang_up, "scribble": client.scribble,
        "say": client.say, "die": client.die,
    }  # fmt: skip
    for step in wanted:
        verb, _, argument = step.partition(":")
        if verb == "announce":
            client.announce(argument or "fake")
        else:
            steps[verb](argument)


if __name__ == "__main__":
    main()
