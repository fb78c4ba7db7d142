"""The directory of SymCaches under attack: killed writers, a full disk, odd names, its size."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.spawn import compile_c

from usercrash import sharing
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.sandbox import SandboxLimits
from usercrash.analysis.symbols import symcache
from usercrash.analysis.symbols.file_symbols import FileSymbols, convert
from usercrash.config import Config, Paths, Symbols
from usercrash.isolated_analysis import _open_cache
from usercrash.model.notes import NoteLog
from usercrash.sharing import share_symcaches, shrink_cache

root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def programs(tmp_path: Path) -> list[Path]:
    source = "int value(int n) { return n + %d; } int main(void) { return value(0); }"
    return [compile_c(tmp_path, f"p{number}", source % number) for number in range(3)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    place = tmp_path / "cache"
    place.mkdir(mode=0o755)
    return place


def share(programs: list[Path], cache: Path, megabytes: int = 64) -> None:
    paths, symbols = Paths(cache=str(cache)), Symbols(symcache_mb=megabytes)
    files = [os.open(program, os.O_RDONLY) for program in programs]
    share_symcaches(range(len(files)), files, Config(paths=paths, symbols=symbols))
    for fd in files:
        os.close(fd)


def kept(program: Path, cache: Path) -> FileSymbols | None:
    notes = NoteLog()
    elf = ElfFile(program.read_bytes())
    found = symcache.lookup(str(cache), program.stat(), elf, bytes(program), notes)
    assert list(notes) == []
    return found


def test_a_writer_that_is_killed(
    programs: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside another that writes the same entry: that is whole, and the part goes."""
    with programs[0].open("rb") as file:
        status = os.fstat(file.fileno())
        who, container = symcache.make(file.fileno())

    def half(fd: int, data: bytes) -> None:
        os.write(fd, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(symcache, "write_all", half)
            symcache.publish(str(cache), status, who, container)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    (part,) = cache.iterdir()
    assert 0 < part.stat().st_size < len(container) and kept(programs[0], cache) is None
    symcache.publish(str(cache), status, who, container)
    assert kept(programs[0], cache) is not None
    shrink_cache(str(cache), 0)  # it may still be being written: it counts, and stays
    assert [path.suffix for path in cache.iterdir()] == [".part"]
    old = time.time() - 3600
    os.utime(part, (old, old))
    shrink_cache(str(cache), 1 << 20)
    assert list(cache.iterdir()) == []


def test_parts_count(cache: Path) -> None:
    """Else one writer after another that is killed fills the disk."""
    (cache / "a.symbols.1.1.part").write_bytes(bytes(200_000))
    (cache / "b.symbols").write_bytes(bytes(200_000))
    shrink_cache(str(cache), 300_000)
    assert os.listdir(cache) == ["a.symbols.1.1.part"]


@pytest.fixture
def full(cache: Path) -> Iterator[Path]:
    """The cache on a file system of 16 KiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", bytes(cache), b"tmpfs", 0, b"size=16k,mode=755") == 0
    yield cache
    libc.umount2(bytes(cache), 2)


@root
def test_no_room(programs: list[Path], full: Path) -> None:
    (full / "filler").write_bytes(bytes(12 << 10))
    share(programs, full)
    assert not [name for name in os.listdir(full) if name.endswith(".part")]
    assert all(found is None or not found.limited for found in (kept(p, full) for p in programs))
    (full / "filler").unlink()
    share(programs, full)
    assert kept(programs[0], full) is not None


@root
def test_names_that_are_taken(programs: list[Path], cache: Path) -> None:
    for program, kind in zip(programs, ("directory", "link"), strict=False):
        taken = cache / symcache.cache_name(program.stat())
        if kind == "directory":
            (taken / "full").mkdir(parents=True)
        else:
            taken.symlink_to("/etc/passwd")
    os.mkfifo(cache / "fifo.symbols")
    (cache / "x.part").mkdir()
    (cache / os.fsdecode(b"\xff\n.symbols")).write_bytes(b"odd")
    before = Path("/etc/passwd").read_bytes()
    share(programs, cache)
    assert Path("/etc/passwd").read_bytes() == before
    assert kept(programs[1], cache) is not None and kept(programs[2], cache) is not None
    assert not [path for path in cache.iterdir() if path.name.count(".") > 2]
    shrink_cache(str(cache), 0)
    left = {path.name for path in cache.iterdir()}
    assert left == {symcache.cache_name(programs[0].stat()), "fifo.symbols", "x.part"}


@root
def test_one_that_is_too_large(
    programs: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not kept, rather than that it drives out all others and then itself."""
    share(programs[:1], cache)
    make = symcache.make

    def large(*arguments: object, **keys: object) -> tuple[bytes, bytes]:
        who, container = make(*arguments, **keys)  # type: ignore[arg-type]
        return who, container + bytes(1 << 20)

    monkeypatch.setattr(symcache, "make", large)
    share(programs[1:2], cache, megabytes=2)
    assert kept(programs[0], cache) is not None and len(list(cache.iterdir())) == 1


@root
@pytest.mark.parametrize("how", ["time", "memory", "death"])
def test_a_conversion_without_end(
    programs: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Symbol tables are kept then: not every crash of the program tries it again."""

    def stubborn(elf: ElfFile, debug: None, most: int) -> FileSymbols:
        if most:
            if how == "death":
                os.kill(os.getpid(), signal.SIGSEGV)
            hoard = [bytearray(1 << 28) for _ in range(64 if how == "memory" else 0)]
            while not hoard:
                time.sleep(1)
        return convert(elf, debug, most)

    limits = SandboxLimits(seconds=0.5, memory=1 << 30)
    monkeypatch.setattr(sharing, "sandbox_limits", lambda config: limits)
    monkeypatch.setattr(symcache, "convert", stubborn)
    share(programs, cache)
    assert kept(programs[2], cache) is None or how != "time"  # all of it has an end, too
    found = kept(programs[0], cache)
    assert found is not None and found.lines is None and found.limited
    named = found.symbols.find(next(iter(_addresses(programs[0]))))
    assert named is not None and named[0] == b"value"


def _addresses(program: Path) -> Iterator[int]:
    elf = ElfFile(program.read_bytes())
    for address in range(0x1000, 0x2000):
        found = elf.symbols.find(address)
        if found is not None and found[0] == b"value":
            yield address


@root
def test_a_directory_of_others_is_not_read(cache: Path) -> None:
    fd = _open_cache(str(cache))
    assert fd >= 0
    os.close(fd)
    cache.chmod(0o1777)
    assert _open_cache(str(cache)) == -1
    cache.chmod(0o755)
    os.chown(cache, 4242, -1)
    assert _open_cache(str(cache)) == -1


_OVERLAY = """
import ctypes, os, sys
sys.path[:0] = {path!r}
from usercrash.analysis.symbols.symcache import shareable
fd = os.open({file!r}, os.O_RDONLY)
assert os.fstat(fd).st_uid == 0
if os.fork() == 0:  # in our own table it is mounted, in its parent's namespace it is not
    os._exit(0 if shareable(os.fstat(fd), fd=fd) else 1)
assert os.wait()[1] == 0
theirs = os.open("/proc/%d/ns/mnt" % os.getppid(), os.O_RDONLY)
assert ctypes.CDLL(None, use_errno=True).setns(theirs, 0x20000) == 0
sys.exit(shareable(os.fstat(fd), fd=fd))
"""


@root
def test_an_overlay_of_another_namespace_is_nobodys(tmp_path: Path) -> None:
    """It may lie over FUSE, whose files have the owner that somebody wants."""
    for name in ("one", "two", "over"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/file").write_bytes(b"file")
    options = f"lowerdir={tmp_path}/one:{tmp_path}/two"
    script = _OVERLAY.format(path=sys.path, file=f"{tmp_path}/over/file")
    command = (
        f'mount -t overlay overlay -o {options} {tmp_path}/over && exec {sys.executable} -c "$0"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
