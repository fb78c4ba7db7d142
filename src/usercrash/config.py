"""The configuration: one TOML file, the same for all programs.

`--config FILE`, else the environment's USERCRASH_CONFIG, else
/etc/usercrash/usercrash.toml. Every key has a default; docs/usercrash.toml shows them all.
The cold client reads none of it: what it needs comes in the server's answer.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from .errors import UsageError

DEFAULT_PATH = "/etc/usercrash/usercrash.toml"
VARIABLE = "USERCRASH_CONFIG"
MAX_BYTES = 1 << 20

# `description` completes "expected …" in an error.
AbsolutePath = Annotated[str, Meta(pattern=r"\A/[^\x00]*\Z", description="an absolute path")]
RunPath = Annotated[
    str,
    # sockaddr_un holds 107 bytes (unix(7)); the server binds /crash.sock.new behind it.
    Meta(
        pattern=r"\A/[^\x00]*\Z",
        max_length=92,
        description="an absolute path of at most 92 characters",
    ),
]
Slots = Annotated[int, Meta(ge=1, le=9999, description="an integer from 1 to 9999")]
Seconds = Annotated[
    float, Meta(gt=0, le=3600, description="a number of seconds above 0, at most 3600")
]
Workers = Annotated[
    int, Meta(ge=0, le=64, description="an integer from 0 (one for each processor) to 64")
]
Megabytes = Annotated[
    int, Meta(ge=1, le=1 << 20, description="a number of megabytes from 1 to 1048576")
]
Kilobytes = Annotated[
    int, Meta(ge=4, le=1 << 20, description="a number of kilobytes from 4 to 1048576")
]
Collectors = Annotated[int, Meta(ge=0, le=64, description="an integer from 0 to 64")]
MostCollectors = Annotated[int, Meta(ge=1, le=256, description="an integer from 1 to 256")]
Crashes = Annotated[int, Meta(ge=1, le=100_000, description="an integer from 1 to 100000")]
EntranceWish = Annotated[
    str, Meta(pattern=r"\A(auto|socket|pipe)\Z", description='"auto", "socket" or "pipe"')
]
Files = Annotated[int, Meta(ge=1, le=100_000, description="an integer from 1 to 100000")]
Url = Annotated[str, Meta(pattern=r"\Ahttps?://[^\s\x00-\x1f\x7f/?#@]+(/[^\s\x00-\x1f\x7f?#]*)?\Z")]
Servers = Annotated[
    list[Url],
    Meta(max_length=8, description="a list of at most 8 URLs, http://… or https://…"),
]
YesOrNo = Annotated[bool, Meta(description="true or false")]
Directories = Annotated[
    list[AbsolutePath],
    Meta(max_length=64, description="a list of at most 64 absolute paths of directories"),
]
User = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9_.][A-Za-z0-9_.-]*\$?\Z", description="the name of an account")
]


def _default_cache() -> str:
    """The system's cache for root; anybody else cannot write there and has an own one."""
    if os.geteuid() == 0:
        return "/var/cache/usercrash"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not cache.startswith("/"):  # a relative one is to be passed over (XDG base directories)
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "usercrash")


class Paths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things are: reports; the server's socket; its event log; symbol caches."""

    reports: AbsolutePath = "/var/log/usercrashes"
    run: RunPath = "/run/usercrash"
    state: AbsolutePath = "/var/lib/usercrash"
    cache: AbsolutePath = msgspec.field(default_factory=_default_cache)


class Reports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`slots` reports are kept, then the oldest is replaced."""

    slots: Slots = 50


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The entrance from the kernel; how many workers wait behind its socket, how many there
    may be in a storm; how long a client may take: for its request, for the capture."""

    entrance: EntranceWish = "auto"
    workers: Collectors = 2
    max_workers: MostCollectors = 16
    request_seconds: Seconds = 1.0
    capture_seconds: Seconds = 10.0


class Queue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Crashes that wait for their analysis: how many, their bytes on disk, how many ELF files
    are kept open for them, and how long."""

    crashes: Crashes = 2000
    megabytes: Megabytes = 1024
    files: Files = 1000
    files_seconds: Seconds = 120.0


class Analysis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of one analysis, how many run at once, and as whom (else as nobody)."""

    seconds: Seconds = 30.0
    workers: Workers = 0
    user: User = "usercrash"
    memory_mb: Megabytes = 4096


