"""usercrash status: whether crashes are collected here, and how it goes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import UsercrashError
from .common import Settings, colored

if TYPE_CHECKING:
    from ..config import Config
    from ..render.layout import Paper
    from ..server_state import State
    from ..storage.store import Store
    from .server_answer import Answer

SOCKET, PIPE, ELSEWHERE = "socket", "pipe", "elsewhere"
_SOURCES = {"coredump_socket": "socket", "core_pattern": "pipe"}  # of model.event
_LABEL = 11
_MAX_NAME = 40


@dataclass(frozen=True, slots=True)
class SeenEntrance:
    """Where the kernel sends crashes: `way` is to us by the socket or the pipe, or elsewhere.

    `gap` says why that leads nowhere; "" if it leads to us.
    """

    core_pattern: str
    way: str
    kernel_offers_socket: bool
    core_pipe_limit: int
    socket_listens: bool
    gap: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The reports directory: so many reports of so many slots, and all its bytes on disk."""

    path: str
    reports: int
    slots: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """All that is shown."""

    collecting: bool
    verdict: str
    entrance: SeenEntrance
    unused: bool  # the kernel's socket, though the server listens at it
    answer: Answer
    kept: Kept | None
    kept_why: str


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for machines.")
@click.pass_obj
def command(settings: Settings, as_json: bool) -> int:
    """Say whether crashes are collected here, and how it goes.

    Exit status 0 if all is well, 1 if crashes are not, or not fully, collected: the first
    line says why.
    """
    status = _look(settings)
    if as_json:
        click.echo(json.dumps(_object(status), indent=1))
    else:
        from ..render.screen import paper_text

        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
        click.echo(paper_text(_paper(status, width), color=colored()), nl=False, color=True)
    return 0 if status.collecting else 1


def _look(settings: Settings) -> Status:
    from .server_answer import ask_server

    config = settings.config
    entrance = look_at_entrance(config.paths.run)
    answer = ask_server(config.paths.run)
    collecting, verdict = judge(entrance, answer)
    kept, why = _kept(settings, config)
    unused = socket_is_unused(entrance, answer, config)
    return Status(collecting, verdict, entrance, unused, answer, kept, why)


def socket_is_unused(entrance: SeenEntrance, answer: Answer, config: Config) -> bool:
    """Whether `usercrash_s --enter` would put the socket of the server in core_pattern's place:
    somebody has set the pipe's pattern since the server did so."""
    from ..system.entrance import pipe_pattern

    try:
        pipe = pipe_pattern(config.paths.run)
    except UsercrashError:  # no room for it: then the server has not taken its socket either
        return False
    return (
        entrance.way == PIPE
        and entrance.kernel_offers_socket
        and config.server.entrance != PIPE
        and answer.state is not None
        and answer.state.listening
        and entrance.core_pattern == pipe
    )


def look_at_entrance(run: str) -> SeenEntrance:
    """Where core_pattern leads, seen from a server in `run`."""
    from ..system import sysctl
    from ..system.entrance import KERNEL_SOCKET, kernel_offers_socket
    from .server_answer import somebody_listens

    pattern, limit = sysctl.read(sysctl.CORE_PATTERN), sysctl.read(sysctl.CORE_PIPE_LIMIT)
    way = way_of(pattern, run)
    gap = ""
    if way == ELSEWHERE:
        gap = f"core_pattern goes to {_destination(pattern, run)}"
    elif way == PIPE:
        program = _program(pattern)
        if not os.path.exists(program):
            gap = f"{program}, which core_pattern names, does not exist"
    elif not kernel_offers_socket():
        gap = f"this kernel has no socket for crashes, it writes files named {pattern}"
    listens = somebody_listens(f"{run}/{KERNEL_SOCKET}")
    return SeenEntrance(pattern, way, kernel_offers_socket(), int(limit), listens, gap)


