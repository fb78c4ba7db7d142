"""The machine that is installed on: its services and accounts."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import subprocess

from ..errors import UsercrashError

ACCOUNT = "usercrash"
_SECONDS = 60
_CLONE_NEWNS = 0x00020000  # <linux/sched.h>


def systemd_runs() -> bool:
    """Whether systemd is this machine's init (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system") and shutil.which("systemctl") is not None


def in_chroot() -> bool:
    """Whether the kernel starts programs from another root directory than ours.

    It has init's, and its own threads have it, too; init may not be ours to look at.
    """
    seen = False
    for pid in (1, 2):
        try:
            root = os.stat(f"/proc/{pid}/root/")
        except OSError:
            continue
        if os.path.samestat(root, os.stat("/")):
            return False
        seen = True
    return seen


def has_own_mounts() -> bool:
    """Whether our mount namespace is not init's."""
    try:
        return os.readlink("/proc/self/ns/mnt") != os.readlink("/proc/1/ns/mnt")
    except OSError:
        return False  # not ours to look at


def join_mounts_of_init() -> None:
    """Move this process, which must have one thread, into init's mount namespace.

    UsercrashError if the kernel refuses (without CAP_SYS_ADMIN, or in a container).
    """
    try:
        # (os.setns comes with Python 3.12.)
        with open("/proc/1/ns/mnt", "rb") as mounts:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(mounts.fileno(), _CLONE_NEWNS) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as error:
        raise UsercrashError(f"cannot enter init's mount namespace: {error.strerror}") from error


def run(*command: str) -> None:
    """Run a command of the system; UsercrashError with its last line if it fails."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsercrashError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        last = done.stdout.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise UsercrashError(f"{' '.join(command)}: {last or f'status {done.returncode}'}")


def account_exists() -> bool:
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


def create_account(sysusers_file: str) -> None:
    """Make the account that analyses run as; UsercrashError if no tool for it is there."""
    if shutil.which("systemd-sysusers"):
        run("systemd-sysusers", sysusers_file)
    elif shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin"):
        run("useradd", "--system", "--home-dir", "/", "--no-create-home",
            "--shell", "/usr/sbin/nologin", "--user-group", ACCOUNT)  # fmt: skip
    else:
        raise UsercrashError("neither systemd-sysusers nor useradd is there to make an account")


def remove_account() -> None:
    """Remove the account and its group."""
    run("userdel", ACCOUNT)
