"""What the Java virtual machine wrote about its end: HotSpot's hs_err_pidN.log.

It is written before the machine aborts (VMError::report_and_die, prepare_log_file in
src/hotspot/share/utilities/vmError.cpp): as -XX:ErrorFile= says, else into the process's
directory, else into /tmp. Imported only where the maps show a libjvm.so.
"""

from __future__ import annotations

from ..model.types import TYPE_CHECKING
from .own_files import Lookup, own_pid, read_own

if TYPE_CHECKING:
    from collections.abc import Iterator

FACT = b"@hs_err"
LIBRARY = b"/libjvm.so"
MAX_BYTES = 256 << 10
_OPTION = b"-XX:ErrorFile="
_VARIABLES = (b"JDK_JAVA_OPTIONS=", b"JAVA_TOOL_OPTIONS=", b"_JAVA_OPTIONS=")
_BEGINNINGS = (
    b"#\n# A fatal error has been detected by the Java Runtime Environment:\n",
    b"#\n# There is insufficient memory for the Java Runtime Environment to continue.\n",
)
_ENDS = (b"\nRegisters:\n", b"\n---------------  P R O C E S S")  # of what is of use later
_MAX_NAME = 4096


def find_hs_err(proc: int, facts: dict[bytes, bytes]) -> list[int]:
    """O_PATH descriptors of the files that may be the one, the likeliest first. OSError for what
    cannot be looked up. `facts` has its status, cmdline and environ."""
    pid = own_pid(facts)
    if not pid or LIBRARY not in facts.get(b"maps", b""):
        return []
    lookup = Lookup(proc)
    found: list[int] = []
    failed: OSError | None = None
    for start, names in _places(facts, pid):
        try:
            fd = lookup.below(start, names)
        except OSError as error:
            failed = failed or error
            continue
        if fd >= 0:
            found.append(fd)
    if failed is not None and not found:
        raise failed
    return found


def _places(facts: dict[bytes, bytes], pid: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    pattern = _pattern(facts)
    if pattern:
        path = pattern.replace(b"%%", b"\0").replace(b"%p", pid).replace(b"\0", b"%")
        names = [name for name in path.split(b"/") if name not in (b"", b".")]
        yield b"root" if path.startswith(b"/") else b"cwd", names
    name = b"hs_err_pid%b.log" % pid
    yield b"cwd", [name]
    yield b"root", [b"tmp", name]


def _pattern(facts: dict[bytes, bytes]) -> bytes:
    """What -XX:ErrorFile= says; b"" where it is not given. The last of several counts, of the
    command line before that of the environment."""
    words = facts.get(b"cmdline", b"").split(b"\0")
    for variable in facts.get(b"environ", b"").split(b"\0"):
        if variable.startswith(_VARIABLES):
            words[:0] = variable.partition(b"=")[2].split()
    given = [word for word in words if word.startswith(_OPTION)]
    return given[-1].removeprefix(_OPTION)[:_MAX_NAME] if given else b""


def read_hs_err(fds: list[int], facts: dict[bytes, bytes]) -> bytes:
    """The part that tells of the error and its thread, of the first of the files that is the
    process's own; b"" where none is. OSError as the system says it."""
    for fd in fds:
        data = read_own(fd, facts, MAX_BYTES)
        if data.startswith(_BEGINNINGS) and b" pid=%b, " % own_pid(facts) in data[:4096]:
            for end in _ENDS:
                data = data.partition(end)[0]
            return data
    return b""
