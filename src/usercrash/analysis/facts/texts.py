"""From the process's bytes to text that JSON can hold, within a size."""

from __future__ import annotations

import base64

from ...model.notes import NoteLog

# A path may have 4,096 bytes; nothing that a report shows needs more.
MAX_TEXT = 4096
MAX_NAME = 2000
MAX_RAW_BYTES = 512 << 10  # of all bytes kept beside their texts


class Texts:
    """Decodes bytes as UTF-8 and remembers, under the JSON pointer of the field, those
    that are not (`raw` becomes the report's `raw_bytes`). Long texts are cut and counted."""

    def __init__(self, notes: NoteLog) -> None:
        self.raw: dict[str, str] = {}
        self._notes = notes
        self._kept = 0
        self._cut = 0
        self._dropped = 0

    def text(self, data: bytes, pointer: str, limit: int = MAX_TEXT) -> str:
        """`data` as text: bytes that are not UTF-8 as `\\xNN`, at most `limit` characters
        of it, then `…`. `pointer` is the JSON pointer (RFC 6901) of the field."""
        if data.isascii():
            text = data.decode("ascii")
        else:
            try:
                text = data.decode()
            except UnicodeDecodeError:
                data = data[: limit + 1]
                text = data.decode("utf-8", "backslashreplace")
                self._keep(pointer, data)
        if len(text) <= limit:
            return text
        self._cut += 1
        return text[:limit] + "…"

    def _keep(self, pointer: str, data: bytes) -> None:
        if self._kept + len(data) > MAX_RAW_BYTES:
            self._dropped += 1
            return
        self._kept += len(data)
        self.raw[pointer] = base64.b64encode(data).decode("ascii")

    def finish(self) -> None:
        """Adds the notes about what was cut."""
        if self._cut:
            self._notes.add("report", f"{self._cut} long texts in full", "cut where they stand")
        if self._dropped:
            what = f"exact bytes of {self._dropped} texts that are not UTF-8"
            self._notes.add("report", what, f"more than {MAX_RAW_BYTES >> 10} KiB of them")


def json_cost(text: str) -> int:
    """The bytes that a text takes in JSON and text together, at most: control
    characters are six bytes there, everything else at most four."""
    if text.isascii() and text.isprintable():
        return 2 * len(text)
    return 12 * len(text)


def safe(text: str, limit: int = MAX_NAME) -> str:
    """Text that JSON can hold (no lone surrogates), at most `limit` characters, then `…`."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else text[:limit] + "…"
