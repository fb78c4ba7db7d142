"""core_pattern as the server moves it: which one is chosen, and whose is never touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from usercrash.errors import UsercrashError
from usercrash.server.program import leave_socket
from usercrash.system import entrance, host, sysctl
from usercrash.system.entrance import (
    AUTO,
    KERNEL_SOCKET,
    PIPE,
    SOCKET,
    PatternSwitch,
    pattern_for,
    pipe_pattern,
    socket_pattern,
)

RUN = "/run/usercrash"
THEIRS = "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t 9223372036854775808 %h"


class Machine:
    """A kernel's settings in a directory, and what was said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        self.refusal = ""
        for directory in ("kernel", "net/core"):
            (root / directory).mkdir(parents=True)
        self.modes("file\npipe\nsocket\n")
        self.pattern = "core"

    def modes(self, text: str) -> None:
        (self.root / "kernel/core_modes").write_text(text)

    @property
    def pattern(self) -> str:
        return (self.root / "kernel/core_pattern").read_text().removesuffix("\n")

    @pattern.setter
    def pattern(self, value: str) -> None:
        (self.root / "kernel/core_pattern").write_text(value + "\n")

    def write(self, name: str, value: str) -> None:
        """For sysctl.write: a file keeps what stands behind."""
        assert name == sysctl.CORE_PATTERN
        sysctl.check_pattern(value)
        if self.refusal:
            raise UsercrashError(self.refusal)
        self.pattern = value

    def entrance(self, run: str, wish: str = AUTO) -> PatternSwitch:
        return PatternSwitch(run, wish, self.said.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "sys")
    monkeypatch.setattr(sysctl, "_ROOT", str(made.root))
    monkeypatch.setattr(sysctl, "write", made.write)
    monkeypatch.setattr(entrance, "shares_paths_with_the_kernel", lambda: True)
    monkeypatch.setattr(host, "has_own_mounts", lambda: False)
    return made


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run directory in which a server listens (or did)."""
    place = tmp_path / "run"
    place.mkdir()
    os.mknod(place / KERNEL_SOCKET, 0o140600)
    return str(place)


def test_the_kernel_decides(machine: Machine) -> None:
    assert pattern_for(RUN) == "@@/run/usercrash/coredump.sock"
    assert pattern_for(RUN, PIPE) == "|/usr/bin/usercrash_c --ids %P %I %s %d %F"
    machine.modes("file\npipe\n")
    assert pattern_for(RUN, AUTO, machine.said.append) == pipe_pattern()
    assert machine.said == []
    assert pattern_for(RUN, SOCKET, machine.said.append) == pipe_pattern()
    assert machine.said == [
        "no socket for the kernel's crashes: the kernel has none (Linux 6.17 and later do);"
        " the pipe is used"
    ]
    (machine.root / "kernel/core_modes").unlink()
    assert pattern_for(RUN) == pipe_pattern()


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ("/run/" + "x" * 40 + "/" + "y" * 32, ""),
        ("/run/" + "x" * 40 + "/../" + "y" * 9, "is not an absolute path without .."),
        ("run/usercrash", "is not an absolute path without .."),
        ("/run/" + "\u00e9" * 24, ""),
    ],
)
def test_paths_that_the_kernel_refuses(machine: Machine, run: str, why: str) -> None:
    pattern = pattern_for(run, AUTO, machine.said.append)
    assert pattern == (pipe_pattern(run) if why else socket_pattern(run))
    assert [why in line for line in machine.said] == [True] * bool(why)


def test_no_symbolic_link_on_the_way(machine: Machine) -> None:
    with tempfile.TemporaryDirectory(prefix="uc-") as place:  # a short name
        os.symlink(place, f"{place}/link")
        run = f"{place}/link/run"
        assert pattern_for(run, AUTO, machine.said.append) == pipe_pattern(run)
        assert f"{place}/link is a symbolic link" in machine.said[0]
        assert pattern_for(f"{place}/run") == socket_pattern(f"{place}/run")


def test_in_a_container(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "shares_paths_with_the_kernel", lambda: False)
    assert pattern_for(RUN, AUTO, machine.said.append) == pipe_pattern()
    assert "a container or a chroot" in machine.said[0]


@pytest.mark.parametrize("run", ["/run/" + "x" * 80, "/run/a b", "/run/a\nb"])
def test_no_pattern_at_all(machine: Machine, run: str) -> None:
    """Without a way back to the pipe the socket is not used either."""
    with pytest.raises(UsercrashError):
        pattern_for(run)
    made = machine.entrance(run)
    assert not made.wants_socket
    machine.pattern = socket_pattern(run)
    made.open()
    made.close()
    assert machine.pattern == socket_pattern(run)
    assert len(machine.said) == 1 and "core_pattern stays as it is" in machine.said[0]


def test_percent_signs_are_the_kernels(machine: Machine) -> None:
    assert pipe_pattern("/run/50%") == "|/usr/bin/usercrash_c --run /run/50%% --ids %P %I %s %d %F"


def test_there_and_back(machine: Machine, run: str) -> None:
    machine.pattern = pipe_pattern(run)
    made = machine.entrance(run)
    assert made.wants_socket
    made.open()
    assert machine.pattern == socket_pattern(run)
    made.open()
    made.close()
    assert machine.pattern == pipe_pattern(run)
    made.close()
    assert machine.pattern == pipe_pattern(run)
    assert machine.said == []


@pytest.mark.parametrize("pattern", ["core", THEIRS, "@@/run/other/coredump.sock", pipe_pattern()])
def test_of_others_nothing_is_touched(machine: Machine, run: str, pattern: str) -> None:
    machine.pattern = pattern
    made = machine.entrance(run)
    made.open()
    made.close()
    assert machine.pattern == pattern and machine.said == []
    made = machine.entrance(run, SOCKET)
    made.open()
    assert machine.pattern == pattern
    assert machine.said == [f"core_pattern is not from usercrash, and stays as it is: {pattern}"]


def test_after_a_killed_server(machine: Machine, run: str) -> None:
    machine.pattern = socket_pattern(run)
    made = machine.entrance(run)
    made.open()
    assert machine.pattern == socket_pattern(run)
    made = machine.entrance(run, PIPE)  # the configuration was changed
    assert not made.wants_socket
    made.open()
    assert machine.pattern == pipe_pattern(run)


def test_not_before_it_listens(machine: Machine, run: str) -> None:
    machine.pattern = pipe_pattern(run)
    os.unlink(f"{run}/{KERNEL_SOCKET}")
    machine.entrance(run).open()
    assert machine.pattern == pipe_pattern(run)
    assert "no server listens" in machine.said[0]


def test_from_a_confined_service(
    machine: Machine, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel would refuse it there; the way back is open."""
    monkeypatch.setattr(host, "has_own_mounts", lambda: True)
    machine.pattern = pipe_pattern(run)
    made = machine.entrance(run)
    made.open()
    assert machine.pattern == pipe_pattern(run) and machine.said == []
    machine.pattern = socket_pattern(run)  # usercrash_s --enter
    made.close()
    assert machine.pattern == pipe_pattern(run)


def test_refused(machine: Machine, run: str) -> None:
    machine.pattern = pipe_pattern(run)
    machine.refusal = "cannot write core_pattern: Read-only file system"
    machine.entrance(run).open()
    assert machine.pattern == pipe_pattern(run)
    assert machine.said == [machine.refusal]
    (machine.root / "kernel/core_pattern").unlink()
    machine.entrance(run).close()
    assert len(machine.said) == 2 and machine.said[1].startswith("cannot read")


def test_leaving_with_a_broken_configuration(machine: Machine, tmp_path: Path) -> None:
    """What ended the server must not keep the pipe from coming back."""
    machine.pattern = socket_pattern()
    leave_socket(str(tmp_path / "no such file"))
    assert machine.pattern == pipe_pattern()


def test_init_has_our_mounts_here(needs_kernel: None) -> None:
    assert not host.has_own_mounts()
    assert entrance.shares_paths_with_the_kernel()
