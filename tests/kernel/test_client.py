"""The client behind the real kernel: with a server, without one, and with one that fails it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.build import Built, build, programs
from tests.support.kernel import Installation, Published, run_to_death

from usercrash.storage.store import Store
from usercrash.system.core_pattern import core_pattern_guard

pytestmark = pytest.mark.usefixtures("needs_kernel")

# Everything that a cold client has imported when it lets the process go, beside what the
# interpreter itself starts with. Each module is time that the crashed process is held.
BEFORE_RELEASE = {
    "__future__", "_collections_abc", "_signal", "_socket", "_stat", "_struct", "genericpath",
    "os", "os.path", "posixpath", "select", "stat", "errno", "fcntl", "_posixsubprocess",
    "usercrash", "usercrash.capture", "usercrash.capture.collect", "usercrash.capture.core_stream",
    "usercrash.capture.elf_files", "usercrash.capture.facts", "usercrash.capture.filesystems",
    "usercrash.capture.identity", "usercrash.capture.kernel_dump", "usercrash.capture.link_map",
    "usercrash.capture.memory", "usercrash.capture.plan", "usercrash.capture.pointed",
    "usercrash.capture.procfs",
    "usercrash.capture.sockets", "usercrash.client", "usercrash.client.collecting",
    "usercrash.client.link",
    "usercrash.client.program", "usercrash.elf", "usercrash.elf.arch",
    "usercrash.elf.arch.x86_64", "usercrash.elf.headers", "usercrash.errors",
    "usercrash.model", "usercrash.model.event", "usercrash.model.maps",
    "usercrash.model.minicore", "usercrash.model.notes", "usercrash.model.snapshot",
    "gc", "usercrash.model.types", "usercrash.protocol",
}  # fmt: skip


@pytest.fixture
def place() -> Iterator[Installation]:
    with Installation("[reports]\nslots = 100\n") as installation:
        yield installation


@pytest.fixture(scope="session")
def crasher() -> Built:
    """A plain null pointer in C."""
    return build(next(one for name, one in programs().items() if name.startswith("null_chain")))


def hook(place: Installation, code: str) -> None:
    """Run `code` in the client before its main, to look or to break something at a known point."""
    lines = place.client.read_text().splitlines()
    lines[-1:-1] = code.splitlines()
    place.client.write_text("\n".join(lines) + "\n")


def test_the_imports_before_the_release(place: Installation, crasher: Built) -> None:
    bare = subprocess.run(
        [sys.executable, "-IS", "-c", "import sys; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    listing = place.place / "modules"
    hook(
        place,
        "from usercrash.capture.kernel_dump import KernelDump as K\n"
        "old = K.release\n"
        "def release(self):\n"
        "    import sys\n"
        # (the first time that it is called: once more when all is done)
        "    if not self.released_ns:\n"
        f"        open({str(listing)!r}, 'w').write(' '.join(sys.modules))\n"
        "    old(self)\n"
        "K.release = release\n",
    )
    place.start_server()
    with place.receiving():
        place.crash(crasher)
    loaded = set(listing.read_text().split()) - set(bare)
    assert loaded <= BEFORE_RELEASE, sorted(loaded - BEFORE_RELEASE)
    assert "usercrash.capture.collect" in loaded


def outcomes(place: Installation) -> list[tuple[str, str]]:
    return [(str(line["what"]), str(line.get("outcome", ""))) for line in place.events()]


def test_without_a_server(place: Installation, crasher: Built) -> None:
    # Nobody has left a configuration in the run directory: it is named.
    pattern = f"|{place.client} --config {place.config} --run {place.run} --ids %P %I %s %d %F"
    with core_pattern_guard(pattern, 100):
        published = place.crash(crasher)
    assert published.report.complete
    assert published.report.threads[0].frames[0].function
    assert any(note.stage == "client" for note in published.report.notes)
    assert outcomes(place) == [("announced", ""), ("closed", "published")]


def test_a_server_that_hangs_and_wakes_up(place: Installation, crasher: Built) -> None:
    place.start_server()
    assert place.server is not None
    os.kill(place.server.pid, signal.SIGSTOP)
    try:
        with place.receiving():
            published = place.crash(crasher)
    finally:
        os.kill(place.server.pid, signal.SIGCONT)
    assert published.report.complete
    deadline = time.monotonic() + 30
    while ("closed", "duplicate") not in outcomes(place):
        assert time.monotonic() < deadline, place.events()
        time.sleep(0.02)
    assert sorted(outcomes(place)) == [
        ("announced", ""), ("announced", ""), ("closed", "duplicate"), ("closed", "published"),
    ]  # fmt: skip
    assert [name for name in os.listdir(place.reports) if name[0] == "u"] == ["usercrash_00"]
    with place.receiving():  # and it serves the next one
        place.crash(crasher)


def test_a_server_killed_after_the_grant(place: Installation, crasher: Built) -> None:
    place.start_server()
    assert place.server is not None
    hook(
        place,
        "from usercrash.client.link import ServerLink as L\n"
        "old = L.deliver\n"
        "def deliver(self, *rest):\n"
        "    import os, time\n"
        "    self._take_answer(5.0)\n"
        f"    os.kill({place.server.pid}, 9)\n"
        "    time.sleep(0.2)\n"
        "    return old(self, *rest)\n"
        "L.deliver = deliver\n",
    )
    with place.receiving():
        published = place.crash(crasher)
    assert published.report.complete
    place.stop_server()
    place.start_server()
    assert outcomes(place) == [("announced", ""), ("closed", "published")]
    assert [
        n for n in os.listdir(place.reports / ".data") if n.endswith((".mini", ".report"))
    ] == []


def test_a_server_that_refuses(place: Installation, crasher: Built) -> None:
    place.start_server()
    data = place.reports / ".data"
    os.rename(data, place.place / "elsewhere")  # its descriptor still points there …
    (place.place / "elsewhere" / "x").mkdir()
    for name in os.listdir(place.place / "elsewhere"):
        target = place.place / "elsewhere" / name
        if target.is_dir():
            for child in list(target.iterdir()):
                child.unlink()
            target.rmdir()
        else:
            target.unlink()
    (place.place / "elsewhere").rmdir()  # … and nothing can be made in a directory that is gone
    with place.receiving():
        published = place.crash(crasher)
    assert published.report.complete
    assert any("refused" in note.why for note in published.report.notes)


@pytest.mark.parametrize("name", ["plain", "two words", "--run", "-x 1 --pid", "a'b\"c$(id)", "ü"])
def test_the_documented_pattern_verbatim(place: Installation, crasher: Built, name: str) -> None:
    place.start_server()
    exe = place.place / name
    os.symlink(crasher.exe, exe)
    argv = [os.fsencode(exe), *crasher.argv[1:]]
    # comm is the name that was executed; the link leads to the same program.
    with core_pattern_guard(f"|{place.client} --run {place.run} %p %e %s", 100):
        run_to_death(Built(crasher.program, crasher.exe, argv), place.place)
        published = wait_published(place, crasher)
    report = published.report
    assert report.complete and report.signal is not None and report.signal.name == "SIGSEGV"
    assert report.process.comm.encode() == name.encode()[:15]
    assert published.announced["name"]


def test_the_documented_pattern_in_another_pid_namespace(
    place: Installation, crasher: Built
) -> None:
    """`%p` is 1 there: it is never taken for our own process 1."""
    place.start_server()
    with core_pattern_guard(f"|{place.client} --run {place.run} %p %e %s", 100):
        subprocess.run(
            ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child",
             os.fsdecode(crasher.argv[0]), *map(os.fsdecode, crasher.argv[1:])],
            check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=_allow_cores,
        )  # fmt: skip
        published = wait_published(place, crasher)
    report = published.report
    assert report.process.pid > 1
    assert report.process.namespace_pid == 1
    assert "null" in (report.cause.kind if report.cause else "")
    assert published.announced["pid"] == "1"


def wait_published(place: Installation, built: Built) -> Published:
    """The published crash of this program, waited for."""
    deadline = time.monotonic() + 30
    while True:
        for item in place.published():
            if Path(item.report.process.exe) == built.exe:
                return item
        assert time.monotonic() < deadline, (place.events(), place.server_log)
        time.sleep(0.02)


def _allow_cores() -> None:
    import resource

    hard = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def test_ten_crashes_while_the_server_is_killed_and_restarted(
    place: Installation, crasher: Built
) -> None:
    place.start_server()
    with place.receiving():
        running = []
        for number in range(10):
            running.append(
                subprocess.Popen(
                    [os.fsdecode(word) for word in crasher.argv],
                    preexec_fn=_allow_cores,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            if number == 5:
                place.stop_server(signal.SIGKILL)
                place.start_server()
        for one in running:
            one.wait(60)
    pids = {one.pid for one in running}
    deadline = time.monotonic() + 60
    while True:
        found = [item for item in place.published() if item.report.process.pid in pids]
        lost = [line for line in place.events() if line.get("outcome") == "lost"]
        if len(found) + len(lost) >= 10:
            break
        assert time.monotonic() < deadline, (place.events(), place.server_log)
        time.sleep(0.05)
    assert sorted(item.report.process.pid for item in found) == sorted(pids)
    time.sleep(0.6)  # whoever closes an event a second time has done it by then
    events = place.events()
    for word in ("announced", "closed"):
        named = [line["id"] for line in events if line["what"] == word]
        assert len(named) == len(set(named)) == 10, events
    store = Store(str(place.reports))
    assert len(store.entries()) == 10
    assert Path(place.reports, "usercrash_09").exists()


@pytest.mark.parametrize("limit", [0, 1])
def test_any_pipe_limit(place: Installation, crasher: Built, limit: int) -> None:
    """0: the kernel waits only until the head of the core is read, which is all that we need."""
    place.start_server()
    with place.receiving(pipe_limit=limit):
        published = place.crash(crasher)
    assert published.report.complete and published.report.notes == []
    assert published.report.maps and published.report.threads[0].frames[0].function


def test_links_in_the_run_directory_are_not_followed(place: Installation, crasher: Built) -> None:
    canary = place.place / "canary"
    canary.write_text("secret")
    place.run.mkdir(mode=0o700)
    for name in ("server.lock", "effective.json", "effective.json.part", "crash.sock"):
        (place.run / name).symlink_to(canary)
    done = subprocess.run(
        [sys.executable, "-c", "from usercrash.server import main; main()", "--config",
         str(place.config)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    (place.run / "server.lock").unlink()
    (place.run / "effective.json.part").unlink()
    place.start_server()
    with place.receiving():
        place.crash(crasher)
    assert canary.read_text() == "secret"
