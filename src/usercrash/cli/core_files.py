"""A core file that somebody named, and the analysis of it with all that was said on the line."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import UsageError
from .common import printable
from .compressed_cores import decompressed, is_compressed

if TYPE_CHECKING:
    from ..analysis.core.file_search import Place
    from ..config import Config
    from ..isolated_analysis import Analysed, View


@dataclass(frozen=True, slots=True)
class Request:
    """How cores are to be analysed: the program, where files are looked for (directories are
    open), the debuginfod servers."""

    config: Config
    program: Place | None = None
    force_program: bool = False
    sysroot: Place | None = None
    debug_dirs: tuple[Place, ...] = ()
    servers: tuple[str, ...] = ()
    sources: tuple[Place, ...] = ()


def analyse_core(name: str, request: Request, view: View) -> tuple[Analysed, list[str]]:
    """The analysis of the core file of this name, with what servers have where that helps; and
    what went wrong with it or with servers.

    UsageError for a file that cannot be opened, UsercrashError for one that does not decompress.
    """
    from ..analysis.core.file_search import SearchPlaces
    from ..debuginfod.fetching import cache_places, deadline, fetch
    from ..isolated_analysis import Material, analyse_again, analyse_isolated

    config = request.config
    trouble: list[str] = []
    fd = _raw(open_file(name, "core file"), name, config, trouble)
    opened: list[Place] = []

    def places() -> SearchPlaces:
        caches = cache_places(config, [client_cache()])
        opened.extend(caches)
        return SearchPlaces(request.sysroot, request.debug_dirs, caches, sources=request.sources)

    began = time.time_ns()
    try:
        material = Material(
            os.urandom(16).hex(), fd, by_path=True, exe=request.program,
            force_exe=request.force_program, places=places(),
        )  # fmt: skip
        analysed = analyse_isolated(material, config, view)
        if analysed.missing and request.servers:
            until = deadline(config)
            fetched = fetch(
                analysed.missing, request.servers, config, wait=True, until=until, since_ns=began
            )
            trouble += fetched.trouble
            if fetched.count:
                material = replace(material, places=places(), left_out=fetched.left_out)
                again = analyse_again(material, config, view, until)
                if again.text and again.json:
                    analysed = again
                else:
                    trouble.append(f"the report is without what was fetched: {again.failure}")
        return analysed, trouble
    finally:
        for descriptor in (fd, *(place.fd for place in opened)):
            os.close(descriptor)


def share(analysed: Analysed, request: Request) -> None:
    """Keep for later what was made of files for this analysis alone: after its output is there."""
    if not analysed.names or request.sysroot is not None:
        return
    from ..analysis.core.file_search import SearchPlaces
    from ..debuginfod.fetching import cache_places
    from ..sharing import share_by_path

    caches = cache_places(request.config, [client_cache()])
    places = SearchPlaces(None, request.debug_dirs, caches)
    try:
        share_by_path(analysed.names, request.config, places)
    finally:
        for place in caches:
            os.close(place.fd)


def client_cache() -> str:
    """Where elfutils' debuginfod client keeps what it fetched for this user
    (debuginfod_find_debuginfo(3))."""
    named = os.environ.get("DEBUGINFOD_CACHE_PATH", "")
    if named:
        return named
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "debuginfod_client")


def servers_of(config: Config, named: tuple[str, ...]) -> tuple[str, ...]:
    """The debuginfod servers: those that were `named`, else the configuration's, then those of
    the user's DEBUGINFOD_URLS. UsageError for what is no URL of one."""
    import msgspec

    from ..config import Url

    words = os.environ.get("DEBUGINFOD_URLS", "").split()
    # (elfutils takes words there that are no URLs, as ima:enforcing)
    theirs = [word for word in words if word.startswith(("http://", "https://"))]
    servers = list(dict.fromkeys(named or (*config.symbols.debuginfod, *theirs)))
    for server in servers:
        try:
            msgspec.convert(server, Url)
        except msgspec.ValidationError:
            raise UsageError(f"not the URL of a debuginfod server: {printable(server)}") from None
    return tuple(servers[:8])


def open_file(path: str, what: str) -> int:
    """A descriptor of a regular file that is not empty; UsageError says what is wrong with it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot open {what} {path!r}: {reason(error)}") from error
    state = os.fstat(fd)
    if stat.S_ISREG(state.st_mode) and state.st_size:
        return fd
    os.close(fd)
    kind = "is empty" if stat.S_ISREG(state.st_mode) else "is not a regular file"
    raise UsageError(f"{what} {path} {kind}")


def open_program(path: str) -> Place:
    """The program that was named; UsageError for one that is no file, or no program."""
    from ..analysis.core.file_search import Place

    fd = open_file(path, "program")
    if os.pread(fd, 4, 0) != b"\x7fELF":
        os.close(fd)
        raise UsageError(f"program {path} is not an ELF file")
    return Place(os.fsencode(os.path.abspath(path)), fd)


def open_place(path: str) -> Place:
    """The directory that was named; UsageError for what is none.

    It is opened here, because an analysis may have less rights than who names it.
    """
    from ..analysis.core.file_search import Place

    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot open directory {path!r}: {reason(error)}") from error
    return Place(os.fsencode(os.path.abspath(path)), fd)


def reason(error: OSError | ValueError) -> str:
    """What the system says, without the name of the file."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _raw(fd: int, name: str, config: Config, trouble: list[str]) -> int:
    """`fd` itself, or for a compressed core a descriptor of its content (`fd` is closed)."""
    if not is_compressed(os.pread(fd, 16, 0)):
        return fd
    try:
        raw, why = decompressed(fd, name, config)
    finally:
        os.close(fd)
    if why:
        trouble.append(f"{printable(name)} does not decompress to its end: {printable(why)}")
    return raw
