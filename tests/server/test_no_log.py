"""An event log that cannot be written or read costs its lines, and nothing else."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_client import client
from tests.support.kernel import SERVER, SOURCES, Installation
from tests.support.server_life import until
from usercrash.storage.reports import DATA, slot_name


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_crashes_are_published_and_the_server_starts_again(kind: str, core: Path) -> None:
    with Installation() as place:
        place.start_server()
        log = place.state / "events.jsonl"
        log.unlink(missing_ok=True)
        log.mkdir() if kind == "directory" else os.mkfifo(log)
        for slot in range(2):
            good = client(place, "announce", "grant", f"core:{core}", "complete")
            assert good.wait(30) == 0
            until(functools.partial(_is_done, place, slot))
            place.stop_server(9)
            place.start_server()
        assert "lost" not in place.server_log and "event log" in place.server_log


def _is_done(place: Installation, slot: int) -> bool | None:
    """Whether the report stands there and the spool is empty; None for not yet."""
    left = [
        name for name in os.listdir(place.reports / DATA) if name.endswith((".report", ".mini"))
    ]
    return ((place.reports / slot_name(slot)).exists() and not left) or None


def test_standard_error_that_nobody_reads(core: Path) -> None:
    """Gone or full: what the server says there is lost, the server is not."""
    for kind in ("gone", "full"):
        with Installation() as place:
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            if kind == "full":
                while _written(writer):
                    continue
            else:
                os.close(reader)
            os.set_blocking(writer, True)
            place.server = subprocess.Popen(
                [sys.executable, "-c", SERVER, "--config", str(place.config)],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}, stderr=writer,
            )  # fmt: skip
            os.close(writer)
            until(functools.partial(_listens, place))
            client(place, "packet:00ff00ff").wait(30)
            good = client(place, "announce", "grant", f"core:{core}", "complete")
            assert good.wait(30) == 0
            until(functools.partial(_is_done, place, 0))
            assert place.server.poll() is None
            if kind == "full":
                os.close(reader)


def _written(fd: int) -> bool:
    try:
        return os.write(fd, b"x" * 4096) > 0
    except BlockingIOError:
        return False


def _listens(place: Installation) -> bool | None:
    return (place.run / "crash.sock").exists() or None
