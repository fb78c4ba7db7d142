"""The program `usercrash`: one module of this package for each verb.

A verb's module is imported when the verb is used, and is cheap to import: whatever takes time
(symbols, rich) it imports when it runs.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec

import click
from click.exceptions import NoArgsIsHelpError

from .. import __version__
from ..errors import UsercrashError
from .common import Settings
from .streams import prepare_streams

VERBS = ("list", "show", "status", "analyze", "run", "demo", "install", "uninstall")

_EXIT_INTERRUPTED = 128 + 2  # what a shell reports for a program that SIGINT ended


class _Verbs(click.Group):
    """Finds `cli/VERB.py` and in it the click command `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb in VERBS if find_spec(f"{__name__}.{verb}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found = importlib.import_module(f"{__name__}.{cmd_name}").command
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", metavar="FILE", help="Configuration, instead of /etc/usercrash/usercrash.toml."
)
@click.version_option(__version__, prog_name="usercrash")
@click.pass_context
def program(context: click.Context, config: str | None) -> None:
    """Crashes of programs, collected and explained."""
    context.obj = Settings(config)


def main() -> None:
    """The program. Exit status 0, 1 for a failure, 2 for wrong usage, or the verb's own."""
    sys.exit(run_program(sys.argv[1:]))


def run_program(
    arguments: list[str], command: click.Command = program, name: str = "usercrash"
) -> int:
    """Run `NAME ARGUMENTS…`; gives the exit status. Errors become one line on stderr."""
    prepare_streams()
    try:
        status = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        hint = f" (see: {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(name, f"{error.format_message().rstrip('.')}{hint}", error.exit_code)
    except click.ClickException as error:
        return _fail(name, error.format_message(), error.exit_code)
    except UsercrashError as error:
        return _fail(name, str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 1  # as click does when it meets one
    except OSError as error:
        _drop_output()
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return _fail(name, f"{where}{error.strerror or error}", 1)
    return status if isinstance(status, int) else 0


def _fail(name: str, message: str, status: int) -> int:
    click.echo(f"{name}: {' '.join(message.split())}", err=True)
    return status


def _drop_output() -> None:
    """What is still buffered cannot be written: the interpreter shall not try at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
