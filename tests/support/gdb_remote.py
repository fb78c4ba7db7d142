"""A client of the gdb remote protocol, as far as qemu's user mode speaks it (GDB manual,
appendix "Remote Serial Protocol")."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

SECONDS = 60
_POLL_SECONDS = 0.005
# Descriptions of what NT_PRSTATUS has not.
_BESIDE = re.compile("sve|system|vfp|neon|fpu|csr|vector|altivec|spe|vsx|virt|gs|m-profile")


class Remote:
    """One program under qemu, stopped at its first instruction. RuntimeError for odd answers."""

    def __init__(self, path: Path) -> None:
        self._socket = _connect(path)
        self._rest = b""
        self.ask("qSupported:xmlRegisters=i386;qXfer:features:read+")

    def close(self) -> None:
        """Let go of it; qemu ends."""
        self._socket.close()

    def ask(self, text: str) -> bytes:
        """The answer to a packet."""
        data = text.encode()
        self._socket.sendall(b"$%b#%02x" % (data, sum(data) & 255))
        while True:
            while b"#" not in self._rest or len(self._rest) < self._rest.index(b"#") + 3:
                more = self._socket.recv(1 << 16)
                if not more:
                    raise RuntimeError(f"qemu ended at {text[:40]}")
                self._rest += more
            packet, self._rest = self._rest.split(b"#", 1)
            self._rest = self._rest[2:]
            packet = packet.lstrip(b"+")
            self._socket.sendall(b"+")
            if packet[:1] == b"$":
                return packet[1:]

    def document(self, what: str) -> bytes:
        """All of a qXfer object; b"" where there is none."""
        result = b""
        while True:
            answer = self.ask(f"qXfer:{what}:{len(result):x},400")
            if answer[:1] not in (b"l", b"m"):
                return b""
            result += _unescaped(answer[1:])
            if answer[:1] == b"l":
                return result

    def register_numbers(self) -> dict[str, int]:
        """The registers that the target's description names, and their numbers."""
        numbers: dict[str, int] = {}
        following = 0
        pending = ["target.xml"]
        while pending:
            text = self.document(f"features:read:{pending.pop(0)}").decode()
            parts = re.findall(r'<xi:include href="([^"]+)"', text)
            pending += [part for part in parts if not _BESIDE.search(part)]
            for tag in re.findall(r"<reg [^>]*>", text):
                fields = dict(re.findall(r'(\w+)="([^"]*)"', tag))
                following = int(fields.get("regnum", following))
                numbers.setdefault(fields["name"], following)
                following += 1
        return numbers

    def register(self, number: int) -> bytes:
        """A register's bytes as the target has them; b"" if it has none of this number."""
        answer = self.ask(f"p{number:x}")
        return b"" if answer[:1] in (b"", b"E") else bytes.fromhex(answer.decode())

    def threads(self) -> list[str]:
        """The ids of all threads, as the protocol writes them."""
        found: list[str] = []
        answer = self.ask("qfThreadInfo")
        while answer[:1] == b"m":
            found += answer[1:].decode().split(",")
            answer = self.ask("qsThreadInfo")
        return found

    def run(self, signal: int = 0) -> tuple[int, str]:
        """Go on (with a signal, gdb's number); (gdb's signal, thread) of the next stop."""
        answer = self.ask(f"C{signal:02x}" if signal else "c").decode()
        # (qemu 7.2 was seen to write a space for the T, when another thread's stop came with it)
        if answer[:1] not in "TS" and not answer.startswith(" 10thread:"):
            raise RuntimeError(f"the program ended: {answer}")
        thread = re.search(r"thread:([^;]+);", answer)
        return int(answer[1:3], 16), thread[1] if thread else "1"


def _connect(path: Path) -> socket.socket:
    deadline = time.monotonic() + SECONDS
    while True:
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(SECONDS)
        try:
            found.connect(str(path))
            return found
        except OSError:
            found.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _unescaped(data: bytes) -> bytes:
    return re.sub(rb"\}(.)", lambda match: bytes([match[1][0] ^ 0x20]), data, flags=re.DOTALL)
