"""usercrash installed into this machine, used, and removed without a trace."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import REQUIRE_KERNEL

from usercrash.report import Report, from_json
from usercrash.system import files, host, record, sysctl
from usercrash.system.core_pattern import core_pattern_guard
from usercrash.system.entrance import kernel_offers_socket, pipe_pattern, socket_pattern

pytestmark = pytest.mark.usefixtures("needs_kernel")

SECONDS = 60.0
BEFORE = {sysctl.CORE_PATTERN: "core", sysctl.CORE_PIPE_LIMIT: "0", sysctl.SUID_DUMPABLE: "0"}
MADE = ("/var/log/usercrashes", "/var/lib/usercrash", "/var/cache/usercrash", "/run/usercrash")
ASIDE = ".usercrash-test"
PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]
SERVER, COMMAND = "/usr/bin/usercrash_s", "/usr/bin/usercrash"
VICTIM = ["/usr/bin/python3", "-c", "import ctypes; ctypes.string_at(0x10)"]


def usercrash(*arguments: str, program: list[str] = PROGRAM) -> str:
    """Run it; gives its output. (An installed one has a hostile environment.)"""
    installed = program is not PROGRAM
    environment = {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"} if installed else None
    done = subprocess.run(
        [*program, *arguments],
        cwd="/" if installed else None,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def values() -> dict[str, str]:
    return {name: sysctl.read(name) for name in BEFORE}


def set_aside() -> None:
    """What others have made with the default configuration waits until we are done."""
    put_back()  # of a run that was killed
    for path in MADE:
        if os.path.exists(path):
            os.rename(path, path + ASIDE)


def put_back() -> None:
    for path in MADE:
        if os.path.exists(path + ASIDE):
            shutil.rmtree(path, ignore_errors=True)
            os.rename(path + ASIDE, path)


@pytest.fixture
def machine() -> Iterator[None]:
    """This machine under the guard, and afterwards as it was found."""
    if os.path.exists(record.PATH):
        reason = "usercrash is installed on this machine"
        (pytest.fail if os.environ.get(REQUIRE_KERNEL) == "1" else pytest.skip)(reason)
    account = host.account_exists()
    with core_pattern_guard("core", 0, suid_dumpable=0):
        set_aside()
        try:
            yield
        finally:
            if os.path.exists(record.PATH):
                subprocess.run([*PROGRAM, "uninstall"], check=True)
            for path in MADE:
                shutil.rmtree(path, ignore_errors=True)
            put_back()
        assert values() == BEFORE
    assert host.account_exists() == account


@contextmanager
def server(notify_at: Path, command: Sequence[str] = (SERVER,)) -> Iterator[None]:
    """The installed server, from its readiness on; systemd's own where that is running."""
    if host.systemd_runs():
        yield
        host.run("systemctl", "stop", files.UNIT)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify_at.unlink(missing_ok=True)
        notify.bind(str(notify_at))
        notify.settimeout(SECONDS)
        with subprocess.Popen(command, cwd="/", env={"NOTIFY_SOCKET": str(notify_at)}) as process:
            try:
                assert b"READY=1" in notify.recv(4096)
                yield
            finally:
                process.terminate()
                assert process.wait(SECONDS) == 0


def bounding_set() -> str:
    """The unit's capabilities, for setpriv(1)."""
    unit = Path(files.UNIT_PATH).read_text()
    lines = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    names = " ".join(lines).lower().replace("cap_", "+").split()
    return ",".join(["-all", *names])


def crash() -> int:
    with subprocess.Popen(VICTIM, stdin=subprocess.DEVNULL) as victim:
        assert victim.wait(SECONDS) == -signal.SIGSEGV
    return victim.pid


