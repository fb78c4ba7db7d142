"""Crashes that are large, odd or cut short, down to their reports: each says what there was, and
notes say what was not."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.build import build, programs
from tests.support.held import handler
from tests.support.kernel import Installation, Published, analyze
from tests.support.mappings import many_mappings
from tests.support.spawn import compile_c

from usercrash.elf.headers import NT_FILE, ElfHeader, iter_notes, parse_program_headers
from usercrash.report import Report

pytestmark = pytest.mark.usefixtures("needs_kernel")

MAPPINGS = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
static int fault_here(volatile int *where) { *where = 1; return 1; }
int main(int argc, char **argv) {  /* COUNT [FILE]: every other page, so that none are joined */
    int fd = argc > 2 ? open(argv[2], O_RDONLY) : -1;
    int kind = MAP_PRIVATE | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0);
    for (long i = 0; i < atol(argv[1]); i++)
        if (mmap((char *)0x100000000 + i * 8192, 4096, PROT_READ, kind, fd, 0) == MAP_FAILED)
            return 1;
    return fault_here((int *)8) + 1;
}
"""

DESCRIPTORS = r"""
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
static int fault_here(volatile int *where) { *where = 1; return 1; }
int main(void) {
    struct rlimit limit = {6000, 6000};
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < 2000; i++) socket(AF_UNIX, SOCK_STREAM, 0);
    for (int i = 0; i < 3500; i++) open("/dev/null", 0);
    return fault_here((int *)8) + 1;
}
"""

TOGETHER = r"""
#include <pthread.h>
static pthread_barrier_t all_here;
static int fault_here(volatile int *where) { *where = 1; return 1; }
static void *work(void *arg) {
    pthread_barrier_wait(&all_here);
    return (void *)(long)(fault_here((int *)8) + 1);
}
int main(void) {
    pthread_t threads[8];
    pthread_barrier_init(&all_here, 0, 8);
    for (int i = 0; i < 8; i++) if (pthread_create(threads + i, 0, work, 0)) return 1;
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    return 0;
}
"""

# All stacks in one mapping: few program headers stand before the notes.
CROWD = r"""
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
static pthread_barrier_t all_here;
static void *work(void *arg) {
    pthread_barrier_wait(&all_here);
    for (;;) pause();
    return arg;
}
int main(void) {
    enum { COUNT = 100, SIZE = 64 << 10 };
    char *stacks = mmap(0, COUNT * SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_barrier_init(&all_here, 0, COUNT + 1);
    for (long i = 0; i < COUNT; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        pthread_attr_setstack(&attributes, stacks + i * SIZE, SIZE);
        if (pthread_create(&thread, &attributes, work, 0)) return 1;
    }
    pthread_barrier_wait(&all_here);
    *(volatile int *)8 = 1;
}
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Installation]:
    with Installation("[reports]\nslots = 100\n[server]\nworkers = 1\n") as installation:
        installation.start_server()
        yield installation


@pytest.fixture(params=["pipe", "socket"])
def entrance(request: pytest.FixtureRequest) -> str:
    if request.param == "socket":
        request.getfixturevalue("needs_socket")
    return str(request.param)


def crash(place: Installation, entrance: str, *command: str | bytes | Path) -> Published:
    """The program's death and its report."""
    with place.receiving(entrance=entrance):
        process = subprocess.Popen(
            command, preexec_fn=allow_cores, cwd="/", stdin=subprocess.DEVNULL
        )
        try:
            assert process.wait(60) == -signal.SIGSEGV
        finally:
            process.kill()
        return place.wait_pid(process.pid)


def allow_cores() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)


def functions(report: Report) -> list[str | None]:
    """Of the thread that crashed."""
    (thread,) = (thread for thread in report.threads if thread.crashed)
    return [frame.function for frame in thread.frames]


def notes(report: Report) -> list[str]:
    return [f"{note.stage}: {note.what}: {note.why}" for note in report.notes]


def has_file_note(core: Path) -> bool:
    """Whether a minicore has the kernel's list of mapped files."""
    data = core.read_bytes()
    header = ElfHeader(data)
    (row,) = parse_program_headers(header, data[header.phoff :], 1)
    found = iter_notes(data[row.offset : row.offset + row.filesz])
    return any(note.type == NT_FILE and note.owner == b"CORE" for note in found)


def test_thousand_threads(place: Installation, entrance: str) -> None:
    built = build(programs()["thousand"])
    report = crash(place, entrance, *built.argv).report
    assert report.complete and notes(report) == []
    assert functions(report)[:2] == ["fault_here", "main"]
    assert len(report.threads) == 1000 == report.process.threads_total
    assert {thread.name for thread in report.threads} == {built.exe.name[:15]}
    others = [thread for thread in report.threads if not thread.crashed]
    assert all("work" in [frame.function for frame in thread.frames] for thread in others)


def test_seventy_thousand_mappings(place: Installation, entrance: str, tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "mappings", MAPPINGS)
    with many_mappings():
        report = crash(place, entrance, exe, "70000").report
    assert report.complete and functions(report)[:2] == ["fault_here", "main"]
    assert 9_000 < len(report.maps) <= 10_000
    assert [line for line in notes(report) if "mappings: too many" in line] == notes(report)


