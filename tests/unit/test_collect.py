"""collect() on processes that are not crashed, and with parts of it broken."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from tests.support.spawn import compile_c, running

from usercrash.capture import collect as module
from usercrash.capture import pieces as in_order
from usercrash.capture.collect import Limits, collect
from usercrash.capture.live import LiveTarget
from usercrash.capture.procfs import MapTable
from usercrash.model.snapshot import Load, Snapshot

SOURCE = r"""
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv) {
    prctl(PR_SET_NAME, "odd\n) name");
    if (argc > 2) memset(argv[0], 't', argv[2] + strlen(argv[2]) + 1 - argv[0]);
    write(1, "r", 1);
    for (;;) pause();
}
"""


def collected(command: list[str | Path], limits: Limits | None = None) -> Snapshot:
    with running(command) as process:
        target = LiveTarget.stop(process.pid)
        try:
            return collect(target, limits)
        finally:
            target.close()


def close_files(snapshot: Snapshot) -> None:
    for file in snapshot.files:
        if file.fd >= 0:
            os.close(file.fd)


def test_facts_of_a_live_process(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "live", SOURCE)
    before = len(os.listdir("/proc/self/fd"))
    snapshot = collected([exe, "one"])
    facts = snapshot.facts
    assert facts[b"comm"] == b"odd\n) name\n"
    assert facts[b"cmdline"] == os.fsencode(exe) + b"\0one\0"
    assert facts[b"exe"] == os.fsencode(exe)
    assert b"PATH=" + os.environb[b"PATH"] in facts[b"environ"].split(b"\0")
    assert {b"maps", b"status", b"stat", b"cgroup", b"limits", b"cwd", b"root", b"auxv", b"fd/0",
            b"fdinfo/0", b"@uptime", b"@hostname", b"@kernel", b"@boot_id", b"@clk_tck",
            b"@page_size"} <= set(facts)  # fmt: skip
    assert snapshot.event.start_ticks > 0 and snapshot.event.boot_id == facts[b"@boot_id"]
    opened = {file.path: os.fstat(file.fd).st_ino == file.inode for file in snapshot.files}
    assert opened[os.fsencode(exe)] and all(opened.values())
    close_files(snapshot)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_title_written_over_the_arguments_is_what_the_kernel_shows(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "title", SOURCE)
    with running([exe, "first", "second"]) as process:
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        target = LiveTarget.stop(process.pid)
        snapshot = collect(target)
        target.close()
    close_files(snapshot)
    assert shown.startswith(b"tttt")
    assert snapshot.facts[b"cmdline"] == shown.rstrip(b"\0")


def test_sockets_of_a_process(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "socket", SOURCE)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        target_facts = _with_descriptor(exe, listener.fileno())
    assert f":{port:04X} ".encode() in target_facts[b"@net/tcp"]
    assert target_facts[b"@net/tcp"].count(b"\n") == 2


def _with_descriptor(exe: Path, fd: int) -> dict[bytes, bytes]:
    read, write = os.pipe()
    pid = os.posix_spawn(
        exe, [str(exe)], {},
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, fd, 5)],
    )  # fmt: skip
    try:
        assert os.read(read, 1) == b"r"
        target = LiveTarget.stop(pid)
        snapshot = collect(target)
        target.close()
        close_files(snapshot)
        return snapshot.facts
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def test_limits_are_kept_and_noted(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "limited", SOURCE)
    snapshot = collected(
        [exe], Limits(max_memory=4096, max_files=1, max_fds_listed=1, crashing_stack=1 << 20)
    )
    close_files(snapshot)
    assert sum(len(load.data) for load in snapshot.loads) < 4096 + (1 << 20)
    assert sum(file.fd >= 0 for file in snapshot.files) == 1
    assert sum(name.startswith(b"fd/") for name in snapshot.facts) == 1
    assert {"memory", "files", "open files"} <= {note.stage for note in snapshot.notes}


def test_no_time_at_all(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "late", SOURCE)
    snapshot = collected([exe], Limits(seconds=-1.0))
    close_files(snapshot)
    assert snapshot.facts[b"maps"] and snapshot.elf_notes
    assert any("no time" in note.why for note in snapshot.notes)


def test_a_mistake_in_one_stage_costs_that_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(module, "plan", broken)
    exe = compile_c(tmp_path, "broken", SOURCE)
    snapshot = collected([exe])
    close_files(snapshot)
    assert snapshot.loads == [] and snapshot.files and snapshot.facts[b"cmdline"]
    assert next(note for note in snapshot.notes if note.stage == "capture").why == (
        "ZeroDivisionError: ours"
    )


def test_facts_only_takes_who_it_is_and_nothing_else(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "only", SOURCE)
    before = len(os.listdir("/proc/self/fd"))
    snapshot = collected([exe], Limits(facts_only=True))
    facts = snapshot.facts
    assert facts[b"comm"] == b"odd\n) name\n" and facts[b"exe"] == os.fsencode(exe)
    assert {b"status", b"stat", b"cgroup", b"@hostname", b"@boot_id"} <= set(facts)
    assert not any(name.startswith((b"fd/", b"maps", b"environ", b"@net")) for name in facts)
    assert snapshot.loads == [] and snapshot.files == []
    assert snapshot.elf_notes and snapshot.event.start_ticks > 0
    assert [(note.stage, note.what) for note in snapshot.notes] == [("capture", "memory and files")]
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_is_let_go_before_anything_is_put_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exe = compile_c(tmp_path, "free", SOURCE)
    order: list[str] = []
    join, release = in_order.joined, LiveTarget.release

    def noted_join(pieces: list[tuple[int, bytes]], maps: MapTable) -> list[Load]:
        order.append("join")
        return join(pieces, maps)

    def noted_release(self: LiveTarget) -> None:
        order.append("free")
        release(self)

    monkeypatch.setattr(in_order, "joined", noted_join)
    monkeypatch.setattr(LiveTarget, "release", noted_release)
    aside = Limits(step_aside=lambda threads: order.append(f"aside {threads}"))
    snapshot = collected([exe], aside)
    close_files(snapshot)
    assert order[:3] == ["free", "aside 1", "join"] and snapshot.loads
