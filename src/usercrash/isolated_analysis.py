"""One analysis in the sandbox: a minicore and ELF descriptors → text, JSON, compressed minicore.

The sections of its answer are bytes here; nothing on this side parses what comes back.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from .analysis.core.file_search import HOST, Place, SearchPlaces
from .analysis.sandbox import Send, run_isolated
from .config import Config
from .debuginfod.fetching import (
    Missing,
    decode_missing,
    encode_missing,
)
from .model.notes import NoteLog
from .report import Report
from .sharing import sandbox_limits

if TYPE_CHECKING:
    from .analysis.core.image import CoreImage
    from .analysis.core.modules import Module, ModuleTable
    from .analysis.symbols.symbolizer import Symbolizer

TEXT, JSON, CORE, SCREEN, WANTED, NAMES = b"TEXT", b"JSON", b"CORE", b"SCRN", b"WANT", b"NAME"
MISSING, SUMMARY, HTML = b"MISS", b"SUMM", b"HTML"
_INDEX = struct.Struct("<I")
_MAX_WANTED = 64
_ZSTD_LEVEL = 3
BARE_SECONDS = 10.0  # for the last attempt, which has little to do


@dataclass(frozen=True, slots=True)
class View:
    """What is wanted besides text and JSON: a coloured or plain screen (with links to files; a
    first one with `hint` as its last line), the minicore (zstd), a summary (render/summary.py), a
    page of HTML. `variables` (of an interpreter) and `native_variables` are set as configured."""

    screen: str = ""  # "", "first" (the first screen), "full" or "stacks"
    color: bool = False
    width: int = 80
    core: bool = False
    summary: bool = False
    html: bool = False
    variables: bool = False
    native_variables: bool = True
    links: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """What an analysis is made of.

    `core` is a descriptor of any ELF core; `files` are descriptors of the ELF files in the order
    of the minicore's NT_FILES, -1 for one that was let go. With `by_path`, files without a
    descriptor (a core from elsewhere, a restart) are looked for in `places`, without privileges,
    and believed only if their build-ids are right. `exe` is the program where the core cannot
    name it; with `force_exe` the program's file is taken whatever it is. `left_out` are files that
    were not fetched for lack of time.
    """

    crash_id: str
    core: int
    files: Sequence[int] = ()
    by_path: bool = False
    exe: Place | None = None
    force_exe: bool = False
    places: SearchPlaces = HOST
    left_out: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True)
class Analysed:
    """The rendered forms (b"" where absent); `failure` says why, where it is not all.

    `wanted` are indexes into Material.files: worth a SymCache that all may share; so are the
    files of these `names` (with a NUL between), which had no descriptor. `missing` are files that
    a debuginfod server might have.
    """

    text: bytes = b""
    json: bytes = b""
    core: bytes = b""
    screen: bytes = b""
    wanted: tuple[int, ...] = ()
    names: bytes = b""
    missing: tuple[Missing, ...] = ()
    summary: bytes = b""
    html: bytes = b""
    failure: str = ""


def preload(*, html: bool = False) -> None:
    """Import everything that an analysis will use, so that forked children need not (and may be
    unable to); what a page of HTML takes only if one is wanted."""
    import zstandard  # noqa: F401

    from .analysis import assemble
    from .analysis.core import image, jit_modules, modules
    from .analysis.symbols import symbolizer as symbols
    from .render import screen, text

    del image, jit_modules, modules, symbols, screen, text
    assemble.preload()
    if html:
        from .render.html import preload as preload_html

        preload_html()


def analyse_again(material: Material, config: Config, view: View, until: float) -> Analysed:
    """Analyse once more with what was fetched, in one attempt before `until` (monotonic seconds):
    there is a report already. Never raises; without text where it could not be done."""
    left = min(config.analysis.seconds, until - time.monotonic())
    if left <= 0:
        return Analysed(failure="no time left for an analysis with what was fetched")
    preload(html=view.html)
    return _attempt(material, config, view, careful="", seconds=left)


def attempts_seconds(config: Config) -> float:
    """How long all attempts of `analyse_isolated` may take together."""
    return 2 * config.analysis.seconds + BARE_SECONDS


def analyse_isolated(material: Material, config: Config, view: View) -> Analysed:
    """Analyse in the sandbox; never raises for what is wrong with the material.

    Where that brings no report, once more without the native libraries that read names and debug
    information of the process's files: they are the likely ones to have died of them. Where
    that brings none either, from the core alone.
    """
    preload(html=view.html)
    first = _attempt(material, config, view, careful="")
    if first.text and first.json:
        return first
    why = first.failure or "no report came back"
    second = _attempt(material, config, view, careful=why)
    if second.text and second.json:
        return second
    # (the list of files stays in the core: only nothing of them is opened)
    alone = replace(material, files=(), by_path=False, exe=None, places=SearchPlaces())
    third = _attempt(
        alone, config, view, careful=why, bare=second.failure or "no report came back",
        seconds=min(BARE_SECONDS, config.analysis.seconds),
    )  # fmt: skip
    return third if third.text and third.json else first


def _attempt(
    material: Material,
    config: Config,
    view: View,
    careful: str,
    bare: str = "",
    seconds: float = 0.0,
) -> Analysed:
    """One analysis; `careful` says why it must be without native libraries ("": it need not),
    `bare` why without files, `seconds` how long it may take (0: as configured)."""
    view = replace(
        view, variables=config.python.variables, native_variables=config.variables.enabled
    )
    cache = _open_cache(config.paths.cache)
    # (by their names: what the child may not reach is not for reports)
    configured = [Place(os.fsencode(name)) for name in config.source.directories]
    sources = (*material.places.sources, *configured)
    material = replace(material, places=replace(material.places, sources=sources))
    owner = os.geteuid()  # the child is somebody else when it asks

    kept: list[object] = []

    def work(send: Send) -> None:
        # By its descriptor: a directory above it may be closed to the unprivileged child.
        place = f"/proc/self/fd/{cache}" if cache >= 0 else None
        # Kept, because to take it apart would take longer than to end with it.
        kept.append(_analyse(material, place, owner, view, careful, bare, send))

    try:
        named = material.exe.fd if material.exe is not None else -1
        places = material.places.descriptors()
        keep = (material.core, *material.files, named, *places, cache)
        limits = sandbox_limits(config)
        limits = replace(
            limits,
            seconds=seconds or limits.seconds,
            # a core that is mapped counts as address space, and takes no memory
            memory=limits.memory + os.fstat(material.core).st_size,
        )
        result = run_isolated(work, keep, limits)
    finally:
        if cache >= 0:
            os.close(cache)
    return _analysed(result.sections, result.failure, material)


def _analysed(parts: Mapping[bytes, bytes], failure: str, material: Material) -> Analysed:
    """What came back from the child: bytes to pass on, and numbers, which are checked."""
    count = len(parts.get(WANTED, b"")) // 4
    wanted = struct.unpack_from(f"<{min(count, _MAX_WANTED)}I", parts.get(WANTED, b""))
    return Analysed(
        parts.get(TEXT, b""), parts.get(JSON, b""), parts.get(CORE, b""), parts.get(SCREEN, b""),
        tuple(one for one in wanted if one < len(material.files) and material.files[one] >= 0),
        parts.get(NAMES, b""), decode_missing(parts.get(MISSING, b"")),
        parts.get(SUMMARY, b""), parts.get(HTML, b""), failure,
    )  # fmt: skip


def _open_cache(path: str) -> int:
    """The directory of SymCaches; -1 where there is none, or others could have put some there:
    then everything is made for this crash alone."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    status = os.fstat(fd)
    if status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022:
        return fd
    os.close(fd)
    return -1


