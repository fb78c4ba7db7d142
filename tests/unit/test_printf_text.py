"""What was to be printed, made again of form and values; nothing where one of them is not known."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_cause import HEAP
from tests.unit.test_last_texts import SP, scene

from usercrash.analysis.explain.printf_text import printed

FORM, NAME = HEAP + 0x100, HEAP + 0x800
AREA = SP + 32
FRAME = range(SP, SP + 256)


def text_of(form: bytes, *values: int, floats: tuple[float, ...] = (), gap: bool = False) -> str:
    """Of a function with one argument before the values."""
    general = struct.pack("<Q", 0) + b"".join(
        struct.pack("<Q", value & (1 << 64) - 1) for value in values[:5]
    )
    area = general.ljust(48, b"\0")
    area += b"".join(struct.pack("<dQ", value, 0) for value in floats).ljust(128, b"\0")
    # (the list has gone on to the end, as it was used)
    frame = struct.pack("<IIQQQ", 48, 176, FRAME.stop + 8, AREA, 0) + area
    further = b"".join(struct.pack("<Q", value & (1 << 64) - 1) for value in values[5:])
    pieces = {
        FORM: form + b"\0",
        NAME: b"m\xc3\xb6bel\0",
        SP: frame.ljust(256, b"\0") + further.ljust(0 if gap else 64, b"\0"),
    }
    return printed(scene(pieces), FRAME, FORM, 1)


@pytest.mark.parametrize(
    ("form", "values", "floats", "text"),
    [
        (b"nothing", (), (), "nothing"),
        (b"%d%% of %s", (-5, NAME), (), "-5% of möbel"),
        (b"%hhd %hu %u %ld", (0x1FF, 0x12345, -1, -1), (), "-1 9029 4294967295 -1"),
        (b"[%5d|%-5d|%05d|%+d]", (42, 42, 42, 42), (), "[   42|42   |00042|+42]"),
        (b"%*d %.*s", (4, 7, 2, NAME), (), "   7 mö"),
        (b"%x %#X %o %c %p", (255, 255, 8, 65, 16), (), "ff 0XFF 10 A 0x10"),
        (b"%.2f %g %d", (3,), (2.5, 0.1), "2.50 0.1 3"),
        (b"%d %d %d %d %d %d %d", (1, 2, 3, 4, 5, 6, 7), (), "1 2 3 4 5 6 7"),
        (b"%s", (0,), (), "(null)"),
        (b"caf\xe9 %d", (1,), (), "caf\\xe9 1"),
        # what is not told
        (b"%m", (), (), ""),
        (b"%n", (NAME,), (), ""),
        (b"%ls", (NAME,), (), ""),
        (b"%s", (0x1234,), (), ""),
        (b"%99999d", (1,), (), ""),
        (b"%Lf", (), (1.0,), ""),
        (b"100%", (), (), ""),
    ],
)
def test_forms(form: bytes, values: tuple[int, ...], floats: tuple[float, ...], text: str) -> None:
    assert text_of(form, *values, floats=floats) == text


def test_values_that_are_not_there() -> None:
    assert text_of(b"%d %d %d %d %d %d", 1, 2, 3, 4, 5, gap=True) == ""
    assert printed(scene({FORM: b"%d\0"}), FRAME, FORM, 1) == ""
    assert printed(scene({}), FRAME, FORM, 1) == ""


@settings(deadline=None)
@given(st.binary(max_size=40), st.lists(st.integers(0, (1 << 64) - 1), max_size=8))
def test_any_form(form: bytes, values: list[int]) -> None:
    assert isinstance(text_of(form.replace(b"\0", b"%"), *values), str)
