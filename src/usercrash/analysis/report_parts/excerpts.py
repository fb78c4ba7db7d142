"""Excerpts from the source: where the crashing thread stood in the program's own code."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ... import report
from ...model.notes import NoteLog
from ..core.file_search import SearchPlaces
from ..core.modules import Module, ModuleTable
from ..core.source_files import SourceFile, SourceFiles
from ..facts.texts import safe

MAX_EXCERPTS = 3
AROUND = 4  # lines before and after
_MAX_LINE = 240  # characters
_MAX_FRAMES = 64  # that are looked at
_TAB = 4  # columns
_SYSTEM = ("/usr/", "/lib", "[", "<")
# Last components of a name that must agree in code of the system: every project has its utils.c.
_LEAST_OF_OTHERS = 3


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of a frame: of a native one with its `pc`, of an interpreted one with its language."""

    frame: int
    file: str
    line: int
    pc: int | None = None
    language: str = ""


def excerpts(
    thread: report.Thread, modules: ModuleTable, places: SearchPlaces, notes: NoteLog
) -> list[report.Excerpt]:
    """Of the innermost frames whose source is found, that of each place once."""
    if not places.sources and not places.caches:
        return []
    files = SourceFiles(places, notes)
    found: list[report.Excerpt] = []
    shown: set[tuple[bytes, int]] = set()
    for place in _with_lines(thread):
        module = modules.find(place.pc - 1) if place.pc is not None else None
        build_id = module.build_id if module is not None else None
        file = files.find(place.file, build_id, 1 if _is_own(place, module) else _LEAST_OF_OTHERS)
        if file is None or (file.name, place.line) in shown:
            continue
        shown.add((file.name, place.line))
        if place.line > len(file.lines):
            name = file.name.decode("utf-8", "backslashreplace")
            notes.add("source", name, f"it has no line {place.line}: not what was compiled")
            continue
        found.append(_excerpt(place, file, module))
        if len(found) == MAX_EXCERPTS:
            break
    return found


def _is_own(place: _Place, module: Module | None) -> bool:
    """Whether the code may be the program's own, not a library's of the system."""
    if module is not None and module.main:
        return True
    path = module.name if module is not None else place.file
    return not path.startswith(_SYSTEM)


def _with_lines(thread: report.Thread) -> list[_Place]:
    """The frames that have a line, innermost first: an interpreted one stands before the native
    one that runs it."""
    rows: list[tuple[int, int, _Place]] = []
    for stack in thread.interpreted:
        for one in stack.frames[:_MAX_FRAMES]:
            if one.line is not None and one.native is not None:
                place = _Place(one.index, one.file, one.line, language=stack.language)
                rows.append((one.native, 0, place))
    for frame in thread.frames[:_MAX_FRAMES]:
        source = frame.source
        if source is not None and not frame.signal_frame:
            place = _Place(frame.index, source.file, source.line, int(frame.pc, 16))
            rows.append((frame.index, 1, place))
    rows.sort(key=lambda row: row[:2])  # (of one loop in the order of its stack)
    return [place for _, _, place in rows]


def _excerpt(place: _Place, file: SourceFile, module: Module | None) -> report.Excerpt:
    first = max(1, place.line - AROUND)
    lines = file.lines[first - 1 : place.line + AROUND]
    if first - 1 + len(lines) == len(file.lines) and lines[-1:] == [b""] and len(lines) > 1:
        lines.pop()  # (what follows the last newline is no line)
    built = os.fstat(module.fd).st_mtime_ns if module is not None and module.fd >= 0 else None
    return report.Excerpt(
        frame=place.frame,
        file=safe(file.name.decode("utf-8", "backslashreplace"), 1024),
        line=place.line,
        first=first,
        lines=[_text(line) for line in lines],
        newer=built is not None and file.modified_ns > built,
        by_name=file.by_name,
        language=place.language,
    )


def _text(line: bytes) -> str:
    text = line.removesuffix(b"\r")[: 4 * _MAX_LINE].decode("utf-8", "backslashreplace")
    return safe(text.expandtabs(_TAB).rstrip(), _MAX_LINE)
