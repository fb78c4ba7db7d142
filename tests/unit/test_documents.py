"""The commands in README and docs do what stands there.

A code block that begins with ```sh test is run, line by line, in a shell that stops at the
first failure, with the programs of this environment and a reports directory of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh test\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks() -> list[tuple[str, str]]:
    return [
        (document.name, text)
        for document in DOCUMENTS
        for text in BLOCK.findall(document.read_text())
    ]


@pytest.mark.parametrize(("document", "commands"), blocks())
def test_commands_work(document: str, commands: str, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    reports.mkdir(mode=0o700)
    config = tmp_path / "usercrash.toml"
    config.write_text(f'[paths]\nreports = "{reports}"\ncache = "{tmp_path}/cache"\n')
    (reports / "usercrash_00").write_text("a report\n")
    programs = os.path.dirname(sys.executable)
    done = subprocess.run(
        ["sh", "-e", "-c", commands],
        cwd=tmp_path,
        env={"PATH": f"{programs}:/usr/bin:/bin", "USERCRASH_CONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{document}:\n{commands}\n{done.stdout[-3000:]}{done.stderr}"


def test_readme_has_such_blocks() -> None:
    assert [name for name, _ in blocks()].count("README.md") >= 2


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target