class Symbols(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Servers that are asked for missing debug files, in this order; how long fetching may take
    for one crash, how long all that is done for it (waiting for others who fetch, a second
    analysis), how much for one file, and what is kept of it all. How much room SymCaches may
    take."""

    debuginfod: Servers = []
    debuginfod_seconds: Seconds = 30.0
    debuginfod_total_seconds: Seconds = 60.0
    debuginfod_mb: Megabytes = 512
    debuginfod_cache_mb: Megabytes = 4096
    symcache_mb: Megabytes = 1024


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where source files are, for the lines around frames: nothing outside of them is shown."""

    directories: Directories = []


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a process is taken, and for how long it is held at most."""

    max_memory_mb: Megabytes = 64
    crashing_stack_mb: Megabytes = 16
    other_stack_kb: Kilobytes = 256
    max_files: Files = 1000
    seconds: Seconds = 5.0


class Variables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether arguments and local variables of the crashing thread's functions are shown."""

    enabled: YesOrNo = True


class Python(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of Python programs: whether the values of local variables are kept and shown."""

    variables: YesOrNo = False


class Terminal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What reports look like on a terminal; `links`: files are links (OSC 8)."""

    links: YesOrNo = True


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it; frozen."""

    paths: Paths = msgspec.field(default_factory=Paths)
    reports: Reports = msgspec.field(default_factory=Reports)
    server: Server = msgspec.field(default_factory=Server)
    queue: Queue = msgspec.field(default_factory=Queue)
    analysis: Analysis = msgspec.field(default_factory=Analysis)
    symbols: Symbols = msgspec.field(default_factory=Symbols)
    source: Source = msgspec.field(default_factory=Source)
    terminal: Terminal = msgspec.field(default_factory=Terminal)
    capture: Capture = msgspec.field(default_factory=Capture)
    variables: Variables = msgspec.field(default_factory=Variables)
    python: Python = msgspec.field(default_factory=Python)


def load_config(path: str | None) -> Config:
    """The configuration in the file `path`, or in the one that applies without it.

    The default file may be absent, one that was named may not. UsageError names the
    key, its file and line, and what is allowed.
    """
    named = path or os.environ.get(VARIABLE) or None
    try:
        data = _read(named or DEFAULT_PATH)
    except FileNotFoundError:
        if named is None:
            return Config()
        raise UsageError(f"there is no configuration file {named}") from None
    return parse_config(data, named or DEFAULT_PATH)


def parse_config(data: bytes, place: str) -> Config:
    """The configuration in the bytes of a file that errors call `place`."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"not UTF-8 text at {place}:{line}") from error
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"nested too deeply: {place}") from error
    except ValueError as error:  # TOMLDecodeError, and numbers that Python refuses
        raise UsageError(f"not valid TOML: {error}: {place}") from error
    for name, table in tables.items():
        _check_table(name, table, _Where(text, place))
    return msgspec.convert(tables, Config)


class _Where:
    """Finds the line of a key, for errors."""

    def __init__(self, text: str, place: str) -> None:
        self._lines = text.split("\n")
        self._place = place

    def at(self, table: str, key: str = "") -> str:
        """`FILE:LINE` of the key in its table (of the table, if it is written otherwise)."""
        found = self._line(table, key)
        return f"{self._place}:{found}" if found else self._place

    def _line(self, table: str, key: str) -> int:
        def quoted(name: str) -> str:
            return rf"""["']?{re.escape(name)}["']?"""

        header = re.compile(rf"\s*\[\[?\s*{quoted(table)}\s*[\].]")
        other = re.compile(rf"\s*{quoted(table)}\s*[=.]")
        plain = re.compile(rf"\s*{quoted(key)}\s*[=.]")
        dotted = re.compile(rf"\s*{quoted(table)}\s*\.\s*{quoted(key)}\s*[=.]")
        inside, found = False, 0
        for number, line in enumerate(self._lines, 1):
            if line.lstrip().startswith("["):
                inside = header.match(line) is not None
                found = found or (number if inside else 0)
            elif key and ((inside and plain.match(line)) or dotted.match(line)):
                return number
            elif other.match(line):
                found = found or number
        return found


def _check_table(name: str, table: object, where: _Where) -> None:
    """UsageError for the first thing in the table that Config would not take."""
    tables = get_type_hints(Config)
    if name not in tables:
        homes = [known for known, kind in tables.items() if name in get_type_hints(kind)]
        hint = (
            f"it belongs under [{homes[0]}]"
            if homes
            else _suggestion(name, [f"[{known}]" for known in tables], "tables")
        )
        raise UsageError(f"{name}: unknown table at {where.at(name)}", hint)
    if not isinstance(table, dict):
        raise UsageError(
            f"{name}: expected a table [{name}], got {_shown(table)} at {where.at(name)}"
        )
    keys = get_type_hints(tables[name], include_extras=True)
    for key, value in table.items():
        if key not in keys:
            hint = _suggestion(key, list(keys), f"keys of [{name}]")
            raise UsageError(f"{name}.{key}: unknown key at {where.at(name, key)}", hint)
        try:
            msgspec.convert(value, keys[key])
            # Comparisons with a NaN are all false, so no bound stops it.
            wrong = value != value
        except msgspec.ValidationError:
            wrong = True
        if wrong:
            raise UsageError(
                f"{name}.{key}: expected {_allowed(keys[key])}, got {_shown(value)}"
                f" at {where.at(name, key)}"
            )


def _allowed(annotation: Any) -> str:
    """What a key may hold, in words."""
    (meta,) = annotation.__metadata__
    return str(meta.description)


def _suggestion(name: str, known: list[str], kind: str) -> str:
    """A hint: the known name that was probably meant, else all of them."""
    bare = {word.strip("[]"): word for word in known}
    close = difflib.get_close_matches(name.lower(), bare, n=1)
    return f"did you mean {bare[close[0]]}?" if close else f"{kind}: {', '.join(known)}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read(path: str) -> bytes:
    """The bytes of a regular file of a sane size; FileNotFoundError if it is not there."""
    try:
        # A FIFO in its place must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"configuration {path} is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read configuration {path}: {why}") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"configuration {path} is larger than {MAX_BYTES >> 20} MiB")
    return data
