"""Each way to die gets the cause that the gallery's table says, through the real kernel.

All die in two bursts: with debug information in the main thread through the pipe, without it in
another thread through the socket.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.causes.document import DOCUMENT, document
from tests.causes.programs import Variant, build_all, die, variants, ways
from tests.support.kernel import Installation
from usercrash.report import Report

SLOTS = 80  # reports that are kept, so many at a time
Reports = dict[Variant, Report]


@pytest.fixture(scope="module")
def reports(
    needs_kernel: None, needs_socket: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reports]:
    commands = build_all(tmp_path_factory.mktemp("gallery"))
    every = variants()
    with Installation(f"[reports]\nslots = {SLOTS}\n") as place:
        place.start_server()
        found: Reports = {}
        for entrance in ("pipe", "socket"):
            wanted = [one for one in every if _entrance(one) == entrance]
            for start in range(0, len(wanted), SLOTS):
                with place.receiving(entrance=entrance):
                    ended = die(commands, wanted[start : start + SLOTS])
                assert not {one.id: status for one, (_, status) in ended.items() if status >= 0}
                found |= {one: place.wait_pid(pid).report for one, (pid, _) in ended.items()}
        yield found
        assert place.server_log == ""


def _entrance(variant: Variant) -> str:
    return "pipe" if variant.debug and not variant.thread else "socket"


@pytest.mark.parametrize("variant", variants(), ids=lambda one: one.id)
def test_the_cause_is_that_of_the_table(variant: Variant, reports: Reports) -> None:
    report, way = reports[variant], variant.way
    found = report.cause
    assert found is not None
    shown = f"{found.summary}\n{found.details}"
    assert (found.kind, found.reason) == (way.kind, way.reason), shown
    assert found.certainty == way.certainty, shown
    assert way.pattern.fullmatch(found.summary), shown
    assert any(way.detail in line for line in ["", *found.details]), shown
    assert report.complete


def test_there_are_enough() -> None:
    assert len(ways()) >= 60
    assert {way.program for way in ways()} == {
        "c", "cc", "libcxx", "qt", "qt5", "clang", "asan", "musl", "jemalloc", "perturb", "i386",
        "go", "rs", "py",
    }  # fmt: skip


def test_what_faults_show_rests_on_evidence(reports: Reports) -> None:
    for variant, report in reports.items():
        found = report.cause
        if found is not None and found.kind in ("null-pointer", "bad-address", "bus-error"):
            wanted = {"signal", "instruction"}
            if variant.way.word == "truncated_code":  # no instruction is there
                wanted = {"signal", "size of the file"}
            assert wanted <= {one.what for one in found.evidence}, variant.id


def test_the_document_is_current() -> None:
    assert Path(DOCUMENT).read_text("utf-8") == document()
