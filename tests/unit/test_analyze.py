"""usercrash analyze, on the minicore of a program that was run under our eye."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from tests.unit.test_cli import on_a_terminal

PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]


def usercrash(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compressed minicore, as the store keeps it, of a shell that killed itself."""
    place = tmp_path_factory.mktemp("analyze")
    config = place / "usercrash.toml"
    lines = [f'{name} = "{place / name}"\n' for name in ("reports", "state", "cache")]
    config.write_text("[paths]\n" + "".join(lines))
    (place / "reports").mkdir(mode=0o700)
    # 128 + 11: as a shell reports it
    done = usercrash("--config", config, "run", "--", "/bin/sh", "-c", "kill -SEGV $$")
    assert done.returncode == 139, done.stderr
    return next((place / "reports/.data").glob("*.core.zst"))


@pytest.fixture(scope="module")
def core(packed: Path) -> Path:
    path = packed.with_suffix("")
    path.write_bytes(zstandard.ZstdDecompressor().stream_reader(packed.read_bytes()).read())
    return path


def names(report: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    return [frame["function"] for frame in report["threads"][0]["frames"]]


def test_json_is_the_published_report_again(core: Path, packed: Path) -> None:
    published = json.loads(packed.with_suffix("").with_suffix(".json").read_bytes())
    again = json.loads(usercrash("analyze", "--json", core).stdout)
    assert again["signal"]["name"] == "SIGSEGV"
    assert again["process"]["pid"] == published["process"]["pid"]
    assert names(again) == names(published) != []


def test_compressed_core_gives_the_same(core: Path, packed: Path) -> None:
    plain, compressed = (
        json.loads(usercrash("analyze", "--json", path).stdout) for path in (core, packed)
    )
    assert names(compressed) == names(plain)


def test_text_and_terminal(core: Path) -> None:
    done = usercrash("analyze", core)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert "SIGSEGV" in text and "\x1b" not in text
    screen = on_a_terminal([*PROGRAM, "analyze", str(core)], {"TERM": "xterm"})
    assert "SIGSEGV" in screen and "\x1b[" in screen
    assert "\x1b" not in on_a_terminal([*PROGRAM, "analyze", str(core)], {"TERM": "dumb"})


def test_named_program(core: Path) -> None:
    shell = os.path.realpath("/bin/sh")
    found = json.loads(usercrash("analyze", "--json", "--exe", shell, core).stdout)
    assert found["process"]["exe"] == shell
    done = usercrash("analyze", "--exe", "/nonexistent", core)
    assert done.returncode == 2
    assert (
        done.stderr == b"usercrash: cannot open program '/nonexistent': No such file or directory\n"
    )


def test_a_program_that_is_none(core: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n")
    done = usercrash("analyze", "--exe", tmp_path / "text", "--force-exe", core)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr == f"usercrash: program {tmp_path}/text is not an ELF file\n".encode()


def test_a_program_for_another_machine_is_never_taken(core: Path, tmp_path: Path) -> None:
    other = bytearray(Path(sys.executable).resolve().read_bytes())
    other[18:20] = b"\xb7\0"  # EM_AARCH64
    (tmp_path / "other").write_bytes(other)
    done = usercrash("analyze", "--json", "--exe", tmp_path / "other", "--force-exe", core)
    report = json.loads(done.stdout)
    assert done.returncode == 0 and not any(one["forced"] for one in report["modules"])
    assert {"stage": "modules", "what": f"--exe {tmp_path}/other",
            "why": "refused: it is for another machine"} in report["notes"]  # fmt: skip
    text = usercrash("analyze", "--exe", tmp_path / "other", core).stdout.decode()
    first = "".join(text.partition("\nStack of")[0].split())  # (lines may break anywhere)
    assert f"Warning--exe{tmp_path}/otherisnotused:itisforanothermachine" in first


def refusals(place: Path, core: Path) -> list[tuple[Path, str]]:
    (place / "empty").touch()
    os.mkfifo(place / "fifo")
    (place / "nothing").mkdir()
    (place / "text").write_text("no core at all\n" * 100)
    (place / "cut").write_bytes(core.read_bytes()[:40])
    (place / "bad.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 100)
    return [
        (place / "absent", "No such file or directory"),
        (place / "empty", "is empty"),
        (place / "fifo", "is not a regular file"),
        (place / "nothing", "no core files in directory"),
        (place / "text", "text: not a core file (not an ELF file)"),
        (Path("/bin/sh"), "/bin/sh: not a core file (a program or a library)"),
        (place / "cut", ""),
        (place / "bad.zst", "cannot decompress"),
    ]


def test_what_is_no_core_is_one_line(core: Path, tmp_path: Path) -> None:
    for path, why in refusals(tmp_path, core):
        done = usercrash("analyze", path)
        error = done.stderr.decode()
        assert done.returncode in (1, 2), path
        assert error.startswith("usercrash: ") and error.count("\n") == 1, error
        assert why in error and "Traceback" not in error
        assert done.stdout == b""


def test_core_cut_short_is_read_as_far_as_it_goes(core: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    data = core.read_bytes()
    cut.write_bytes(data[: len(data) * 3 // 4])
    done = usercrash("analyze", "--json", cut)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signal"]["name"] == "SIGSEGV"
