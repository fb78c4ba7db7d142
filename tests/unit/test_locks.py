"""The lock files hold what pyproject.toml asks for, by hash, and name no index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+) \\$", re.MULTILINE)


def wanted(kind: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked: list[str] = list(project["dependencies"])
    return asked if kind == "runtime" else asked + project["optional-dependencies"]["dev"]


@pytest.mark.parametrize("kind", ["runtime", "dev"])
def test_lock_satisfies_the_project(kind: str) -> None:
    text = (ROOT / "requirements" / f"{kind}.txt").read_text()
    pinned = dict(PINNED.findall(text))
    for line in wanted(kind):
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[requirement.name]), line
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "http" not in text and "index" not in text


def test_dev_lock_has_the_versions_of_the_runtime_lock() -> None:
    runtime, dev = (
        set(PINNED.findall((ROOT / "requirements" / f"{kind}.txt").read_text()))
        for kind in ("runtime", "dev")
    )
    assert runtime <= dev
