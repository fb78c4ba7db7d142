"""The bench's arithmetic and its views. What it measures is shown by running it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from bench import document
from bench.plot import hold_over_memory
from bench.results import (
    FLOOR,
    PIPE,
    SOCKET,
    Burst,
    Idle,
    Live,
    Load,
    Results,
    Series,
    over_floor,
    percentile,
)
from bench.table import grids, markdown, number, ratio, show, size
from rich.console import Console

from usercrash.errors import UsercrashError


def results() -> Results:
    small, large, many = Load(10, 9), Load(2048, 9), Load(10, 1000)
    return Results(
        "2 × a <processor> & more",
        "2026-01-01",
        crashes=[
            Series(FLOOR, small, [1.0, 3.0, 2.0]),
            Series(SOCKET, small, [4.0, 5.0, 6.0], [40.0], 16384),
            Series("a peer", small, [8.0, 9.0, 8.0], [], 5 << 20),
            Series(FLOOR, large, [150.0]),
            Series(SOCKET, large, [153.0], [200.0], 16384),
            Series("a peer", large, absent="it was not there"),
            Series(FLOOR, many, [10.0]),
            Series(SOCKET, many, [50.0], [300.0], 100_000),
        ],
        bursts=[
            Burst(FLOOR, 10, 4, 0.01, [1.0] * 10),
            Burst(SOCKET, 10, 4, 0.05, [2.0] * 9 + [9.0], 10, 10, 0.5),
        ],
        idle=[Idle(2, 39.0, 41.0), Idle(0, 14.0, 15.0)],
        live=[Live("debugger", [2.0], [150.0]), Live("gdb", [200.0], [200.0])],
    )


def test_ours_over_the_floor() -> None:
    rows = results().of(Load(10, 9))
    assert over_floor(rows, SOCKET) == 3.0
    assert over_floor(rows, "a peer") == 6.0
    assert over_floor(rows, PIPE) is None


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1.0), (1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)]
)
def test_percentiles(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == value
    assert percentile([], percent) is None


def test_words() -> None:
    assert [number(None), number(3.14), number(1234.5)] == ["–", "3.1", "1,234"]
    assert [ratio(6.0, 3.0), ratio(None, 1.0), ratio(1.0, 0.0)] == ["2 ×", "–", "–"]
    assert [size(0), size(16384), size(5 << 20)] == ["–", "16 KiB", "5.0 MiB"]


def test_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(Console(width=80), results())
    lines = capsys.readouterr().out.split("\n")
    assert max(map(len, lines)) <= 80
    [ours] = [line for line in lines[:12] if line.startswith(SOCKET)][:1]
    assert ours.split()[2:] == ["3", "5.0", "3.0", "1", "×", "40.0", "1", "×", "16", "KiB"]
    assert any("not run: a peer: it was not there" in line for line in lines)


def test_the_figures_go_between_the_marks(tmp_path: Path) -> None:
    place = tmp_path / "performance.md"
    place.write_text(f"before\n{document.BEGIN}stale\n{document.END}after\n")
    for _ in range(2):
        document.write(results(), place)
    text = place.read_text()
    assert text.startswith(f"before\n{document.BEGIN}") and text.endswith(f"{document.END}after\n")
    assert "stale" not in text and text.count("| usercrash, socket | 3 | 5.0 | 3.0 |") == 1
    for grid in grids(results()):
        widths = {line.count("|") for line in markdown(grid).splitlines()}
        assert len(widths) == 1
    place.write_text("no marks\n")
    with pytest.raises(UsercrashError, match="has no lines"):
        document.write(results(), place)
    assert place.read_text() == "no marks\n"


def test_the_plot_is_a_picture() -> None:
    text = hold_over_memory(results())
    tree = ElementTree.fromstring(text)
    labels = [one.text for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {FLOOR, SOCKET, "a peer", "10 MB", "2 GB"} <= set(labels)
    assert any("a <processor> & more" in (label or "") for label in labels)
    _, _, width, height = map(float, tree.attrib["viewBox"].split())
    for one in tree.iter():
        for name, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            assert 0 <= float(one.attrib.get(name, "0")) <= most


def test_the_committed_document_has_its_marks() -> None:
    text = document.DOCUMENT.read_text()
    assert document.put_between(text, "", "it").count(document.BEGIN) == 1
