"""usercrash uninstall."""

from __future__ import annotations

import click

from .common import printable


@click.command("uninstall")
@click.option("--root", default="", metavar="DIR", help="Only the files, below DIR.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def command(root: str, dry_run: bool) -> None:
    """Undo `usercrash install` (as root).

    Reports are kept, and so are files and settings that were changed since.
    """
    from ..system.uninstall import Uninstaller

    Uninstaller(root, dry_run, lambda line: click.echo(printable(line))).uninstall()
