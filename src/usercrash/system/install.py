"""usercrash put in place for every boot: `usercrash install`.

Everything that is changed is written down first (record.py), so that uninstall finds the
way back, also from an installation that was interrupted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..config import Config, load_config
from ..errors import UsercrashError
from . import files, host, sysctl
from .bundle import Bundle, collect_bundle, interpreter, is_whole, write_bundle
from .entrance import RUN_DIRECTORY, is_ours, pattern_for, socket_pattern
from .record import Change, Record, digest, digest_at, load_record, save_record, write_atomically

Say = Callable[[str], None]

_COLLECTORS = {"systemd-coredump": "systemd-coredump", "apport": "apport", "abrt": "ABRT"}


class Installer:
    """One installation below `root` ("" for this machine).

    With `dry_run` it says what it would do and does nothing. Below another root only files are
    put in place: sysctls, accounts and services of this machine stay as they are.
    """

    def __init__(self, root: str, dry_run: bool, say: Say) -> None:
        self._root = root.rstrip("/")
        self._dry = dry_run
        self._say = say
        if not self._root and os.geteuid() != 0:
            raise UsercrashError("only root can install", "or prepare a tree with --root DIR")
        if not self._root and host.in_chroot():
            raise UsercrashError(
                "this is a chroot: the kernel starts programs from outside of it",
                "install there, or prepare this tree from there with --root DIR",
            )
        self._record = load_record(self._root) or Record()
        self._kept: set[str] = set()

    def install(self) -> None:
        """Do all of it; UsercrashError where it cannot be done."""
        python = interpreter()
        bundle = collect_bundle()
        directory = f"{files.LIBRARY}/{bundle.name}"
        wanted = [*files.settings(), *files.programs(python, directory)]
        for file in wanted:
            self._refuse_foreign(file)
        old_bundles = [path for path in self._record.files if path.startswith(files.LIBRARY)]
        self._record.version = __version__
        try:
            self._put_bundle(bundle, directory)
            for file in wanted:
                self._put(file)
            for link, unit in files.WANTS.items():
                self._link(link, unit)
            if not self._root:
                self._prepare_host()
            for path in old_bundles:
                if path != directory:
                    self._remove_bundle(path)
        except OSError as error:
            raise UsercrashError(f"{error.filename or self._root}: {error.strerror}") from error

    # -- files ------------------------------------------------------------------------

    def _refuse_foreign(self, file: files.File) -> None:
        """UsercrashError if something stands in the way that no installation of ours put there."""
        there = digest_at(self._root + file.path)
        ours = (None, digest(file.content))
        if file.path not in self._record.files and there not in ours and not file.admin:
            raise UsercrashError(
                f"{file.path} is there and not from usercrash", "move it out of the way"
            )

    def _put_bundle(self, bundle: Bundle, directory: str) -> None:
        target = Path(self._root + directory)
        if is_whole(target, bundle):
            self._say(f"{directory} is in place")
            return
        self._do(f"write {directory} ({len(bundle.files)} files)")
        if self._dry:
            return
        self._note(directory, "directory")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        for left_over in (part, target):
            if left_over.exists():
                shutil.rmtree(left_over)
        write_bundle(bundle, part, directory)
        part.rename(target)

    def _put(self, file: files.File) -> None:
        path = self._root + file.path
        there, known = digest_at(path), self._record.files.get(file.path)
        if there == digest(file.content):
            self._note(file.path, there)
            return
        if file.admin and there is not None and there != known:
            self._say(f"{file.path} was changed: it is kept as it is")
            self._kept.add(file.path)
            return
        self._do(f"write {file.path}")
        if not self._dry:
            self._note(file.path, digest(file.content))
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            write_atomically(path, file.content, file.mode)

    def _link(self, path: str, target: str) -> None:
        if digest_at(self._root + path) is None:
            self._do(f"link {path}")
            if not self._dry:
                self._note(path, f"link:{target}")
                os.makedirs(os.path.dirname(self._root + path), mode=0o755, exist_ok=True)
                os.symlink(target, self._root + path)

    def _remove_bundle(self, path: str) -> None:
        self._do(f"remove {path}")
        if not self._dry:
            shutil.rmtree(self._root + path, ignore_errors=True)
            self._record.files.pop(path, None)
            save_record(self._root, self._record)

    def _note(self, path: str, value: str) -> None:
        if self._record.files.get(path) != value and not self._dry:
            self._record.files[path] = value
            save_record(self._root, self._record)

    def _do(self, what: str) -> None:
        self._say(f"would {what}" if self._dry else what)

    # -- the machine ------------------------------------------------------------------

    def _prepare_host(self) -> None:
        """Account, sysctls and server, in this order: the client behind the pipe needs no
        server, and the server finds the pattern that it may put its socket in place of."""
        if not host.account_exists():
            self._do(f"create the account {host.ACCOUNT}")
            if not self._dry:
                self._record.account_created = True
                save_record(self._root, self._record)
                host.create_account(files.SYSUSERS_PATH)
        if files.SYSCTL_PATH in self._kept:
            self._say("sysctls are left alone: apply your file with `sysctl --system`")
        else:
            for name, value in files.SYSCTLS.items():
                self._set(name, value)
        self._start_server()
        self._say_entrance()

    def _start_server(self) -> None:
        if not host.systemd_runs():
            self._say("systemd is not running: start /usr/bin/usercrash_s yourself, at each boot")
            return
        self._do(f"start {files.SOCKET_UNIT} and {files.UNIT}")
        if not self._dry:
            host.run("systemctl", "daemon-reload")
            # This starts the socket, too, after a server that had its own is gone.
            host.run("systemctl", "restart", files.UNIT)

    def _say_entrance(self) -> None:
        """Which way crashes will come on this machine."""
        try:
            config = load_config(files.CONFIG) if os.path.exists(files.CONFIG) else Config()
            run = config.paths.run
            chosen = pattern_for(run, config.server.entrance, self._say)
        except UsercrashError as error:
            self._say(str(error))
            return
        if run != RUN_DIRECTORY:
            self._say(
                f"{files.CONFIG} sets the run directory {run}: {files.SOCKET_UNIT} and"
                " kernel.core_pattern (--run) must name it, too"
            )
        present = sysctl.read(sysctl.CORE_PATTERN)
        if not self._dry and not is_ours(present, run):
            self._say(f"kernel.core_pattern is {present}: crashes do not come to usercrash")
        elif chosen == socket_pattern(run):
            self._say("crashes come by the kernel's socket while usercrash_s runs, else by a pipe")
        else:
            self._say("crashes come by a pipe, through usercrash_c")

    def _set(self, name: str, value: str) -> None:
        """Set a sysctl; what stood there before anything of ours is remembered."""
        now = sysctl.read(name)
        known = self._record.sysctls.get(name)
        if known is not None and now == known.new:
            old = known.old
        else:
            old = now
            if name == sysctl.CORE_PATTERN:
                old = self._pattern_before(now, known)
        if now != value:
            self._do(f"set {name.replace('/', '.')} = {value} (was {now})")
        if self._dry:
            return
        self._record.sysctls[name] = Change(old, value)
        save_record(self._root, self._record)
        try:
            sysctl.write(name, value)
        except UsercrashError as error:
            self._say(f"not now, but at the next boot: {error}")

    def _pattern_before(self, now: str, known: Change | None) -> str:
        """Whose place we take: not our own, whether the server's socket stands there, or what an
        installation left behind of which there is no record."""
        if is_ours(now):
            return known.old if known is not None else "core"
        self._say_collector(now)
        return now

    def _say_collector(self, pattern: str) -> None:
        for word, name in _COLLECTORS.items():
            if pattern.startswith("|") and word in pattern:
                self._say(f"{name} collected crashes up to now; uninstall gives them back to it")
