"""The bench's arithmetic and its views. What it measures is shown by running it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from bench import document
from bench.collectors import EventLines
from bench.plot import hold_over_memory
from bench.results import (
    FLOOR,
    MINICOREDUMPER,
    PIPE,
    SOCKET,
    Burst,
    Idle,
    Live,
    Load,
    Results,
    Series,
    decode,
    encode,
    over_floor,
    percentile,
    spread,
)
from bench.systemd import shipped
from bench.table import grids, markdown, reached, show
from bench.targets import Target, targets
from bench.words import number, ratio, size
from rich.console import Console

from usercrash.errors import UsercrashError

NAMES = ("machine", "targets", "figures")


def results() -> Results:
    small, large, many = Load(10, 9), Load(2048, 9), Load(10, 1000)
    return Results(
        "2 × a <processor> & more",
        "2026-01-01",
        0.5,
        9.4,
        ["gdb 13.1-3"],
        crashes=[
            Series(FLOOR, small, [1.0, 3.0, 2.0]),
            Series(SOCKET, small, [4.0, 5.0, 6.0], [40.0], 16384),
            Series(MINICOREDUMPER, small, [8.0, 9.0, 8.0], [], 5 << 20),
            Series(FLOOR, large, [150.0, 154.0]),
            Series(SOCKET, large, [157.0], [200.0], 16384),
            Series(MINICOREDUMPER, large, absent="it was not there"),
            Series(FLOOR, many, [10.0]),
            Series(SOCKET, many, [70.0], [300.0], 100_000),
        ],
        bursts=[
            Burst(FLOOR, 10, 4, seconds=0.01, alone=[1.0], hold=[1.0] * 10),
            Burst(
                SOCKET, 10, 4, seconds=0.05, alone=[1.5], hold=[2.0] * 9 + [9.0],
                known=10, kept=9, done=0.5,
            ),
            Burst("a peer", 10, 4, 1000, False, 1.0, [2.0], [300.0] * 10, 10, 10, 1.5),
        ],
        idle=[Idle(2, 39.0, 41.0), Idle(0, 34.0, 35.0)],
        live=[Live("debugger", [2.0], [150.0]), Live("gdb", [200.0], [200.0])],
    )  # fmt: skip


def test_ours_over_the_floor() -> None:
    rows = results().of(Load(10, 9))
    assert over_floor(rows, SOCKET) == 3.0
    assert over_floor(rows, MINICOREDUMPER) == 6.0
    assert over_floor(rows, PIPE) is None


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1.0), (1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)]
)
def test_percentiles(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == value
    assert percentile([], percent) is None


def test_spread() -> None:
    assert spread([1.0]) is None
    assert spread([0.0, 1.0, 2.0, 3.0, 100.0]) == 2.0


def test_words() -> None:
    assert [number(None), number(3.14), number(1234.5)] == ["–", "3.1", "1,234"]
    assert [ratio(6.0, 3.0), ratio(None, 1.0), ratio(1.0, 0.0)] == ["2 ×", "–", "–"]
    assert [size(0), size(16384), size(5 << 20)] == ["–", "16 KiB", "5.0 MiB"]


def test_targets() -> None:
    found = {one.what: one for one in targets(results())}
    shown = {what: one.reached for what, one in found.items()}
    assert shown == {
        "hold over floor, socket": True,
        "that to minicoredumper's": True,
        "hold over floor, pipe": None,
        "its growth to 2 GB": True,
        "over floor, 1,000 threads": True,
        "crash to report, socket": True,
        "10 crashes: captured": False,
        "lost, not counted": False,
        "none held for an analysis": True,
        "memory at rest, 2 workers": True,
        "memory at rest, 0 workers": False,
        "minicore, 9 threads": True,
        "debugger: pause": True,
    }
    # 5 over the floor there, 3 here; half of 150 … 154 apart.
    assert found["its growth to 2 GB"].measured == "+2.0 ms, noise 2.0"
    assert found["lost, not counted"].measured == "1, 0"
    assert found["over floor, 1,000 threads"].measured == "60.0 ms (hold 70.0)"


def test_what_was_not_measured_reaches_no_target() -> None:
    found = targets(Results())
    assert found and all(isinstance(one, Target) and one.reached is None for one in found)


def test_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(Console(width=80), results())
    lines = capsys.readouterr().out.split("\n")
    assert max(map(len, lines)) <= 80
    [ours, *_] = [line for line in lines if line.startswith(SOCKET)]
    assert ours.split()[2:] == ["3", "5.0", "3.0", "1", "×", "40.0", "1", "×", "16", "KiB"]
    assert f"not run: {MINICOREDUMPER}: it was not there" in lines
    assert "a peer, 1000: with core_pipe_limit 1,000 instead of its own" in lines
    # Nothing is cut.
    aims = [" ".join(line.split()) for line in lines]
    for row in reached(results()).rows:
        assert " ".join(row) in aims


def test_results_are_kept_as_json() -> None:
    assert decode(encode(results())) == results()
    for data in (b"[]", b"{", encode(Results(version=1))):
        with pytest.raises(UsercrashError):
            decode(data)


def test_the_figures_go_between_the_marks(tmp_path: Path) -> None:
    place = tmp_path / "performance.md"
    empty = "".join(
        f"{name}\n<!-- {name}: begin -->\nstale\n<!-- {name}: end -->\n" for name in NAMES
    )
    place.write_text(f"before\n{empty}after\n")
    for _ in range(2):
        document.write(results(), place)
    text = place.read_text()
    assert text.startswith("before\nmachine\n<!-- machine: begin -->\n2 × a <processor> & more.\n")
    assert text.endswith("<!-- figures: end -->\nafter\n")
    assert "stale" not in text and text.count("| usercrash, socket | 3 | 5.0 | 3.0 |") == 1
    assert text.count("| 10 crashes: captured | ≥ 250 a second | 200 a second | missed |") == 1
    for grid in [*grids(results()), reached(results())]:
        assert len({line.count("|") for line in markdown(grid).splitlines()}) == 1
    assert (tmp_path / document.PLOT).read_text() == hold_over_memory(results())


def test_a_document_without_the_marks_stays_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "performance.md"
    place.write_text("no marks\n")
    with pytest.raises(UsercrashError, match="has no lines"):
        document.write(results(), place)
    assert place.read_text() == "no marks\n"


def test_the_committed_document_has_its_marks() -> None:
    text = document.DOCUMENT.read_text()
    assert tuple(document.parts(results())) == NAMES
    for name in NAMES:
        assert document.put_between(text, name, "", "it").count(f"<!-- {name}: begin -->") == 1


def test_the_plot_is_a_picture() -> None:
    text = hold_over_memory(results())
    tree = ElementTree.fromstring(text)
    labels = [one.text for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {FLOOR, SOCKET, "10 MB", "2 GB"} <= set(labels)
    assert any("a <processor> & more" in (label or "") for label in labels)
    _, _, width, height = map(float, tree.attrib["viewBox"].split())
    for one in tree.iter():
        for name, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            assert 0 <= float(one.attrib.get(name, "0")) <= most


def test_a_peer_as_its_package_sets_it() -> None:
    settings = (
        "# kernel.core_pattern=|/no %p\n"
        "kernel.core_pattern=|/lib/systemd/systemd-coredump %P %u %d\n"
        "kernel.core_pipe_limit=16\nfs.suid_dumpable=2\n"
    )
    assert shipped(settings, Path("/tmp/link")) == ("|/tmp/link %P %u %d", 16)


def test_lines_of_the_event_log_come_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = EventLines(path)
    lines.skip()
    assert lines.read() == []
    with open(path, "a") as log:
        for text, found in (
            ('{"a": 1}\n{"a": 2}\n{"a"', [{"a": 1}, {"a": 2}]),
            (": 3}\n", [{"a": 3}]),
            ("", []),
        ):
            log.write(text)
            log.flush()
            assert lines.read() == found
        log.write(json.dumps({"a": 4}) + "\n")
    lines.skip()
    assert lines.read() == []
