"""The views of fixed reports against the texts in this directory.

USERCRASH_UPDATE_GOLDEN=1 writes them anew; read what `git diff` shows before it is committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import sample_reports

from usercrash.render.text import render_stacks, render_text
from usercrash.report import Report

HERE = Path(__file__).parent
VIEWS: dict[str, Callable[[Report], str]] = {
    "full": render_text,
    "first": lambda report: render_text(report, first_screen_only=True),
    "narrow": lambda report: render_text(report, first_screen_only=True, width=48),
    "stacks": render_stacks,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", sample_reports.ALL)
def test_view(name: str, view: str) -> None:
    text = VIEWS[view](sample_reports.ALL[name]())
    path = HERE / f"{name}.{view}.txt"
    if os.environ.get("USERCRASH_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
