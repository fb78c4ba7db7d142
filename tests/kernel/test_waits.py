"""What threads wait for, who holds it, and circles of them: real programs, live and crashed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.build import need
from tests.support.kernel import Installation, analyze
from tests.support.spawn import compile_c, expect

from usercrash.render.first import deadlock_words
from usercrash.render.text import render_text
from usercrash.report import Report, Thread, from_json

DEBUGGER = "from usercrash.debugger import main; raise SystemExit(main())"

# Each thread takes what it holds, meets the others, and then waits. Threads have names, as their
# order is nobody's to say.
PROGRAM = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER, left = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t table = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t all;
static sem_t semaphore;
static int ends[2];
static pthread_mutex_t robust, *everywhere, circle[3];
static void begin(const char *name) {
    pthread_setname_np(pthread_self(), name);
    pthread_barrier_wait(&all);
}
static void *first(void *x) {
    pthread_mutex_lock(&a);
    begin("first");
    pthread_mutex_lock(&b);
    return x;
}
static void *second(void *x) {
    pthread_mutex_lock(&b);
    begin("second");
    pthread_mutex_lock(&a);
    return x;
}
static void *third(void *x) { begin("third"); pthread_mutex_lock(&a); return x; }
static void *hasty(void *x) {
    struct timespec time = {0};
    begin("hasty");
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_sec += 5000;
    pthread_mutex_timedlock(&a, &time);
    return x;
}
static void *selfish(void *x) {
    pthread_mutex_lock(&own);
    begin("selfish");
    pthread_mutex_lock(&own);
    return x;
}
static void *gone(void *x) { pthread_mutex_lock(&left); return x; }
static void *orphan(void *x) { begin("orphan"); pthread_mutex_lock(&left); return x; }
static void *waiter(void *x) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    begin("waiter");
    pthread_mutex_lock(&m);
    pthread_cond_wait(&condition, &m);
    return x;
}
static void *counter(void *x) { begin("counter"); sem_wait(&semaphore); return x; }
static void *writer(void *x) {
    pthread_rwlock_wrlock(&table);
    flockfile(stderr);
    begin("writer");
    for (;;) pause();
    return x;
}
static void *lookup(void *x) { begin("lookup"); pthread_rwlock_rdlock(&table); return x; }
static void *printer(void *x) { begin("printer"); fputs("x", stderr); return x; }
static void *tie(unsigned number, const char *name) {
    pthread_mutex_lock(&circle[number]);
    begin(name);
    pthread_mutex_lock(&circle[(number + 1) % 3]);
    return 0;
}
static void *recursive(void *x) { return x ? x : tie(0, "recursive"); }
static void *checking(void *x) { return x ? x : tie(1, "checking"); }
static void *inheriting(void *x) { return x ? x : tie(2, "inheriting"); }
static void *keeper(void *x) {
    pthread_mutex_lock(&robust);
    begin("keeper");
    for (;;) pause();
    return x;
}
static void *heir(void *x) { begin("heir"); pthread_mutex_lock(&robust); return x; }
static void *neighbour(void *x) { begin("neighbour"); pthread_mutex_lock(everywhere); return x; }
static void make(pthread_mutex_t *mutex, int kind, int robust, int protocol, int shared) {
    pthread_mutexattr_t wish;
    pthread_mutexattr_init(&wish);
    pthread_mutexattr_settype(&wish, kind);
    pthread_mutexattr_setrobust(&wish, robust);
    pthread_mutexattr_setprotocol(&wish, protocol);
    pthread_mutexattr_setpshared(&wish, shared);
    pthread_mutex_init(mutex, &wish);
}
static int take_elsewhere(void) {
    char c;
    int life[2];
    everywhere = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make(everywhere, PTHREAD_MUTEX_NORMAL, 0, 0, PTHREAD_PROCESS_SHARED);
    if (pipe(life)) return 0;
    if (fork() == 0) {
        close(1);
        close(life[1]);
        pthread_mutex_lock(everywhere);
        _exit(write(ends[1], "x", 1) == 1 && read(life[0], &c, 1) == 1);
    }
    return read(ends[0], &c, 1) == 1;
}
static void *receiver(void *x) { char c; begin("receiver"); return read(ends[0], &c, 1) ? x : 0; }
static void *sleeper(void *x) {
    struct timespec time = {5000, 0};
    begin("sleeper");
    nanosleep(&time, 0);
    return x;
}
int main(void) {
    void *(*work[])(void *) = {first, second, third, selfish, orphan, waiter, counter, writer,
                               lookup, printer, receiver, sleeper, recursive, checking,
                               inheriting, keeper, heir, neighbour, hasty};
    const unsigned count = sizeof work / sizeof *work;
    pthread_t threads[32], other;
    struct rlimit any = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &any);
    if (pipe(ends) || sem_init(&semaphore, 0, 0)) return 1;
    if (!take_elsewhere()) return 3;
    make(&circle[0], PTHREAD_MUTEX_RECURSIVE, 0, 0, 0);
    make(&circle[1], PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0);
    make(&circle[2], PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_INHERIT, 0);
    make(&robust, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, 0, 0);
    pthread_create(&other, 0, gone, 0);
    pthread_join(other, 0);
    pthread_barrier_init(&all, 0, count + 1);
    for (unsigned i = 0; i < count; i++) pthread_create(&threads[i], 0, work[i], 0);
    pthread_barrier_wait(&all);
    if (write(1, "r", 1) != 1) return 2;
    pthread_join(threads[0], 0);
    return 0;
}
"""
SUMMARIES = {
    "first": "the mutex at {} (b in {}), held by thread {second} (second)",
    "second": "the mutex at {} (a in {}), held by thread {first} (first)",
    "third": "the mutex at {} (a in {}), held by thread {first} (first)",
    "selfish": "the mutex at {} (own in {}), which it holds itself",
    "orphan": "the mutex at {} (left in {}), held by thread {gone}, which is not there any more",
    "waiter": "the condition variable at {} (condition in {})",
    "counter": "the semaphore at {} (semaphore in {})",
    "writer": "pause: a signal",
    "lookup": "the read-write lock at {} (table in {}), held by thread {writer} (writer)",
    "printer": "a lock of the C library, held by thread {writer} (writer)",
    "receiver": "read on descriptor {}, pipe:[{}] (read end)",
    "sleeper": "clock_nanosleep of 5000 s",
    "recursive": "the mutex at {} ({} in {}), held by thread {checking} (checking)",
    "checking": "the mutex at {} ({} in {}), held by thread {inheriting} (inheriting)",
    "inheriting": "the mutex at {} (circle in {}), held by thread {recursive} (recursive)",
    "hasty": "the mutex at {} (a in {}), held by thread {first} (first)",
    "keeper": "pause: a signal",
    "heir": "the mutex at {} (robust in {}), held by thread {keeper} (keeper)",
    "neighbour": "the mutex at {}, held by thread {gone}, which is of another process or not there "
    "any more",
}


