"""Pages taken apart, and the reports that they are made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec

import usercrash.report as r
from tests.support import sample_reports
from tests.support.sample_frames import frame, thread

_VOID = {"meta", "path", "rect"}  # the latter two close themselves in SVG
# Words of the report that say how it is to be read, not texts of the process.
_WORDS = {"certainty", "trust", "byte_order", "data", "kind", "build_id", "permissions"}
_NUMBER = re.compile(r"0x[0-9a-f]+\Z")

Attributes = dict[str, str | None]


class Page(HTMLParser):
    """Elements in their order, each with its attributes and the text in it (of elements that are
    open)."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, Attributes]] = []
        self.texts: list[str] = []  # the text within each element
        self.declarations: list[str] = []
        self._open: list[int] = []
        self.feed(html)
        self.close()
        assert not self._open, [self.elements[one][0] for one in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in _VOID or (tag == "rect" and self.get_starttag_text()[-2:] != "/>"):  # type: ignore[index]
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID and self.elements[self._open[-1]][0] != tag:
            return
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for one in self._open:
            self.texts[one] += data

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    def shape(self) -> list[tuple[str, tuple[tuple[str, str | None], ...]]]:
        """The elements with what only templates may say: all attributes' names, and the values of
        those that are not texts for people."""
        hidden = ("title", "aria-label", "viewbox", "d", "x", "y", "width", "height")
        return [
            (tag, tuple((name, None if name in hidden else value)
                        for name, value in sorted(attributes.items())))
            for tag, attributes in self.elements
        ]  # fmt: skip

    def all(self, tag: str, **wanted: str) -> list[tuple[Attributes, str]]:
        """Attributes and text of those elements; `class_` for a class, `_` for `-`."""
        return [
            (attributes, text)
            for (found, attributes), text in zip(self.elements, self.texts, strict=True)
            if found == tag
            and all(
                value in (attributes.get(name.rstrip("_").replace("_", "-")) or "").split()
                for name, value in wanted.items()
            )
        ]


def with_texts(report: r.Report, change: Callable[[str], str]) -> r.Report:
    """The report with every text that the process could have written changed."""

    def changed(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {name: changed(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [changed(item, key) for item in value]
        if isinstance(value, str) and key not in _WORDS and not _NUMBER.match(value):
            return change(value)
        return value

    built = changed(msgspec.to_builtins(report))
    assert isinstance(built, dict)
    for line in built["log"]:
        line["source"] = "kernel"
    return msgspec.convert(built, r.Report)


def many_threads(count: int = 1000, depth: int = 40) -> r.Report:
    """A report of a thousand threads, each with a stack of its own."""
    base = sample_reports.null_pointer()
    threads = [
        thread(5000 + number, f"worker-{number}",
               [frame(level, f"Pool::step_{number}_{level}(std::string const&)",
                      source=("/build/shelfd/src/pool.cc", level)) for level in range(depth)])
        for number in range(count)
    ]  # fmt: skip
    return msgspec.structs.replace(base, threads=[base.threads[0], *threads])


def many_maps(count: int = 70_000) -> r.Report:
    """A report of a process with very many mappings, one of them with the fault address in it."""
    base = sample_reports.null_pointer()
    start = 0x7F0000000000
    maps = [
        r.Map(start=f"{start + number * 0x3000:#x}", end=f"{start + number * 0x3000 + 0x1000:#x}",
              permissions="rw-p", offset="0x0", path="", fault=number == 50_000)
        for number in range(count)
    ]  # fmt: skip
    assert base.signal is not None
    address = f"{start + 50_000 * 0x3000 + 0x123:#x}"
    signal = msgspec.structs.replace(base.signal, fault_address=address)
    return msgspec.structs.replace(base, maps=maps, signal=signal)


def write(place: Path, name: str, html: str) -> Path:
    """The page as a file."""
    path = place / f"{name}.html"
    path.write_text(html, encoding="utf-8")
    return path
