"""The commands in README and docs do what stands there.

A code block that begins with ```sh test is run, line by line, in a shell that stops at the
first failure, with the programs of this environment and a reports directory of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh test\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"`([^`\n]+)`")
MODULE = re.compile(r"(?:^|\s)-m ((?:bench|tests|tools|usercrash)[\w.]*)")
# What a path in the documents may be relative to.
PLACES = [ROOT, ROOT / "src" / "usercrash", ROOT / "src" / "usercrash" / "analysis"]
LINK = re.compile(r"\]\(([^)#:]+)\)")
BUILT = {".venv", ".demo"}  # made by `make`
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


def is_there(word: str) -> bool:
    """Whether a path is in the repository; anything else that stands in backquotes is none."""
    first, slash, _ = word.partition("/")
    if slash and any((place / first).is_dir() for place in PLACES if first) and first not in BUILT:
        return any((place / word).exists() for place in PLACES)
    if word.endswith(".py"):
        return any(next(place.rglob(word), None) for place in (ROOT / "src", ROOT / "tests"))
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_modules_are_there(document: Path) -> None:
    text = document.read_text()
    words = {word for quoted in WORD.findall(text) for word in quoted.split()}
    assert [word for word in sorted(words) if not is_there(word)] == []
    for module in MODULE.findall(text.replace("`", " ")):
        assert importlib.util.find_spec(module), module


def test_the_layout_names_what_is_there() -> None:
    """All rooms; and the modules that it names in their rows."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    for place in PLACES[1:]:
        entries = {entry.name + "/" * entry.is_dir() for entry in place.iterdir()}
        lacking = {entry for entry in entries if f"`{entry}`" not in text and entry[0] != "_"}
        assert lacking == set()
        for room in (entry for entry in entries if entry.endswith("/")):
            row = re.search(rf"^\| `{room}`.*", text, re.MULTILINE)
            for word in re.findall(r"(?<!`)\b[a-z]+_[a-z_]+\b(?!`)", row[0] if row else ""):
                assert word.startswith("usercrash_") or (place / room / f"{word}.py").exists(), word
