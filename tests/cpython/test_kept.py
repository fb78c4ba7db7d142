"""Cores of each CPython, kept: the analysis reads them on any machine, without any file."""

from __future__ import annotations

import json
import lzma
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpython.keep_cores import KEPT
from tests.support.analysed import analyse
from tests.support.pythons import frames_of
from usercrash.analysis.assemble import assemble
from usercrash.render.text import render_text
from usercrash.report import Report, from_json, to_json

NAMES = sorted(path.name.removesuffix(".core.xz") for path in KEPT.glob("*.core.xz"))
LARGEST = 12 << 10


def kept(name: str) -> bytes:
    return lzma.decompress((KEPT / f"{name}.core.xz").read_bytes())


def report_of(core: bytes) -> Report:
    crash = analyse(core)
    return assemble(crash.image, crash.modules, crash.symbolizer, "0" * 32)


def test_all_versions_are_there() -> None:
    assert {name.rpartition(".")[0] for name in NAMES} >= {
        "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"
    }  # fmt: skip
    assert all(path.stat().st_size < LARGEST for path in KEPT.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_frames(name: str) -> None:
    report = report_of(kept(name))
    told = json.loads((KEPT / f"{name}.json").read_text())
    wanted = [tuple(row) for row in told[str(report.threads[0].tid)]]
    assert frames_of(report.threads[0]) == wanted
    (interpreter,) = report.interpreters
    assert interpreter.version.startswith(name.rpartition(".")[0])
    text = render_text(report)
    assert all(f"{function} at " in text for function, _, _ in wanted)
    assert "could not be placed" in text
    if name.endswith("exception"):
        raised = report.threads[0].interpreted[0].exception
        assert raised is not None and raised.handled
        assert (raised.type, raised.text) == ("LookupError", "größer als 日本 🐍")
    assert [note for note in report.notes if note.stage == "python"] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_byte_that_is_missing(name: str) -> None:
    """Without a piece of memory there are fewer frames, or lines, but no other ones."""
    core = kept(name)
    whole = frames_of(report_of(core).threads[0])
    image = analyse(core).image
    places = [offset for _, _, offset in image._segments]
    generator = random.Random(name)
    for offset in generator.sample(places, min(len(places), 12)):
        damaged = bytearray(core)
        # the address of this segment becomes one that nobody asks for
        at = next(
            at for at in range(64, 64 + 56 * image.header.phnum, 56)
            if int.from_bytes(core[at + 8 : at + 16], "little") == offset
            and int.from_bytes(core[at : at + 4], "little") == 1
        )  # fmt: skip
        damaged[at + 16 : at + 24] = (0x1000 + 64 * at).to_bytes(8, "little")
        for stack in report_of(bytes(damaged)).threads[0].interpreted:
            found = [(frame.function, frame.file) for frame in stack.frames]
            assert found == [row[:2] for row in whole[: len(found)]]
            for frame, row in zip(stack.frames, whole, strict=False):
                assert frame.line in (row[2], None)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.randoms(use_true_random=False), st.integers(1, 40))
def test_damaged_memory(name: str, generator: random.Random, count: int) -> None:
    """Whatever stands in memory, a report comes of it that JSON can hold, and no fault of ours."""
    core = bytearray(kept(name))
    start = analyse(bytes(core)).image._segments[0][2]
    for _ in range(count):
        at = generator.randrange(start, len(core) - 8)
        size = generator.choice((1, 1, 2, 4, 8))
        value = generator.choice(
            (generator.randbytes(size), bytes(size), b"\xff" * size, bytes(core[at - 64 :][:size]))
        )
        core[at : at + size] = value[:size].ljust(size, b"\0")
    report = report_of(bytes(core))
    assert report.complete, report.notes
    assert from_json(to_json(report)) == report
    render_text(report)


def test_a_circle_of_frames_ends() -> None:
    """Each pointer of the newest frame to its caller leads back to itself."""
    core = kept("3.11.generator")
    image = analyse(core).image
    frames = 0
    for start, end, offset in image._segments:
        data = core[offset : offset + end - start]
        for at in range(0, len(data) - 72, 8):
            # struct _PyInterpreterFrame: `previous` stands 48 bytes behind its beginning
            word = int.from_bytes(data[at + 48 : at + 56], "little")
            if start <= word < end and word != start + at and data[at + 69] < 3:
                changed = bytearray(core)
                changed[offset + at + 48 : offset + at + 56] = (start + at).to_bytes(8, "little")
                for stack in report_of(bytes(changed)).threads[0].interpreted:
                    frames += stack.end == "the frames run in a circle"
    assert frames
