"""The texts of /proc/PID, parsed with suspicion: proc_pid_status(5) and its siblings.

The process chooses its name, its arguments, its environment and its paths, so none
of them may shift a field: `status` is read by exact keys at the start of a line
(the kernel escapes newlines in its `Name`), `stat` after the last `)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(rb"-?[0-9]{1,19}")
_CONTAINER = re.compile(rb"(?:^|[^0-9a-f])([0-9a-f]{64})(?:[^0-9a-f]|$)")
_LXC = re.compile(rb"/lxc(?:\.payload)?[./]([^/]+)")
_UNIT = re.compile(rb"[^/]+\.(?:service|scope|socket|mount|swap)$")


# <linux/capability.h>, in the order of their numbers.
_CAPABILITY_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio "
    "sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time "
    "sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog "
    "wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
)
_CAPABILITIES = _CAPABILITY_NAMES.split()

# <linux/auxvec.h> and <asm/auxvec.h>.
_AUXV_NAMES = {
    2: "AT_EXECFD", 3: "AT_PHDR", 4: "AT_PHENT", 5: "AT_PHNUM", 6: "AT_PAGESZ", 7: "AT_BASE",
    8: "AT_FLAGS", 9: "AT_ENTRY", 10: "AT_NOTELF", 11: "AT_UID", 12: "AT_EUID", 13: "AT_GID",
    14: "AT_EGID", 15: "AT_PLATFORM", 16: "AT_HWCAP", 17: "AT_CLKTCK", 23: "AT_SECURE",
    24: "AT_BASE_PLATFORM", 25: "AT_RANDOM", 26: "AT_HWCAP2", 27: "AT_RSEQ_FEATURE_SIZE",
    28: "AT_RSEQ_ALIGN", 29: "AT_HWCAP3", 30: "AT_HWCAP4", 31: "AT_EXECFN", 32: "AT_SYSINFO",
    33: "AT_SYSINFO_EHDR", 51: "AT_MINSIGSTKSZ",
}  # fmt: skip


def number(text: bytes | None) -> int | None:
    """A decimal number of at most 64 bits, with spaces around it; None for anything else."""
    text = (text or b"").strip()
    if _NUMBER.fullmatch(text) is None:
        return None
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 63 else None


def parse_status(data: bytes) -> dict[bytes, bytes]:
    """`Key: value` lines; the first line of a key counts, values are stripped."""
    fields: dict[bytes, bytes] = {}
    for line in data.split(b"\n"):
        key, colon, value = line.partition(b":")
        if colon and key not in fields:
            fields[key] = value.strip()
    return fields


def kilobytes(text: bytes | None) -> int | None:
    """The bytes that a status value like `1234 kB` means."""
    value = number(text.removesuffix(b"kB")) if text and text.endswith(b"kB") else None
    return None if value is None or not 0 <= value < 1 << 50 else value * 1024


@dataclass(frozen=True, slots=True)
class Stat:
    """Of /proc/PID/stat: the name, state, parent and start (clock ticks after boot)."""

    comm: bytes
    state: bytes
    ppid: int | None
    start_ticks: int | None


def parse_stat(data: bytes) -> Stat | None:
    """The fields of a `stat` line, None if it is none. The name may hold `)` and newlines."""
    opening, closing = data.find(b"("), data.rfind(b")")
    if opening < 0 or closing < opening:
        return None
    fields = data[closing + 1 :].split()
    if len(fields) < 20:
        return None
    return Stat(data[opening + 1 : closing], fields[0], number(fields[1]), number(fields[19]))


def split_strings(data: bytes) -> list[bytes]:
    """Strings that end in NUL (cmdline, environ). Trailing empty ones are dropped: a process
    that overwrote its title leaves thousands of them."""
    if not data:
        return []
    return data.rstrip(b"\0").split(b"\0")


def parse_limits(data: bytes) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """(name, soft, hard, unit) of each line of /proc/PID/limits, whose columns are 26, 21,
    21 and 10 bytes wide (fs/proc/base.c, proc_pid_limits)."""
    rows = []
    for line in data.split(b"\n")[1:]:
        if line.strip():
            cells = (line[:26], line[26:47], line[47:68], line[68:])
            name, soft, hard, unit = (cell.strip() for cell in cells)
            rows.append((name, soft, hard, unit))
    return rows


def parse_cgroup(data: bytes) -> list[bytes]:
    """The lines of /proc/PID/cgroup."""
    return [line for line in data.split(b"\n") if line]


def cgroup_names(lines: list[bytes]) -> tuple[bytes, bytes]:
    """(systemd unit, container id) that the cgroup paths name; b"" for none. The v2 line and
    systemd's own v1 hierarchy count before the others."""
    ordered = sorted(lines, key=lambda line: not line.startswith((b"0::", b"1:name=systemd:")))
    unit = container = b""
    for line in ordered:
        path = line.split(b":", 2)[-1]
        if not unit:
            units = [part for part in path.split(b"/") if _UNIT.match(part)]
            unit = units[-1] if units else b""
        if not container:
            found = _CONTAINER.findall(path) or _LXC.findall(path)
            container = found[-1] if found else b""
    return unit, container


def capability_names(mask: bytes | None) -> str:
    """A `CapEff` mask (hex) as words: `none`, `all` or the names; empty if unknown."""
    try:
        value = int((mask or b"").strip()[:16], 16)
    except ValueError:
        return ""
    if value == 0:
        return "none"
    known = (1 << len(_CAPABILITIES)) - 1
    if value & known == known:
        return "all"
    names = [name for bit, name in enumerate(_CAPABILITIES) if value >> bit & 1]
    missing = [name for bit, name in enumerate(_CAPABILITIES) if not value >> bit & 1]
    if len(missing) <= 6:
        return "all but " + " ".join(missing)
    rest = value & ~known
    return " ".join(names + ([f"{rest:#x}"] if rest else []))


def seccomp_words(status: dict[bytes, bytes]) -> str:
    """The seccomp state: `none`, `strict`, `filter` or `N filters`; empty if unknown."""
    filters = number(status.get(b"Seccomp_filters"))
    if status.get(b"Seccomp") == b"2" and filters:
        return f"{filters} filter{'s' if filters > 1 else ''}"
    return {b"0": "none", b"1": "strict", b"2": "filter"}.get(status.get(b"Seccomp", b""), "")


def ids(value: bytes | None) -> list[int]:
    """The numbers of a status value like `Uid:` or `Groups:`; others are passed over."""
    numbers = (number(part) for part in (value or b"").split()[:70_000])
    return [one for one in numbers if one is not None and 0 <= one <= 0xFFFFFFFF]


def auxv_name(key: int) -> str:
    """`AT_PHDR` …, or the number as text."""
    return _AUXV_NAMES.get(key, str(key))


def kernel_stack(data: bytes) -> list[bytes]:
    """The functions of /proc/PID/task/TID/stack, without the addresses in front of them."""
    lines = (line.strip() for line in data.split(b"\n"))
    return [line.partition(b"] ")[2] or line for line in lines if line][:64]
