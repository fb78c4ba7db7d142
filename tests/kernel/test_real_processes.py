"""What the report of a real crash says besides its stacks; and what others read in its minicore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.build import build, programs
from tests.support.kernel import Installation, Published, analyze, full_core
from tests.support.oracle import Stacks, eu_stack_frames, gdb_frames, lldb_frames

pytestmark = pytest.mark.usefixtures("needs_kernel")


def die(installation: Installation, name: str) -> Published:
    with installation.receiving():
        return installation.crash(build(programs()[name]))


def test_open_files_of_every_kind(installation: Installation) -> None:
    files = die(installation, "descriptors").report.open_files
    by_kind: dict[str, list[str]] = {}
    for file in files:
        by_kind.setdefault(file.kind, []).append(f"{file.target} {file.detail}")
    kinds = {"file", "directory", "device", "pipe", "socket", "eventfd", "epoll", "timerfd",
             "memfd", "inotify", "signalfd", "pidfd"}  # fmt: skip
    assert kinds <= by_kind.keys()
    sockets = "\n".join(by_kind["socket"])
    assert sockets.count("127.0.0.1:") >= 4  # listening, both ends of a connection, a udp one
    assert "[::1]:" in sockets
    assert "LISTEN" in sockets.upper() and "ESTABLISHED" in sockets.upper()
    assert "usercrash test" in sockets  # an abstract name
    assert "netlink" in sockets.lower()
    assert "42" in by_kind["eventfd"][0] or "2a" in by_kind["eventfd"][0]
    gone = [file for file in files if "usercrash-test-" in file.target]
    assert [file.deleted for file in gone] == [True]
    assert gone[0].position == 12


def test_hostile_names(installation: Installation) -> None:
    crash = die(installation, "hostile_names")
    report = crash.report
    assert not [char for char in crash.text if not char.isprintable() and char != "\n"]
    assert "#00 pc 0\n" not in crash.text
    arguments = list(programs()["hostile_names"].args)
    assert len(report.process.cmdline) == 1 + len(arguments)
    assert report.process.cmdline[1:6] == ["--", "", "a b\"'", "\x1b[31mred\x1b[0m", "<script>"]
    assert report.process.cmdline[6] == r"\xff\xfe"
    assert "/process/cmdline/6" in report.raw_bytes
    assert report.process.comm.startswith(") R 1\n\x1b[2J")


def test_secrets_are_masked(installation: Installation) -> None:
    crash = die(installation, "null_chain/debug")
    assert "hunter2" not in crash.text
    assert any(line.startswith("SECRET_TOKEN=") for line in crash.report.process.environment)
    assert not any("hunter2" in line for line in crash.report.process.environment)


def test_a_big_process_gives_a_small_minicore(installation: Installation) -> None:
    crash = die(installation, "big")
    packed = next((installation.reports / ".data").glob(f"{crash.closed['id']}.core.zst"))
    assert packed.stat().st_size < 64 << 10
    assert (crash.report.process.memory_peak or 0) > 300 << 20


def _names(stacks: Stacks) -> list[list[str | None]]:
    """The functions of every stack; addresses and thread ids are other ones in every run."""
    return sorted(([frame.name for frame in frames] for frames in stacks.values()), key=str)


@pytest.mark.parametrize("reader", [gdb_frames, eu_stack_frames, lldb_frames])
@pytest.mark.parametrize(
    "name", ["null_chain/o2", "shared/debug", "zombie_leader", "abort/dynamic", "python_ctypes"]
)
def test_others_read_the_minicore(
    name: str, reader: Callable[[Path, Path], Stacks], installation: Installation, tmp_path: Path
) -> None:
    built = build(programs()[name])
    whole = reader(full_core(built, tmp_path), built.exe)
    crash = die(installation, name)
    assert _names(reader(crash.core, built.exe)) == _names(whole)


def test_analyze_makes_the_same_report_of_the_minicore(installation: Installation) -> None:
    crash = die(installation, "shared/debug")
    again = analyze(crash.core)
    assert again.threads == crash.report.threads
    assert again.cause == crash.report.cause
    assert again.process == crash.report.process
    assert again.maps == crash.report.maps
