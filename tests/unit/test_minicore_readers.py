"""A minicore of a live process, beside gdb's gcore of the same process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import zstandard
from tests.support.build import need
from tests.support.oracle import eu_stack_frames, gdb_frames
from tests.support.spawn import compile_c, running

from usercrash.capture.collect import collect
from usercrash.capture.live import LiveTarget
from usercrash.elf.corewriter import write_core

SOURCE = """
#include <pthread.h>
#include <unistd.h>
static pthread_barrier_t all_here;
__attribute__((noinline)) void wait_here(int announce) {
    pthread_barrier_wait(&all_here);
    if (announce) write(1, "r", 1);
    for (;;) pause();
}
static void *work(void *announce) { wait_here(announce != 0); return 0; }
int main(void) {
    pthread_barrier_init(&all_here, 0, 9);
    for (long i = 0; i < 8; i++) { pthread_t t; pthread_create(&t, 0, work, 0); }
    wait_here(1);
}
"""


def test_the_same_frames_as_from_gcore(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "waiting", SOURCE)
    mini = tmp_path / "mini.core"
    with running([exe]) as process:
        full = Path(f"{tmp_path}/core.{process.pid}")
        done = subprocess.run(
            [need("gcore", "gdb"), "-a", "-o", tmp_path / "core", str(process.pid)],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert full.exists(), done.stdout + done.stderr
        target = LiveTarget.stop(process.pid)
        try:
            snapshot = collect(target)
        finally:
            target.close()
    mini.write_bytes(b"".join(write_core(snapshot)))
    assert len(zstandard.compress(mini.read_bytes(), 3)) <= 64 << 10
    # A thread may not have come to pause() yet when it was stopped: it still returns there.
    for oracle in (gdb_frames, eu_stack_frames):
        expected, found = (
            {tid: [frame.name for frame in frames][-3:] for tid, frames in stacks.items()}
            for stacks in (oracle(full, exe), oracle(mini, exe))
        )
        assert len(expected) == 9 and found == expected