@contextmanager
def waiting(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, once all its threads sleep in the kernel."""
    process = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        expect(process, b"r")
        deadline = time.monotonic() + 60
        while any(state != "S" for state in states(process.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


def states(pid: int) -> list[str]:
    """Of each thread the state; `?` while it has not come to its own system call yet (the barrier's
    futex looks like a lock's, so threads are asked twice with some time between)."""
    found = []
    for _ in range(2):
        for tid in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{tid}/stat").read_bytes()
            found.append(text.rpartition(b")")[2].split()[0].decode())
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module", params=["64", "32"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc", "gcc")
    place = tmp_path_factory.mktemp("waits")
    if request.param == "32":
        request.getfixturevalue("needs_32_bits")
        return compile_c(place, "waits32", PROGRAM, "-m32")
    return compile_c(place, "waits64", PROGRAM)


def check(report: Report) -> None:
    """Every thread waits for what the program says; the circles are named."""
    assert report.complete
    named = {thread.name: thread for thread in report.threads}
    assert {*SUMMARIES} <= {*named}
    tids = {name: thread.tid for name, thread in named.items()}
    for name, expected in SUMMARIES.items():
        shown = matches(named[name], expected, tids)
        if name == "counter" and report.system.architecture == "i386" and not shown:
            # (sem_wait() jumps to a function that has no name without libc's debug file)
            shown = matches(named[name], "the futex at {} (semaphore in {})", tids)
        if name == "heir" and report.system.architecture == "i386" and not shown:
            shown = matches(named[name], expected.replace("held", "probably held"), tids)
        assert shown, (name, named[name].waiting, tids)
    own = next(thread for thread in report.threads if thread.name not in SUMMARIES)
    assert own.waiting is not None and own.waiting.kind == "thread"
    assert own.waiting.summary == f"the end of thread {tids['first']} (first)"
    wanted = (("first", "second"), ("selfish",), ("recursive", "checking", "inheriting"))
    circles = sorted(sorted(circle) for circle in report.deadlocks)
    assert circles == sorted(sorted(tids[name] for name in names) for names in wanted)
    assert "\nDeadlock thread " in render_text(report)
    selfish = f"thread {tids['selfish']} (selfish) waits for a lock that it holds itself"
    assert selfish in deadlock_words(report)


def matches(thread: Thread, expected: str, tids: dict[str, int]) -> bool:
    """Whether the summary is the expected one, where `{}` and `{gone}` are any word."""
    assert thread.waiting is not None, thread
    words = expected.split(" ")
    found = thread.waiting.summary.split(" ")
    if thread.name == "sleeper":
        words[0] = found[0] if found[0].startswith(("clock_nanosleep", "nanosleep")) else words[0]
    for want, have in zip(words, found, strict=True):
        free = want.replace("{gone}", "{}")
        if "{}" in free:
            head, _, tail = free.partition("{}")
            if not (have.startswith(head) and have.endswith(tail)):
                return False
        elif want.format(**tids) != have:
            return False
    return True


def test_of_a_live_process(program: Path) -> None:
    with waiting(program) as process:
        done = subprocess.run([sys.executable, "-c", DEBUGGER, "--json", str(process.pid)],
                              capture_output=True, check=True)  # fmt: skip
    check(from_json(done.stdout))


@pytest.mark.usefixtures("needs_kernel")
@pytest.mark.parametrize("entrance", ["pipe", "socket"])
def test_of_a_crash_and_of_its_minicore(program: Path, entrance: str) -> None:
    """Only what the capture chose to keep is there."""
    with Installation() as place:
        place.start_server()
        with waiting(program) as process, place.receiving(entrance=entrance):
            os.kill(process.pid, signal.SIGQUIT)
            assert process.wait(60) == -signal.SIGQUIT
            published = place.wait_pid(process.pid)
        check(published.report)
        assert "\nWaiting  the end of thread " in published.text
        again = analyze(published.core, "--exe", program, config=place.config)
    assert [thread.waiting for thread in again.threads] == [
        thread.waiting for thread in published.report.threads
    ]


def test_a_thread_that_computes_waits_for_nothing(tmp_path: Path) -> None:
    source = '#include <unistd.h>\nint main(void) { if (write(1, "r", 1) == 1) for (;;) ; }\n'
    busy = compile_c(tmp_path, "busy", source)
    process = subprocess.Popen([busy], stdout=subprocess.PIPE)
    try:
        expect(process, b"r")
        done = subprocess.run([sys.executable, "-c", DEBUGGER, "--json", str(process.pid)],
                              capture_output=True, check=True)  # fmt: skip
    finally:
        process.kill()
        process.communicate()
    assert json.loads(done.stdout)["threads"][0].get("waiting") is None


MUSL = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>
static pthread_mutex_t a, b, plain;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t all;
static pthread_t threads[5];
static void begin(const char *name) {
    pthread_setname_np(pthread_self(), name);
    pthread_barrier_wait(&all);
}
static void cross(pthread_mutex_t *one, pthread_mutex_t *other, const char *name) {
    pthread_mutex_lock(one);
    begin(name);
    pthread_mutex_lock(other);
}
static void *first(void *x) { cross(&a, &b, "first"); return x; }
static void *second(void *x) { cross(&b, &a, "second"); return x; }
static void *selfish(void *x) { cross(&plain, &plain, "selfish"); return x; }
static void *joiner(void *x) { begin("joiner"); pthread_join(threads[0], 0); return x; }
static void *waiter(void *x) {
    pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
    begin("waiter");
    pthread_mutex_lock(&own);
    pthread_cond_wait(&condition, &own);
    return x;
}
int main(void) {
    void *(*work[])(void *) = {first, second, selfish, joiner, waiter};
    pthread_mutexattr_t wish;
    pthread_mutexattr_init(&wish);
    pthread_mutexattr_settype(&wish, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&a, &wish);
    pthread_mutex_init(&b, &wish);
    pthread_barrier_init(&all, 0, 6);
    for (int i = 0; i < 5; i++) pthread_create(&threads[i], 0, work[i], 0);
    pthread_barrier_wait(&all);
    if (write(1, "r", 1) == 1) pause();
}
"""


@pytest.mark.parametrize("flag", ["-static", "-g"])
def test_of_musl(flag: str, tmp_path: Path) -> None:
    """Its mutexes that tell their owner, and none is said to hold those that do not."""
    compiler = need("musl-gcc", "musl-tools")
    source = tmp_path / "musl.c"
    source.write_text(MUSL)
    program = tmp_path / "musl"
    subprocess.run([compiler, flag, "-o", program, source], check=True)
    with waiting(program) as process:
        done = subprocess.run([sys.executable, "-c", DEBUGGER, "--json", str(process.pid)],
                              capture_output=True, check=True)  # fmt: skip
    report = from_json(done.stdout)
    tids = {thread.name: thread.tid for thread in report.threads}
    named = {thread.name: thread for thread in report.threads}
    for name, expected in {
        "first": "the mutex at {} (b in musl), held by thread {second} (second)",
        "second": "the mutex at {} (a in musl), held by thread {first} (first)",
        "selfish": "the mutex at {} (plain in musl)",
        "joiner": "the end of thread {first} (first)",
        "waiter": "a condition variable",
    }.items():
        assert matches(named[name], expected, tids), (name, named[name].waiting, tids)
    assert [sorted(one) for one in report.deadlocks] == [sorted((tids["first"], tids["second"]))]


def test_a_second_look(program: Path) -> None:
    """Calls with a time that were interrupted by the first look go on as restart_syscall(). (A
    32-bit program makes its calls in the vdso, where nothing tells which one it was.)"""
    with waiting(program) as process:
        for _ in range(2):
            done = subprocess.run([sys.executable, "-c", DEBUGGER, "--json", str(process.pid)],
                                  capture_output=True, check=True)  # fmt: skip
    report = from_json(done.stdout)
    named = {thread.name: thread for thread in report.threads}
    tids = {name: thread.tid for name, thread in named.items()}
    for name in ("sleeper", "hasty"):
        waits = named[name].waiting
        if report.system.architecture == "i386":
            assert waits is not None and (waits.call, waits.summary) == ("restart_syscall", "")
        else:
            assert matches(named[name], SUMMARIES[name], tids), waits
