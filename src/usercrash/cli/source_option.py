"""The option --source of the verbs that analyse: directories of source files."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from ..errors import UsageError
from .common import printable

source_option = click.option(
    "--source", "sources", metavar="DIR", multiple=True,
    help="A directory of source files, for the lines around frames; may be repeated.",
)  # fmt: skip


def source_directories(named: Sequence[str]) -> tuple[str, ...]:
    """Their absolute paths; UsageError for what is no directory."""
    for name in named:
        if not os.path.isdir(name):
            raise UsageError(f"--source {printable(name)}: not a directory")
    return tuple(map(os.path.abspath, named))