def test_a_core_without_its_list_of_files(
    place: Installation, entrance: str, tmp_path: Path
) -> None:
    """70,000 mappings of a file with a long name: more than the 4 MiB that the kernel has for
    NT_FILE, which it leaves out as a whole."""
    exe = compile_c(tmp_path, "files", MAPPINGS)
    deep = tmp_path / ("d" * 50)
    deep.mkdir()
    file = deep / "data"
    file.write_bytes(b"not an ELF file".ljust(4096))
    with many_mappings():
        found = crash(place, entrance, exe, "70000", file)
    assert not has_file_note(found.core)
    report = found.report
    assert report.complete and functions(report)[:2] == ["fault_here", "main"]
    assert {Path(module.path).name for module in report.modules} >= {"files", "libc.so.6"}
    assert [line for line in notes(report) if "mappings: too many" in line] == notes(report)


def test_a_memory_map_that_is_longer_than_we_keep(
    place: Installation, entrance: str, tmp_path: Path
) -> None:
    """Its end is kept, too: there stand libraries and stack."""
    exe = compile_c(tmp_path, "longer", MAPPINGS)
    deep = tmp_path / ("d" * 250) / ("e" * 250)
    deep.mkdir(parents=True)
    file = deep / "data"
    file.write_bytes(b"not an ELF file".ljust(4096))
    with many_mappings():
        report = crash(place, entrance, exe, "70000", file).report
    assert report.complete
    assert functions(report)[:2] == ["fault_here", "main"]
    assert "process: maps: 16777216 bytes of its beginning and end kept" in notes(report)


def test_five_thousand_open_files(place: Installation, entrance: str, tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "descriptors", DESCRIPTORS)
    report = crash(place, entrance, exe).report
    assert report.complete and functions(report)[:2] == ["fault_here", "main"]
    kinds = Counter(one.kind for one in report.open_files)
    assert len(report.open_files) == 5000 and max(kinds.values()) < 5000
    assert any("of 5503 open files: too many to list" in line for line in notes(report))


def test_a_leader_that_has_ended(place: Installation, entrance: str) -> None:
    built = build(programs()["zombie_leader"])
    report = crash(place, entrance, *built.argv).report
    assert report.complete and notes(report) == []
    assert functions(report)[0] == "fault_here"
    assert report.process.pid != report.process.tid
    assert report.process.exe == str(built.exe) and report.maps and report.open_files


def test_threads_that_fault_together(place: Installation, entrance: str, tmp_path: Path) -> None:
    """One dump for all of them: the others stand where they faulted, or just before."""
    exe = compile_c(tmp_path, "together", TOGETHER)
    report = crash(place, entrance, exe).report
    assert report.complete and notes(report) == []
    assert functions(report)[:2] == ["fault_here", "work"]
    assert len(report.threads) == 9
    pid = report.process.pid
    announced = [line for line in place.events() if line["what"] == "announced"]
    assert sum(line["pid"] == str(pid) for line in announced) == 1


def test_killed_while_it_is_held(tmp_path: Path) -> None:
    """The registers had come with the notes; the memory is gone."""
    built = build(programs()["worker/debug"])
    with handler(tmp_path, "during") as held:
        process = held.start(built.argv)
        held.wait_stopped()
        process.kill()
        process.wait(60)
        held.go_on("during")
        got = held.result(built.exe.name)
    report = analyze(got.core)
    assert report.signal is not None and report.signal.name == "SIGSEGV"
    assert len(report.threads) == 9 and all(thread.registers for thread in report.threads)
    assert len(report.threads[0].frames) >= 1
    assert any("process is gone" in line or "killed" in line for line in notes(report))


def test_notes_cut_short(tmp_path: Path) -> None:
    """Killed while the kernel writes the notes of 101 threads: the pipe holds the first."""
    exe = compile_c(tmp_path, "crowd", CROWD)
    with handler(tmp_path, "before") as held:
        process = held.start([exe])
        held.wait_stopped()
        process.kill()
        process.wait(60)
        held.go_on("before")
        got = held.result("crowd")
    report = analyze(got.core)
    assert report.signal is not None and report.signal.name == "SIGSEGV"
    assert 1 <= len(report.threads) < 101 and report.threads[0].registers
    assert any("the stream ended after" in line for line in notes(report))


SMALL = """
[capture]
max_memory_mb = 1
max_files = 2
"""
SHORT = """
[capture]
seconds = 0.001
"""


EXPECTED = {
    SMALL: {"1048576 bytes are as many as we keep", "as many as we open"},
    SHORT: {"no time left"},
}


@pytest.mark.parametrize("settings", [SMALL, SHORT], ids=["bytes", "time"])
def test_budgets_that_are_reached_are_notes(settings: str, entrance: str) -> None:
    built = build(programs()["thousand"])
    with Installation(settings) as small:
        small.start_server()
        # A server that is slow to answer is not waited for: then our own budgets hold.
        for _ in range(5):
            report = crash(small, entrance, *built.argv).report
            assert report.complete and len(report.threads) == 1000
            assert report.threads[0].frames
            if EXPECTED[settings] <= {note.why for note in report.notes}:
                return
    raise AssertionError(notes(report))
