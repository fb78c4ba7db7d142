"""Lines of instructions: what each interpreter itself says of the whole standard library's code."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pythons import interpreters, versions
from usercrash.cpython.lines import line_of

# For each function of some modules: its table, its first line, and the line of every instruction.
TELL = """
import base64, dis, json, sys, types
import argparse, asyncio.base_events, collections, decimal, json.decoder, threading, typing
def codes(code):
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from codes(one)
def lines(code):
    if hasattr(code, "co_lines"):
        for start, end, line in code.co_lines():
            for at in range(start, end, 2):
                yield at, line
    else:
        starts = dict(dis.findlinestarts(code))
        line = code.co_firstlineno
        for at in range(0, len(code.co_code), 2):
            line = starts.get(at, line)
            yield at, line
found = []
for name in ("argparse", "asyncio.base_events", "collections", "json.decoder", "typing"):
    module = sys.modules[name]
    text = open(module.__file__, encoding="utf-8").read()
    for code in codes(compile(text, module.__file__, "exec")):
        table = code.co_linetable if sys.version_info >= (3, 10) else code.co_lnotab
        said = [[at, line] for at, line in lines(code)]
        found.append([base64.b64encode(table).decode(), code.co_firstlineno, said])
print(json.dumps(found))
"""


@pytest.mark.parametrize("version", versions())
def test_every_instruction(version: str) -> None:
    minor = (3, int(version[2:]))
    done = subprocess.run(
        [interpreters()[version], "-IS", "-c", TELL], capture_output=True, check=True, timeout=120
    )
    checked = 0
    for table, first, said in json.loads(done.stdout):
        data = base64.b64decode(table)
        for at, line in said[:60]:
            assert line_of(minor, data, first, at) == (line or None), (first, at)
            checked += 1
        assert line_of(minor, data, first, -1) == (first or None)
    assert checked > 10_000


@given(
    st.sampled_from([(3, 8), (3, 10), (3, 11), (3, 14)]), st.binary(max_size=200),
    st.integers(-(1 << 31), 1 << 31), st.integers(-2, 1 << 31),
)  # fmt: skip
def test_any_bytes(minor: tuple[int, int], table: bytes, first: int, offset: int) -> None:
    line = line_of(minor, table, first, offset)
    assert line is None or 0 < line < 1 << 31
