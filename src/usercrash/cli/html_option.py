"""The option --html of the verbs that show a report: as a page, in a file or on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from ..errors import UsageError, UsercrashError

STANDARD_OUTPUT = "-"
_SUFFIXES = (".html", ".htm")
_BEGINNING = b"<!doctype html"

html_option = click.option(
    "--html", "html", metavar="[FILE]",
    help="As one page of HTML, into FILE (its name ends with .html; any other: --html=FILE), "
    "without FILE on standard output.",
)  # fmt: skip


class HtmlCommand(click.Command):
    """A command with the option --html, whose FILE may be left out: what follows it is its FILE
    only if it looks like one, since a number or a core file may stand there, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_files(args))


def _with_files(words: Sequence[str]) -> list[str]:
    found: list[str] = []
    for number, word in enumerate(words):
        if word == "--":
            return [*found, *words[number:]]
        if found and found[-1] == "--html":
            file = word == STANDARD_OUTPUT or word.lower().endswith(_SUFFIXES)
            found[-1] = f"--html={word if file else STANDARD_OUTPUT}"
            if file:
                continue
        found.append(word)
    if found and found[-1] == "--html":
        found[-1] = f"--html={STANDARD_OUTPUT}"
    return found


def one_form(as_json: bool, html: str | None) -> None:
    """UsageError where both forms are wished."""
    if as_json and html is not None:
        raise UsageError("--json and --html exclude each other")


@contextmanager
def html_output(name: str) -> Iterator[Callable[[bytes], None]]:
    """What writes the page to the file of this name (or standard output), for its owner only.

    UsageError at once for a name that cannot be written to, or a file that is something else than
    a page: it is not replaced. Unless the page is written, nothing is left behind.
    """
    if name == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise UsageError(
                "a page of HTML is not for a terminal", "name a file: --html FILE.html"
            )
        yield _write_out
        return
    from ..storage.newfile import NewFile

    _refuse_what_is_no_page(name)
    try:
        file = NewFile(name)
    except UsercrashError as error:
        raise UsageError(str(error)) from error
    with file:
        yield lambda page: file.commit([page])


def _write_out(page: bytes) -> None:
    sys.stdout.buffer.write(page)
    sys.stdout.buffer.flush()


def _refuse_what_is_no_page(name: str) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return  # nothing there, or NewFile says what is wrong with it
    try:
        beginning = os.read(fd, len(_BEGINNING))
    except OSError:
        return  # a directory: the same
    finally:
        os.close(fd)
    if beginning and beginning.lower() != _BEGINNING:
        raise UsageError(f"{name!r} is there, and no page of HTML", "it is not replaced")
