"""The walk through an interpreter's memory, in processes of every CPython that is installed: the
frames are those that the interpreter itself tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pythons import Row, found_in, interpreters, standing, versions
from usercrash.cpython.lines import line_of
from usercrash.cpython.walk import Limits, Thread, Walked, walk

ALL = [
    "plain", "generator", "coroutine", "callback", "recursion", "threads", "exception", "names",
    "zipped", "traced", "forked", "collection", "shutdown", "long_function",
]  # fmt: skip


FEW = ("plain", "generator", "callback", "threads", "names", "long_function")  # of those between
CASES = [
    (version, scene)
    for version in versions()
    for scene in ALL
    if scene in FEW or version in (versions()[0], next(iter(interpreters())), versions()[-1])
]


@pytest.fixture(params=versions())
def python(request: pytest.FixtureRequest) -> Path:
    return interpreters()[str(request.param)]


def rows(walked: Walked, thread: Thread) -> list[Row]:
    """A thread's frames as a scene tells them."""
    found = []
    for frame in thread.frames:
        code = frame.code
        assert code is not None and code.lines is not None and frame.last is not None
        line = frame.line or line_of(walked.layout.minor, code.lines, code.first_line, frame.last)
        name = (code.qualified or code.name).decode()
        found.append((name, code.file.decode(), line or 0))
    return found[1:] if found and found[0][0] == "fault" else found  # (called after the telling)


@pytest.mark.parametrize(("version", "scene"), CASES)
def test_frames(version: str, scene: str, tmp_path: Path) -> None:
    with standing(interpreters()[version], scene, str(tmp_path)) as process:
        found = found_in(process)
        walked = walk(process.read, found, (process.pid, 0), Limits(others=20_000))
        assert walked is not None and walked.notes == []
        wanted = process.stacks
        pending = {tuple(rows) for rows in wanted.values()}
        assert {tuple(rows(walked, one)) for one in walked.threads if one.frames} == pending
        if walked.layout.minor >= (3, 11):
            ours = {one.native_id: rows(walked, one) for one in walked.threads if one.frames}
            assert ours == {tid: stack for tid, stack in wanted.items() if stack}
        assert [one.end for one in walked.threads] == [""] * len(walked.threads)
        for thread in walked.threads:
            assert sum(run.end - run.start for run in thread.runs) == len(thread.frames)


def test_version(python: Path) -> None:
    with standing(python, "plain") as process:
        layout = found_in(process).layout
        assert layout is not None
        version = next(name for name, path in interpreters().items() if path == python)
        assert re.match(re.escape(version) + r"(\.\d+)?(a|b|rc)?\d*$", layout.name)


def test_exception(python: Path) -> None:
    with standing(python, "exception") as process:
        walked = walk(process.read, found_in(process), (process.pid, 0))
        assert walked is not None
        raised = walked.threads[0].exception
        assert raised is not None and raised.text is not None
        told = (raised.name, raised.text.decode(), raised.handled)
        assert told == (b"LookupError", "größer als 日本 🐍", True)


VARIABLES = {
    "nothing": "None", "truth": "True", "lie": "False", "zero": "0", "small": "12345",
    "negative": str(-(1 << 100)), "real": "2.5", "text": "'größe'",
    "wide": repr(("日本 🐍" * 100)[:200] + "…"), "data": repr(b"by\xfftes"),
    "items": "<list of 3 items>", "pair": "<tuple of 1 item>", "table": "<dict of 1 item>",
    "thing": "<Plain>", "password": "'hunter2'", "captured": "'kept in a cell'",
}  # fmt: skip


def test_variables(python: Path) -> None:
    """Of simple types, and only where they are asked for."""
    with standing(python, "variables") as process:
        found = found_in(process)
        walked = walk(process.read, found, (process.pid, 0), Limits(variables=True))
        assert walked is not None
        values = {name.decode(): one.written() for name, one in walked.threads[0].variables[0]}
        if walked.layout.minor < (3, 11):
            values["captured"] = VARIABLES["captured"]  # (cells stand apart there)
        assert values == VARIABLES
        walked = walk(process.read, found, (process.pid, 0))
        assert walked is not None and walked.threads[0].variables == []
