"""The manual pages: no mistakes in them, and nothing that the programs have is left out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from usercrash.cli import VERBS, program
from usercrash.config import Config
from usercrash.system import files

PAGES = sorted((Path(files.__file__).parent / "data/man").iterdir())


def text_of(page: str) -> str:
    """The page's words, without roff's marks."""
    (path,) = (found for found in PAGES if found.name == page)
    source = re.sub(
        r"\\f.|\\-|\\\(dq", lambda mark: {"\\-": "-"}.get(mark[0], ""), path.read_text()
    )
    return re.sub(r"^\.\S+ ", "", source, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_roff_has_no_mistakes(page: Path) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", page], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "SEE ALSO" in re.sub("\x1b\\[[0-9;]*m|.\b", "", done.stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_described(verb: str) -> None:
    page = text_of("usercrash.1")
    command = program.get_command(click.Context(program), verb)
    assert command is not None
    assert re.search(rf"^{verb}\b", page, re.MULTILINE)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in page


def test_every_key_is_described() -> None:
    page = text_of("usercrash.toml.5")
    defaults = Config()
    for table in Config.__struct_fields__:
        section = page.partition(f"[{table}]")[2].partition("\n[")[0]
        for key in getattr(defaults, table).__struct_fields__:
            value = getattr(getattr(defaults, table), key)
            value = str(value).lower() if isinstance(value, bool) else value
            if key != "cache":  # depends on who asks
                assert re.search(rf'^{key} "? ?= {re.escape(str(value))}', section, re.MULTILINE), (
                    key
                )
            assert key in section