def way_of(pattern: str, run: str) -> str:
    """Whether a core_pattern leads to usercrash with the run directory `run`, and how."""
    from ..system.entrance import socket_pattern

    if pattern == socket_pattern(run):
        return SOCKET
    if not pattern.startswith("|"):
        return ELSEWHERE
    return PIPE if _run_named(pattern) == run else ELSEWHERE


def _run_named(pattern: str) -> str | None:
    """The run directory of the client in a core_pattern of the pipe; None if it is none of ours."""
    from ..system.entrance import RUN_DIRECTORY

    words = pattern[1:].split()
    if "--run" in words[:-1]:
        return words[words.index("--run") + 1].replace("%%", "%")
    return RUN_DIRECTORY if os.path.basename(_program(pattern)) == "usercrash_c" else None


def _program(pattern: str) -> str:
    return pattern[1:].split(maxsplit=1)[0] if pattern[1:].strip() else ""


def _destination(pattern: str, run: str) -> str:
    if pattern.startswith("|"):
        program = _program(pattern)
        if os.path.basename(program) == "usercrash_c":
            return f"usercrash_c for {_run_named(pattern)}, the configuration names {run}"
        return program or "no program"
    if pattern.startswith("@"):
        return f"the socket {pattern.lstrip('@')}"
    return f"files named {pattern}" if pattern else "nowhere"


def judge(entrance: SeenEntrance, answer: Answer) -> tuple[bool, str]:
    """Whether all is well, and the first line."""
    if entrance.gap:
        return False, f"not collecting: {entrance.gap}"
    if entrance.way == PIPE:
        return _judge_pipe(entrance, answer)
    through = "collecting: through the kernel's socket"
    if answer.state is not None:
        if not answer.state.listening:
            return False, "not collecting: the server does not listen at core_pattern's socket"
        return _judge_queue(answer.state, through)
    if not entrance.socket_listens:
        who = "nobody listens" if answer.hidden else f"{answer.why}, nobody listens"
        return False, f"not collecting: {who} at its socket"
    if answer.hidden:
        return True, through
    return False, f"{answer.why}: its workers alone collect crashes"


def _judge_pipe(entrance: SeenEntrance, answer: Answer) -> tuple[bool, str]:
    if answer.state is None and not answer.hidden:
        return False, f"{answer.why}: usercrash_c alone collects crashes"
    if entrance.core_pipe_limit == 0:
        why = "core_pipe_limit is 0, small processes are gone too soon"
        return False, f"collecting in part: {why}"
    through = "collecting: through a pipe to usercrash_c"
    return _judge_queue(answer.state, through) if answer.state else (True, through)


def _judge_queue(state: State, through: str) -> tuple[bool, str]:
    if state.queue.full:
        return False, "collecting in part: the queue is full, of a new crash only facts are kept"
    return True, through


def _kept(settings: Settings, config: Config) -> tuple[Kept | None, str]:
    """What the reports directory holds, or why that cannot be told."""
    try:
        with settings.store() as store:
            reports = len(store.entries())
            return Kept(store.path, reports, config.reports.slots, _disk_bytes(store)), ""
    except UsercrashError as error:
        return None, error.message


