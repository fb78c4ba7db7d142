"""One file from one server (debuginfod(8), "WEBAPI"), and whether it is what was asked for."""

from __future__ import annotations

import http.client
import os
import time
from urllib.parse import SplitResult, urljoin, urlsplit

from .. import __version__
from ..analysis.binary.elf_file import SHT_NOBITS, ElfFile
from ..analysis.core.opening import map_file
from ..descriptors import write_all
from ..elf.headers import PF_X
from ..errors import FormatError, UsercrashError
from .cache import EXECUTABLE

_CHUNK = 1 << 16
_MAX_REDIRECTS = 3
_STALL_SECONDS = 15.0  # in which a server must say something
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}


class NotThereError(Exception):
    """The server does not have the file."""


def preload(servers: list[str]) -> None:
    """Imports what a child would otherwise import after it has lost its rights."""
    import encodings.idna  # noqa: F401

    if any(server.startswith("https:") for server in servers):
        import ssl  # noqa: F401


def download(server: str, build_id: bytes, kind: str, out: int, limit: int, until: float) -> None:
    """Write the server's file into the descriptor `out`, at most `limit` bytes, before `until`
    (monotonic seconds).

    NotThereError if it has none; UsercrashError, with what went wrong, for anything else.
    """
    url = f"{server.rstrip('/')}/buildid/{build_id.hex()}/{kind}"
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            target = _request(urlsplit(url), out, limit, until)
            if not target:
                return
            url = _redirected(url, target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else ""
        raise UsercrashError(told or str(error) or type(error).__name__) from error
    raise UsercrashError("too many redirections")


def _request(url: SplitResult, out: int, limit: int, until: float) -> str:
    """Ask once; gives where the server sends us, "" if the file was written."""
    seconds = min(_STALL_SECONDS, until - time.monotonic())
    if seconds <= 0:
        raise UsercrashError("no time left")
    connection = _connection(url, seconds)
    try:
        headers = {"User-Agent": f"usercrash/{__version__}", "Accept-Encoding": "identity"}
        connection.request("GET", url.path, headers={**headers, "Connection": "close"})
        answer = connection.getresponse()
        if answer.status == 404:
            raise NotThereError
        if answer.status in _REDIRECTS:
            return answer.getheader("Location") or " "
        if answer.status != 200:
            raise UsercrashError(f"it answered with status {answer.status}")
        _copy(answer, out, limit, until)
    finally:
        connection.close()
    return ""


def _connection(url: SplitResult, seconds: float) -> http.client.HTTPConnection:
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    if url.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=seconds)
    import ssl

    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)


def _copy(answer: http.client.HTTPResponse, out: int, limit: int, until: float) -> None:
    announced = answer.length
    if announced is not None and announced > limit:
        raise UsercrashError(f"the file has {announced >> 20} MiB, the limit is {limit >> 20}")
    size = 0
    while chunk := answer.read1(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise UsercrashError(f"the file has more than {limit >> 20} MiB, which is the limit")
        if time.monotonic() > until:
            raise UsercrashError("it takes too long")
        write_all(out, chunk)
    if announced is not None and size < announced:
        raise UsercrashError(f"the answer ended after {size} of {announced} bytes")


def _redirected(url: str, target: str) -> str:
    """Where a redirection leads; UsercrashError if that is not the server that was configured."""
    new = urljoin(url, target.strip())
    if _origin(new) != _origin(url):
        raise UsercrashError(f"it redirects elsewhere, to {new[:200]!r}")
    return new


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def check(fd: int, build_id: bytes, kind: str) -> str:
    """Why a file is not what was asked for; "" if it is."""
    try:
        data = map_file(fd)
        if data is None:
            return "it sent nothing"
        elf = ElfFile(data)
        found = elf.build_id
    except (OSError, ValueError, FormatError):
        return "it sent no ELF file"
    if found != build_id:
        return f"its file has the build-id {found.hex() if found else 'none'}"
    size = os.fstat(fd).st_size
    ends = [row.offset + row.size for row in elf.sections if row.type != SHT_NOBITS]
    ends.append(elf.header.shoff + elf.header.shentsize * elf.header.shnum)
    if max(ends) > size:
        return "its file is cut short"
    code = [row for row in elf.loads if row.flags & PF_X and row.filesz]
    if kind == EXECUTABLE and (not code or any(row.offset + row.filesz > size for row in code)):
        return "its file holds no program"
    return ""