def _analyse(
    material: Material,
    cache: str | None,
    owner: int,
    view: View,
    careful: str,
    bare: str,
    send: Send,
) -> object:
    """The child's work. Gives all that it was made of."""
    from .analysis.assemble import assemble
    from .analysis.limits import AssembleLimits
    from .analysis.symbols.symbolizer import Symbolizer

    # (what the first attempt waited for may have been the server of a network disk)
    places = replace(material.places, local=True) if careful else material.places
    size = os.fstat(material.core).st_size
    data = mmap.mmap(material.core, size, access=mmap.ACCESS_READ)
    image, modules = _open(material, data, places)
    _note_left_out(image.notes, modules, material.left_out)
    if careful:
        image.notes.add("analysis", "names and lines", f"the first attempt failed: {careful}")
    if bare:
        image.notes.add("analysis", "files of the process", f"the second attempt failed: {bare}")
    symbolizer = Symbolizer(cache, image.notes, owner=owner, places=places, native=not careful)
    zone = datetime.now().astimezone().tzinfo  # the times of those who read it here
    limits = AssembleLimits(
        variables=view.variables, native_variables=view.native_variables and not careful
    )
    report = assemble(image, modules, symbolizer, material.crash_id, limits, zone or UTC)
    _send_views(report, view, send)
    _send_files(symbolizer, material, send)
    if view.core:
        import zstandard

        send(CORE, zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(memoryview(data)))
    return image, modules, symbolizer, report