def report_of(pid: int) -> dict[str, object]:
    """The line of the installed `usercrash list` for this process."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if os.path.isdir("/var/log/usercrashes"):
            for line in json.loads(usercrash("list", "--json", program=[COMMAND])):
                if line["process"]["pid"] == pid:
                    found: dict[str, object] = line
                    return found
        time.sleep(0.05)
    raise TimeoutError(f"no report of process {pid}")


def whole_report_of(pid: int) -> Report:
    number = report_of(pid)["number"]
    return from_json(usercrash("show", str(number), "--json", program=[COMMAND]).encode())


def test_install_use_and_remove(machine: None, tmp_path: Path) -> None:
    said = usercrash("install")
    assert host.account_exists()
    assert host.systemd_runs() or "start /usr/bin/usercrash_s yourself" in said
    entrance = socket_pattern() if kernel_offers_socket() else pipe_pattern()
    assert ("the kernel's socket" in said) == (entrance == socket_pattern())

    with server(tmp_path / "notify"):
        assert values() == files.SYSCTLS | {sysctl.CORE_PATTERN: entrance}
        served = report_of(crash())
    assert values() == files.SYSCTLS
    assert served["complete"] is True
    assert served["signal"] == {"number": 11, "name": "SIGSEGV"}

    alone = report_of(crash())
    assert alone["complete"] is True
    text = usercrash("show", program=[COMMAND])
    assert "SIGSEGV" in text and "ctypes" in text

    again = usercrash("install")
    assert "write" not in again and values() == files.SYSCTLS

    assert "usercrash" in usercrash("uninstall")
    assert values() == BEFORE
    for path in (*(f"/usr/bin/{name}" for name in files.PROGRAMS), files.LIBRARY, *files.WANTS):
        assert not os.path.lexists(path)
    assert not any(os.path.lexists(path) for path in files.WANTS.values())
    assert len(list(Path("/var/log/usercrashes").glob("usercrash_*"))) == 2


@pytest.mark.skipif(not kernel_offers_socket(), reason="the kernel has no coredump socket")
def test_socket_of_the_server_is_ours(machine: None, tmp_path: Path) -> None:
    """Uninstalling gives back what was there before, also under a running or a killed server."""
    usercrash("install")
    with server(tmp_path / "notify"):
        assert sysctl.read(sysctl.CORE_PATTERN) == socket_pattern()
        usercrash("uninstall")
        assert values() == BEFORE
    assert values() == BEFORE

    usercrash("install")
    with server(tmp_path / "notify"):
        for way, pattern in (("--leave", pipe_pattern()), ("--enter", socket_pattern())):
            subprocess.run([SERVER, way], check=True, cwd="/", env={})
            assert sysctl.read(sysctl.CORE_PATTERN) == pattern
    alone = subprocess.run([SERVER, "--enter"], cwd="/", env={}, capture_output=True, check=False)
    assert alone.returncode == 1 and alone.stderr.startswith(b"usercrash_s: no usercrash_s serves")
    sysctl.write(sysctl.CORE_PATTERN, socket_pattern())  # of a server that was killed
    usercrash("install")
    assert sysctl.read(sysctl.CORE_PATTERN) == pipe_pattern()
    usercrash("uninstall")
    assert values() == BEFORE


@pytest.mark.skipif(not kernel_offers_socket(), reason="the kernel has no coredump socket")
def test_unit_leaves_the_workers_what_they_need(machine: None, tmp_path: Path) -> None:
    """The server with no more rights than its unit has, the client with all of them."""
    usercrash("install")
    confined = [
        "/usr/bin/setpriv", f"--bounding-set={bounding_set()}", "--inh-caps=-all",
        "--no-new-privs", SERVER,
    ]  # fmt: skip
    with server(tmp_path / "notify", confined):
        assert sysctl.read(sysctl.CORE_PATTERN) == socket_pattern()
        by_worker = whole_report_of(crash())
    by_client = whole_report_of(crash())
    assert by_worker.event.source == "coredump_socket"
    # What the other threads' kernel stacks would need, CAP_SYS_ADMIN, is not worth it: of
    # threads that are being ended they say nothing.
    assert [note for note in by_worker.notes if not note.what.endswith("/stack")] == []
    assert [(module.path, module.build_id) for module in by_worker.modules] == [
        (module.path, module.build_id) for module in by_client.modules
    ]
    assert len(by_worker.threads[0].frames) == len(by_client.threads[0].frames)
    assert {line.source for line in by_worker.log} == {line.source for line in by_client.log}
    usercrash("uninstall")


def test_another_collector_gets_its_place_back(machine: None) -> None:
    theirs = "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t 9223372036854775808 %h"
    sysctl.write(sysctl.CORE_PATTERN, theirs)
    said = usercrash("install")
    assert "systemd-coredump collected crashes up to now" in said
    usercrash("install")
    usercrash("uninstall")
    assert sysctl.read(sysctl.CORE_PATTERN) == theirs
    sysctl.write(sysctl.CORE_PATTERN, "core")


def test_settings_changed_since_are_kept(machine: None) -> None:
    usercrash("install")
    sysctl.write(sysctl.CORE_PATTERN, "/tmp/usercrash-test-core.%p")
    assert "kernel.core_pattern was changed" in usercrash("uninstall")
    assert sysctl.read(sysctl.CORE_PATTERN) == "/tmp/usercrash-test-core.%p"
    assert sysctl.read(sysctl.CORE_PIPE_LIMIT) == "0"
    sysctl.write(sysctl.CORE_PATTERN, "core")
