"""SymCaches for all later crashes: what an analysis had to make for itself is made once more, each
in a sandbox that sees only the one ELF file, and published here."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from .analysis.core.file_search import HOST, SearchPlaces
from .analysis.sandbox import SandboxLimits, Send, run_isolated
from .config import Config

_MAX_NAMES = 64
_PART_SECONDS = 300.0  # what is left of somebody who was killed while it published


def sandbox_limits(config: Config) -> SandboxLimits:
    """What one analysis, and whatever else is done without privileges, may take."""
    return SandboxLimits(
        seconds=config.analysis.seconds,
        memory=config.analysis.memory_mb << 20,
        user=config.analysis.user,
    )


def share_symcaches(
    wanted: Sequence[int], files: Sequence[int], config: Config, places: SearchPlaces = HOST
) -> None:
    """Make SymCaches of these files for all later crashes: each in a sandbox that sees only the
    one file, published here. A file that others could have written is passed over."""
    from .analysis.symbols import symcache

    limits = sandbox_limits(config)
    owner = os.geteuid()
    most = config.symbols.symcache_mb << 20
    # Read by analyses that have become somebody else, whatever our own umask is.
    old = os.umask(0o022)
    try:
        os.makedirs(config.paths.cache, exist_ok=True)
        until = time.monotonic() + limits.seconds
        for index in wanted:
            if time.monotonic() > until:  # the rest is for later crashes
                break
            status = os.fstat(files[index])
            if symcache.shareable(status, owner, fd=files[index]):
                # (no room, or something else has its name: the next crash makes its own again)
                with suppress(OSError):
                    _make_symcache(files[index], status, limits, config.paths.cache, most, places)
        if wanted:
            shrink_cache(config.paths.cache, most)
    except OSError:
        return  # no right
    finally:
        os.umask(old)


def shrink_cache(directory: str, limit: int) -> None:
    """Remove the SymCaches that were used the longest time ago until `limit` bytes are left, and
    parts that nobody finished. OSError if the directory cannot be read.

    Any number of processes may do this at once, and use what is removed: it stays theirs as long as
    they have it mapped. (Use is seen by the time of access, which relatime brings up once a day.)
    """
    now, total = time.time(), 0
    found: list[tuple[float, int, str]] = []
    for entry in os.scandir(directory):
        part = entry.name.endswith(".part")
        if not part and not entry.name.endswith(".symbols"):
            continue
        with suppress(OSError):  # (another process was here)
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                continue
            if part and status.st_mtime + _PART_SECONDS < now:
                os.unlink(entry.path)
                continue
            size = max(status.st_size, status.st_blocks * 512)
            total += size
            if not part:
                used = max(status.st_atime, status.st_mtime)
                found.append((used, size, entry.path))
    for _, size, path in sorted(found):
        if total <= limit:
            break
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:
            continue
        total -= size


def share_by_path(names: bytes, config: Config, places: SearchPlaces = HOST) -> None:
    """The same for files of which only the names are known. Whoever opens them is as unprivileged
    as an analysis; then they are judged as any others."""
    from .analysis.core.opening import refuse_served

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def work(send: Send) -> None:
        for name in names.split(b"\0")[:_MAX_NAMES]:
            with suppress(OSError):  # gone meanwhile, and the next crash asks again
                fd = places.host_spot(name).open()
                if fd >= 0:
                    socket.send_fds(theirs, [b"f"], [fd])
                    os.close(fd)

    files: list[int] = []
    with ours, theirs:
        run_isolated(work, (theirs.fileno(),), sandbox_limits(config))
        theirs.close()
        while received := socket.recv_fds(ours, 1, 1)[1]:
            for fd in received:
                try:
                    refuse_served(fd)  # (who opened it may have been taken over)
                    files.append(fd)
                except OSError:
                    os.close(fd)
    share_symcaches(range(len(files)), files, config, places)
    for fd in files:
        os.close(fd)


def _make_symcache(
    fd: int,
    status: os.stat_result,
    limits: SandboxLimits,
    cache: str,
    most: int,
    places: SearchPlaces,
) -> None:
    """Publish what a child makes of a file: of its symbol table alone where the rest takes too
    much time or memory, so that not every later crash tries it again."""
    from .analysis.symbols import symcache

    owner = os.geteuid()

    def make(send: Send, largest: int = symcache.MAX_SHARED_BYTES) -> None:
        identity, container = symcache.make(fd, max_debug_bytes=largest, places=places, owner=owner)
        send(b"IDEN", identity)
        send(b"SYMC", container)

    keep = (fd, *places.descriptors())
    result = run_isolated(make, keep, limits)
    if b"SYMC" not in result.sections and result.failure:
        result = run_isolated(partial(make, largest=0), keep, limits)
    container = result.sections.get(b"SYMC", b"")
    if container and len(container) <= most // 4:  # one alone must not drive out the others
        symcache.publish(cache, status, result.sections[b"IDEN"], container)
