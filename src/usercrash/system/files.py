"""What an installation consists of beside the bundle: programs, units, settings, pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import sysctl
from .entrance import pipe_pattern

LIBRARY = "/usr/lib/usercrash"
CONFIG = "/etc/usercrash/usercrash.toml"
UNIT = "usercrash.service"
SOCKET_UNIT = "usercrash.socket"
UNIT_PATH = f"/usr/lib/systemd/system/{UNIT}"
SOCKET_UNIT_PATH = f"/usr/lib/systemd/system/{SOCKET_UNIT}"
# What `systemctl enable` makes: link → target.
WANTS = {
    f"/etc/systemd/system/multi-user.target.wants/{UNIT}": UNIT_PATH,
    f"/etc/systemd/system/sockets.target.wants/{SOCKET_UNIT}": SOCKET_UNIT_PATH,
}
SYSUSERS_PATH = "/usr/lib/sysusers.d/usercrash.conf"
# After systemd's own 50-coredump.conf: of two files that set core_pattern the later one counts.
SYSCTL_PATH = "/usr/lib/sysctl.d/90-usercrash.conf"

# The server itself puts its socket in place of this, while it runs (entrance.py).
PATTERN = pipe_pattern()
SYSCTLS = {
    # Dumps of suid programs, for root only; with 0 they are never offered.
    sysctl.SUID_DUMPABLE: "2",
    # Above 0 the kernel holds the process until the client lets go; crashes beyond it at one
    # time are skipped, and counted in the kernel's log.
    sysctl.CORE_PIPE_LIMIT: "64",
    sysctl.CORE_PATTERN: PATTERN,
}

PROGRAMS = {
    "usercrash_c": "usercrash.client",
    "usercrash_s": "usercrash.server",
    "debugger": "usercrash.debugger",
    "usercrash": "usercrash.cli",
}

_DATA = Path(__file__).with_name("data")

# -I: nothing from the environment, the current directory or a user's packages;
# -S: nothing of the machine's own packages, whose .pth files could run anything.
_PROGRAM = """\
#!{python} -IS
import sys
sys.path.insert(0, "{bundle}")
from {module} import main
main()
"""


@dataclass(frozen=True, slots=True)
class File:
    """A file to install. `admin`: the administrator may change it, and then it is kept."""

    path: str
    content: bytes
    mode: int = 0o644
    admin: bool = False


def programs(python: str, bundle: str) -> list[File]:
    """The four programs of /usr/bin, run by `python` from the bundle's directory."""
    return [
        File(
            f"/usr/bin/{name}",
            _PROGRAM.format(python=python, bundle=bundle, module=module).encode(),
            0o755,
        )
        for name, module in PROGRAMS.items()
    ]


def settings() -> list[File]:
    """Configuration, units, account, sysctls and manual pages."""
    found = [
        File(CONFIG, _data("usercrash.toml"), admin=True),
        File(UNIT_PATH, _data(UNIT), admin=True),
        File(SOCKET_UNIT_PATH, _data(SOCKET_UNIT), admin=True),
        File(SYSUSERS_PATH, _data("sysusers.conf"), admin=True),
        File(SYSCTL_PATH, sysctl_text().encode(), admin=True),
    ]
    for page in sorted((_DATA / "man").iterdir()):
        found.append(File(f"/usr/share/man/man{page.suffix[1:]}/{page.name}", page.read_bytes()))
    return found


def sysctl_text() -> str:
    """The file for sysctl.d(5)."""
    lines = [
        "# Crashes go to usercrash; see usercrash_c(8). While usercrash_s runs, it puts its socket",
        "# in place of this core_pattern, where the kernel can connect to one. fs.suid_dumpable 2:",
        "# crashes of suid programs too, in reports that only root can read.",
    ]
    lines += [f"{name.replace('/', '.')}={value}" for name, value in SYSCTLS.items()]
    return "\n".join(lines) + "\n"


def _data(name: str) -> bytes:
    return (_DATA / name).read_bytes()
