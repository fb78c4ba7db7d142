"""Cores that were compressed: each way, in several pieces, cut short, larger than a pipe takes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.cli.compressed_cores import decompressed
from usercrash.config import Config

MAIN = "from usercrash.cli import main; main()"
SOURCE = """
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""


@pytest.fixture(scope="module")
def core() -> Iterator[bytes]:
    """Of a program in a directory that also the unprivileged analysis can reach."""
    with tempfile.TemporaryDirectory(prefix="uc-compressed-") as name:
        os.chmod(name, 0o755)
        program = compile_c(Path(name), "program", SOURCE)
        yield gcore_at_fault([bytes(program)], Path(name, "core"), full=True).read_bytes()


def usercrash(*arguments: str | Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "analyze", *map(str, arguments)],
        env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def functions(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    frames = json.loads(done.stdout)["threads"][0]["frames"]
    return [frame["function"] for frame in frames][:2]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize("pack", [zstd, gzip.compress, lzma.compress, bz2.compress])
def test_in_several_pieces(core: bytes, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """As pzstd and `cat` make them."""
    path = tmp_path / "core.packed"
    path.write_bytes(pack(core[:5000]) + pack(core[5000:9000]) + pack(core[9000:]))
    done = usercrash("--json", path, temporary=tmp_path)
    assert functions(done) == ["fault", "main"] and done.stderr == ""
    assert os.listdir(tmp_path) == ["core.packed"]


def test_more_than_goes_through_a_pipe(core: bytes, tmp_path: Path) -> None:
    """Zeros at the end take no room; a core may have any size."""
    path = tmp_path / "core.zst"
    packer = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        file.write(packer.compress(core))
        for _ in range(300):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    done = usercrash("--json", path, temporary=tmp_path)
    assert functions(done) == ["fault", "main"] and done.stderr == ""


@pytest.mark.parametrize("pack", [zstd, gzip.compress, lzma.compress])
def test_cut_short_is_read_as_far_as_it_goes(
    core: bytes, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "core.cut"
    path.write_bytes(pack(core) + pack(os.urandom(1 << 22))[: 1 << 21])
    done = usercrash("--json", path, temporary=tmp_path)
    assert functions(done) == ["fault", "main"]
    assert "core.cut does not decompress to its end: it is cut short\n" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_few_kilobytes_do_not_fill_a_disk(
    core: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than half of the room there is: here of 16 MiB."""
    packed = zstd(core + bytes(40 << 20) + b"A" * (40 << 20))
    (tmp_path / "core.zst").write_bytes(packed)
    room = os.statvfs_result((4096, 4096, 4096, 4096, 4096, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda fd: room)
    with (tmp_path / "core.zst").open("rb") as file:
        raw, why = decompressed(file.fileno(), "core.zst", Config())
    assert why == "there is no room for all of it"
    assert os.pread(raw, len(core), 0) == core
    assert os.fstat(raw).st_blocks * 512 <= 9 << 20 < len(packed) << 10
    os.close(raw)


def test_what_cannot_be_read_is_one_line(core: bytes, tmp_path: Path) -> None:
    for name, data, words in (
        ("lz4", b"\x04\x22\x4d\x18" + bytes(99), "is compressed with lz4: decompress it first"),
        ("gz", b"\x1f\x8b\x08" + bytes(99), "cannot decompress"),
        ("xz", b"\xfd7zXZ\0" + bytes(99), "cannot decompress"),
        ("bz2", b"BZh" + bytes(99), "cannot decompress"),
        ("tail", gzip.compress(bytes(99))[:12], "tail: it is cut short"),
        ("zst", zstd(b"no core") + b"", "zst: what is compressed there is no core file"),
    ):
        (tmp_path / name).write_bytes(data)
        done = usercrash(tmp_path / name, temporary=tmp_path)
        assert done.returncode == 1 and done.stdout == ""
        assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_of_a_directory(core: bytes, tmp_path: Path) -> None:
    """Compressed files whose name says that they are cores."""
    cores = tmp_path / "cores"
    cores.mkdir()
    (cores / "core.1.xz").write_bytes(lzma.compress(core))
    (cores / "core.1").write_bytes(core)
    (cores / "syslog.1.gz").write_bytes(gzip.compress(b"a line\n" * 100))
    done = usercrash("--output", tmp_path / "out", cores, temporary=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "core.1.2.json", "core.1.2.txt", "core.1.json", "core.1.txt",
    ]  # fmt: skip