def _disk_bytes(store: Store) -> int:
    total = 0
    for directory in (store.dir, store.data):
        if directory < 0:
            continue
        for item in os.scandir(directory):
            try:
                state = item.stat(follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile
            if stat.S_ISREG(state.st_mode):
                total += state.st_blocks * 512
    return total


def _object(status: Status) -> dict[str, object]:
    answer, kept = status.answer, status.kept
    return {
        "collecting": status.collecting,
        "verdict": status.verdict,
        "entrance": msgspec.to_builtins(status.entrance),
        "server": msgspec.to_builtins(answer.state) if answer.state else None,
        "server_why": _why(answer),
        "kept": msgspec.to_builtins(kept) if kept else None,
        "kept_why": status.kept_why,
    }


def _why(answer: Answer) -> str:
    return f"{answer.why} ({answer.hint})" if answer.hint else answer.why


def _paper(status: Status, width: int) -> Paper:
    from ..render.layout import BAD, GOOD, Paper, Span, size

    paper = Paper(width)
    paper.line(Span(status.verdict, GOOD if status.collecting else BAD), indent=2)
    paper.blank()
    entrance, answer, kept = status.entrance, status.answer, status.kept
    _field(paper, "entrance", entrance.core_pattern or "(core_pattern is empty)")
    offers = "offers a socket" if entrance.kernel_offers_socket else "offers no socket"
    limit = f"core_pipe_limit is {entrance.core_pipe_limit}" if entrance.way == PIPE else ""
    unused = "not used (see: usercrash_s --enter)" if status.unused else ""
    _field(paper, "kernel", "; ".join(filter(None, (f"{offers} for crashes", unused, limit))))
    if answer.state is not None:
        _server_fields(paper, answer.state)
    else:
        _field(paper, "server", _why(answer).removeprefix("the server is "))
    if kept is not None:
        _field(
            paper, "reports",
            f"{kept.reports} of {kept.slots}, {size(kept.disk_bytes)} in {kept.path}",
        )  # fmt: skip
    elif not answer.hidden:
        _field(paper, "reports", status.kept_why.removeprefix("reports directory "))
    if answer.state is not None:
        _holds(paper, answer.state)
    if answer.hidden:
        paper.blank()
        paper.line("The rest is for root to see.")
    return paper


def _field(paper: Paper, label: str, text: str) -> None:
    paper.field(label, text, label_width=_LABEL)


def _server_fields(paper: Paper, state: State) -> None:
    since = _local(state.since_ns, "%Y-%m-%d %H:%M:%S")
    _field(paper, "server", f"pid {state.pid}, since {since}, version {state.version}")
    workers, queue, counts = state.workers, state.queue, state.counts
    if state.listening:
        _field(
            paper, "workers",
            f"{workers.waiting} waiting, {workers.busy} busy; {workers.wanted} configured",
        )  # fmt: skip
    else:
        _field(paper, "workers", "none: the server does not listen for the kernel")
    _field(
        paper, "queue",
        f"{queue.waiting} waiting, {queue.running} being analysed; "
        f"room for {queue.crashes} crashes, {queue.megabytes} MB",
    )  # fmt: skip
    ends = {
        "complete": counts.complete, "incomplete": counts.incomplete,
        "facts only": counts.facts_only, "lost": counts.lost, "collected twice": counts.duplicate,
    }  # fmt: skip
    told = ", ".join(f"{number} {end}" for end, number in ends.items() if number)
    _field(paper, "crashes", f"{counts.announced} since its start{told and f': {told}'}")
    if counts.missed is None:
        missed = "not known: the kernel's log cannot be read"
    else:
        missed = f"{counts.missed} that the kernel could not deliver"
    if counts.overwritten:
        missed += f"; {counts.overwritten} records of its log were lost, there may be more"
    _field(paper, "missed", missed)


def _holds(paper: Paper, state: State) -> None:
    from ..render.layout import LABEL, Span, clean, columns

    if not state.holds:
        return
    paper.blank()
    paper.line(Span("The last holds", LABEL))
    names = [f"{_cut(clean(hold.name) or '(no name)')}[{hold.pid}]" for hold in state.holds]
    room = max(map(columns, names))
    for hold, name in zip(state.holds, names, strict=True):
        when = _local(hold.time_ns, "%m-%d %H:%M:%S")
        source = _SOURCES.get(hold.source, hold.source)
        gap = " " * (room - columns(name))
        paper.line(f"  {when}  {name}{gap}  {source:<6}  {hold.hold_ns / 1e6:>8.1f} ms")


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _local(time_ns: int, form: str) -> str:
    """In the reader's zone; what is no time stays a number."""
    try:
        return datetime.fromtimestamp(time_ns / 1e9).astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):
        return str(time_ns)
