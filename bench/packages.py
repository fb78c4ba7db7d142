"""The peers' packages: installed, or fetched and unpacked beside the system."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .collectors import UnavailableError

# Those that cannot be installed together. (gdb and eu-stack need more than their own package.)
_FETCHED = ("minicoredumper", "systemd-coredump")


def find(name: str, places: Sequence[Path]) -> Path:
    """The file of a package, in the first of these roots that has it."""
    for place in places:
        if (place / name).is_file():
            return place / name
    raise UnavailableError(f"{name} is not installed")


def fetch_peers(place: Path) -> Path:
    """Fetch the packages of the peers and unpack them into a directory of ours, as two of
    them exclude each other as installed packages. UnavailableError if apt cannot."""
    root = place / "peers"
    root.mkdir()
    try:
        done = subprocess.run(
            ["apt-get", "download", "-q", *_FETCHED], cwd=root, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise UnavailableError("apt-get is not here: --peers DIR") from error
    archives = list(root.glob("*.deb"))
    if not archives:
        raise UnavailableError(f"apt-get download: {done.stderr.strip()[-200:]}")
    for archive in archives:
        subprocess.run(["dpkg", "-x", str(archive), str(root)], check=True)
    return root


def fetch_drgn(place: Path) -> Path | None:
    """Where pip put that library, which Debian does not have; None if it could not."""
    target = place / "drgn"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target,
         "drgn"],
        capture_output=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return target if done.returncode == 0 else None


def bytes_on_disk(path: Path) -> int:
    """Of a file, or of all files in a directory."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(os.stat(one).st_blocks * 512 for one in files)
