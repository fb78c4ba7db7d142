"""The time that servers of debug files may cost, and what is said of files that it was too short
for."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.debuginfod import FakeServer, debuginfod
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.modules import PathFiles, load_modules
from usercrash.config import Config, Paths, Symbols
from usercrash.debuginfod.cache import DebugCache
from usercrash.debuginfod.fetching import decode_missing, encode_missing, fetch
from usercrash.isolated_analysis import Material, View, analyse_again
from usercrash.report import from_json

SOURCE = """
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""
WANTED = [("debuginfo", bytes((number, 7, 7))) for number in range(20)]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with debuginfod() as fake:
        yield fake


@pytest.fixture
def config() -> Iterator[Config]:
    """With a cache that also what is unprivileged can reach."""
    with tempfile.TemporaryDirectory(prefix="uc-debuginfod-") as name:
        os.chmod(name, 0o755)
        yield Config(paths=Paths(cache=f"{name}/cache"))


def cache_of(config: Config) -> DebugCache:
    return DebugCache(f"{config.paths.cache}/debuginfod")


def test_what_comes_after_a_server_that_hangs(server: FakeServer, config: Config) -> None:
    """The one that was asked for is not asked for again soon; the others are."""
    config = replace_symbols(config, debuginfod_seconds=0.3)
    done = fetch(WANTED[:3], [server.url("slow")], config, wait=True)
    assert len(server.asked) == 1 and done.left_out == tuple(WANTED[1:3])
    assert done.trouble[-1] == "no time left to fetch 2 files: debuginfo 010707, debuginfo 020707"
    cache = cache_of(config)
    assert [cache.known(row[1], row[0]) for row in WANTED[:3]] == [True, False, False]


def test_the_whole_is_bounded_by_its_own_limit(server: FakeServer, config: Config) -> None:
    config = replace_symbols(config, debuginfod_total_seconds=0.3)
    done = fetch(WANTED[:2], [server.url("slow")], config, wait=True)
    assert len(server.asked) == 1 and done.left_out == (WANTED[1],)


def test_waiting_for_another_who_fetches_has_an_end(server: FakeServer, config: Config) -> None:
    with cache_of(config).lock():
        done = fetch(WANTED[:1], [server.url()], config, wait=True, until=time.monotonic() + 0.2)
    assert server.asked == [] and done.left_out == (WANTED[0],)
    assert done.trouble == ["no time left to fetch 1 files: debuginfo 000707"]


def test_what_another_fetched_meanwhile(server: FakeServer, config: Config) -> None:
    """Of many cores of one program that are analysed at once, only one fetches."""
    cache = cache_of(config)
    before = time.time_ns() - 1_000_000_000
    for row in WANTED[:2]:
        part, fd = cache.begin(row[1], row[0])
        cache.keep(part, fd, row[1], row[0])
        os.close(fd)
    done = fetch(WANTED[:2], [server.url()], config, wait=True, since_ns=before)
    assert (done.count, server.asked) == (2, [])
    later = time.time_ns() + 60_000_000_000
    assert fetch(WANTED[:2], [server.url()], config, wait=True, since_ns=later).count == 0


def test_so_many_files_for_one_crash(server: FakeServer, config: Config) -> None:
    assert decode_missing(encode_missing(WANTED)) == tuple(WANTED)
    done = fetch(WANTED, [server.url()], config, wait=True)
    assert len(server.asked) == 16 and done.left_out == tuple(WANTED[16:])
    assert fetch(WANTED, [server.url()], config, wait=True).left_out == ()  # the rest, now
    assert len(server.asked) == 20


def test_a_report_names_the_modules(tmp_path: Path) -> None:
    program = compile_c(tmp_path, "program", SOURCE)
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    modules = load_modules(CoreImage.open(core.read_bytes()), PathFiles())
    libc = next(one for one in modules if one.path.endswith(b"/libc.so.6"))
    assert libc.build_id is not None
    left = (("debuginfo", libc.build_id), ("debuginfo", b"\1\2\3"))
    with core.open("rb") as file:
        material = Material("a" * 32, file.fileno(), by_path=True, left_out=left)
        until = time.monotonic() + 60
        notes = from_json(analyse_again(material, Config(), View(), until).json).notes
        late = analyse_again(material, Config(), View(), time.monotonic())
    assert [(note.what, note.why) for note in notes if note.stage == "debuginfod"] == [
        (f"debuginfo of {libc.path.decode()}", "not fetched: no time left"),
        ("debuginfo of build-id 010203", "not fetched: no time left"),
    ]
    assert late.text == b"" and late.failure.startswith("no time left")


def replace_symbols(config: Config, **keys: float) -> Config:
    return Config(paths=config.paths, symbols=Symbols(**keys))  # type: ignore[arg-type]
