"""The machine, and the versions of what is measured on it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PACKAGES = ("systemd-coredump", "systemd", "minicoredumper", "gdb", "elfutils")


def machine(place: Path) -> str:
    """The machine in one line; files of the run lie in `place`."""
    facts = Path("/proc/cpuinfo").read_text().split("\n")
    model = next((_value(line) for line in facts if line.startswith("model name")), "processor")
    flags = next((_value(line) for line in facts if line.startswith("flags")), "")
    virtual = " of a virtual machine" if "hypervisor" in flags.split() else ""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} × {model}{virtual}, {memory:.0f} GB, files on {_filesystem(place)}, "
        f"{_distribution()}, Linux {platform.release()}, Python {platform.python_version()}"
    )


def versions(peers: Sequence[Path]) -> list[str]:
    """Name and version of the peers' packages: installed, or unpacked in one of the `peers`."""
    found = dict.fromkeys(_PACKAGES, "")
    for line in _installed().splitlines():
        status, name, version = [*line.split(" "), "", ""][:3]
        if status == "installed":
            found[name] = version
    for root in peers:
        for archive in root.glob("*_*_*.deb"):
            name, version, _ = archive.name.split("_", 2)
            found[name] = version.replace("%3a", ":")
    return [f"{name} {version}" for name, version in found.items() if version]


def _installed() -> str:
    try:
        return subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\\n", *_PACKAGES],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
    except FileNotFoundError:
        return ""


def _value(line: str) -> str:
    return " ".join(line.partition(":")[2].split())


def _filesystem(place: Path) -> str:
    """The name of its file system; of the longest mount point that leads there."""
    mounts = [line.split(" ")[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    leading = [(at, kind) for at, kind in mounts if place.is_relative_to(at)]
    # The last one mounted there covers the others.
    return max(reversed(leading), key=lambda one: len(one[0]), default=("", "unknown"))[1]


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "an unknown distribution"
