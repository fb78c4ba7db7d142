"""The shell scripts behind make: which interpreter, which packages, said in one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


class Place:
    """A directory of programs that stands in for the machine's."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.bin.mkdir()
        for name in ("dirname", "sh", "cat"):
            self.bin.joinpath(name).symlink_to(f"/bin/{name}")

    def program(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def run(
        self, script: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", TOOLS / script, *arguments],
            env={"PATH": str(self.bin), **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def python_of(version: tuple[int, int], *, venv: bool = True) -> str:
    """A stand-in for an interpreter: answers the questions that the scripts ask."""
    package = f"python{version[0]}.{version[1]}-venv"
    return (
        'case "$2" in\n'
        f"*version_info\\ \\<*) exit {int(version < (3, 11))} ;;\n"
        f'*ensurepip*) exit {int(not venv)} ;;\n'
        f'*-venv*) echo {package} ;;\n'
        "esac"
    )  # fmt: skip


def test_named_interpreter_goes_first(place: Place) -> None:
    mine = place.program("mine", python_of((3, 13)))
    assert place.run("find_python.sh", PYTHON=str(mine)).stdout.strip() == str(mine)


def test_too_old_ones_are_passed_over(place: Place) -> None:
    old = place.program("old", python_of((3, 9)))
    place.program("python3.12", python_of((3, 12)))
    found = place.run("find_python.sh", PYTHON=str(old)).stdout.strip()
    assert found in ("/usr/bin/python3", str(place.bin / "python3.12"))


def test_no_venv_module_and_not_root(place: Place, tmp_path: Path) -> None:
    python = place.program("python", python_of((3, 12), venv=False))
    place.program("id", "echo 1000")
    done = place.run("make_venv.sh", str(python), str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"usercrash: {python} has no venv module: install the package python3.12-venv"
    ]


def test_no_venv_module_and_root(place: Place, tmp_path: Path) -> None:
    python = place.program("python", python_of((3, 12), venv=False))
    place.program("id", "echo 0")
    place.program("apt-get", f'echo "$@" >> {tmp_path}/apt')
    place.program("mktemp", f"echo {tmp_path}/log")
    place.program("rm", ":")
    done = place.run("make_venv.sh", str(python), str(tmp_path / "venv"))
    assert done.returncode == 1  # what apt-get installed here is nothing
    first = (tmp_path / "apt").read_text().splitlines()[0]
    assert first == "install -y -q --no-install-recommends python3.12-venv"


def test_missing_packages_are_named(place: Place) -> None:
    place.program("id", "echo 1000")
    place.program("gcc", ":")
    done = place.run("test_packages.sh")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("usercrash: the tests need these packages:")
    assert "gdb" in line.split() and "gcc" not in line.split()


def test_missing_packages_are_installed_by_root(place: Place, tmp_path: Path) -> None:
    place.program("id", "echo 0")
    place.program("apt-get", f'echo "$@" >> {tmp_path}/apt')
    place.program("mktemp", f"echo {tmp_path}/log")
    place.program("rm", ":")
    done = place.run("test_packages.sh")
    assert done.returncode == 0, done.stderr
    assert " gdb " in (tmp_path / "apt").read_text()


def test_scripts_are_executable() -> None:
    for path in [*TOOLS.glob("*.sh"), TOOLS.parent / ".ci/run"]:
        assert os.access(path, os.X_OK), path
