"""Mangled names as people read them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.build import need

from usercrash.analysis.symbols.demangle import demangle


def test_generic_lambdas_of_clang() -> None:
    """Which the library does not read: as c++filt has them."""
    names = [
        "_ZZ7genericvENK3$_0clIiJcdEEEDaT_DpT0_", "_ZZ4mainENK3$_1clIiEEvRT_",
        "_ZZNK1AclEvENK3$_0clIiEEDaT_", "_ZZ4mainEN3$_18__invokeIiEEDaT_",
        "_ZZN12_GLOBAL__N_13foo3barEiENK3$_0clIPKcEEvT_",
        "_ZZ4mainENK3$_1clIiEEvRT",  # (cut short)
    ]  # fmt: skip
    command = [need("c++filt", "binutils"), *names]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [demangle(name) for name in names] == told
    assert demangle("_ZZZ4mainENK3$_0clIiEEDaT_ENKUlvE_clEv") == (
        "auto main::$_0::operator()<int>(int) const::'lambda'()::operator()() const"
    )
    # the second half refers to the first one
    assert demangle("_ZZ3fooPKcENK3$_0clIiEEDaT_S0_") == "_ZZ3fooPKcENK3$_0clIiEEDaT_S0_"
    assert demangle("_ZZ" + "ENK3$_0" * 1000)


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("_ZN4shop4TillIiE3addEi", "shop::Till<int>::add(int)"),
        ("_ZN3FooC4Ei", "Foo::Foo(int)"),
        ("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic"),
        ("_RNvC6_123foo3bar", "123foo::bar"),
        ("$s4main3fooyyF", "main.foo() -> ()"),
        ("main", "main"),
        ("_Zwrong", "_Zwrong"),
        ("", ""),
    ],
)
def test_demangled(mangled: str, name: str) -> None:
    assert demangle(mangled) == name


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="_ZNSt0123456789EIiKRPvsaC1ebjT_.$", max_size=80))
def test_demangle_anything(tail: str) -> None:
    assert isinstance(demangle("_Z" + tail), str)
