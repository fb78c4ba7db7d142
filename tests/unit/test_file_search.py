"""Where files of modules and debug files are looked for: sysroot, debug directories, links."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.analysed import Analysed, analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.core.file_search import HOST, Place, SearchPlaces, Spot
from usercrash.analysis.core.modules import PathFiles
from usercrash.analysis.symbols.symbolizer import Symbolizer

SOURCE = """
__attribute__((noinline)) int fault(int *p) { return *p + VALUE; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""
PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]


def usercrash(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True,
    )  # fmt: skip


def objcopy(*arguments: str | Path) -> None:
    subprocess.run([need("objcopy", "binutils"), *map(str, arguments)], check=True)


# --- a tree that stands for another machine ---


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A sysroot with every kind of link; `outside` beside it holds what must not be read."""
    (tmp_path / "outside").write_text("outside")
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/file").write_text("inside")
    (root / "outside").write_text("also inside")
    os.symlink("/usr/lib", root / "lib")
    os.symlink("../../../../../outside", root / "usr/lib/upwards")
    os.symlink(tmp_path / "outside", root / "usr/lib/absolute")
    os.symlink("loop", root / "usr/lib/loop")
    os.symlink("/lib/file", root / "usr/lib/twice")
    os.mkfifo(root / "usr/lib/fifo")
    return root


def inside(tree: Path, name: str) -> Spot:
    return Spot(Place(bytes(tree)), name.encode(), rooted=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("/usr/lib/file", "inside"),
        ("/lib/file", "inside"),
        ("//lib/./../lib/twice", "inside"),
        ("/../../../usr/lib/file", "inside"),
        ("/usr/lib/upwards", "also inside"),
        ("/usr/lib", None),
        ("/usr/lib/file/more", None),
        ("/lib/fifo", None),
    ],
)
def test_a_sysroot_is_not_left(tree: Path, name: str, content: str | None) -> None:
    fd = inside(tree, name).open()
    assert (fd >= 0) == (content is not None)
    if fd >= 0:
        with os.fdopen(fd) as file:
            assert file.read() == content


@pytest.mark.parametrize("name", ["/usr/lib/absolute", "/usr/lib/loop", "/nothing", "/lib/loop/x"])
def test_what_leads_nowhere_in_a_sysroot(tree: Path, name: str) -> None:
    with pytest.raises(OSError):
        inside(tree, name).open()
    assert inside(tree, name).status() is None


def test_no_descriptor_is_left_behind(tree: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for name in ("/usr/lib/absolute", "/usr/lib/loop", "/usr/lib", "/lib/fifo", "/a" * 3000):
        try:
            inside(tree, name).open()
        except OSError:
            pass
    assert os.listdir("/proc/self/fd") == before


# --- modules and debug files of a real crash ---


@pytest.fixture
def crash(tmp_path: Path) -> tuple[Path, Path, Path]:
    """(core, the stripped program, its debug file) of a program that names its debug file."""
    place = tmp_path / "bin"
    place.mkdir()
    program = compile_c(place, "program", SOURCE.replace("VALUE", "1"))
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    debug = tmp_path / "program.debug"
    objcopy("--only-keep-debug", program, debug)
    objcopy("--strip-all", f"--add-gnu-debuglink={debug}", program)
    return core, program, debug


def named(core: Path, places: SearchPlaces) -> tuple[Analysed, list[str], str]:
    """(the analysis, the first two names, where they are from)."""
    ours = analyse(core, PathFiles(places=places))
    ours.symbolizer = Symbolizer(None, ours.image.notes, places=places)
    names = ours.names(ours.stack())[:2]
    main = next(module for module in ours.modules if module.main)
    return ours, names, ours.symbolizer.source_of(main)


def build_id(program: Path) -> str:
    command = [need("readelf", "binutils"), "-n", str(program)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return output.partition("Build ID: ")[2].split()[0]


def debug_places(tmp_path: Path, program: Path) -> list[tuple[str, SearchPlaces]]:
    short = f".build-id/{build_id(program)[:2]}/{build_id(program)[2:]}.debug"
    link = f"{program.parent}/program.debug".lstrip("/")
    own = SearchPlaces(debug_dirs=(Place(bytes(tmp_path / "d")),), standard=b"/nowhere")
    cache = SearchPlaces(caches=(Place(bytes(tmp_path / "d")),), standard=b"/nowhere")
    root = SearchPlaces(sysroot=Place(bytes(tmp_path / "r")))
    plain = SearchPlaces(standard=bytes(tmp_path / "d"))
    return [
        (f"d/{short}", own), (f"d/{link}", own), (f"d/{build_id(program)}/debuginfo", cache),
        (f"r/usr/lib/debug/{short}", root), (f"r/usr/lib/debug/{link}", root),
        (f"d/{short}", plain), (f"d/{link}", plain),
        ("bin/program.debug", plain), ("bin/.debug/program.debug", plain),
    ]  # fmt: skip


def test_debug_files_are_found_wherever_gdb_looks(
    crash: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    core, program, debug = crash
    in_root = tmp_path / "r" / str(program).lstrip("/")
    in_root.parent.mkdir(parents=True)
    shutil.copy(program, in_root)
    for name, places in debug_places(tmp_path, program):
        assert named(core, places)[1] == ["", ""], name
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(debug, file)
        _, names, source = named(core, places)
        assert names == ["fault", "main"], name
        assert source == f"debug file {file}"
        file.unlink()


def test_a_link_without_build_ids_goes_by_its_crc(tmp_path: Path) -> None:
    program = compile_c(tmp_path, "program", SOURCE.replace("VALUE", "1"), "-Wl,--build-id=none")
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    debug = tmp_path / "program.debug"
    objcopy("--only-keep-debug", program, debug)
    objcopy("--strip-all", f"--add-gnu-debuglink={debug}", program)
    assert named(core, SearchPlaces())[1] == ["fault", "main"]
    with debug.open("ab") as file:
        file.write(b"x")
    ours, names, _ = named(core, SearchPlaces())
    assert names == ["", ""]
    assert any(note.what == str(debug) and "CRC" in note.why for note in ours.image.notes)


def test_a_sysroot_holds_the_modules(crash: tuple[Path, Path, Path], tmp_path: Path) -> None:
    core, program, _ = crash
    root = tmp_path / "root"
    places = SearchPlaces(sysroot=Place(bytes(root)))
    root.mkdir()
    assert {module.how for module in named(core, places)[0].modules} == {"memory"}
    inside = root / str(program).lstrip("/")
    inside.parent.mkdir(parents=True)
    shutil.copy(program, inside)
    ours, _, _ = named(core, places)
    assert [row.how for row in ours.modules if row.main] == ["path"]
    # by its build-id, where it lies elsewhere
    text = build_id(program)
    short = root / f"usr/lib/debug/.build-id/{text[:2]}/{text[2:]}"
    short.parent.mkdir(parents=True)
    inside.rename(root / "elsewhere")
    short.symlink_to("/elsewhere")
    assert [row.how for row in named(core, places)[0].modules if row.main] == ["path"]


def test_a_sysroot_without_the_links_of_a_merged_root(tmp_path: Path) -> None:
    """Libraries that were copied from /lib are those of /usr/lib, and the other way round."""
    names = (b"/usr/lib/x/libc.so.6", b"/lib/x/libc.so.6")
    places = SearchPlaces(sysroot=Place(bytes(tmp_path)))
    for path, other in (names, names[::-1]):
        assert [spot.path for spot in places.module_spots(path, None)] == [path, other]
        assert [spot.path for spot in HOST.module_spots(path, None)] == [path]
    outside = b"/usr/share/x", b"/opt/lib/x", b"/library/x"
    for path in outside:
        assert [spot.path for spot in places.module_spots(path, None)] == [path]


def test_command_with_sysroot_and_debug_dir(crash: tuple[Path, Path, Path], tmp_path: Path) -> None:
    core, program, debug = crash
    root = tmp_path / "root"
    inside = root / str(program).lstrip("/")
    inside.parent.mkdir(parents=True)
    program.rename(inside)
    text = build_id(inside)
    place = tmp_path / "debug/.build-id" / text[:2]
    place.mkdir(parents=True)
    debug.rename(place / f"{text[2:]}.debug")
    for closed in (root, tmp_path / "debug"):
        closed.parent.chmod(0o700)  # the analysis of root's cannot go there by itself
    done = usercrash(
        "analyze", "--json", "--sysroot", root, "--debug-dir", tmp_path / "debug", core
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [frame["function"] for frame in report["threads"][0]["frames"]][:2] == ["fault", "main"]
    for wrong in ("--sysroot", "--debug-dir"):
        done = usercrash("analyze", wrong, core, core)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"usercrash: cannot open directory '{core}': Not a directory\n"


def test_another_program_only_by_force(crash: tuple[Path, Path, Path], tmp_path: Path) -> None:
    core, program, _ = crash
    other = compile_c(tmp_path, "other", SOURCE.replace("VALUE", "2"))
    program.unlink()
    plain = json.loads(usercrash("analyze", "--json", "--exe", other, core).stdout)
    assert plain["threads"][0]["frames"][0]["function"] is None
    assert any(note["why"].startswith("refused: build-id") for note in plain["notes"])
    done = usercrash("analyze", "--json", "--exe", other, "--force-exe", core)
    forced = json.loads(done.stdout)
    assert forced["threads"][0]["frames"][0]["function"] == "fault"
    assert [row["forced"] for row in forced["modules"]].count(True) == 1
    assert any(
        note["what"] == str(other) and note["why"].startswith("TAKEN ALTHOUGH")
        for note in forced["notes"]
    )
    text = usercrash("analyze", "--exe", other, "--force-exe", core).stdout
    first = text.partition("Stack of thread")[0]
    assert "Warning" in first and "is not the one that was mapped" in " ".join(first.split())


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) needs root")
def test_the_root_of_a_container_that_still_runs(
    crash: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """By /proc/PID/root, which the unprivileged analysis could not open itself."""
    core, program, debug = crash
    root = tmp_path / "root"
    inside = root / str(program).lstrip("/")
    inside.parent.mkdir(parents=True)
    program.rename(inside)
    place = root / "usr/lib/debug" / str(inside.parent.relative_to(root))
    place.mkdir(parents=True)
    debug.rename(place / debug.name)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.chroot(root)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        while os.readlink(f"/proc/{child}/root") == "/":
            os.sched_yield()
        done = usercrash("analyze", "--json", "--sysroot", f"/proc/{child}/root", core)
    finally:
        os.close(writer)
        os.waitpid(child, 0)
    report = json.loads(done.stdout)
    assert [frame["function"] for frame in report["threads"][0]["frames"]][:2] == ["fault", "main"]
