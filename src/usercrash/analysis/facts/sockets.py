"""The tables of /proc/PID/net, as far as they tell of a process's own sockets.

Formats: Documentation/networking/proc_net_tcp.rst; net/unix/af_unix.c (unix_seq_show),
net/netlink/af_netlink.c, net/packet/af_packet.c.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .proc_texts import number

_INET = (b"tcp", b"tcp6", b"udp", b"udp6", b"raw", b"raw6", b"udplite", b"udplite6", b"icmp",
         b"icmp6")  # fmt: skip
# <net/tcp_states.h>
_TCP_STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
    "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE",
)  # fmt: skip
# <linux/net.h>: enum sock_type, socket_state; <linux/netlink.h>
_TYPES = {1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"}
_UNIX_STATES = {1: "unconnected", 2: "connecting", 3: "connected", 4: "disconnecting"}
# A program that binds an abstract name with the whole length of sockaddr_un has NULs at its
# end, which the kernel prints as @.
_ABSTRACT_PADDED = 100
_LISTENING = 1 << 16  # __SO_ACCEPTCON
_NETLINK = {0: "route", 2: "usersock", 4: "sock_diag", 6: "xfrm", 7: "selinux", 9: "audit",
            10: "fib_lookup", 11: "connector", 12: "netfilter", 15: "kobject_uevent",
            16: "generic", 21: "crypto"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket: protocol, its own and the other's address, its state. `path` is any bytes."""

    protocol: str
    local: bytes = b""
    remote: bytes = b""
    state: str = ""
    queues: str = ""

    def words(self) -> bytes:
        """`tcp 127.0.0.1:80 -> 10.0.0.1:5000 ESTABLISHED, 12 bytes unread`."""
        parts = [self.protocol.encode()]
        if self.local:
            parts.append(self.local)
        if self.remote:
            parts += [b"->", self.remote]
        if self.state:
            parts.append(self.state.encode())
        words = b" ".join(parts)
        return words + (b", " + self.queues.encode() if self.queues else b"")


def read_sockets(facts: dict[bytes, bytes]) -> dict[int, Socket]:
    """Sockets by inode, from the `@net/…` facts; lines that are not well-formed are passed over."""
    found: dict[int, Socket] = {}
    for name in _INET:
        for line in _rows(facts, name):
            _inet(name.decode(), line, found)
    for line in _rows(facts, b"unix"):
        _unix(line, found)
    for line in _rows(facts, b"netlink"):
        fields = line.split()
        inode = number(fields[9]) if len(fields) > 9 else None
        if inode is not None:
            unknown = fields[1].decode("ascii", "replace")
            family = _NETLINK.get(number(fields[1]) or 0, unknown)
            found[inode] = Socket(f"netlink {family}", b"port " + fields[2])
    for line in _rows(facts, b"packet"):
        fields = line.split()
        inode = number(fields[8]) if len(fields) > 8 else None
        if inode is not None:
            kind = _TYPES.get(number(fields[2]) or -1, "")
            found[inode] = Socket(f"packet {kind}".strip(), b"protocol 0x" + fields[3])
    return found


def _rows(facts: dict[bytes, bytes], name: bytes) -> list[bytes]:
    return [line for line in facts.get(b"@net/" + name, b"").split(b"\n")[1:] if line.strip()]


def _inet(protocol: str, line: bytes, found: dict[int, Socket]) -> None:
    fields = line.split()
    inode = number(fields[9]) if len(fields) > 9 else None
    if inode is None:
        return
    try:
        local, remote = _address(fields[1]), _address(fields[2])
        state = int(fields[3][:4], 16)
        unsent, _, unread = fields[4].partition(b":")
        waiting = [(int(unread[:16], 16), "unread"), (int(unsent[:16], 16), "unsent")]
    except ValueError:
        return
    listens = protocol.startswith("tcp") and state == 10
    words = ""
    if protocol.startswith("tcp"):
        words = _TCP_STATES[state] if 0 < state < len(_TCP_STATES) else f"state {state}"
    queues = [f"{count} bytes {what}" for count, what in waiting if count and not listens]
    if listens:
        remote = b""
        queues = [f"{waiting[0][0]} connections waiting"] if waiting[0][0] else []
    if remote in (b"0.0.0.0:0", b"[::]:0"):
        remote = b""
    found[inode] = Socket(protocol, local, remote, words, ", ".join(queues))


def _address(text: bytes) -> bytes:
    """`0100007F:1F90` as `127.0.0.1:8080`: the kernel prints 32-bit words in the machine's
    byte order, here little-endian. ValueError for anything else."""
    digits, _, port = text.partition(b":")
    data = bytes.fromhex(digits.decode("ascii"))
    if len(data) not in (4, 16):
        raise ValueError("neither an IPv4 nor an IPv6 address")
    data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    port_number = int(port[:8], 16)
    if len(data) == 4:
        return f"{ipaddress.IPv4Address(data)}:{port_number}".encode()
    address = ipaddress.IPv6Address(data)
    shown = address.ipv4_mapped or address
    return f"[{shown}]:{port_number}".encode()


def _unix(line: bytes, found: dict[int, Socket]) -> None:
    """Num RefCount Protocol Flags Type St Inode [Path]; the path may hold anything but \\n."""
    fields = line.split(None, 7)
    inode = number(fields[6]) if len(fields) > 6 else None
    if inode is None:
        return
    try:
        flags, kind, state = (int(field[:8], 16) for field in fields[3:6])
    except ValueError:
        return
    words = "LISTEN" if flags & _LISTENING else _UNIX_STATES.get(state, "")
    path = fields[7] if len(fields) > 7 else b""
    if path.startswith(b"@") and len(path) >= _ABSTRACT_PADDED:
        path = path.rstrip(b"@") or b"@"
    found[inode] = Socket(f"unix {_TYPES.get(kind, str(kind))}", path, b"", words)
