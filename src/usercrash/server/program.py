"""usercrash_s: the server. It starts at boot and waits for crashes."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

import click

from .. import __version__
from ..config import Config, load_config
from ..errors import UsercrashError
from ..system import host
from ..system.entrance import PIPE, PatternSwitch
from .loop import Server, say
from .sockets import server_of

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>
_EXIT_INTERRUPTED = 128 + 2  # what a shell reports for a program that SIGINT ended


def guard_against_ourselves() -> None:
    """A crash of the server must not be given to the server; and it needs many descriptors."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # With a pipe in core_pattern, 1 is the mark of a collector: no dump of it (fs/coredump.c).
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def enter_socket(config: Config) -> None:
    """The socket's pattern, for a server that runs and may not set it from where it is."""
    if not server_of(config.paths.run):
        raise UsercrashError(f"no usercrash_s serves {config.paths.run}")
    if host.has_own_mounts():
        host.join_mounts_of_init()
    PatternSwitch(config.paths.run, config.server.entrance, say).open()


def leave_socket(config_path: str | None) -> None:
    """The pipe's pattern again, also where a wrong configuration was what ended the server."""
    try:
        config = load_config(config_path)
    except UsercrashError:
        config = Config()
    PatternSwitch(config.paths.run, PIPE, say).close()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_path", metavar="FILE", help="Another configuration file.")
@click.option("--enter", is_flag=True, help="Only point core_pattern to the server's socket.")
@click.option("--leave", is_flag=True, help="Only point core_pattern back to usercrash_c.")
@click.version_option(__version__, prog_name="usercrash_s")
def command(config_path: str | None, enter: bool, leave: bool) -> None:
    """Collect the crashes of this machine, until SIGTERM.

    Runs in the foreground, quiet when all is well. `usercrash install` makes it start at boot.
    """
    os.umask(0o077)
    guard_against_ourselves()
    if enter and leave:
        raise click.UsageError("--enter and --leave exclude each other")
    if leave:
        leave_socket(config_path)
        return
    config = load_config(config_path)
    if enter:
        enter_socket(config)
    else:
        Server(config).run()


def main() -> None:
    """The program: exit status 0 after SIGTERM, 1 for a failure, 2 for usage."""
    try:
        command.main(prog_name="usercrash_s", standalone_mode=False)
    except click.UsageError as error:
        say(f"{error.format_message().rstrip('.')} (see: usercrash_s --help)")
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(_EXIT_INTERRUPTED)
    except UsercrashError as error:
        say(str(error))
        sys.exit(error.exit_code)
