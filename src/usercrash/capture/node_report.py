"""What Node.js wrote about itself: report.DATE.TIME.PID.THREAD.NUMBER.json, its diagnostic report.

With --report-on-fatalerror it is written before Node.js aborts, and a program may have it written
itself (process.report): into --report-directory, else into the process's directory, under the
name of --report-filename if there is one (src/node_report.cc). Imported only where the maps show
a Node.js.
"""

from __future__ import annotations

import os

from ..model.types import TYPE_CHECKING
from .own_files import Lookup, own_pid, read_own

if TYPE_CHECKING:
    from collections.abc import Iterator

FACT = b"@node_report"
MAX_BYTES = 256 << 10
_NAMES = (b"/node\n", b"/nodejs\n", b"/libnode.so")  # in lines of maps
_DIRECTORY = (b"--report-directory", b"--report-dir")
_FILE = (b"--report-filename",)
_OPTIONS = b"NODE_OPTIONS="
_END = b'"nativeStack":'  # environment and libraries follow, which are of no use
_MAX_ENTRIES = 10_000  # of a directory that are looked at
_MAX_FILES = 4
_MAX_NAME = 4096


def is_node(maps: bytes) -> bool:
    """Whether a process runs Node.js, by its table of mappings."""
    return any(name in maps for name in _NAMES)


def find_node_reports(proc: int, facts: dict[bytes, bytes]) -> list[int]:
    """O_PATH descriptors of the files that may be the process's, the last that was written before
    all others. OSError for what cannot be looked up. `facts` has its status, cmdline and
    environ."""
    pid = own_pid(facts)
    if not pid:
        return []
    lookup = Lookup(proc)
    found: list[int] = []
    failed: OSError | None = None
    for start, directory in _directories(facts):
        try:
            for name in _names(lookup, start, directory, pid, _option(facts, _FILE)):
                fd = lookup.below(start, [*directory, name])
                if fd >= 0:
                    found.append(fd)
        except OSError as error:
            failed = failed or error
    if failed is not None and not found:
        raise failed
    return found


def _directories(facts: dict[bytes, bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    given = _option(facts, _DIRECTORY)
    if given:
        names = [name for name in given.split(b"/") if name not in (b"", b".")]
        yield b"root" if given.startswith(b"/") else b"cwd", names
    yield b"cwd", []


def _option(facts: dict[bytes, bytes], names: tuple[bytes, ...]) -> bytes:
    """The value of an option, b"" where it is not given. The last of several counts, of the
    command line before that of the environment."""
    words: list[bytes] = []
    for variable in facts.get(b"environ", b"").split(b"\0"):
        if variable.startswith(_OPTIONS):
            words += variable.removeprefix(_OPTIONS).split()
    words += facts.get(b"cmdline", b"").split(b"\0")
    value = b""
    for at, word in enumerate(words):
        name, equals, text = word.partition(b"=")
        if name in names:
            value = text if equals else b"".join(words[at + 1 : at + 2])
    return value[:_MAX_NAME]


def _names(
    lookup: Lookup, start: bytes, directory: list[bytes], pid: bytes, given: bytes
) -> list[bytes]:
    """The names in a directory that are those of a process's reports, the last one first."""
    if given:
        return [given] if b"/" not in given else []
    place = lookup.below(start, directory)
    if place < 0:
        return []
    found: list[tuple[bytes, bytes, bytes, bytes]] = []
    try:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
        try:
            with os.scandir(fd) as entries:
                for _, entry in zip(range(_MAX_ENTRIES), entries, strict=False):
                    lookup.check()
                    words = os.fsencode(entry.name).split(b".")
                    if len(words) == 7 and (words[0], words[3], words[6]) == (
                        b"report", pid, b"json"
                    ):  # fmt: skip
                        found.append((words[1], words[2], words[5], os.fsencode(entry.name)))
        finally:
            os.close(fd)
    except NotADirectoryError:
        return []
    finally:
        os.close(place)
    return [one[-1] for one in sorted(found, reverse=True)[:_MAX_FILES]]


def read_node_report(fds: list[int], facts: dict[bytes, bytes]) -> bytes:
    """The head of the first of the files that is the process's own, as whole JSON; b"" where none
    is. OSError as the system says it."""
    pid = own_pid(facts)
    for fd in fds:
        data = read_own(fd, facts, MAX_BYTES)
        head, end, _ = data.partition(_END)
        head = head.strip()
        own = b'"processId": %b,' % pid in head or b'"processId":%b,' % pid in head
        # (within a text a quotation mark has a backslash before it)
        if end and own and head.startswith(b"{") and head.endswith(b","):
            return head[:-1] + b"}"
    return b""
