"""Which crashes are the same crash: a key that holds over builds, machines and runs.

No address, no path, no line goes into it; docs/fingerprint.md says what does, and why.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from ...function_identity import begins, function_identity
from ...library_sources import is_library_source
from ...report import Cause, Fingerprint, Frame, InterpretedStack, Signal, Thread

VERSION = 1
FRAMES = 5
_FOUND = 64  # frames looked at for them
_FEW = 2  # fewer functions say little: the kind of fault counts, too
# Files that crash only because somebody gave them something bad.
_RUNTIME = re.compile(
    r"(ld-linux|ld-musl|ld64|libc\.|libc-2|libm\.|libm-2|libpthread|libgcc_s|libstdc\+\+|libc\+\+"
    r"|libasan|libtsan|libubsan|liblsan|libpython\d|python\d|libffi|_ctypes\.|\[vdso\])"
)
# The same in a program that has them in its own file: what raises, aborts, panics, begins.
_RAISING = re.compile(
    r"(__)*(pthread_kill\w*|raise|gsignal|kill|tgkill|abort|assert(_perror)?_fail(_base)?"
    r"|libc_message\w*|malloc_printerr|chk_fail|fortify_fail\w*|stack_chk_fail\w*"
    r"|(mem|str|wcs|wmem)(n?cpy|move|set|n?cmp|n?len|chr|rchr|n?cat)\w*"
    r"|_?int_(free|malloc|realloc|memalign)\w*|(libc_)?(free|malloc|calloc|realloc|memalign)|cfree"
    r"|malloc_consolidate|unlink_chunk|munmap_chunk|tcache_\w+|sysmalloc|systrim)"
    r"|std::(terminate|__terminate|rethrow_exception)|__cxxabiv1::\w+|__cxa_\w+|__gnu_cxx::\w+"
    r"|(__rustc::)?(rust_panic\w*|rust_begin_unwind|__rust_\w+)|(std|core)::panick?ing::\S+"
    r"|std::process::abort|(std|core)::intrinsics::abort|core::(option|result)::\w+_failed"
    r"|std::sys::\S+|runtime\.\S+"
)
# What the standard libraries of C++ and Rust have in the program's own file, made for its types:
# the algorithm that called a comparison, the container that was asked.
_TEMPLATES = re.compile(r"(std|__gnu_cxx|__gnu_debug)::")
_RUST_MANGLED = re.compile(r"_R|\w+17h[0-9a-f]{16}E")
_OF_RUST = r"(core|alloc|std)::"
_BUILT_IN = rf"[&*\[(]*(mut |const |dyn )?((?! as )[^:<>])*({_OF_RUST}((?! as )[^<>])*)?"
_RUST_LIBRARY = re.compile(rf"{_OF_RUST}|<{_BUILT_IN}( as {_OF_RUST}[^<>]*)?>::")
_LIBRARY_VERSION = re.compile(r"(?<=\.so)[.\d]+$|-\d[\d.]*(?=\.so)|(?<=\d)\.\d+$")


def fingerprint(
    signal: Signal | None, cause: Cause | None, program: str, thread: Thread | None
) -> Fingerprint:
    """The fingerprint of a crash by its signal, cause, program's name (no path) and crashing
    thread. One of a process that did not crash has the sort `alive`."""
    frames = _distinct(thread) if thread is not None else []
    first, names = _names(frames, thread.interpreted if thread is not None else [])
    if cause is not None and cause.kind == "stack-overflow" and thread is not None:
        names = _cycle(thread) or names
    sort = signal.name if signal is not None else "alive"
    if cause is not None and cause.kind in ("abort", "stack-overflow"):
        sort += f" {cause.kind} {cause.reason}" if cause.kind == "abort" else f" {cause.kind}"
    elif cause is not None and len(names) < _FEW:
        sort += f" {cause.kind}"
    words = [str(VERSION), sort, *names]
    if not any(frame.function for frame in frames):
        words.append(program)  # names of files alone say little
    digest = hashlib.sha256("\n".join(words).encode("utf-8", "backslashreplace"))
    return Fingerprint(
        version=VERSION, key=digest.hexdigest()[:16], sort=sort, frames=names, first=first
    )


def _distinct(thread: Thread) -> list[Frame]:
    """The frames without the repetitions of a recursion."""
    repeated = [
        range(fold.start + fold.length, fold.start + fold.length * fold.times)
        for fold in thread.folds
    ]
    return [
        frame
        for frame in thread.frames
        if not frame.signal_frame and not any(frame.index in indexes for indexes in repeated)
    ]


def ends_program(frame: Frame) -> bool:
    """Whether the frame is one of those that end a program, or of a runtime's own file: of frames
    that come before any other, that are much the same in all crashes of their kind."""
    return bool(_RUNTIME.match(_base(frame)) or _RAISING.fullmatch(_identity(frame)))


def _names(
    frames: Sequence[Frame], interpreted: Sequence[InterpretedStack]
) -> tuple[int | None, list[str]]:
    """The functions that count, innermost first; an interpreter's own where its loop stands. And
    the index of the program's own innermost frame: the first of them whose source is no library's
    (which only debug information tells: they count all the same)."""
    begun = False  # whether a frame of the program's own has been seen
    first = fallback = None
    own: list[str] = []
    inner = _interpreted(interpreted)
    for frame in frames[:_FOUND]:
        name = _identity(frame)
        if frame.index in inner:
            begun = True
            first = frame.index if first is None else first
            own += [name for name in inner[frame.index] if not begins(name)]
        if (not begun and ends_program(frame)) or _RUNTIME.match(_base(frame)):
            continue
        if begins(name):
            break
        if _of_library(frame, name):
            continue
        begun = True
        fallback = frame.index if fallback is None else fallback
        if first is None and not _in_library_source(frame):
            first = frame.index
        own.append(name)
        if name in ("main", "main.main"):
            break
    if not own:  # the runtime is all that there is
        own = [_identity(frame) for frame in frames[:_FOUND]]
    return fallback if first is None else first, _without_repeats(own)[:FRAMES]


def _in_library_source(frame: Frame) -> bool:
    return frame.source is not None and is_library_source(frame.source.file)


def _of_library(frame: Frame, name: str) -> bool:
    """Whether a function is of a standard library whose code is made anew for each program."""
    if _TEMPLATES.match(name):
        return True
    source = frame.source.file if frame.source is not None else ""
    rust = source.endswith(".rs") or _RUST_MANGLED.match(frame.linkage_name or "")
    return bool(rust and _RUST_LIBRARY.match(name))


def _interpreted(stacks: Sequence[InterpretedStack]) -> dict[int, list[str]]:
    """The functions of interpreters by the index of the native frame that runs them: by the names
    of their files without directories, which differ from machine to machine."""
    found: dict[int, list[str]] = {}
    for stack in stacks:
        for frame in stack.frames[:_FOUND]:
            if frame.native is not None:
                file = frame.file.rpartition("/")[2].rpartition(".")[0]
                name = f"{file}:{frame.function}" if file else frame.function
                found.setdefault(frame.native, []).append(name)
    return found


def _cycle(thread: Thread) -> list[str]:
    """The functions of the longest recursion, in an order that does not depend on which of them
    ran out of stack."""
    fold = max(thread.folds, key=lambda one: one.times * one.length, default=None)
    if fold is None:
        return []
    names = [
        _identity(frame)
        for frame in thread.frames
        if fold.start <= frame.index < fold.start + fold.length
    ]
    return sorted(set(names))[:FRAMES]


def _identity(frame: Frame) -> str:
    if frame.function:
        return function_identity(frame.function)
    base = _LIBRARY_VERSION.sub("", _base(frame))
    return f"{base} (no name)" if base else "(no name)"


def _base(frame: Frame) -> str:
    return (frame.module or "").rpartition("/")[2]


def _without_repeats(names: Iterable[str]) -> list[str]:
    """Equal neighbours once: a recursion too short to be folded, parts of one stripped file."""
    result: list[str] = []
    for name in names:
        if not result or result[-1] != name:
            result.append(name)
    return result
