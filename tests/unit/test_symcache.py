"""The cache of names and lines: what is shared, under which name, and what becomes of damage."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.analysed import Analysed, analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.symbols import symcache
from usercrash.analysis.symbols.file_symbols import FileSymbols
from usercrash.analysis.symbols.symbolizer import Symbolizer
from usercrash.errors import FormatError
from usercrash.model.notes import NoteLog
from usercrash.sharing import shrink_cache

SOURCE = """
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""


@pytest.fixture
def crash(tmp_path: Path) -> tuple[Analysed, Path, Path]:
    """(the crash, its program, an empty cache directory)."""
    program = compile_c(tmp_path, "program", SOURCE)
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    cache = tmp_path / "cache"
    cache.mkdir()
    return analyse(core), program, cache


def _names(ours: Analysed, cache: Path, root: str = "/nowhere") -> tuple[list[str], Symbolizer]:
    ours.symbolizer = Symbolizer(str(cache), NoteLog(), places=SearchPlaces(standard=root.encode()))
    return ours.names(ours.stack()), ours.symbolizer


def _publish(program: Path, cache: Path, root: str = "/nowhere") -> Path:
    fd = os.open(program, os.O_RDONLY)
    try:
        status = os.fstat(fd)
        who, container = symcache.make(fd, places=SearchPlaces(standard=root.encode()))
        symcache.publish(str(cache), status, who, container)
    finally:
        os.close(fd)
    path = cache / symcache.cache_name(status)
    assert path.exists()
    return path


def test_kept_names_are_the_same(crash: tuple[Analysed, Path, Path]) -> None:
    ours, program, cache = crash
    cold, symbolizer = _names(ours, cache)
    assert cold[:2] == ["fault", "main"]
    # /usr's files are root's; the program is, too, where the test runs as root
    wanted = {module.path for module in symbolizer.wanted}
    assert b"/usr/lib/x86_64-linux-gnu/libc.so.6" in wanted
    assert (os.fsencode(program) in wanted) == (os.getuid() == 0)
    first = [ours.locations(frame) for frame in ours.stack().frames]
    path = _publish(program, cache)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(cache) == [path.name]
    warm, symbolizer = _names(ours, cache)
    assert warm == cold
    assert [ours.locations(frame) for frame in ours.stack().frames] == first
    assert os.fsencode(program) not in {module.path for module in symbolizer.wanted}


def test_changed_file_is_another(crash: tuple[Analysed, Path, Path]) -> None:
    _, program, cache = crash
    path = _publish(program, cache)
    before = symcache.cache_name(program.stat())
    os.utime(program)
    assert symcache.cache_name(program.stat()) != before == path.name
    copy = program.parent / "copy"
    copy.write_bytes(program.read_bytes())
    assert symcache.cache_name(copy.stat()) != before


def test_other_debug_file_makes_it_stale(
    crash: tuple[Analysed, Path, Path], tmp_path: Path
) -> None:
    ours, program, cache = crash
    root = tmp_path / "debug"
    module = next(module for module in ours.modules if module.main)
    assert module.build_id is not None and module.elf is not None
    name = module.build_id.hex()
    debug = root / ".build-id" / name[:2] / f"{name[2:]}.debug"
    debug.parent.mkdir(parents=True)
    objcopy = need("objcopy", "binutils")
    subprocess.run([objcopy, "--only-keep-debug", str(program), str(debug)], check=True)
    subprocess.run([objcopy, "--strip-all", str(program)], check=True)
    core = tmp_path / "core"
    _publish(program, cache, str(root))
    ours = analyse(core)
    status = program.stat()
    main = next(module for module in ours.modules if module.main)
    assert main.elf is not None

    def kept() -> FileSymbols | None:
        assert main.elf is not None
        return symcache.lookup(
            str(cache),
            status,
            main.elf,
            main.path,
            NoteLog(),
            SearchPlaces(standard=os.fsencode(root)),
        )

    found = kept()
    assert found is not None and found.source == f"debug file {debug}"
    os.utime(debug)
    assert kept() is None
    debug.unlink()
    assert kept() is None


