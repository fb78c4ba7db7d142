"""What the verbs share: settings, the reports directory, text for a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..config import Config
    from ..storage.store import Store


class Settings:
    """What stands before the verb."""

    def __init__(self, config_path: str | None) -> None:
        self._path = config_path

    @cached_property
    def config(self) -> Config:
        """The configuration; UsageError as load_config raises it."""
        from ..config import load_config

        return load_config(self._path)

    @contextmanager
    def store(self, directory: str = "") -> Iterator[Store]:
        """The reports directory, or the one that is named, for reading; UsercrashError where there
        is none."""
        from ..storage.store import Store

        config = self.config
        with closing(Store(directory or config.paths.reports, config.reports.slots)) as store:
            yield store


def colored() -> bool:
    """Whether standard output is a terminal that wants colours (no-color.org)."""
    able = os.environ.get("TERM", "dumb") != "dumb"
    return able and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


HINT = "With --full: registers, memory, all threads, files and what was logged."

full_option = click.option(
    "--full", is_flag=True, help="On a terminal all of it, not only the first screen."
)


def printable(text: str, keep: str = "") -> str:
    """The text with everything that could steer a terminal escaped (`keep` excepted).

    Line breaks, bidirectional overrides and lone surrogates are among that.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in keep
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )
