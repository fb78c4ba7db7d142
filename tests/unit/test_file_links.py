"""Links to files on a terminal: to files that are there, and nothing in them that steers."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sample_reports

from usercrash.config import Config, Terminal
from usercrash.file_links import FileLinks, links_wished
from usercrash.render.screen import render_screen
from usercrash.report import Report, Source

_LINK = re.compile(r"\x1b\]8;([^;\x1b]*);([^\x1b]*)\x1b\\")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
HOST = os.uname().nodename


def test_only_files_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "a b;c\x1b[2J\u202e%ü.c"
    file.write_text("")
    link = FileLinks().link(str(file))
    assert re.fullmatch(r"file://[A-Za-z0-9._~-]+/[A-Za-z0-9/._~%-]+", link)
    assert unquote(link) == f"file://{HOST}{file}"
    (tmp_path / "link.c").symlink_to(file)
    assert FileLinks().link(str(tmp_path / "link.c"))
    os.mkfifo(tmp_path / "fifo")
    for none in ("", "a.c", "./a.c", str(tmp_path), f"{tmp_path}/x/../{file.name}", "/none/a.c",
                 f"/{file}", str(tmp_path / "fifo"), f"{file}\0", "/\ud800", "/" + "x" * 5000,
                 "file:///etc/passwd", "/etc/passwd/", "http://example.org/"):  # fmt: skip
        assert FileLinks().link(none) == "", none


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    for path in (text, f"/{text}", f"/etc/{text}"):
        link = FileLinks().link(path)
        assert not link or (link.isascii() and link.isprintable() and " " not in link)


def test_so_many_of_one_report(tmp_path: Path) -> None:
    links = FileLinks()
    files = [tmp_path / f"{number}.c" for number in range(250)]
    for file in files:
        file.write_text("")
    found = [links.link(str(file)) for file in files]
    assert all(found[:200]) and not any(found[200:])


@pytest.mark.parametrize(
    ("environment", "color", "config", "wished"),
    [
        ({"TERM": "xterm-256color"}, True, True, True),
        ({"TERM": "tmux-256color"}, True, True, True),
        ({"TERM": "xterm"}, False, True, False),
        ({"TERM": "xterm"}, True, False, False),
        ({"TERM": "linux"}, True, True, False),
        ({"TERM": "vt220"}, True, True, False),
        ({"TERM": "dumb"}, True, True, False),
        ({}, True, True, False),
        ({"TERM": "xterm", "FORCE_HYPERLINK": "0"}, True, True, False),
        ({"TERM": "xterm", "FORCE_HYPERLINK": "1"}, True, True, True),
        ({"TERM": "xterm", "INSIDE_EMACS": "29.1,comint"}, True, True, False),
    ],
)
def test_where_they_are_wished(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    color: bool,
    config: bool,
    wished: bool,
) -> None:
    for name in ("TERM", "FORCE_HYPERLINK", "INSIDE_EMACS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Config(terminal=Terminal(links=config))
    assert links_wished(settings, color=color) == wished


def with_file(file: Path) -> Report:
    """The sample whose frame #1 and excerpt are of this file."""
    report = sample_reports.null_pointer()
    first = report.threads[0]
    source = Source(file=str(file), line=44)
    frames = [*first.frames]
    frames[1] = msgspec.structs.replace(frames[1], source=source)
    return msgspec.structs.replace(
        report,
        threads=[msgspec.structs.replace(first, frames=frames), *report.threads[1:]],
        excerpts=[msgspec.structs.replace(report.excerpts[0], file=str(file))],
    )


@pytest.mark.parametrize("width", [40, 80, 300])
def test_links_on_a_screen_change_no_word(tmp_path: Path, width: int) -> None:
    file = tmp_path / "long directory name" / "list.c"
    file.parent.mkdir()
    file.write_text("")
    report = with_file(file)
    plain = render_screen(report, width=width)
    screen = render_screen(report, width=width, color=True, link=FileLinks().link)
    links = [url for _, url in _LINK.findall(screen)]
    assert f"file://{HOST}{file}" in {unquote(url) for url in links}
    bare = _COLOR.sub("", _LINK.sub("", screen))
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()
    for line in screen.splitlines():  # each ends where it began
        found = _LINK.findall(line)
        assert [bool(url) for _, url in found] == [True, False] * (len(found) // 2)
    assert "\x1b]8" not in render_screen(report, width=width, link=FileLinks().link)
    assert "\x1b]8" not in render_screen(report, width=width, color=True)


def test_hostile_names_of_files_get_no_link_of_their_own() -> None:
    report = sample_reports.hostile()
    screen = render_screen(report, color=True, link=FileLinks().link)
    assert "\x1b]" not in screen
    escaped = render_screen(report, color=True, link=lambda path: "file://host/x")
    assert set(re.findall(r"\x1b[^\[m]", escaped)) <= {"\x1b]", "\x1b\\"}
    assert {url for _, url in _LINK.findall(escaped)} == {"", "file://host/x"}
