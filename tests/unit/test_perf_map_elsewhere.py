"""Perf maps of processes with another /tmp, or another number there: taken with the crash."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.build import need
from tests.support.dead_fuse import dead_fuse
from tests.support.spawn import compile_c, expect

from usercrash.capture.collect import collect
from usercrash.capture.live import LiveTarget
from usercrash.capture.perf_map import makes_code, read_perf_map
from usercrash.config import Config
from usercrash.isolated_analysis import Material, View, analyse_isolated
from usercrash.model.snapshot import Snapshot
from usercrash.pipeline import snapshot_core
from usercrash.report import from_json

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root here")

JIT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
__attribute__((noinline)) void waits(void) { write(1, "r", 1); pause(); }
int main(int argc, char **argv) {
    unsigned char *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void (*called)(void) = waits;
    char name[64];
    memcpy(code, "\x55\x48\x89\xe5\x48\xb8", 6);
    memcpy(code + 6, &called, 8);
    memcpy(code + 14, "\xff\xd0\x5d\xc3", 4);
    snprintf(name, sizeof name, "/tmp/perf-%d.map", getpid());
    unlink(name);
    if (argc > 1) chdir("/tmp"), symlink(argv[1], name);
    FILE *map = fopen(name, "w");
    if (map) {
        fprintf(map, "%lx 12 js::compiled loop\n", (long)code);
        fclose(map);
    }
    ((void (*)(void))code)();
    __asm__ volatile("");
    return 0;
}
"""
ENTER = "mount --make-rprivate / && {tmp} exec '{exe}' {more}"


@pytest.fixture(scope="module")
def jit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("jit"), "jit", JIT)


@contextmanager
def contained(exe: Path, tmp: str = "", *more: str, pid: bool = True) -> Iterator[int]:
    """The pid of the program in its container, which waits in made code. (Its own /tmp may
    hide its file: it is started by a descriptor.)"""
    fd = os.open(exe, os.O_RDONLY)
    script = ENTER.format(tmp=tmp, exe=f"/proc/self/fd/{fd}", more=" ".join(more))
    command = [need("unshare", "util-linux"), "--mount"]
    command += ["--pid", "--fork", "--kill-child"] if pid else []
    process = subprocess.Popen([*command, "sh", "-c", script], stdout=-1, pass_fds=[fd])
    os.close(fd)
    try:
        expect(process, b"r")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield int(children[0]) if pid else process.pid
    finally:
        process.kill()
        process.communicate()


def taken(pid: int) -> Snapshot:
    target = LiveTarget.stop(pid)
    try:
        return collect(target)
    finally:
        target.close()


def functions(snapshot: Snapshot) -> list[str | None]:
    """The names on the stack, by the minicore alone."""
    core = snapshot_core(snapshot)
    done = analyse_isolated(Material("a" * 32, core, by_path=True), Config(), View())
    os.close(core)
    return [frame.function for frame in from_json(done.json).threads[0].frames]


@pytest.mark.parametrize("pid", [True, False])
def test_a_container_with_its_own_tmp(jit: Path, pid: bool) -> None:
    """In a pid namespace its number is 1; with a private /tmp alone it is the host's."""
    with contained(jit, "mount -t tmpfs none /tmp &&", pid=pid) as number:
        snapshot = taken(number)
        own = b"1" if pid else b"%d" % number
        assert snapshot.facts[b"status"].partition(b"NStgid:")[2].split(b"\n")[0].split()[-1] == own
    assert snapshot.facts[b"@perf_map"].endswith(b"js::compiled loop\n")
    assert "js::compiled loop" in functions(snapshot)  # the process and its /tmp are gone
    close_files(snapshot)


def test_no_descriptor_is_left(jit: Path) -> None:
    with contained(jit, "mount -t tmpfs none /tmp &&") as number:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(2):
            close_files(taken(number))
        assert len(os.listdir("/proc/self/fd")) == before


def test_links_and_other_users_files_are_not_read(jit: Path, tmp_path: Path) -> None:
    with contained(jit, "mount -t tmpfs none /tmp &&", "other") as number:
        snapshot = taken(number)  # the map is a symbolic link
        assert Path(f"/proc/{number}/root/tmp/other").read_bytes().endswith(b"loop\n")
    assert b"@perf_map" not in snapshot.facts
    close_files(snapshot)
    facts = {b"status": b"Uid:\t0\t0\t0\t0\n", b"stat": Path("/proc/self/stat").read_bytes()}
    file = tmp_path / "map"
    file.write_bytes(b"1000 10 x\n")
    assert content(file, facts) == b"1000 10 x\n"
    assert content(file, facts | {b"status": b"Uid:\t7\t7\t7\t7\n"}) == b""
    os.link(file, tmp_path / "second")
    assert content(file, facts) == b""
    (tmp_path / "second").unlink()
    os.utime(file, (1, time.time() - 1e6))  # of the container's last life
    assert content(file, facts) == b""
    assert content(tmp_path, facts) == b""


def test_a_tmp_that_a_process_serves_is_not_asked(jit: Path, tmp_path: Path) -> None:
    place = tmp_path / "served"
    place.mkdir()
    with dead_fuse(place, b"1000 10 x\n") as server:
        mount = f"mount --bind {place} /tmp &&"
        with contained(jit, mount) as number:
            server.asked.clear()
            snapshot = taken(number)
            asked = list(server.asked)
    assert b"@perf_map" not in snapshot.facts and asked == []
    close_files(snapshot)


def test_which_processes_make_code() -> None:
    line = b"7f00-7f10 %b 00000000 00:00 0 %b\n"
    vdso = line % (b"r-xp", b"                  [vdso]")
    assert not makes_code(vdso + line % (b"rw-p", b"") + line % (b"--xp", b" [vsyscall]"))
    assert makes_code(vdso + line % (b"rwxp", b"")) and makes_code(line % (b"r-xp", b" [anon:js]"))
    memfd = b"7f00-7f10 %b 00000000 00:01 2049 /memfd:doublemapper (deleted)\n"
    assert makes_code(memfd % b"rw-s" + memfd % b"r-xs") and not makes_code(memfd % b"rw-s")
    assert not makes_code(b"") and not makes_code(b" /memfd:")


def content(path: Path, facts: dict[bytes, bytes]) -> bytes:
    fd = os.open(path, os.O_PATH)
    try:
        return read_perf_map(fd, facts)
    finally:
        os.close(fd)


def close_files(snapshot: Snapshot) -> None:
    for file in snapshot.files:
        if file.fd >= 0:
            os.close(file.fd)
