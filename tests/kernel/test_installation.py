"""usercrash installed into this machine, used, and removed without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import REQUIRE_KERNEL

from usercrash.system import files, host, record, sysctl
from usercrash.system.core_pattern import core_pattern_guard

pytestmark = pytest.mark.usefixtures("needs_kernel")

SECONDS = 60.0
BEFORE = {sysctl.CORE_PATTERN: "core", sysctl.CORE_PIPE_LIMIT: "0", sysctl.SUID_DUMPABLE: "0"}
MADE = ("/var/log/usercrashes", "/var/lib/usercrash", "/var/cache/usercrash", "/run/usercrash")
ASIDE = ".usercrash-test"
PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]
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
def server(notify_at: Path) -> Iterator[None]:
    """The installed server, from its readiness on; systemd's own where that is running."""
    if host.systemd_runs():
        yield
        host.run("systemctl", "stop", files.UNIT)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(notify_at))
        notify.settimeout(SECONDS)
        with subprocess.Popen(
            ["/usr/bin/usercrash_s"], cwd="/", env={"NOTIFY_SOCKET": str(notify_at)}
        ) as process:
            try:
                assert b"READY=1" in notify.recv(4096)
                yield
            finally:
                process.terminate()
                assert process.wait(SECONDS) == 0


def crash() -> int:
    with subprocess.Popen(VICTIM, stdin=subprocess.DEVNULL) as victim:
        assert victim.wait(SECONDS) == -signal.SIGSEGV
    return victim.pid


def report_of(pid: int) -> dict[str, object]:
    """The line of the installed `usercrash list` for this process."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if os.path.isdir("/var/log/usercrashes"):
            for line in json.loads(usercrash("list", "--json", program=["/usr/bin/usercrash"])):
                if line["process"]["pid"] == pid:
                    found: dict[str, object] = line
                    return found
        time.sleep(0.05)
    raise TimeoutError(f"no report of process {pid}")


def test_install_use_and_remove(machine: None, tmp_path: Path) -> None:
    said = usercrash("install")
    assert values() == files.SYSCTLS
    assert host.account_exists()
    assert host.systemd_runs() or "start /usr/bin/usercrash_s yourself" in said

    with server(tmp_path / "notify"):
        served = report_of(crash())
    assert served["complete"] is True
    assert served["signal"] == {"number": 11, "name": "SIGSEGV"}

    alone = report_of(crash())
    assert alone["complete"] is True
    text = usercrash("show", program=["/usr/bin/usercrash"])
    assert "SIGSEGV" in text and "ctypes" in text

    again = usercrash("install")
    assert "write" not in again and values() == files.SYSCTLS

    assert "usercrash" in usercrash("uninstall")
    assert values() == BEFORE
    for path in (*(f"/usr/bin/{name}" for name in files.PROGRAMS), files.LIBRARY, files.UNIT_PATH):
        assert not os.path.lexists(path)
    assert len(list(Path("/var/log/usercrashes").glob("usercrash_*"))) == 2


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
