"""make demo: a real crash, reported.

As root where core_pattern can be set: the real server, client and kernel, everything in a
directory of its own, and core_pattern put back on every way out. Otherwise (or with
`--without-kernel`) through `usercrash run`. `--dir DIR` keeps the reports elsewhere than in .demo.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from usercrash.errors import UsercrashError
from usercrash.report import from_json
from usercrash.storage.reports import Entry
from usercrash.storage.store import Store
from usercrash.system import host, sysctl
from usercrash.system.core_pattern import core_pattern_guard, is_held
from usercrash.system.entrance import pattern_for, socket_pattern

ROOT = Path(__file__).resolve().parents[1]
VICTIM = ROOT / "demo/victim.py"
PROGRAMS = Path(sys.executable).parent
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
RUN_PREFIX = "/run/usercrash-demo-"
SECONDS = 60.0
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

CONFIG = """\
[paths]
reports = {reports}
run = {run}
state = {state}
cache = {cache}
"""

# The client as it is installed, but from this checkout.
CLIENT = """\
import sys
sys.path[:0] = {path!r}
from usercrash.client import main
main()
"""


class NoReportError(Exception):
    """The kernel did not start our client, or nothing came of it."""


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def write_config(kept: Path, run: str) -> Path:
    """The configuration of the demo, kept for `usercrash show`."""
    try:
        kept.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsercrashError(f"{kept}: {error.strerror}", "name another one with --dir") from error
    if not os.access(kept, os.W_OK | os.X_OK):
        raise UsercrashError(f"{kept} belongs to another user", "remove it")
    path = kept / "usercrash.toml"
    places = {name: json.dumps(str(kept / name)) for name in ("reports", "state", "cache")}
    path.write_text(CONFIG.format(run=json.dumps(run), **places))
    return path


# -- through the kernel -----------------------------------------------------------------


@contextmanager
def run_directory() -> Iterator[str]:
    """A directory with a short name; those that killed demos have left are removed."""
    for old in glob.glob(f"{RUN_PREFIX}*"):
        fd = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
        except BlockingIOError:
            continue  # another demo is running
        finally:
            os.close(fd)
    path = tempfile.mkdtemp(prefix=os.path.basename(RUN_PREFIX), dir="/run")
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def client_pattern(run: str) -> str:
    """core_pattern for the client of this checkout. (The interpreter through a short name: the
    line has 127 bytes; and named: the run directory may be mounted noexec.)"""
    os.symlink(PYTHON, f"{run}/p")
    path = [str(ROOT / "src"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    Path(run, "c").write_text(CLIENT.format(path=path))
    return f"|{run}/p -IS {run}/c --run {run} --ids %P %I %s %d %F"


def best_pattern(run: str) -> str:
    """core_pattern for the kernel's socket where that can be, else for the client."""
    socket_there = pattern_for(run) == socket_pattern(run)
    return socket_pattern(run) if socket_there else client_pattern(run)


def end_with_us() -> None:
    """In the server before its exec: it shall not outlive a demo that is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@contextmanager
def server(config: Path, run: str) -> Iterator[None]:
    """usercrash_s, from its readiness on."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify:
        notify.bind(f"{run}/notify")
        notify.settimeout(0.2)
        process = subprocess.Popen(
            [PROGRAMS / "usercrash_s", "--config", config],
            env={**os.environ, "NOTIFY_SOCKET": f"{run}/notify"},
            stdin=subprocess.DEVNULL,
            preexec_fn=end_with_us,
        )
        try:
            wait_until_ready(process, notify)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], notify: socket.socket) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if b"READY=1" in notify.recv(4096).split(b"\n"):
                return
        except TimeoutError:
            if process.poll() is not None:
                raise NoReportError(f"the server ended with status {process.returncode}") from None
    raise NoReportError("the server does not become ready")


