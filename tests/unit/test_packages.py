"""Packages of modules: what files say of themselves, and what the databases say."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.analysed import Analysed, analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.core.file_search import HOST, Place, SearchPlaces
from usercrash.analysis.core.modules import PathFiles
from usercrash.analysis.packages import apk, rpm
from usercrash.analysis.packages.dpkg import Dpkg
from usercrash.analysis.packages.finder import find_packages
from usercrash.analysis.packages.package import Package, package_of_note
from usercrash.model.notes import NoteLog

SOURCE = """
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""
NOTE = '{"type":"deb","os":"debian","name":"fpc","version":"3.2","architecture":"amd64"}'
NOTE_SOURCE = f"""
#include <elf.h>
__attribute__((section(".note.package"), aligned(4), used)) static const struct {{
    Elf64_Nhdr head; char owner[4]; char text[{(len(NOTE) + 4) & -4}];
}} note = {{ {{4, {(len(NOTE) + 4) & -4}, 0xcafe1a7e}}, "FDO", {json.dumps(NOTE)} }};
"""


def dpkg_of(path: Path) -> tuple[str, str, str]:
    """(name, version, architecture) as dpkg itself says."""
    for name in (str(path), str(path).removeprefix("/usr")):
        done = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            package = done.stdout.rpartition(": ")[0]
            form = "${Package}\n${Version}\n${Architecture}"
            command = ["dpkg-query", "-W", "-f", form, package]
            found = subprocess.run(command, capture_output=True, text=True, check=True)
            one, two, three = found.stdout.split("\n")
            return one, two, three
    raise AssertionError(path)


def names_of(ours: Analysed, places: SearchPlaces = HOST) -> dict[str, Package]:
    found = find_packages(ours.modules, ours.memory.read, places, NoteLog())
    return {
        os.path.basename(module.path).decode(): found[id(module)]
        for module in ours.modules if id(module) in found
    }  # fmt: skip


# --- what a file says of itself ---


def test_a_note_in_the_file_wins(tmp_path: Path) -> None:
    program = compile_c(tmp_path, "program", SOURCE + NOTE_SOURCE)
    core = gcore_at_fault([bytes(program)], tmp_path / "core", full=True)
    ours = analyse(core)
    own = Package("fpc", "3.2", "amd64", "deb", "note")
    assert names_of(ours)["program"] == own
    program.unlink()  # then from the captured memory
    ours = analyse(core)
    assert names_of(ours)["program"] == own


@given(st.one_of(st.binary(), st.just(NOTE.encode()).map(lambda text: text[:40] + b"}")))
def test_any_note_is_read(desc: bytes) -> None:
    found = package_of_note(desc)
    assert found is None or found.source == "note"


def test_odd_notes_name_nothing() -> None:
    for text in ('{"name":7}', '{"version":"1"}', "[]", "[" * 100_000, "\\ud800", ""):
        assert package_of_note(text.encode()) is None
    assert package_of_note(b'{"name":"x","more":{"a":[1]}}\0\0') == Package("x", "", "", "", "note")


# --- dpkg ---


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packages")
    program = compile_c(place, "program", SOURCE)
    return gcore_at_fault([bytes(program)], place / "core")


def test_packages_of_this_machine_as_dpkg_has_them(crash: Path) -> None:
    found = names_of(analyse(crash))
    assert set(found) == {"libc.so.6", "ld-linux-x86-64.so.2"}
    for package in found.values():
        assert (package.kind, package.source) == ("deb", "dpkg")
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6").resolve()
    package = found["libc.so.6"]
    assert (package.name, package.version, package.architecture) == dpkg_of(libc)


def test_programs_of_this_machine_as_dpkg_has_them() -> None:
    files = {
        os.path.realpath(name).encode()
        for name in ("/bin/sh", "/usr/bin/perl", "/usr/bin/gdb", "/usr/bin/python3", "/bin/ls")
    }
    database = Dpkg(HOST)
    try:
        for path, package in database.packages(files).items():
            files.discard(path)
            expected = dpkg_of(Path(os.fsdecode(path)))
            assert (package.name, package.version, package.architecture) == expected
    finally:
        database.close()
    assert files == set()


