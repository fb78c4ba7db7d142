"""Which pointer was null: told where variable, register and offset agree, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gcore import gcore_at_fault
from tests.support.variables_compare import build, report_of

HERE = Path(__file__).parent
HEAD = """
struct inner { int a, b; };
struct item { long size; struct inner place; int list[4]; struct item *next; };
static volatile int sink;
#define KEEP __attribute__((noinline, noclone))
"""
# A function `visit` of a `struct item *item`, called with null or (&one, whose `next` is null); and
# what is told of it
FAULTS = {
    "whole": ("int *only", "return *only + 1;", "0", "only is null."),
    "nested": ("struct item *item", "return item->next->place.b + 1;", "&one",
               "item->next is null: read of its member place.b at offset 0xc."),
    "element": ("struct item *item", "return item->list[2] + 1;", "0",
                "item is null: read of its member list[2] at offset 0x18."),
    "write": ("struct item *item", "item->place.a = 7; sink = 3; return 1;", "0",
              "item is null: write to its member place.a at offset 0x8."),
    # a member that the type does not have there
    "other type": ("struct item *item", "return *(short *)((char *)item + 0x1000) + 1;", "0", ""),
    # the address is made of a number, and not of the variable that happens to be null, too
    "not it": ("struct item *item", "long zero = sink; return *(int *)(zero + 8) + (item != 0);",
               "0", ""),
}  # fmt: skip


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("name", FAULTS)
def test_names(name: str, level: str, tmp_path: Path) -> None:
    parameter, body, argument, words = FAULTS[name]
    source = tmp_path / "fault.c"
    source.write_text(
        f"{HEAD}KEEP int visit({parameter}) {{ {body} }}\n"
        "int main(void) { struct item one = {0}; int (*volatile f)() = (int (*)())visit;\n"
        f"return f({argument}) + (int)one.size; }}\n"
    )
    assert _first_detail(source, f"gcc -g {level}", tmp_path) == words


@pytest.mark.parametrize(
    ("level", "words"),
    [("-O0", ()), ("-O2", ()), ("-O0", ("more",))],
)
def test_calls(level: str, words: tuple[str, ...], tmp_path: Path) -> None:
    expected = "function" if words else "device->ops->close"
    found = _first_detail(HERE / "calls.c", f"gcc -g {level}", tmp_path, *words)
    assert found == f"{expected} is null, and was called."


def _first_detail(source: Path, command: str, place: Path, *arguments: str) -> str:
    """The first detail, if it names a variable."""
    exe = place / "program"
    build(command, source, exe)
    argv = [bytes(exe), *(word.encode() for word in arguments)]
    cause = report_of(gcore_at_fault(argv, place / "core")).cause
    assert cause is not None
    return next((one for one in cause.details if " is null" in one and one[:3] != "The"), "")
