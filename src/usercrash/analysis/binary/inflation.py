"""Compressed sections (System V gABI, "Section Compression"; GNU's `.zdebug_*`), and how much of
them one analysis inflates: a few kilobytes of zeros may claim to be gigabytes.

All of an analysis shares one allowance, which `allow` begins; what is asked for beyond it is not
there. Where none was begun each section is bounded for itself.
"""

from __future__ import annotations

import zlib
from typing import Any

from .allowance import Allowance

MAX_INFLATED = 256 << 20  # what one compressed section may grow to
ANALYSIS_BYTES = 640 << 20
NOT_INFLATED = f"more than {ANALYSIS_BYTES >> 20} MiB in all when inflated: some were not read"
ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD = 1, 2
_MAX_WINDOW = 128 << 20  # what one zstd frame may want to look back
_FIRST = 1 << 20  # what is inflated at least

_inflation = Allowance("inflation")
allow = _inflation.begin  # bytes, for all that this context inflates from now on
charge = _inflation.take  # bytes: whether there are so many


class Inflater:
    """Compressed contents, inflated as far as they are asked for."""

    def __init__(self, data: memoryview, kind: int, size: int = MAX_INFLATED) -> None:
        """`kind` is one of ELFCOMPRESS_*; `size` is what the data claim to grow to (no more is
        believed)."""
        self._size = min(size, MAX_INFLATED)
        self._kind = kind
        self._input: bytes | memoryview = data
        self._stream: Any = None
        self._done = kind not in (ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD)
        self._output = b""

    def upto(self, end: int) -> bytes:
        """The first bytes, at least `end` if there are so many; fewer where they do not inflate,
        or the allowance is used up."""
        have = len(self._output)
        if end > have and not self._done:
            wanted = min(max(end, 2 * have, _FIRST), self._size) - have
            if wanted <= 0 or not charge(wanted):
                self._done = True
                return self._output
            more = self._more(wanted)
            charge(len(more) - wanted)  # (what was not used is given back)
            self._output = self._output + more if have else more
            self._done = len(more) < wanted or len(self._output) >= self._size
        return self._output

    def _more(self, wanted: int) -> bytes:
        try:
            if self._kind == ELFCOMPRESS_ZLIB:
                if self._stream is None:
                    self._stream = zlib.decompressobj()
                more: bytes = self._stream.decompress(self._input, wanted)
                self._input = self._stream.unconsumed_tail
                return more
            return self._more_of_zstd(wanted)
        except zlib.error:
            return b""

    def _more_of_zstd(self, wanted: int) -> bytes:
        import zstandard

        try:
            if self._stream is None:
                inflater = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
                self._stream = inflater.stream_reader(self._input)
            more: bytes = self._stream.read(wanted)
            return more
        except zstandard.ZstdError:
            return b""


def inflate(data: memoryview, kind: int, limit: int) -> bytes:
    """At most `limit` bytes of compressed section contents (ELFCOMPRESS_*); b"" if they are not."""
    return Inflater(data, kind, limit).upto(limit)
