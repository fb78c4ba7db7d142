"""`usercrash uninstall`: everything back to what the record says was there before.

Reports stay, and so does what the administrator has changed since.
"""

from __future__ import annotations

import glob
import os
import shutil

from ..errors import UsercrashError
from . import files, host, record, sysctl
from .entrance import is_ours
from .install import Say
from .record import Record, digest_at, load_record, save_record

# Made for our files; removed if nothing else is in them.
_DIRECTORIES = (os.path.dirname(files.CONFIG), files.LIBRARY)
_CACHE = "/var/cache/usercrash"


class Uninstaller:
    """The way back from one installation below `root` ("" for this machine)."""

    def __init__(self, root: str, dry_run: bool, say: Say) -> None:
        self._root = root.rstrip("/")
        self._dry = dry_run
        self._say = say
        if not self._root and os.geteuid() != 0:
            raise UsercrashError("only root can uninstall")
        self._record = load_record(self._root)

    def uninstall(self) -> None:
        """Do all of it; UsercrashError where nothing is installed, or it cannot be done."""
        if self._record is None:
            where = f" below {self._root}" if self._root else ""
            raise UsercrashError(f"usercrash is not installed{where}")
        try:
            if not self._root:
                self._restore_sysctls(self._record)
                self._stop_server()
            for path, known in sorted(self._record.files.items()):
                self._remove(path, known)
            if not self._root:
                self._finish_host(self._record)
            self._remove_directories()
            if not self._dry:
                os.unlink(self._root + record.PATH)
        except OSError as error:
            raise UsercrashError(f"{error.filename or self._root}: {error.strerror}") from error

    def _do(self, what: str) -> None:
        self._say(f"would {what}" if self._dry else what)

    def _restore_sysctls(self, found: Record) -> None:
        """The pattern first: from then on nothing starts a program that is about to go."""
        names = sorted(found.sysctls, key=lambda name: name != sysctl.CORE_PATTERN)
        for name in names:
            change = found.sysctls[name]
            shown = name.replace("/", ".")
            now = sysctl.read(name)
            ours = name == sysctl.CORE_PATTERN and is_ours(now)  # the server's socket, too
            if now != change.new and not ours:
                self._say(f"{shown} was changed to {now} since: it is kept")
            else:
                self._do(f"set {shown} = {change.old}")
                if self._dry:
                    continue
                sysctl.write(name, change.old)
            if not self._dry:
                del found.sysctls[name]
                save_record(self._root, found)

    def _stop_server(self) -> None:
        if host.systemd_runs():
            self._do(f"stop {files.UNIT} and {files.SOCKET_UNIT}")
            if not self._dry:
                # The socket with it: it would start the server again.
                host.run("systemctl", "stop", files.SOCKET_UNIT, files.UNIT)

    def _remove(self, path: str, known: str) -> None:
        there = digest_at(self._root + path)
        if there is None:
            return
        if there != known:
            self._say(f"{path} was changed: it is kept")
            return
        self._do(f"remove {path}")
        if self._dry:
            return
        if known == "directory":
            shutil.rmtree(self._root + path)
        else:
            os.unlink(self._root + path)

    def _finish_host(self, found: Record) -> None:
        if host.systemd_runs() and not self._dry:
            host.run("systemctl", "daemon-reload")
        if found.account_created and host.account_exists():
            try:
                if not self._dry:
                    host.remove_account()
                self._do(f"remove the account {host.ACCOUNT}")
            except UsercrashError as error:  # a process of it may still run
                self._say(f"the account {host.ACCOUNT} is kept: {error}")
        if os.path.isdir(_CACHE):
            self._do(f"remove {_CACHE}")
            if not self._dry:
                shutil.rmtree(_CACHE)

    def _remove_directories(self) -> None:
        if self._dry:
            return
        for path in _DIRECTORIES:
            full = self._root + path
            for left_over in glob.glob(f"{glob.escape(full)}/.*.part"):
                shutil.rmtree(left_over)  # of an installation that was interrupted
            if os.path.isdir(full) and not os.listdir(full):
                os.rmdir(full)
