"""The burst of the bench: a few crashes, counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.bursts import FEW, MANY, measure_bursts
from bench.collectors import Collector, Floor, Usercrash
from bench.crashes import build_harness, measure
from bench.results import FLOOR, SOCKET, Load

pytestmark = pytest.mark.usefixtures("needs_socket")


def test_a_small_run(tmp_path: Path) -> None:
    ours = Usercrash("socket")
    collectors: list[Collector] = [Floor(), ours]
    ours.start()
    try:
        exe, burst = build_harness(tmp_path), build_harness(tmp_path, "burst")
        series = measure(exe, collectors, [Load(5, 3)], 2, lambda text: None)
        bursts = measure_bursts(burst, collectors, 5, lambda text: None)
    finally:
        ours.stop()
    floor, socket = series
    assert len(floor.hold) == len(socket.hold) == len(socket.report) == 2
    assert floor.report == [] and 0 < socket.size < 1 << 20
    assert all(report > hold > 0 for hold, report in zip(socket.hold, socket.report, strict=True))
    assert [(one.collector, one.parallel) for one in bursts] == [
        (name, parents) for parents in (FEW, MANY) for name in (FLOOR, SOCKET)
    ]
    for one in bursts:
        kept = 5 if one.collector == SOCKET else 0
        assert (one.absent, len(one.hold), one.known, one.kept) == ("", 5, kept, kept)
        assert one.done >= one.seconds > 0 and min(*one.alone, *one.hold) > 0
