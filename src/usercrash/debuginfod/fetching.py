"""The step between two analyses: what the first one missed is fetched for the second one.

One child, as unprivileged as an analysis, speaks to the servers. It has the files that it
fills and nothing of the crash; it checks what came, and its parent only gives the files names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ..analysis.core.file_search import Place
from ..analysis.sandbox import SandboxLimits, Send, reap_children, run_isolated
from ..config import Config
from ..errors import UsercrashError
from .cache import FAILURE_SECONDS, KINDS, MISS_SECONDS, DebugCache

MAX_FILES = 16  # for one crash
_MAX_ROWS = 64  # that an analysis tells of
_MAX_BUILD_ID = 64
_KEPT, _NOWHERE, _NOBODY = b"kept", b"nowhere", b"nobody"
_GRACE = 1.0  # seconds in which the child tells what it did until its end

Missing = tuple[str, bytes]  # kind, build-id


@dataclass(slots=True)
class Fetched:
    """How many files came (whoever fetched them), what went wrong, a line for each server's or
    file's trouble, and what nobody was asked for, because it was too much for the time."""

    count: int = 0
    trouble: list[str] = field(default_factory=list)
    left_out: tuple[Missing, ...] = ()


def cache_path(config: Config) -> str:
    """The directory of our own cache."""
    return os.path.join(config.paths.cache, "debuginfod")


def cache_places(config: Config, others: Sequence[str] = ()) -> tuple[Place, ...]:
    """Those of the caches that are there, ours first, open: an analysis may not reach them."""
    found = []
    for path in (cache_path(config), *others):
        with suppress(OSError):
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            found.append(Place(os.fsencode(path), fd))
    return tuple(found)


def encode_missing(missing: Sequence[Missing]) -> bytes:
    """What an analysis missed, as it tells its parent: kind and length, a byte each, build-id."""
    rows = [row for row in missing if row[0] in KINDS and 2 <= len(row[1]) <= _MAX_BUILD_ID]
    return b"".join(
        bytes((KINDS.index(kind), len(build_id))) + build_id for kind, build_id in rows[:_MAX_ROWS]
    )


def decode_missing(data: bytes) -> tuple[Missing, ...]:
    """The same back; what is no such row ends it."""
    found: list[Missing] = []
    at = 0
    while at + 2 <= len(data) and len(found) < _MAX_ROWS:
        kind, size = data[at], data[at + 1]
        build_id = data[at + 2 : at + 2 + size]
        if kind >= len(KINDS) or not 2 <= size <= _MAX_BUILD_ID or len(build_id) < size:
            break
        found.append((KINDS[kind], build_id))
        at += 2 + size
    return tuple(found)


def deadline(config: Config) -> float:
    """When all that is done for what servers may have must end that begins now (monotonic
    seconds)."""
    return time.monotonic() + config.symbols.debuginfod_total_seconds


def fetch(
    missing: Sequence[Missing],
    servers: Sequence[str],
    config: Config,
    *,
    wait: bool,
    until: float | None = None,
    since_ns: int = 0,
) -> Fetched:
    """Get what is missing from the servers, in their order, into our cache, before `until`
    (monotonic seconds; None: `deadline` from now). What others have fetched since `since_ns` (since
    the epoch; 0: since now), when it was missed, counts as well.

    Without `wait` nothing is done while another process fetches. Never raises for what servers
    do; a cache that cannot be written to is trouble, too.
    """
    done = Fetched()
    until = deadline(config) if until is None else until
    since_ns = since_ns or time.time_ns()
    try:
        cache = DebugCache(cache_path(config))
        with cache.lock(until if wait else 0.0) as ours:
            wanted = [row for row in dict.fromkeys(missing) if not cache.known(row[1], row[0])]
            done.count = sum(cache.came(row[1], row[0], since_ns) for row in set(missing))
            if wait and servers and not ours:
                done.left_out = tuple(wanted)
            if ours and wanted and servers:
                _fetch(cache, wanted, list(servers), config, until, done)
                cache.shrink(config.symbols.debuginfod_cache_mb << 20)
    except OSError as error:
        done.trouble.append(f"{cache_path(config)}: {error.strerror}")
    if done.left_out:
        files = ", ".join(
            f"{kind} {build_id.hex()}" for kind, build_id in done.left_out[:MAX_FILES]
        )
        done.trouble.append(f"no time left to fetch {len(done.left_out)} files: {files}")
    return done


