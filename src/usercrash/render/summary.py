"""What groups of equal crashes are shown by: a key and a few words of one report."""

from __future__ import annotations

from dataclasses import dataclass

from ..report import Report
from .frames import base_name
from .layout import clean

SHOWN_FRAMES = 4
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """`key` is that of the report's fingerprint; `frames` are the innermost functions of it."""

    key: str
    signal: str
    program: str
    frames: tuple[str, ...]


def summary(report: Report) -> Summary:
    """The summary of a report."""
    signal = report.signal.name if report.signal is not None else ""
    program = base_name(report.process.exe) or report.process.comm
    found = report.fingerprint
    frames = found.frames[:SHOWN_FRAMES] if found is not None else []
    return Summary(
        found.key if found is not None else "",
        clean(signal), clean(program)[:_MAX_NAME],
        tuple(clean(name)[:_MAX_NAME] for name in frames),
    )  # fmt: skip


def encode_summary(found: Summary) -> bytes:
    """As bytes: the fields with a NUL between."""
    fields = (found.key, found.signal, found.program, *found.frames)
    return b"\0".join(field.encode("utf-8", "backslashreplace") for field in fields)


def decode_summary(data: bytes) -> Summary | None:
    """The same back; None where it is none."""
    fields = data.decode("utf-8", "backslashreplace").split("\0")
    if len(fields) < 3 or len(fields[0]) != 16:
        return None
    return Summary(fields[0], fields[1], fields[2], tuple(fields[3 : 3 + SHOWN_FRAMES]))
