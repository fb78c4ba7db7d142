"""A program that makes code and leaves its names for perf dies through the real kernel."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.build import need
from tests.support.kernel import Installation, analyze
from tests.support.spawn import compile_c

pytestmark = pytest.mark.usefixtures("needs_kernel")

JIT = r"""
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
__attribute__((noinline)) void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
int main(void) {
    unsigned char *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void (*called)(void) = fault;
    char name[64];
    memcpy(code, "\x55\x48\x89\xe5\x48\xb8", 6);
    memcpy(code + 6, &called, 8);
    memcpy(code + 14, "\xff\xd0\x5d\xc3", 4);
    snprintf(name, sizeof name, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(name, "w");
    fprintf(map, "%lx 12 js::compiled loop\n", (long)code);
    fclose(map);
    ((void (*)(void))code)();
    __asm__ volatile("");
    return 0;
}
"""


def test_names_of_a_just_in_time_compiler(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "jit", JIT)
    with Installation() as place:
        place.start_server()
        with place.receiving():
            process = subprocess.Popen([exe], preexec_fn=allow_cores, cwd="/")
            map_file = Path(f"/tmp/perf-{process.pid}.map")
            try:
                assert process.wait(60) == -signal.SIGSEGV
                report = place.wait_pid(process.pid).report
            finally:
                map_file.unlink(missing_ok=True)
    frames = report.threads[0].frames
    assert [frame.function for frame in frames][:3] == ["fault", "js::compiled loop", "main"]
    assert frames[1].offset == 16 and frames[1].module is None


@pytest.mark.parametrize("entrance", ["pipe", "socket"])
def test_the_same_in_a_container(tmp_path: Path, entrance: str) -> None:
    """With a /tmp of its own, where its number is another; all of it is gone when it is analysed.
    The minicore has the names, too."""
    exe = compile_c(tmp_path, "jit", JIT)
    fd = os.open(exe, os.O_RDONLY)
    script = f"mount -t tmpfs none /tmp && exec /proc/self/fd/{fd}"
    enter = [need("unshare", "util-linux"), "--mount", "--pid", "--fork", "--mount-proc"]
    with Installation() as place:
        place.start_server()
        with place.receiving(entrance=entrance):
            process = subprocess.Popen(
                [*enter, "sh", "-c", script], preexec_fn=allow_cores, cwd="/", pass_fds=[fd]
            )
            os.close(fd)
            assert process.wait(60) != 0
            found = place.wait_exe(exe)
        again = analyze(found.core)
    for report in (found.report, again):
        assert report.process.namespace_pid == 1
        assert report.threads[0].frames[1].function == "js::compiled loop"
    assert found.report.threads[0].frames[0].function == "fault"


def allow_cores() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
