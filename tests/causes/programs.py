"""Building the gallery's programs, and letting them die."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.build import SYSTEM_PYTHON, build_cache, need

from . import memory_ways, other_ways
from .way import Family, Way

HERE = Path(__file__).parent
FAMILIES: tuple[Family, ...] = memory_ways.FAMILIES + other_ways.FAMILIES
SECONDS = 30.0
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8",
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0", "GOTRACEBACK": "crash",
}  # fmt: skip
# What the programs' environments have besides
_OWN_ENVIRONMENT = {
    "jemalloc": {"LD_PRELOAD": "libjemalloc.so.2", "MALLOC_CONF": "junk:true"},
    "perturb": {"MALLOC_PERTURB_": "105"},
    "qt": {"QT_FATAL_WARNINGS": "1"},
    "qt5": {"QT_FATAL_WARNINGS": "1"},
}
TOGETHER = 12  # processes at a time

# (what they do is wrong on purpose: no warnings)
_C = ["-w", "-fstack-protector-all", "-pthread"]
_CHECKED = ["-w", "-fsanitize=undefined", "-fsanitize-trap=all", "-pthread"]
_ADDRESSES = ["-w", "-fsanitize=address", "-pthread"]
_HEAPS = ["-w", "-fstack-protector-all", "-pthread"]
_RUST = ["--edition", "2021", "-C", "panic=abort", "-A", "warnings"]
_LLVM = ["-w", "-std=c++17", "-stdlib=libc++", "-D_LIBCPP_DEBUG=0", "-pthread"]
_QT = ["-w", "-O1", "-fPIC", "-pthread"]


def _qt_core(version: int) -> list[str]:
    """What links a program with QtCore, whose package for development would be a large one."""
    return ["-Wl,--no-as-needed", f"-l:libQt{version}Core.so.{version}"]


# By program: source, compiler, its package, flags of both builds, those with debug information,
# those without.
BUILDS = {
    "c": ("ways.c", "gcc", "gcc", _C, ["-g", "-O1"], ["-O1"]),
    "cc": ("ways.cc", "g++", "g++", [*_C, "-D_GLIBCXX_ASSERTIONS"], ["-g", "-O1"], ["-O1"]),
    "libcxx": ("ways.cc", "clang++", "clang", _LLVM, ["-g", "-O1"], ["-O1"]),
    "qt": ("qt.cc", "g++", "g++", _QT, [*_qt_core(6), "-g"], _qt_core(6)),
    "qt5": ("qt.cc", "g++", "g++", _QT, [*_qt_core(5), "-g"], _qt_core(5)),
    "clang": ("checked.c", "clang", "clang", _CHECKED, ["-g", "-O1"], ["-O1"]),
    "musl": ("heaps.c", "musl-gcc", "musl-tools", _HEAPS, ["-g", "-O1"], ["-O1"]),
    "jemalloc": ("heaps.c", "gcc", "gcc", _HEAPS, ["-g", "-O1"], ["-O1"]),
    "perturb": ("heaps.c", "gcc", "gcc", _HEAPS, ["-g", "-O1"], ["-O1"]),
    "i386": ("heaps.c", "gcc", "gcc", [*_HEAPS, "-m32"], ["-g", "-O1"], ["-O1"]),
    "asan": ("checked.c", "gcc", "gcc", _ADDRESSES, ["-g", "-O1"], ["-O1"]),
    "go": ("ways.go", "go", "golang-go", ["build"], [], ["-ldflags=-w"]),
    "rs": ("ways.rs", "rustc", "rustc", _RUST, ["-g", "-C", "opt-level=1"], ["-C", "opt-level=2"]),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to die in one build, in the main thread or in another one."""

    way: Way
    debug: bool
    thread: bool

    @property
    def id(self) -> str:
        """`c-null_read-debug-main`."""
        build = "debug" if self.debug else "plain"
        return f"{self.way.program}-{self.way.word}-{build}-{'thread' if self.thread else 'main'}"


def ways() -> list[Way]:
    """All of them, in the document's order."""
    return [way for family in FAMILIES for way in family.ways]


def variants() -> list[Variant]:
    """Each way with debug information in the main thread, and without in another thread; Python's
    programs have one build."""
    found = [Variant(way, True, False) for way in ways()]
    for way in ways():
        if way.program == "py":
            if way.thread:
                found.append(Variant(way, True, True))
        elif way.plain or way.thread:
            found.append(Variant(way, not way.plain, way.thread))
    return found


def _go() -> dict[str, str]:
    """Our environment, with what makes Go's compiler use the cache of the other tests."""
    cache = str(build_cache() / "go-cache")
    return os.environ | {"GOCACHE": cache, "GO111MODULE": "off", "GOFLAGS": ""}


def build_all(place: Path) -> dict[tuple[str, bool], list[str]]:
    """(program, with debug information) to its command line; RuntimeError if a compiler fails."""
    running = []
    commands: dict[tuple[str, bool], list[str]] = {}
    for name, (source, compiler, package, common, debug, plain) in BUILDS.items():
        for with_debug, special in ((True, debug), (False, plain)):
            exe = place / f"ways_{name}_{'g' if with_debug else 'o'}"
            command = [need(compiler, package), *common, *special, "-o", str(exe), source]
            running.append(subprocess.Popen(command, cwd=HERE, env=_go(), stderr=subprocess.PIPE))
            commands[name, with_debug] = [str(exe)]
    for one in running:
        _, errors = one.communicate()
        if one.returncode:
            raise RuntimeError(f"{one.args!r}: {errors.decode()}")
    commands["py", True] = [SYSTEM_PYTHON, str(HERE / "ways.py")]
    return commands


def _allow_cores() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.RLIM_INFINITY))


def die(
    commands: dict[tuple[str, bool], list[str]], wanted: Iterable[Variant]
) -> dict[Variant, tuple[int, int]]:
    """Let all of them die, some at a time; gives pid and exit status (−N: by signal N)."""
    running: dict[Variant, subprocess.Popen[bytes]] = {}
    ended: dict[Variant, tuple[int, int]] = {}

    def wait_for(count: int) -> None:
        while len(running) > count:
            variant = next(iter(running))
            process = running[variant]
            ended[variant] = process.pid, process.wait(SECONDS)
            del running[variant]

    try:
        for variant in wanted:
            wait_for(TOGETHER - 1)
            words = [variant.way.word, *(["thread"] if variant.thread else [])]
            running[variant] = subprocess.Popen(
                [*commands[variant.way.program, variant.debug], *words], cwd="/",
                preexec_fn=_allow_cores,
                env=ENVIRONMENT | _OWN_ENVIRONMENT.get(variant.way.program, {}),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        wait_for(0)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return ended
