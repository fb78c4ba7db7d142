"""Containers as people think of them, whichever library they are from."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.gcore import gcore_at_fault
from tests.support.variables_compare import build, report_of
from usercrash.analysis.dwarf.gaps import Gap
from usercrash.analysis.dwarf.short_types import short_type
from usercrash.analysis.dwarf.types import Kind, Type
from usercrash.analysis.variables.known_records import Reading, counted
from usercrash.analysis.variables.printer import Printer
from usercrash.analysis.variables.storage import InMemory, Source

HERE = Path(__file__).parent
BUILDS = {
    "libstdc++-gcc": "g++ -std=c++17 -g -O0",
    "libstdc++-clang": "clang++ -std=c++17 -g -O0",
    "libc++": "clang++ -stdlib=libc++ -std=c++17 -g -O0",
    "libstdc++-32": "g++ -m32 -idirafter /usr/include/x86_64-linux-gnu -std=c++17 -g -O0",
}
NUMBERED = ", ".join(
    f"[{key}] = {code} '{chr(code)}'"
    for key in range(16)
    for code in [ord("a") + next(n for n in range(100) if n * 7 % 100 == key) % 26]
)
EXPECTED = {
    "view": '"view"',
    "empty": '""',
    "fifteen": f'"{15 * "a"}"',
    "sixteen": f'"{16 * "b"}"',
    "longer": f'"{22 * "c"}"',
    "longest": f'"{23 * "d"}"',
    "cut": f'"{120 * "x"}"…',
    "wide": '"wide ä"',
    "wider": f'"{40 * "w"}"',
    "words": '"sixteen 😀"',
    "flags": "{true, false, true}",
    "password_bits": "<masked>",
    "settings": '{["color"] = "red", ["password"] = <masked>}',
    "numbered": f"{{{NUMBERED}, … 84 more}}",
    "tails": "{[1] = {a = 120 'x', b = -1}, [1] = {a = 121 'y', b = -2}}",
    "letters": "{97 'a', 98 'b', 99 'c'}",
    "weights": '{["apple"] = 0.5}',
    "compact": "{[107 'k'] = {a = 116 't', b = 9}}",
    "ids": "{77}",
    "none": "{}",
    "queue": '{"first", "second"}',
    "numbers": "{" + ", ".join(str(number) for number in range(200, 216)) + ", … 84 more}",
    "large": '{{bytes = ""}, {bytes = "L"}, {bytes = ""}}',
    "nobody": "null",
    "maybe": '"yes"',
    "nothing": "none",
    "either": 'alternative 1: "text"',
    "other": "alternative 2: {a = 122 'z', b = 3}",
    "three": '{1, "two", 2.5}',
    "no_tuple": "{}",
    "fixed": "{1, 2, 3}",
    "counter": "5",
    "nested": '{["a"] = {1, 2}, ["b"] = {}}',
    "api_token": "<masked>",
    "pin_codes": "{[<masked>] = <masked>}",
}
TYPES = {
    "settings": "std::map<std::string, std::string>",
    "weights": "std::unordered_map<std::string, double>",
    "view": "std::string_view",
    "words": "std::u16string",
    "nested": "std::map<std::string, std::vector<int>>",
    "owned": "std::unique_ptr<Item>",
    "queue": "std::list<std::string>",
}


@pytest.mark.parametrize("name", BUILDS)
def test_containers(name: str, tmp_path: Path) -> None:
    build(BUILDS[name], HERE / "containers.cc", tmp_path / "containers")
    report = report_of(gcore_at_fault([bytes(tmp_path / "containers")], tmp_path / "core"))
    frame = report.threads[0].frames[0]
    values = {one.name: one.value for one in frame.variables}
    pointed = {key: values.pop(key) for key in ("owned", "shared", "shelf")}
    if name == "libstdc++-32":
        # (where in a node an element lies that must be aligned to more than a word, is not known)
        assert values.pop("ids") == values.pop("weights") == "{… 1 element}"
    assert values == {key: EXPECTED[key] for key in EXPECTED if key in values}
    assert len(values) >= len(EXPECTED) - 2
    for key, shown in (("owned", '{name = "owned", price = 1}'), ("shared", '{name = "shared"')):
        assert re.fullmatch(r"0x[0-9a-f]+ → " + re.escape(shown) + ".*", pointed[key])
    assert pointed["shelf"].endswith(' → {items = {[4] = {…}}, labels = {"left"}, next = null}')
    types = {one.name: one.type for one in frame.variables}
    assert {key: types[key] for key in TYPES} == TYPES


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("int", "int"),
        ("std::vector<int, std::allocator<int> >", "std::vector<int>"),
        ("std::__1::vector<int, std::__1::allocator<int>>", "std::vector<int>"),
        ("std::vector<int, arena<int>>", "std::vector<int, arena<int>>"),
        ("std::set<int, std::less<void>, std::allocator<int>>", "std::set<int, std::less<void>>"),
        ("std::set<int, more<int>, pool<int>>", "std::set<int, more<int>, pool<int>>"),
        (
            "std::map<char *, int, std::less<char *>, "
            "std::allocator<std::pair<char * const, int> > >",
            "std::map<char *, int>",
        ),
        (
            "std::map<shop::Key, int, std::less<shop::Key>, "
            "std::allocator<std::pair<shop::Key const, int>>> const&",
            "std::map<shop::Key, int> const&",
        ),
        (
            "void (*)(const std::__cxx11::basic_string<char, std::char_traits<char>, "
            "std::allocator<char> > &, std::basic_string<char, mine>)",
            "void (*)(const std::string &, std::basic_string<char, mine>)",
        ),
        ("shop::vector<int, std::allocator<int>>", "shop::vector<int, std::allocator<int>>"),
        ("std::vector<int, std::allocator<int>>::iterator", "std::vector<int>::iterator"),
        ("bool (*)(A<(1 > 2)>)", "bool (*)(A<(1 > 2)>)"),
        ("std::vector<int, std::alloc…", "std::vector<int, std::alloc…"),
        ("std::vector<" * 200, "std::vector<" * 200),
        ("std::basic_string<>", "std::basic_string<>"),
        ("A<std::operator< <int> >", "A<std::operator< <int>>"),
    ],
)  # fmt: skip
def test_types_as_people_write_them(name: str, shown: str) -> None:
    assert short_type(name) == shown


class _Words:
    """Memory that has the same word everywhere, or none from an address on."""

    def __init__(self, word: int, end: int = 1 << 64) -> None:
        self.word, self.end = word, end

    def reading(self) -> Reading:
        frame = SimpleNamespace(arch=SimpleNamespace(long=8, mask=(1 << 64) - 1))
        process = SimpleNamespace(memory=self._read)
        printer = SimpleNamespace(frame=frame, process=process, number=self._number)
        kind = Type(Kind.RECORD, "A")
        return Reading(cast(Printer, printer), kind, InMemory(self._read, 0), 0, 0, False)

    def _read(self, address: int, size: int) -> bytes:
        return b"" if address >= self.end else self.word.to_bytes(8, "little")[:size]

    def _number(self, source: Source, at: int, size: int) -> int:
        return int.from_bytes(source.read(at, size), "little")


@pytest.mark.parametrize("word", [0, 0x1000, (1 << 64) - 1])
def test_damaged_trees_end(word: int) -> None:
    """Links in a circle, to nothing, to the end of memory: no search goes on and on."""
    nodes = _Words(word).reading().in_order(0x1000, 0, 8, 16)
    assert len(list(islice(nodes, 20))) == 20


def test_what_was_not_captured_of_a_tree() -> None:
    nodes = _Words(0x2000, end=0x2000).reading().in_order(0x1000, 0, 8, 16)
    assert next(nodes) == 0x1000
    with pytest.raises(Gap):
        list(islice(nodes, 20))


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(Gap, match="not initialized, or damaged"):
        counted((1 << 64) - 1)