def test_another_file_of_that_path_is_nobodys(crash: Path, tmp_path: Path) -> None:
    """As in a container: the same name, another file."""
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6").resolve()
    copy = tmp_path / str(libc).lstrip("/")
    copy.parent.mkdir(parents=True)
    shutil.copy(libc, copy)
    places = SearchPlaces(sysroot=Place(bytes(tmp_path)))
    ours = analyse(crash, PathFiles(places=places))
    assert names_of(ours) == {}


def database_of(root: Path, path: str, status: str, *lists: str) -> SearchPlaces:
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    for name in lists:
        (info / name).write_text(f"/.\n/usr\n{path}\n")
    (root / "var/lib/dpkg/status").write_text(status)
    return SearchPlaces(sysroot=Place(bytes(root)))


@pytest.mark.parametrize("listed", ["/lib/libodd.so.1", "/usr/lib/libodd.so.1"])
def test_names_from_before_the_usr_merge(tmp_path: Path, listed: str) -> None:
    status = (
        "Package: unlike\nArchitecture: i386\nVersion: 1\n\n"
        "Package: unlike\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2:3-4\n\n"
        "Package: unlike-more\nVersion: 7\n"
    )
    places = database_of(tmp_path, listed, status, "unlike:amd64.list")
    for path in (b"/lib/libodd.so.1", b"/usr/lib/libodd.so.1"):
        database = Dpkg(places)
        assert database.packages([path, b"/usr/lib/libodd.so"]) == {
            path: Package("unlike", "2:3-4", "amd64", "deb", "dpkg")
        }
        database.close()


def test_a_database_that_is_damaged(tmp_path: Path) -> None:
    places = database_of(tmp_path, "/usr/lib/libodd.so.1", "\0\xff\nPackage: odd", "odd.list")
    info = tmp_path / "var/lib/dpkg/info"
    (info / "libodd.list").mkdir()
    (info / "libodd1.list").symlink_to("/etc/passwd")
    os.mkfifo(info / "libodd2.list")
    database = Dpkg(places)
    found = database.packages([b"/usr/lib/libodd.so.1"])
    assert found == {b"/usr/lib/libodd.so.1": Package("odd", "", "", "deb", "dpkg")}
    database.close()


# --- apk ---

APK = """\
C:Q1abc=
P:musl
V:1.2.5-r0
A:x86_64
T:the musl c library (libc) implementation
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1def=
F:usr/lib
R:libcommon.so

P:other
V:2
F:opt/other
R:libcommon.so

"""


def test_apk(tmp_path: Path) -> None:
    file = tmp_path / "lib/apk/db/installed"
    file.parent.mkdir(parents=True)
    file.write_text(APK)
    places = SearchPlaces(sysroot=Place(bytes(tmp_path)))
    musl = Package("musl", "1.2.5-r0", "x86_64", "apk", "apk")
    asked = [b"/lib/ld-musl-x86_64.so.1", b"/usr/lib/libcommon.so", b"/opt/other/libcommon.so",
             b"/srv/libcommon.so", b"/lib/none"]  # fmt: skip
    assert apk.packages(places, asked) == {
        asked[0]: musl, asked[1]: musl, asked[2]: Package("other", "2", "", "apk", "apk")
    }  # fmt: skip
    assert apk.packages(places, [b"/usr/lib/ld-musl-x86_64.so.1"]) != {}


@given(st.text("PVAFR:\nalib/x", max_size=60))
def test_any_apk_database(text: str) -> None:
    place = Path("/dev/shm" if os.path.isdir("/dev/shm") else "/tmp") / f"uc-apk-{os.getpid()}"
    file = place / "lib/apk/db/installed"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    apk.packages(SearchPlaces(sysroot=Place(bytes(place))), [b"/lib/a", b"/x"])
    shutil.rmtree(place)