def through_the_kernel(kept: Path) -> None:
    with run_directory() as run:
        config = write_config(kept, run)
        pattern = best_pattern(run)
        say("starting the server, usercrash_s")
        with server(config, run):
            if is_held():
                say("waiting for a test or a demo that has core_pattern at the moment")
            with core_pattern_guard(pattern, 16):
                say(f"core_pattern is now {pattern}")
                pid = crash()
                entry = wait_for_report(kept, pid)
        say("core_pattern is restored, the server has ended")
    show(kept, entry, config)


def crash() -> int:
    """Run the victim to its death; gives its pid."""
    say(f"crashing a real process: {PYTHON} demo/victim.py")
    with subprocess.Popen([PYTHON, VICTIM], stdin=subprocess.DEVNULL, cwd=ROOT) as victim:
        status = victim.wait()
    if status >= 0:
        raise NoReportError(f"the program that was to crash ended with status {status}")
    say(f"process {victim.pid} died of {signal.Signals(-status).name}")
    return victim.pid


def wait_for_report(kept: Path, pid: int) -> Entry:
    """The report of that process; NoReportError if none comes."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with closing(Store(str(kept / "reports"))) as store:
            for entry in sorted(store.entries(), key=lambda entry: -entry.time):
                data = store.read_json(entry.number)
                if data and from_json(data).process.pid == pid:
                    return entry
        time.sleep(0.02)
    raise NoReportError("no report came: does another container own this kernel's core_pattern?")


def show(kept: Path, entry: Entry, config: Path) -> None:
    """The first screen, and where the rest is."""
    from usercrash.cli.common import colored
    from usercrash.render.screen import render_screen

    with closing(Store(str(kept / "reports"))) as store:
        data = store.read_json(entry.number)
    assert data is not None
    width = shutil.get_terminal_size().columns
    print()
    print(render_screen(from_json(data), part="first", color=colored(), width=width).rstrip())
    say_where(kept / "reports" / entry.name, config)


# -- without privileges -----------------------------------------------------------------


def through_run(kept: Path) -> None:
    config = write_config(kept, str(kept / "run"))
    reports = kept / "reports"
    reports.mkdir(mode=0o700, exist_ok=True)
    before = {entry.name: entry.time for entry in entries(reports)}
    say(f"usercrash run -- {PYTHON} demo/victim.py")
    program = [str(PROGRAMS / "usercrash"), "--config", str(config), "run"]
    status = subprocess.run(
        [*program, "--", PYTHON, str(VICTIM)], stdin=subprocess.DEVNULL, cwd=ROOT, check=False
    ).returncode
    new = [entry for entry in entries(reports) if before.get(entry.name) != entry.time]
    if not new:
        raise NoReportError(f"usercrash run ended with status {status} and left no report")
    say_where(reports / new[0].name, config)


def entries(reports: Path) -> list[Entry]:
    with closing(Store(str(reports))) as store:
        return sorted(store.entries(), key=lambda entry: -entry.time)


def say_where(report: Path, config: Path) -> None:
    print()
    print(f"The whole report:  {short(report)}")
    print(f"or, in colour:     {short(PROGRAMS / 'usercrash')} --config {short(config)} show")


def short(path: Path) -> str:
    """Relative to the present directory, if it is in there."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def why_without_kernel() -> str:
    """What stands in the way of the kernel's core_pattern here; "" if nothing does."""
    if not sysctl.writable():
        return "core_pattern cannot be set here (that takes root)"
    if host.in_chroot():
        return "this is a chroot, and the kernel starts programs from outside of it"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description="A real crash, reported.")
    parser.add_argument("--dir", type=Path, default=ROOT / ".demo", help="where reports are kept")
    parser.add_argument("--without-kernel", action="store_true", help="use usercrash run")
    wishes = parser.parse_args()
    # As an exception, so that everything is undone.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        obstacle = "" if wishes.without_kernel else why_without_kernel()
        if wishes.without_kernel or obstacle:
            if obstacle:
                say(f"{obstacle}, so: usercrash run")
            through_run(wishes.dir)
            return 0
        try:
            through_the_kernel(wishes.dir)
        except NoReportError as error:
            say(f"{error}; without the kernel, then")
            through_run(wishes.dir)
    except (NoReportError, UsercrashError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
