"""Names that would grow without measure are shown as they stand; real ones are all read."""

from __future__ import annotations

import random
import re
import subprocess
from functools import cache
from pathlib import Path

import pydemumble
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.build import need

from usercrash.analysis.symbols.demangle import demangle
from usercrash.analysis.symbols.itanium_growth import ItaniumGrowth
from usercrash.analysis.symbols.mangled_text import UnknownNameError
from usercrash.analysis.symbols.name_growth import MAX_READABLE, may_be_read

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
RUST_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
FRAGMENTS = (
    "S_", "S0_", "S1_", "S2_", "T_", "T0_", "Dp", "DpT_", "JT_T_E", "JiiiiE", "IS_S_E", "NS_1aE",
    "K", "P", "KFvS_E", "FvS_S_E", "M", "A3_", "Dv4_f", "XspT_E", "DTfp_E", "UlT_E_", "cvT_", "1aI",
    "E", "I", "J", "TsS_", "C1", "D1", "U5boxed", "XsrS_1aE", "DTcl1fS_EE", "XclL_Z1fvES_EE",
    "KDoFvvE", "St", "Z", "N", "3bar", "Es", "LS_0E", "B3abi",
)  # fmt: skip


def reference(index: int) -> str:
    """S_, S0_ … SZ_, S10_ …"""
    if index == 0:
        return "S_"
    high, low = divmod(index - 1, 36)
    return f"S{DIGITS[high] if high else ''}{DIGITS[low]}_"


def templates(rounds: int) -> str:
    """Each argument is a pair of the one before: `f(A, p<A, A>, p<p<A, A>, p<A, A>> …)`."""
    name, last, following = "_Z1f1A1pIS_S_E", 2, 3
    for _ in range(rounds):
        name += f"S0_I{reference(last)}{reference(last)}E"
        last, following = following, following + 1
    return name


def functions(rounds: int) -> str:
    """Each takes the one before twice."""
    name, last = "_Z1fPFvvE", 1
    for _ in range(rounds):
        name += f"PF{reference(last)}{reference(last)}E"
        last += 2
    return name


def members(rounds: int) -> str:
    """Pointers to members of what came before, of the same type."""
    pairs = (f"M{reference(last)}{reference(last)}" for last in range(rounds))
    return "_Z1f1A" + "".join(pairs)


def packs(rounds: int) -> str:
    """A pack of eight is written eight times by each expansion around it."""
    return f"_Z1fIJiiiiiiiiEEv{'Dp' * rounds}T_"


def tuples(rounds: int) -> str:
    """Rust: each a pair of the one before, which references name by its place."""
    name = "_RINvC1a1fTuuE"
    place = name.index("T") - 2
    for _ in range(rounds):
        here = len(name) - 2
        high, low = divmod(place - 1, 62)
        back = "B" + (RUST_DIGITS[high] if high else "") + RUST_DIGITS[low] + "_"
        name, place = f"{name}T{back}{back}E", here
    return name + "E"


SHAPES = (templates, functions, members, tuples)


@pytest.mark.parametrize("shape", [*SHAPES, packs])
def test_a_name_that_would_fill_the_memory(shape: object) -> None:
    assert callable(shape)
    bomb = shape(40)
    assert len(bomb) < 600
    assert demangle(bomb) == bomb


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rounds", range(1, 16))
def test_what_may_be_read_is_as_short_as_it_seems(shape: object, rounds: int) -> None:
    assert callable(shape)
    name = shape(rounds)
    readable = pydemumble.demangle(name)
    assert len(readable) > 1 << rounds, name  # it is a bomb, in small
    if may_be_read(name):
        assert len(readable) <= MAX_READABLE
        assert demangle(name) == readable
    else:
        assert demangle(name) == name
    assert may_be_read(name) or len(readable) > 1 << 13  # (little is refused that is small)


def test_swift() -> None:
    assert demangle("$s4main3fooyySi_SitF") == "main.foo(Swift.Int, Swift.Int) -> ()"
    bomb = "$s4main3fooyy" + "AA_" * 40 + "tF"
    assert demangle(bomb) == bomb


@cache
def real_names() -> list[str]:
    """Of C++ libraries that are large, and differ in who wrote and compiled them."""
    linked = subprocess.run(
        ["ldd", need("clang++", "clang"), need("lldb", "lldb")],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    files = {one for one in re.findall(r"/\S+", linked) if re.search(r"clang|LLVM|lldb|stdc", one)}
    files |= {str(one) for one in Path("/usr/lib/x86_64-linux-gnu").glob("libQt?Core.so.?")}
    words = subprocess.run(
        ["nm", "-D", *sorted(one for one in files if Path(one).is_file() and ".so" in one)],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    return sorted({word.partition("@")[0] for word in words if word.startswith("_Z")})


def test_all_real_names_are_read() -> None:
    names = real_names()
    assert len(names) > 50_000
    refused = [one for one in names if pydemumble.demangle(one) and not may_be_read(one)]
    assert refused == []


def test_real_names_are_no_longer_than_they_seem() -> None:
    for name in random.Random(1).sample(real_names(), 10_000):
        readable = pydemumble.demangle(name)
        walk = ItaniumGrowth(name, 2, MAX_READABLE)
        assert len(readable) <= walk.encoding(), name
        assert walk.ended()


@given(st.integers(0, 1 << 30), st.integers(1, 8), st.data())
def test_what_was_changed_is_no_longer_than_it_seems(
    which: int, changes: int, data: st.DataObject
) -> None:
    names = real_names()
    name = names[which % len(names)]
    for _ in range(changes):
        at = data.draw(st.integers(2, len(name)))
        name = name[:at] + data.draw(st.sampled_from(FRAGMENTS)) + name[at:]
    if not may_be_read(name):
        return
    readable = pydemumble.demangle(name)
    assert len(readable) <= MAX_READABLE
    walk = ItaniumGrowth(name, 2, MAX_READABLE)
    try:
        size = walk.encoding()
    except (UnknownNameError, IndexError):
        return
    assert len(readable) <= size or not walk.ended()


def test_names_that_are_cut_short() -> None:
    for name in random.Random(2).sample(real_names(), 300):
        for end in range(2, len(name)):
            walk = ItaniumGrowth(name[:end], 2, MAX_READABLE)
            try:
                walk.encoding()
            except (UnknownNameError, IndexError):
                continue
            assert walk.at <= end + 1  # (and it came to an end)


@given(st.text(st.sampled_from("_ZRNSTIEXLDpJKPFMC1aB3abcvsr0$"), max_size=80))
def test_anything(tail: str) -> None:
    for begin in ("_Z", "_R", "$s"):
        assert may_be_read(begin + tail) in (True, False)