# --- rpm ---

SPEC = """\
Name: crashtest
Version: 1.5
Release: 2
Epoch: 3
Summary: x
License: none
BuildArch: noarch
%description
x
%install
mkdir -p %{buildroot}/usr/lib/one %{buildroot}/usr/lib/two
echo a > %{buildroot}/usr/lib/one/libfirst.so
echo b > %{buildroot}/usr/lib/two/libfirst.so
echo c > %{buildroot}/usr/lib/two/libsecond.so
%files
/usr/lib/one
/usr/lib/two
"""


@pytest.fixture(scope="module")
def rpm_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which rpm has installed a package."""
    place = tmp_path_factory.mktemp("rpm")
    (place / "x.spec").write_text(SPEC)
    root = place / "root"
    define = ["--define", f"_topdir {place}/top", "--define", "_dbpath /var/lib/rpm"]
    build = [need("rpmbuild", "rpm"), "-bb", "--quiet", *define, str(place / "x.spec")]
    subprocess.run(build, check=True, capture_output=True)
    built = next((place / "top/RPMS").rglob("*.rpm"))
    subprocess.run(
        [need("rpm", "rpm"), *define, "--root", str(root), "--define", "_db_backend sqlite",
         "--nodeps", "--install", str(built)],
        check=True, capture_output=True,
    )  # fmt: skip
    return root


def test_rpm_as_rpm_writes_it(rpm_root: Path) -> None:
    places = SearchPlaces(sysroot=Place(bytes(rpm_root)))
    own = Package("crashtest", "3:1.5-2", "noarch", "rpm", "rpm")
    asked = [b"/usr/lib/one/libfirst.so", b"/usr/lib/two/libfirst.so", b"/lib/two/libsecond.so",
             b"/usr/lib/libfirst.so", b"/usr/lib/one/libsecond.so", b"/\xff/\xff"]  # fmt: skip
    assert rpm.packages(places, asked) == dict.fromkeys(asked[:3], own)


def test_rpm_databases_that_are_damaged(rpm_root: Path, tmp_path: Path) -> None:
    file = tmp_path / "var/lib/rpm/rpmdb.sqlite"
    file.parent.mkdir(parents=True)
    places = SearchPlaces(sysroot=Place(bytes(tmp_path)))
    whole = (rpm_root / "var/lib/rpm/rpmdb.sqlite").read_bytes()
    asked = [b"/usr/lib/one/libfirst.so"]
    cut = bytearray(whole)
    for at in range(0, len(cut), 97):
        cut[at] ^= 0x41
    for data in (b"", b"text" * 1000, whole[: len(whole) // 2], bytes(cut), whole[:4096]):
        file.write_bytes(data)
        assert rpm.packages(places, asked).keys() <= set(asked)
    file.unlink()
    database = sqlite3.connect(file)
    database.execute(
        "CREATE VIEW Basenames AS SELECT 'libfirst.so' AS key, x'00' AS hnum, 1 AS idx"
    )
    database.commit()
    database.close()
    assert rpm.packages(places, asked) == {}


@given(st.binary(max_size=200), st.integers(-5, 1 << 40))
def test_any_rpm_header(blob: bytes, index: int) -> None:
    for data in (blob, struct.pack(">II", 3, 50) + blob):
        header = rpm.RpmHeader(data)
        header.directory_of(index)
        header.package()


def test_in_the_report(crash: Path) -> None:
    from usercrash.config import Config
    from usercrash.isolated_analysis import Material, View, analyse_isolated
    from usercrash.report import from_json

    with crash.open("rb") as file:
        done = analyse_isolated(Material("a" * 32, file.fileno(), by_path=True), Config(), View())
    modules = from_json(done.json).modules
    libc = next(module for module in modules if module.path.endswith("/libc.so.6"))
    assert libc.package is not None and libc.package.name == "libc6"
    text = " ".join(done.text.decode().split())
    assert f"package libc6 {libc.package.version} (deb, amd64)" in text
