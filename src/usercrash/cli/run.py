"""usercrash run -- CMD: a program under our eye, without privileges and without a server.

Three processes: this one starts the program and stands in for it towards whoever started us
(signals, job control, exit status); the program, whose parent this one is; and the watcher
(live/watcher.py), which traces it. Only the watcher knows ptrace: if it dies, the program
and this process go on as if it had never been.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from ..descriptors import close_all_but
from ..errors import UsageError
from .common import Settings, printable
from .source_option import source_directories, source_option

if TYPE_CHECKING:
    from ..config import Config
    from ..live.stderr_tail import Relay
    from ..live.watcher import Wishes

_NOT_EXECUTABLE, _NOT_FOUND = 126, 127  # what shells use (POSIX, 2.8.2)
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR)
_SI_KERNEL = 0x80  # <asm-generic/siginfo.h>: sent by the kernel, as by the terminal's keys
_PR_SET_PTRACER = 0x59616D61  # <linux/prctl.h>

_STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
# What others may send to a program. Not SIGSEGV and its like, nor SIGPIPE: those are our own.
_PASSED_ON = {
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGALRM, signal.SIGCONT, signal.SIGWINCH, signal.SIGVTALRM, signal.SIGPROF,
    signal.SIGIO, signal.SIGPWR, signal.SIGURG, *_STOPS,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
}  # fmt: skip


# What stands behind the first word belongs to the program.
@click.command(
    "run",
    context_settings={"allow_interspersed_args": False},
    short_help="Run a program, and report if something in it crashes.",
)
@click.option("--dir", "directory", metavar="DIR", help="Write reports into DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print a crash as JSON, not as text.")
@click.option(
    "--keep-stderr",
    is_flag=True,
    help="Have the last lines of standard error in reports, through a pipe (a file's are there "
    "without it).",
)
@source_option
@click.argument("words", metavar="-- CMD [ARG]…", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def command(
    settings: Settings,
    directory: str | None,
    as_json: bool,
    keep_stderr: bool,
    sources: tuple[str, ...],
    words: tuple[str, ...],
) -> int:
    """Run a program and report if it, or any process that it starts, crashes.

    The exit status is the program's, or 128 + N if signal N ended it. Reports go to the reports
    directory if it can be written, else to the present one; with --dir, to DIR as well. The
    first screen of each is printed on standard error.
    """
    if directory is not None:
        directory = os.path.abspath(directory)
        if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
            raise UsageError(f"--dir {printable(directory)}: not a directory that can be written")
    return run_watched(
        settings.config, directory or "", words, as_json=as_json, keep_stderr=keep_stderr,
        sources=source_directories(sources),
    )  # fmt: skip


def run_watched(
    config: Config,
    directory: str,
    words: Sequence[str],
    *,
    as_json: bool = False,
    keep_stderr: bool = False,
    sources: tuple[str, ...] = (),
) -> int:
    """Run the program in the place of this process, which is of no other use afterwards: it keeps
    no descriptor but standard error. Gives the exit status; `directory` as Wishes has it."""
    from ..live.watcher import Wishes

    wishes = Wishes(directory, as_json, os.getcwd(), keep_stderr, sources)
    return _Front(config, wishes).run([os.fsencode(word) for word in words])


class _Front:
    """The process that stands in for the program."""

    def __init__(self, config: Config, wishes: Wishes) -> None:
        self._config = config
        self._wishes = wishes
        self._main = 0
        self._relay: Relay | None = None
        self._stop_asked = False  # a job-control stop has come to us
        self._main_stopped = False

    def run(self, words: list[bytes]) -> int:
        """Start the program, and return its exit status when it has ended and all is said."""
        # Ignored, it would take the exit status from us.
        inherited = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        waited = _PASSED_ON | {signal.SIGCHLD}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
        if self._wishes.keep_stderr:
            self._relay = _start_relay()
        hello, say_hello = os.pipe()
        gate, open_gate = os.pipe()
        told, keep_telling = os.pipe()
        watcher = os.fork()
        if watcher == 0:
            from ..live.watcher import watch

            watch(self._config, self._wishes, hello, open_gate, keep_telling, self._relay)
        self._main = os.fork()
        if self._main == 0:
            for fd in (hello, open_gate, told, keep_telling):
                os.close(fd)
            if self._relay is not None:
                os.dup2(self._relay.writer, 2)
                os.close(self._relay.writer)
                os.close(self._relay.reader)
            signal.signal(signal.SIGCHLD, inherited)
            _become(words, mask, watcher, say_hello, gate)
        _keep_only({told} if self._relay is None else {told, self._relay.reader})
        status = self._stand_in(waited)
        if self._relay is not None:
            self._relay.finish()
        # What a key of the terminal does now concerns us alone: nobody need wait for the report.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.read(told, 1)
        return status

    def _stand_in(self, waited: set[int]) -> int:
        while True:
            info = signal.sigwaitinfo(waited)
            number = info.si_signo
            if number == signal.SIGCHLD:
                status = self._children()
                if status is not None:
                    return status
            else:
                if number in _STOPS:
                    self._stop_asked = True
                if not _comes_to_the_program_too(info):
                    os.kill(self._main, number)
            if self._stop_asked and self._main_stopped:
                self._stop_asked = self._main_stopped = False
                # The program has stopped, as the terminal wished: now the job may be seen to.
                os.kill(os.getpid(), signal.SIGSTOP)

    def _children(self) -> int | None:
        """Take note of what became of the children; the exit status once the program has ended."""
        flags = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
        while True:
            try:
                pid, status = os.waitpid(-1, flags)
            except ChildProcessError:
                return 1  # impossible: the program is our child until we take its status
            if pid == 0:
                return None
            if pid != self._main:
                if self._relay is not None and pid == self._relay.process:
                    os.close(self._relay.reader)  # else the program would wait for it to be read
                    self._relay = None
                continue  # the watcher or the relay has ended; the program does not need it
            if os.WIFSTOPPED(status):
                self._main_stopped = True
            elif os.WIFCONTINUED(status):
                self._main_stopped = False
            elif os.WIFSIGNALED(status):
                return 128 + os.WTERMSIG(status)
            else:
                return os.WEXITSTATUS(status)


def _comes_to_the_program_too(info: signal.struct_siginfo) -> bool:
    """The terminal sends its signals to the whole process group, to which the program belongs,
    and a program that signals its own group has reached itself already."""
    if info.si_code == _SI_KERNEL:
        return True
    try:
        return info.si_pid != 0 and os.getpgid(info.si_pid) == os.getpgrp()
    except ProcessLookupError:
        return False  # the sender has ended since


def _start_relay() -> Relay:
    from ..live.stderr_tail import Relay

    relay = Relay()
    relay.start()
    return relay


def _keep_only(kept: set[int]) -> None:
    """Hold nothing that somebody may wait for the end of: pipes are the program's alone."""
    close_all_but(kept)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _become(
    words: list[bytes], mask: set[int | signal.Signals], watcher: int, hello: int, gate: int
) -> NoReturn:
    """In the child: wait until we are watched, then be the program."""
    status = _NOT_FOUND
    try:
        libc = ctypes.CDLL(None)
        # Where Yama restricts tracing to parents: the watcher may. Elsewhere it fails, harmlessly.
        libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(watcher), 0, 0, 0)
        with suppress(BrokenPipeError):  # no watcher any more: the program runs all the same
            os.write(hello, b"%d" % os.getpid())
        os.close(hello)
        os.read(gate, 1)  # ends when the watcher closes its side, or dies
        os.close(gate)
        for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _execute(words)
    except OSError as error:
        status = _NOT_FOUND if error.errno in _NOT_HERE else _NOT_EXECUTABLE
        text = f"usercrash: {printable(os.fsdecode(words[0]))}: {error.strerror}\n"
        os.write(2, text.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


def _execute(words: list[bytes]) -> None:
    """Like execvp(3): by PATH, and a file that the kernel does not know is a script for sh.
    OSError if nothing can be executed."""
    failure = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in _candidates(words[0]):
        try:
            os.execv(path, words)
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                os.execv(b"/bin/sh", [b"sh", path, *words[1:]])
            if b"/" in words[0] or error.errno not in _NOT_HERE:
                failure = error  # found, but not permitted: that tells more than absence
            if error.errno not in (*_NOT_HERE, errno.EACCES):
                break
    raise failure


def _candidates(name: bytes) -> list[bytes]:
    if b"/" in name:
        return [name]
    places = os.environb.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    return [os.path.join(place, name) if place else name for place in places]