def _fetch(
    cache: DebugCache,
    wanted: list[Missing],
    servers: list[str],
    config: Config,
    until: float,
    done: Fetched,
) -> None:
    from .client import preload  # (what speaks HTTP takes long to import)

    preload(servers)
    wanted, later = wanted[:MAX_FILES], wanted[MAX_FILES:]
    files: list[tuple[str, int]] = []
    try:
        files.extend(cache.begin(build_id, kind) for kind, build_id in wanted)
        most = config.symbols.debuginfod_mb << 20
        now = time.monotonic()
        until = min(until, now + config.symbols.debuginfod_seconds)
        seconds = max(0.0, until - now) + _GRACE
        limits = SandboxLimits(seconds, user=config.analysis.user, file_size=most)
        fds = [fd for _, fd in files]

        def work(send: Send) -> None:
            _ask(wanted, fds, servers, most, until, send)

        result = run_isolated(work, fds, limits)
        reap_children()  # nobody has the files open for writing any more
        told = [result.sections.get(_section(number), b"") for number in range(len(wanted))]
        if result.failure and b"" in told:  # it ended over this one
            told[told.index(b"")] = _NOBODY
        for (kind, build_id), (part, fd), what in zip(wanted, files, told, strict=True):
            _settle(cache, kind, build_id, part, fd, what, done)
        if result.failure:
            done.trouble.append(f"fetching debug files: {result.failure}")
        late = [row for row, what in zip(wanted, told, strict=True) if not what]
        done.left_out = (*late, *later)
    finally:
        for part, fd in files:
            os.close(fd)
            with suppress(FileNotFoundError):
                os.unlink(part)


def _settle(
    cache: DebugCache, kind: str, build_id: bytes, part: str, fd: int, told: bytes, done: Fetched
) -> None:
    """Give a file that came its name; remember that one was asked for in vain."""
    if told == _KEPT:
        cache.keep(part, fd, build_id, kind)
        done.count += 1
    elif told:
        cache.missed(build_id, kind, MISS_SECONDS if told == _NOWHERE else FAILURE_SECONDS)
    if told not in (b"", _KEPT, _NOWHERE, _NOBODY):
        done.trouble.append(told.decode("utf-8", "backslashreplace")[:500])


def _ask(
    wanted: list[Missing], fds: list[int], servers: list[str], most: int, until: float, send: Send
) -> None:
    """The child's work: each file from the first server that has it, as long as there is time."""
    from .client import NotThereError, check, download

    alive = list(servers)
    for number, (kind, build_id) in enumerate(wanted):
        if time.monotonic() >= until:
            return
        trouble = _NOWHERE if alive else _NOBODY
        for server in list(alive):
            os.ftruncate(fds[number], 0)
            os.lseek(fds[number], 0, os.SEEK_SET)
            try:
                download(server, build_id, kind, fds[number], most, until)
                why = check(fds[number], build_id, kind)
            except NotThereError:
                continue
            except UsercrashError as error:
                why = error.message
                if isinstance(error.__cause__, OSError):
                    alive.remove(server)  # it is not there, or it hangs
            if not why:
                trouble = _KEPT
                break
            trouble = f"debuginfod server {server}: {kind} {build_id.hex()}: {why}".encode()
        send(_section(number), trouble)


def _section(number: int) -> bytes:
    return b"%04d" % number