def _open(
    material: Material, data: mmap.mmap, places: SearchPlaces
) -> tuple[CoreImage, ModuleTable]:
    """The core and its modules, which may together cost no more than one analysis's allowances."""
    from .analysis.binary.effort import ANALYSIS_STEPS, NOT_READ, limit_effort
    from .analysis.binary.inflation import ANALYSIS_BYTES, NOT_INFLATED, allow
    from .analysis.core.image import CoreImage
    from .analysis.core.jit_modules import JitModules
    from .analysis.core.module_files import DescriptorFiles, FileProvider, FileProviders, PathFiles
    from .analysis.core.modules import load_modules
    from .analysis.symbols.debug_files import separate_elf

    image = CoreImage.open(data)
    allow(ANALYSIS_BYTES, lambda: image.notes.add("analysis", "compressed sections", NOT_INFLATED))
    limit_effort(ANALYSIS_STEPS, lambda: image.notes.add("analysis", "ELF files", NOT_READ))
    for file, fd in zip(image.files, material.files, strict=False):
        file.fd = fd
    providers: list[FileProvider] = [DescriptorFiles(image.files, image.notes)]
    if material.by_path:
        providers.append(PathFiles(image.notes, places=places))
    modules = load_modules(
        image, FileProviders(providers), material.exe, force_exe=material.force_exe,
        debug_file=partial(separate_elf, places=places),
    )  # fmt: skip
    modules.made_at_run_time = JitModules(image, modules).find
    return image, modules


def _send_views(report: Report, view: View, send: Send) -> None:
    """Text and JSON first, so that they are there if the rest fails."""
    from .render.text import render_text
    from .report import to_json

    send(TEXT, render_text(report).encode())
    send(JSON, to_json(report))
    if view.summary:
        from .render.summary import encode_summary, summary

        send(SUMMARY, encode_summary(summary(report)))
    if view.html:
        from .render.html import render_html

        send(HTML, render_html(report).encode())
    if view.screen:
        send(SCREEN, _screen(report, view))


def _send_files(symbolizer: Symbolizer, material: Material, send: Send) -> None:
    """Which files are worth a SymCache for all, and which a debuginfod server might have."""
    indexes = {fd: index for index, fd in enumerate(material.files) if fd >= 0}
    wanted = [indexes[module.fd] for module in symbolizer.wanted if module.fd in indexes]
    send(WANTED, b"".join(map(_INDEX.pack, wanted)))
    send(NAMES, b"\0".join(one.path for one in symbolizer.wanted if one.fd not in indexes))
    send(MISSING, encode_missing(symbolizer.missing))


def _note_left_out(notes: NoteLog, modules: Iterable[Module], left_out: Sequence[Missing]) -> None:
    """Say what servers may have and were not asked for."""
    paths = {module.build_id: module.path for module in modules}
    for kind, build_id in left_out:
        path = paths.get(build_id, f"build-id {build_id.hex()}".encode())
        what = f"{kind} of {path.decode('utf-8', 'backslashreplace')}"
        notes.add("debuginfod", what, "not fetched: no time left")


def _screen(report: Report, view: View) -> bytes:
    """The report as for a terminal of this width, coloured or plain."""
    from .file_links import FileLinks
    from .render.screen import render_screen

    return render_screen(
        report, part=view.screen, color=view.color, width=view.width, hint=view.hint,
        link=FileLinks().link if view.links else None,
    ).encode()  # fmt: skip
