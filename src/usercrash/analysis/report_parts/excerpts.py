"""Excerpts from the source: where the crashing thread stood in the program's own code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ... import report
from ...model.notes import NoteLog
from ..core.file_search import SearchPlaces
from ..core.modules import ModuleTable
from ..core.source_files import SourceFile, SourceFiles
from ..facts.texts import safe

MAX_EXCERPTS = 3
AROUND = 4  # lines before and after
_MAX_LINE = 240  # characters
_MAX_FRAMES = 64  # that are looked at
_TAB = 4  # columns


def excerpts(
    frames: Sequence[report.Frame], modules: ModuleTable, places: SearchPlaces, notes: NoteLog
) -> list[report.Excerpt]:
    """Of the innermost frames whose source is found, that of each place once."""
    if not places.sources:
        return []
    files = SourceFiles(places, notes)
    found: list[report.Excerpt] = []
    shown: set[tuple[bytes, int]] = set()
    for frame, source in _with_lines(frames):
        file = files.find(source.file)
        if file is None or (file.name, source.line) in shown:
            continue
        shown.add((file.name, source.line))
        if source.line > len(file.lines):
            name = file.name.decode("utf-8", "backslashreplace")
            notes.add("source", name, f"it has no line {source.line}: not what was compiled")
            continue
        found.append(_excerpt(frame, source, file, modules))
        if len(found) == MAX_EXCERPTS:
            break
    return found


def _with_lines(frames: Sequence[report.Frame]) -> Iterator[tuple[report.Frame, report.Source]]:
    for frame in frames[:_MAX_FRAMES]:
        if frame.source is not None and not frame.signal_frame:
            yield frame, frame.source


def _excerpt(
    frame: report.Frame, source: report.Source, file: SourceFile, modules: ModuleTable
) -> report.Excerpt:
    first = max(1, source.line - AROUND)
    lines = file.lines[first - 1 : source.line + AROUND]
    if first - 1 + len(lines) == len(file.lines) and lines[-1:] == [b""] and len(lines) > 1:
        lines.pop()  # (what follows the last newline is no line)
    module = modules.find(int(frame.pc, 16) - 1)
    built = os.fstat(module.fd).st_mtime_ns if module is not None and module.fd >= 0 else None
    return report.Excerpt(
        frame=frame.index,
        file=safe(file.name.decode("utf-8", "backslashreplace"), 1024),
        line=source.line,
        first=first,
        lines=[_text(line) for line in lines],
        newer=built is not None and file.modified_ns > built,
        by_name=file.by_name,
    )


def _text(line: bytes) -> str:
    text = line.removesuffix(b"\r")[: 4 * _MAX_LINE].decode("utf-8", "backslashreplace")
    return safe(text.expandtabs(_TAB).rstrip(), _MAX_LINE)
