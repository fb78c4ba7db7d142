"""The names that a just-in-time compiler left for perf, of a process with a /tmp of its own.

Where /tmp and pid are ours the analysis finds /tmp/perf-PID.map by itself. That of a container, or
of a service with a private /tmp, is out of reach once the process is gone: it is looked up while
the process is held, by descriptors and on file systems that are known to answer, and read when the
process has been let go.
"""

from __future__ import annotations

from .own_files import Lookup, own_pid, read_own

FACT = b"@perf_map"
MAX_BYTES = 4 << 20
_ANONYMOUS, _MEMFD = b"xp 00000000 00:00 0", b" /memfd:"  # in lines of maps


def find_perf_map(proc: int, facts: dict[bytes, bytes]) -> int:
    """An O_PATH descriptor of the map that a process may have left in its own /tmp;
    -1 where there is none, or none that may be touched. OSError for what cannot be looked up.

    `facts` has its status and maps.
    """
    pid = own_pid(facts)
    if not pid or not makes_code(facts.get(b"maps", b"")):
        return -1
    return Lookup(proc).below(b"root", (b"tmp", b"perf-%b.map" % pid))


def read_perf_map(fd: int, facts: dict[bytes, bytes]) -> bytes:
    """The content of a file that was found, if it is the process's own; b"" for any other.
    OSError as the system says it."""
    return read_own(fd, facts, MAX_BYTES)


def makes_code(maps: bytes) -> bool:
    """Whether code of a process lies in no file, by its table of mappings."""
    at = maps.find(_ANONYMOUS)
    while at >= 0:
        path = maps[at + len(_ANONYMOUS) : maps.find(b"\n", at)].strip()
        if not path or path.startswith(b"[anon"):  # (not the vdso)
            return True
        at = maps.find(_ANONYMOUS, at + 1)
    at = maps.find(_MEMFD)
    while at >= 0:
        permissions = maps[maps.rfind(b"\n", 0, at) + 1 : at].split(b" ", 2)[1:2]
        if permissions and b"x" in permissions[0]:
            return True
        at = maps.find(_MEMFD, at + 1)
    return False
