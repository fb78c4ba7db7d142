"""usercrash install."""

from __future__ import annotations

import click

from .common import printable


@click.command("install")
@click.option("--root", default="", metavar="DIR", help="Only the files, below DIR.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def command(root: str, dry_run: bool) -> None:
    """Collect crashes from now on and from every boot on (as root).

    Puts the programs into /usr/bin, systemd units and sysctl settings in place, and starts the
    server. What was there before is remembered; a second time upgrades.
    """
    from ..system.install import Installer

    Installer(root, dry_run, lambda line: click.echo(printable(line))).install()
