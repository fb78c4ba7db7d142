"""debuginfod: what is fetched, what is refused, and what the reports make of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.build import need
from tests.support.debuginfod import FakeServer, debuginfod
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.config import Config, Paths, Symbols
from usercrash.debuginfod.cache import DebugCache
from usercrash.debuginfod.fetching import decode_missing, encode_missing, fetch
from usercrash.model.event import SOURCE_SOCKET, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.pipeline import Crash, complete
from usercrash.report import from_json
from usercrash.storage.events import PUBLISHED, EventLog
from usercrash.storage.store import Store

SOURCE = """
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""
PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with debuginfod() as fake:
        yield fake


class Crashed:
    """A crash whose program is gone, and what a server could have of it."""

    def __init__(self, place: Path) -> None:
        program = compile_c(place, "program", SOURCE)
        self.core = gcore_at_fault([bytes(program)], place / "core")
        objcopy = need("objcopy", "binutils")
        debug = place / "program.debug"
        subprocess.run([objcopy, "--only-keep-debug", program, debug], check=True)
        subprocess.run([objcopy, "--strip-all", program], check=True)
        self.debug, self.executable = debug.read_bytes(), program.read_bytes()
        command = [need("readelf", "binutils"), "-n", str(program)]
        notes = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.id = notes.partition("Build ID: ")[2].split()[0]
        self.build_id = bytes.fromhex(self.id)
        program.unlink()

    def give_to(self, server: FakeServer) -> None:
        server.files[f"{self.id}/debuginfo"] = self.debug
        server.files[f"{self.id}/executable"] = self.executable


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    return Crashed(tmp_path_factory.mktemp("crash"))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that also what is unprivileged can reach."""
    with tempfile.TemporaryDirectory(prefix="uc-debuginfod-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def config_of(place: Path, *servers: str, **keys: float) -> Config:
    paths = Paths(cache=str(place / "cache"), state=str(place), reports=str(place / "reports"))
    return Config(paths=paths, symbols=Symbols(debuginfod=list(servers), **keys))  # type: ignore[arg-type]


def analyze(
    crashed: Crashed, place: Path, *arguments: str, urls: str = ""
) -> subprocess.CompletedProcess[str]:
    config = place / "usercrash.toml"
    if not config.exists():
        config.write_text(f'[paths]\ncache = "{place}/cache"\n')
    return subprocess.run(
        [*PROGRAM, "--config", str(config), "analyze", "--json", *arguments, str(crashed.core)],
        env={**os.environ, "DEBUGINFOD_URLS": urls, "XDG_CACHE_HOME": str(place)},
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True,
    )  # fmt: skip


def functions(text: str | bytes) -> list[str | None]:
    return [frame["function"] for frame in json.loads(text)["threads"][0]["frames"]][:2]


# --- the whole way ---


@pytest.mark.parametrize("how", ["option", "environment", "configuration"])
def test_names_come_from_a_server(
    crashed: Crashed, server: FakeServer, place: Path, how: str
) -> None:
    assert functions(analyze(crashed, place).stdout) == [None, None]
    crashed.give_to(server)
    arguments, urls = [], ""
    if how == "option":
        arguments = ["--debuginfod", server.url()]
    elif how == "environment":
        urls = f"ima:enforcing {server.url()}"
    else:
        with (place / "usercrash.toml").open("a") as file:
            file.write(f'[symbols]\ndebuginfod = ["{server.url()}"]\n')
    done = analyze(crashed, place, *arguments, urls=urls)
    assert (done.returncode, done.stderr) == (0, "")
    assert functions(done.stdout) == ["fault", "main"]
    module = next(
        row for row in json.loads(done.stdout)["modules"] if row["build_id"] == crashed.id
    )
    assert module["symbols"] == f"debug file {place}/cache/debuginfod/{crashed.id}/debuginfo"
    # without any server it is there the next time
    count = len(server.asked)
    (place / "usercrash.toml").write_text(f'[paths]\ncache = "{place}/cache"\n')
    assert functions(analyze(crashed, place).stdout) == ["fault", "main"]
    assert len(server.asked) == count


def test_the_users_own_client_cache_is_read(crashed: Crashed, place: Path) -> None:
    for kind, data in (("debuginfo", crashed.debug), ("executable", crashed.executable)):
        file = place / "debuginfod_client" / crashed.id / kind
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    assert functions(analyze(crashed, place).stdout) == ["fault", "main"]


def test_nobody_is_asked_unless_it_is_said(
    crashed: Crashed, server: FakeServer, place: Path
) -> None:
    crashed.give_to(server)
    config = config_of(place)
    assert complete_crash(crashed, config, urls=server.url())[0] == [None, None]
    assert server.asked == []


def test_what_is_no_url_is_wrong_usage(crashed: Crashed, place: Path) -> None:
    for url in ("file:///etc", "http://", "http://user@host/", "nonsense", "http://a b"):
        done = analyze(crashed, place, "--debuginfod", url)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"usercrash: not the URL of a debuginfod server: {url}\n"


# --- one file ---

REFUSED = {
    "truncated": "the answer ended after", "shorter": "cut short", "oversized": "the limit is 1",
    "endless": "more than 1 MiB", "broken": "status 500", "garbage": "", "text": "no ELF file",
    "elsewhere": "redirects elsewhere", "file": "redirects elsewhere", "loop": "too many",
}  # fmt: skip


@pytest.mark.parametrize("habit", REFUSED)
def test_what_is_not_right_is_refused(
    crashed: Crashed, server: FakeServer, place: Path, habit: str
) -> None:
    crashed.give_to(server)
    config = config_of(place, debuginfod_mb=1)
    done = fetch([("debuginfo", crashed.build_id)], [server.url(habit)], config, wait=True)
    assert done.count == 0
    (line,) = done.trouble
    assert server.url(habit) in line and REFUSED[habit] in line
    directory = place / "cache/debuginfod" / crashed.id
    assert [entry.name for entry in directory.iterdir()] == ["debuginfo.none"]
    asked = len(server.asked)
    fetch([("debuginfo", crashed.build_id)], [server.url()], config, wait=True)
    assert len(server.asked) == asked  # for some time nobody is asked again


def test_a_server_that_hangs_is_given_up(crashed: Crashed, server: FakeServer, place: Path) -> None:
    crashed.give_to(server)
    config = config_of(place, debuginfod_seconds=0.5)
    wanted = [("debuginfo", crashed.build_id), ("executable", crashed.build_id)]
    done = fetch(wanted, [server.url("slow")], config, wait=True)
    assert done.count == 0 and done.trouble
    assert len(server.asked) == 1


def test_the_next_server_is_asked(crashed: Crashed, server: FakeServer, place: Path) -> None:
    """After one that is gone, one that has nothing, one that lies: the one that has it."""
    crashed.give_to(server)
    config = config_of(place)
    wrong = crashed.id[:-2] + "00"
    server.files[f"{wrong}/debuginfo"] = crashed.debug
    done = fetch([("debuginfo", bytes.fromhex(wrong))], [server.url()], config, wait=True)
    assert done.count == 0 and f"build-id {crashed.id}" in done.trouble[0]
    servers = ["http://127.0.0.1:1", server.url("broken"), server.url("moved")]
    wanted = [("debuginfo", crashed.build_id), ("executable", crashed.build_id)]
    done = fetch(wanted, servers, config, wait=True)
    assert (done.count, done.trouble) == (2, [])
    kept = place / "cache/debuginfod" / crashed.id
    assert (kept / "debuginfo").read_bytes() == crashed.debug
    assert (kept / "executable").stat().st_mode & 0o777 == 0o644


def test_a_debug_file_is_no_program(crashed: Crashed, server: FakeServer, place: Path) -> None:
    server.files[f"{crashed.id}/executable"] = crashed.debug
    wanted = [("executable", crashed.build_id)]
    done = fetch(wanted, [server.url()], config_of(place), wait=True)
    assert done.count == 0 and "holds no program" in done.trouble[0]


def test_what_nobody_has_is_no_trouble(crashed: Crashed, server: FakeServer, place: Path) -> None:
    done = fetch([("debuginfo", crashed.build_id)], [server.url()], config_of(place), wait=True)
    assert (done.count, done.trouble, len(server.asked)) == (0, [], 1)


def test_one_fetches_at_a_time(crashed: Crashed, server: FakeServer, place: Path) -> None:
    crashed.give_to(server)
    config = config_of(place)
    with DebugCache(str(place / "cache/debuginfod")).lock():
        done = fetch([("debuginfo", crashed.build_id)], [server.url()], config, wait=False)
    assert (done.count, server.asked) == (0, [])


def test_a_cache_that_cannot_be_written_to(crashed: Crashed, place: Path) -> None:
    (place / "cache").write_text("a file")
    wanted = [("debuginfo", crashed.build_id)]
    done = fetch(wanted, ["http://127.0.0.1:1"], config_of(place), wait=True)
    assert done.count == 0 and "Not a directory" in done.trouble[0]


# --- the cache ---


def test_the_cache_stays_below_its_limit(place: Path) -> None:
    cache = DebugCache(str(place / "cache"))
    for number in range(6):
        part, fd = cache.begin(bytes((number, 0)), "debuginfo")
        os.write(fd, bytes(1000))
        cache.keep(part, fd, bytes((number, 0)), "debuginfo")
        os.utime(fd, (number, number))
        os.close(fd)
    cache.missed(b"xx", "debuginfo", -1)
    cache.missed(b"yy", "debuginfo", 100)
    part, fd = cache.begin(b"zz", "debuginfo")
    os.close(fd)
    os.utime(part, (1, 1))
    cache.shrink(3000)
    left = sorted(entry.name for entry in (place / "cache").iterdir())
    assert left == sorted([b"yy".hex(), "0300", "0400", "0500"])
    assert cache.known(b"yy", "debuginfo") and not cache.known(b"yy", "executable")
    assert not cache.known(b"xx", "debuginfo")


@given(st.binary(max_size=200))
def test_any_list_of_what_is_missing(data: bytes) -> None:
    found = decode_missing(data)
    assert decode_missing(encode_missing(found)) == found


# --- the server's way ---


def complete_crash(
    crashed: Crashed, config: Config, urls: str = ""
) -> tuple[list[str | None], list[str], Store]:
    """(the functions in the published report, what was said, the store)."""
    reports = Path(config.paths.reports)
    store = Store(str(reports), 5, create=True)
    log = EventLog(config.paths.state, lambda line: None)
    event = CrashEvent(SOURCE_SOCKET, time.time_ns(), Pid(1), Tid(1), 11)
    core = os.open(crashed.core, os.O_RDONLY)
    os.environ["DEBUGINFOD_URLS"] = urls
    said: list[str] = []
    try:
        crash = Crash("c" * 32, b"k" * 16, event, core=core, by_path=True)
        assert complete(config, store, log, crash, analyse=True, say=said.append) == PUBLISHED
    finally:
        os.close(core)
        del os.environ["DEBUGINFOD_URLS"]
    found = from_json(store.read_json(0) or b"")
    return [frame.function for frame in found.threads[0].frames][:2], said, store


def test_a_published_report_is_renewed(crashed: Crashed, server: FakeServer, place: Path) -> None:
    crashed.give_to(server)
    names, said, store = complete_crash(crashed, config_of(place, server.url()))
    assert (names, said) == (["fault", "main"], [])
    assert b"fault" in store.read_text(0)
    assert [(entry.number, entry.id) for entry in store.entries()] == [(0, "c" * 32)]
    assert not [name for name in os.listdir(f"{store.path}/.data") if name.endswith(".part")]


def test_a_report_stays_where_servers_fail(
    crashed: Crashed, server: FakeServer, place: Path
) -> None:
    crashed.give_to(server)
    names, said, _ = complete_crash(crashed, config_of(place, server.url("text")))
    assert names == [None, None]
    assert said and all("no ELF file" in line for line in said)


def test_a_slot_of_another_report_is_left_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path), 2, create=True)
    number = store.publish("a" * 32, b"1" * 16, b"old\n", b"{}", None)
    os.utime(tmp_path / f"usercrash_{number:02d}", ns=(5, 10**18))
    assert store.renew("a" * 32, number, b"new\n", b"[]")
    assert store.read_text(number).startswith(b"new\n") and store.read_json(number) == b"[]"
    assert (tmp_path / f"usercrash_{number:02d}").stat().st_mtime_ns == 10**18
    assert not store.renew("b" * 32, number, b"newer\n", b"{}")
    assert store.read_text(number).startswith(b"new\n")
    assert not [name for name in os.listdir(tmp_path / ".data") if name.endswith(".part")]
