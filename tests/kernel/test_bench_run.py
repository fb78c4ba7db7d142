"""The burst of the bench: a few crashes, counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.bursts import measure_bursts
from bench.collectors import Collector, Floor, Usercrash
from bench.crashes import build_harness, measure
from bench.results import Load

pytestmark = pytest.mark.usefixtures("needs_socket")


def test_a_small_run(tmp_path: Path) -> None:
    ours = Usercrash("socket")
    collectors: list[Collector] = [Floor(), ours]
    ours.start()
    try:
        exe, burst = build_harness(tmp_path), build_harness(tmp_path, "burst")
        series = measure(exe, collectors, [Load(10, 9)], 2, lambda text: None)
        bursts = measure_bursts(burst, collectors, 12, lambda text: None)
    finally:
        ours.stop()
    floor, socket = series
    assert len(floor.hold) == len(socket.hold) == len(socket.report) == 2
    assert floor.report == [] and 0 < socket.size < 1 << 20
    assert all(report > hold > 0 for hold, report in zip(socket.hold, socket.report, strict=True))
    assert [one.absent for one in bursts] == ["", ""]
    assert len(bursts[0].hold) == 12 and bursts[0].recorded == 0
    assert (bursts[1].recorded, bursts[1].kept) == (12, 12)
