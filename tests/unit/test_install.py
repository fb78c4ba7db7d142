"""usercrash install and uninstall below another root."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from usercrash import protocol
from usercrash.cli import run_program
from usercrash.errors import UsercrashError
from usercrash.system import bundle, files, host, record, sysctl
from usercrash.system.entrance import KERNEL_SOCKET
from usercrash.system.install import Installer
from usercrash.system.uninstall import Uninstaller


class Tree:
    """A root directory, and what was said while it was worked on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []

    def install(self, *, dry_run: bool = False) -> list[str]:
        self.said = []
        Installer(str(self.root), dry_run, self.said.append).install()
        return self.said

    def uninstall(self, *, dry_run: bool = False) -> list[str]:
        self.said = []
        Uninstaller(str(self.root), dry_run, self.said.append).uninstall()
        return self.said

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def bundles(self) -> list[Path]:
        return sorted(self.at(files.LIBRARY).iterdir())

    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_symlink() or path.is_file()]


@pytest.fixture
def whole_tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


@pytest.fixture
def tree(whole_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """One that is filled faster: without the dependencies, which are 120 MB."""
    monkeypatch.setattr(bundle, "_dependencies", lambda distribution, seen: iter(()))
    return whole_tree


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", **variables}


def test_programs_depend_on_nothing_around_them(whole_tree: Tree, tmp_path: Path) -> None:
    tree = whole_tree
    tree.install()
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("usercrash", "click", "sitecustomize", "os", "signal"):
        (evil / f"{name}.py").write_text("raise SystemExit('hijacked')")
    hostile = environment(PYTHONPATH=str(evil), PYTHONHOME=str(evil), PYTHONSTARTUP=str(evil))
    for name in files.PROGRAMS:
        program = tree.at(f"/usr/bin/{name}")
        assert stat.S_IMODE(program.stat().st_mode) == 0o755
        text = program.read_text()
        first = text.splitlines()[0]
        assert first == f"#!{bundle.interpreter()} -IS"
        # The tree's programs speak of the final place; here it is still below the root.
        moved = tmp_path / name
        moved.write_text(text.replace(files.LIBRARY, str(tree.at(files.LIBRARY))))
        moved.chmod(0o755)
        done = subprocess.run(
            [moved, "--help"], cwd=evil, env=hostile, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "hijacked" not in done.stdout + done.stderr
        assert name in done.stdout


def test_bundle_is_compiled_and_nobody_else_can_write_it(tree: Tree) -> None:
    old = os.umask(0)
    try:
        tree.install()
    finally:
        os.umask(old)
    (directory,) = tree.bundles()
    for path in directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path
    code = next((directory / "usercrash/client/__pycache__").glob("program.*.pyc")).read_bytes()
    # PEP 552: bit 0 says that it holds a hash, bit 1 (clear) that the source is to be asked.
    assert int.from_bytes(code[4:8], "little") == 1
    assert f"{files.LIBRARY}/{directory.name}/usercrash/client/program.py".encode() in code
    for path in tree.files():
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path


def test_installed_copy_has_all_dependencies(whole_tree: Tree) -> None:
    whole_tree.install()
    (directory,) = whole_tree.bundles()
    code = (
        f"import sys; sys.path.insert(0, {str(directory)!r}); "
        "import symbolic, pydemumble, capstone, msgspec, zstandard, rich, click, usercrash; "
        "names = [module.__file__ for module in (symbolic, click, usercrash)]; "
        f"assert all(name.startswith({str(directory)!r}) for name in names); "
        "from usercrash.system.bundle import collect_bundle; print(collect_bundle().name)"
    )
    python = bundle.interpreter()
    done = subprocess.run(
        [python, "-IS", "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.")


def test_second_time_changes_nothing(tree: Tree) -> None:
    tree.install()
    before = {path: path.lstat().st_ino for path in tree.files()}
    said = tree.install()
    assert {path: path.lstat().st_ino for path in tree.files()} == before
    assert [line for line in said if line.startswith("write")] == []


def test_damage_is_repaired(tree: Tree) -> None:
    tree.install()
    (directory,) = tree.bundles()
    (directory / "usercrash/errors.py").write_text("")
    tree.at("/usr/bin/usercrash_c").unlink()
    tree.install()
    assert (directory / "usercrash/errors.py").stat().st_size
    assert tree.at("/usr/bin/usercrash_c").exists()


def test_upgrade_replaces_the_bundle(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.install()
    (old,) = tree.bundles()
    monkeypatch.setattr(bundle, "__version__", "9.9.9")
    tree.install()
    (new,) = tree.bundles()
    assert new.name.startswith("9.9.9-") and new != old
    assert f"{files.LIBRARY}/{new.name}" in tree.at("/usr/bin/usercrash_s").read_text()


def test_interrupted_installation_can_be_finished_and_undone(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(found: bundle.Bundle, directory: Path, final: str) -> None:
        directory.mkdir()
        (directory / "half").write_text("x")
        raise OSError(28, "No space left on device", str(directory))

    with monkeypatch.context() as patched:
        patched.setattr("usercrash.system.install.write_bundle", full)
        with pytest.raises(UsercrashError, match="No space left"):
            tree.install()
    tree.uninstall()
    assert tree.files() == []
    with monkeypatch.context() as patched:
        patched.setattr("usercrash.system.install.write_bundle", full)
        with pytest.raises(UsercrashError, match="No space left"):
            tree.install()
    tree.install()
    assert len(tree.bundles()) == 1


def test_uninstall_leaves_nothing_but_what_was_changed(tree: Tree) -> None:
    tree.install()
    tree.at(files.CONFIG).write_text("[reports]\nslots = 9\n")
    said = tree.uninstall()
    assert f"{files.CONFIG} was changed: it is kept" in said
    assert tree.files() == [tree.at(files.CONFIG)]
    with pytest.raises(UsercrashError, match="usercrash is not installed below"):
        tree.uninstall()


def test_settings_changed_by_the_administrator_survive_an_upgrade(tree: Tree) -> None:
    tree.install()
    tree.at(files.CONFIG).write_text("[reports]\nslots = 9\n")
    tree.at(files.UNIT_PATH).write_text("[Unit]\n")
    said = tree.install()
    assert f"{files.CONFIG} was changed: it is kept as it is" in said
    assert tree.at(files.CONFIG).read_text() == "[reports]\nslots = 9\n"
    assert tree.at(files.UNIT_PATH).read_text() == "[Unit]\n"


def test_programs_of_others_are_not_overwritten(tree: Tree) -> None:
    tree.at("/usr/bin").mkdir(parents=True)
    tree.at("/usr/bin/debugger").write_text("somebody's")
    with pytest.raises(UsercrashError, match="/usr/bin/debugger is there and not from usercrash"):
        tree.install()
    assert [path.name for path in tree.files()] == ["debugger"]


def test_dry_run_touches_nothing(tree: Tree) -> None:
    said = tree.install(dry_run=True)
    assert "would write /usr/bin/usercrash_c" in said
    assert not tree.root.exists()
    tree.install()
    before = sorted(tree.files())
    assert "would remove /usr/bin/usercrash_c" in tree.uninstall(dry_run=True)
    assert sorted(tree.files()) == before


def test_not_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever root has installed, and others may not read."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(record, "PATH", "/proc/self/cmdline/x")
    assert run_program(["install"]) == 1
    assert run_program(["uninstall"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "usercrash: only root can install (or prepare a tree with --root DIR)"
    assert second == "usercrash: only root can uninstall"


def test_not_in_a_chroot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The kernel starts what core_pattern names from init's root directory."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1/root").symlink_to("/usr")
    really = os.stat
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "stat", lambda path, **more: really(str(path).replace("/proc/", f"{tmp_path}/"))
        )
        assert host.in_chroot()
        assert run_program(["install", "--dry-run"]) == 1
    assert "this is a chroot" in capsys.readouterr().err
    assert not host.in_chroot()


def test_record_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run_program(["install", "--root", f"{tmp_path}/file"]) == 1
    path = f"{tmp_path}/file{record.PATH}"
    assert capsys.readouterr().err == f"usercrash: cannot read {path}: Not a directory\n"


def test_interpreter_that_others_could_change(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "python3").touch()
    assert bundle.untrusted(str(tmp_path / "python3")) == str(tmp_path)
    assert bundle.untrusted(os.path.realpath(sys.executable)) == ""


def test_dependency_is_missing(whole_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    find = metadata.distribution

    def without_click(name: str) -> metadata.Distribution:
        if name == "click":
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", without_click)
    with pytest.raises(UsercrashError, match="dependency click is not installed"):
        whole_tree.install()


def test_record_is_readable(tree: Tree) -> None:
    tree.install()
    found = json.loads(tree.at(record.PATH).read_text())
    assert found["files"]["/usr/bin/usercrash_c"].startswith("sha256:")
    assert stat.S_IMODE(tree.at(record.PATH).stat().st_mode) == 0o600


def test_pattern_is_not_cut() -> None:
    sysctl.check_pattern(files.PATTERN)
    assert f"kernel.core_pattern={files.PATTERN}\n" in files.sysctl_text()


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd is not installed")
def test_account_file_is_understood(tree: Tree) -> None:
    tree.install()
    tree.at("/etc").mkdir(exist_ok=True)
    subprocess.run(["systemd-sysusers", f"--root={tree.root}"], check=True)
    assert "usercrash:" in tree.at("/etc/passwd").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_units_have_no_mistakes(tree: Tree) -> None:
    tree.install()
    units = [files.UNIT, files.SOCKET_UNIT]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={tree.root}", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    # The tree has no sysinit.target; whatever it says of the unit itself is a mistake.
    complaints = [line for line in done.stderr.splitlines() if "sysinit.target" not in line]
    assert complaints == []


def test_both_units_are_enabled(tree: Tree) -> None:
    tree.install()
    for link, target in files.WANTS.items():
        assert os.readlink(tree.at(link)) == target and tree.at(target).is_file()
    units = b"".join(tree.at(path).read_bytes() for path in files.WANTS.values()).decode()
    for path in re.findall(r"^(?:Listen\w+|ExecStart)=(\S+)$", units, re.MULTILINE):
        name = Path(path).name
        assert name in (*files.PROGRAMS, KERNEL_SOCKET, protocol.SOCKET_NAME), path


def test_failing_command_is_one_line() -> None:
    with pytest.raises(UsercrashError, match=r"sh -c echo a; echo last; exit 3: last"):
        host.run("sh", "-c", "echo a; echo last; exit 3")
    with pytest.raises(UsercrashError, match="/nonexistent"):
        host.run("/nonexistent")
