"""Runs `usercrash run` as a user does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.commands import environment, program

SECONDS = 60.0

CRASHES = (Path(__file__).parent.parent / "kernel" / "run_modes.c").read_text()


def command(place: Path, *words: str | Path, options: Sequence[str] = ()) -> list[str]:
    config = str(place.parent / "usercrash.toml")
    front = [*program("cli"), "--config", config, "run", *options, "--"]
    return [*front, *map(str, words)]


def run(
    place: Path, *words: str | Path, options: Sequence[str] = (), given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(place, *words, options=options), cwd=place, env=environment(), input=given,
        capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def reports(place: Path) -> list[dict[str, object]]:
    """The JSON of all reports in the directory, by number."""
    return [json.loads(path.read_bytes()) for path in sorted(place.glob("usercrash_??.json"))]


def names(report: dict[str, object]) -> list[str]:
    """The functions of the crashing thread's stack."""
    threads = report["threads"]
    assert isinstance(threads, list)
    assert [thread["crashed"] for thread in threads].count(True) == 1
    assert threads[0]["crashed"]
    return [frame["function"] for frame in threads[0]["frames"]]