def test_damaged_and_cut_short_files_are_told(crash: tuple[Analysed, Path, Path]) -> None:
    ours, program, cache = crash
    path = _publish(program, cache)
    good = path.read_bytes()
    for data in (b"", good[:20], good[:-1], good + b"x", good[:-5] + b"\xff" + good[-4:],
                 b"\0" + good[1:]):  # fmt: skip
        path.write_bytes(data)
        names, symbolizer = _names(ours, cache)
        assert names[:2] == ["fault", "main"]
        notes = [note for note in symbolizer._notes if note.stage == "symbol cache"]
        assert [note.what for note in notes] == [str(path)]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_is_no_file_is_not_opened(crash: tuple[Analysed, Path, Path], kind: str) -> None:
    ours, program, cache = crash
    path = _publish(program, cache)
    path.rename(cache / "elsewhere")
    if kind == "symlink":
        path.symlink_to(cache / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    names, symbolizer = _names(ours, cache)
    assert names[:2] == ["fault", "main"]
    main = next(module for module in ours.modules if module.main)
    assert symbolizer.source_of(main) == "debug information in the file"


def test_publish_is_whole_or_not_at_all(tmp_path: Path) -> None:
    program = compile_c(tmp_path, "program", SOURCE)
    fd = os.open(program, os.O_RDONLY)
    status = os.fstat(fd)
    who, container = symcache.make(fd)
    os.close(fd)
    os.utime(program)
    cache = tmp_path / "cache"
    cache.mkdir()
    # made of what the file was a moment ago: not published under the new identity
    symcache.publish(str(cache), program.stat(), who, container)
    assert os.listdir(cache) == []
    with pytest.raises(OSError):
        symcache.publish(str(tmp_path / "nowhere"), status, who, container)


def test_the_cache_stays_within_its_size(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / f"{number}.symbols"
        path.write_bytes(bytes(100))
        os.utime(path, (1_000_000 + (number + 3) % 6, 1_000_000))  # 3 is the oldest
    for name, age in (("old.symbols.1.2.part", 7200.0), ("new.symbols.1.3.part", 60.0)):
        (tmp_path / name).write_bytes(bytes(900))
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / "debuginfod").mkdir()
    (tmp_path / "something").write_bytes(bytes(900))
    shrink_cache(str(tmp_path), 4 * 4096)  # blocks count, and what is being written
    left = sorted(os.listdir(tmp_path))
    assert left == [
        "0.symbols", "1.symbols", "2.symbols", "debuginfod", "new.symbols.1.3.part", "something",
    ]  # fmt: skip


def test_several_processes_publish_and_shrink_at_once(tmp_path: Path) -> None:
    program = compile_c(tmp_path, "program", SOURCE)
    cache = tmp_path / "cache"
    cache.mkdir()
    with open(program, "rb") as file:
        status = os.fstat(file.fileno())
        who, container = symcache.make(file.fileno())
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            try:
                for _ in range(50):
                    symcache.publish(str(cache), status, who, container)
                    shrink_cache(str(cache), 0)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert os.listdir(cache) == []


def test_what_may_be_shared(tmp_path: Path) -> None:
    libc = os.stat("/usr/lib/x86_64-linux-gnu/libc.so.6")
    assert symcache.shareable(libc)
    assert not symcache.shareable(os.stat("/usr/lib"))
    with open("/usr/lib/x86_64-linux-gnu/libc.so.6", "rb") as file:
        assert symcache.shareable(os.fstat(file.fileno()), fd=file.fileno())
    with open("/proc/version", "rb") as file:  # no file system of files
        assert not symcache.shareable(libc, fd=file.fileno())

    def like(status: os.stat_result, **changed: int) -> os.stat_result:
        fields = {"st_mode": status.st_mode, "st_uid": status.st_uid, "st_dev": status.st_dev}
        fields |= changed
        return os.stat_result(
            (fields["st_mode"], status.st_ino, fields["st_dev"], 1, fields["st_uid"], 0,
             status.st_size, 0, 0, 0)
        )  # fmt: skip

    assert symcache.shareable(like(libc))
    assert not symcache.shareable(like(libc, st_uid=1000))
    assert symcache.shareable(like(libc, st_uid=1000), owner=1000)
    assert not symcache.shareable(like(libc, st_mode=libc.st_mode | 0o020))
    assert not symcache.shareable(like(libc, st_mode=libc.st_mode | 0o002))
    assert not symcache.shareable(like(libc, st_mode=libc.st_mode & ~0o004))
    assert not symcache.shareable(like(libc, st_dev=os.makedev(0, 12345)))  # mounted nowhere here


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, bytes]]:
    program = compile_c(tmp_path_factory.mktemp("container"), "program", SOURCE)
    fd = os.open(program, os.O_RDONLY)
    yield symcache.make(fd)
    os.close(fd)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    damage=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 60), st.integers(0, 1 << 16)),
            st.binary(min_size=1, max_size=9),
        ),
        max_size=6,
    ),
    length=st.integers(0, 1 << 16),
)
def test_damage_is_never_believed(
    container: tuple[bytes, bytes], damage: list[tuple[int, bytes]], length: int
) -> None:
    who, good = container
    data = bytearray(good)
    for at, value in damage:
        at %= len(data) - 9
        data[at : at + len(value)] = value
    whole = bytes(data) == good
    data = data[: max(len(good) if length > 60_000 else length % len(good), 0)]
    try:
        found = symcache.unpack(bytes(data), who)
    except FormatError:
        return
    assert found is None or (whole and len(data) == len(good))


@pytest.mark.parametrize("good", [True, False])
def test_a_debug_file_of_another_program_is_passed_over(tmp_path: Path, good: bool) -> None:
    """It stands first, by name right and by build-id wrong: what is kept is found again all the
    same."""
    objcopy = need("objcopy", "binutils")
    program = compile_c(tmp_path, "program", "int main(void) { return 0; }", "-g")
    other = compile_c(tmp_path, "other", "int main(void) { return 1; }", "-g")
    build_id = ElfFile(program.read_bytes()).build_id
    assert build_id is not None
    name = f".build-id/{build_id.hex()[:2]}/{build_id.hex()[2:]}.debug"
    directories = []
    for source in (other, program) if good else (other,):
        place = tmp_path / f"debug-of-{source.name}"
        (place / name).parent.mkdir(parents=True)
        subprocess.run([objcopy, "--only-keep-debug", source, place / name], check=True)
        directories.append(Place(bytes(place), os.open(place, os.O_PATH | os.O_DIRECTORY)))
    subprocess.run([objcopy, "--strip-all", program], check=True)
    places = SearchPlaces(None, tuple(directories), ())
    cache = tmp_path / "cache"
    cache.mkdir()
    with program.open("rb") as file:
        status = os.fstat(file.fileno())
        who, container = symcache.make(
            file.fileno(), bytes(program), places=places, owner=os.geteuid()
        )
    symcache.publish(str(cache), status, who, container)
    elf = ElfFile(program.read_bytes())
    found = symcache.lookup(str(cache), status, elf, bytes(program), NoteLog(), places)
    for one in directories:
        os.close(one.fd)
    assert found is not None
    assert found.source == (f"debug file {tmp_path}/debug-of-program/{name}" if good else "none")
