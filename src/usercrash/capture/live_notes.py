"""The notes that the kernel would write for a process, made from what ptrace and /proc say.

Layouts: struct elf_prstatus and elf_prpsinfo of <linux/elfcore.h>, the
64-bit forms; NT_FILE as fill_files_note() of fs/binfmt_elf.c writes
it. Fields that only the kernel knows (CPU times) are zero. Pure functions.
"""

from __future__ import annotations

from _struct import Struct

from ..elf.arch import Arch
from ..elf.headers import NT_FILE, NT_PRPSINFO, NT_PRSTATUS
from ..model.maps import Mapping
from ..model.snapshot import ElfNote
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CORE = b"CORE"
LINUX = b"LINUX"

# struct elf_prstatus up to pr_reg, 64-bit: elf_siginfo (3 int), short cursig, ulong sigpend,
# sighold, pid, ppid, pgrp, sid, four timevals.
_PRSTATUS = Struct("<iiihxxQQiiii8Q")
assert _PRSTATUS.size == 112
# struct elf_prpsinfo, 64-bit: state, sname, zomb, nice, flag, uid, gid, pid, ppid, pgrp, sid,
# fname, psargs.
_PRPSINFO = Struct("<bcbbxxxxQIIiiii16s80s")
assert _PRPSINFO.size == 136

_STATES = b"RSDTZW"


class ProcessIds:
    """What /proc/PID/stat says for the notes; ids are those of the reader's pid namespace."""

    __slots__ = ("comm", "flags", "nice", "pgrp", "ppid", "session", "start_ticks", "state")

    def __init__(self, stat: bytes) -> None:
        """From the file's text (proc_pid_stat(5)); ValueError if it is not that."""
        left, right = stat.find(b"("), stat.rfind(b")")  # comm may hold both, and spaces
        fields = stat[right + 2 :].split()
        if left < 0 or right < left or len(fields) < 20:
            raise ValueError("not the text of /proc/PID/stat")
        self.comm = stat[left + 1 : right]
        self.state = fields[0]
        self.ppid, self.pgrp, self.session = (int(field) for field in fields[1:4])
        self.flags = int(fields[6])
        self.nice = int(fields[16])
        self.start_ticks = int(fields[19])


def prstatus(
    arch: Arch, tid: int, signal: int, siginfo: bytes, blocked: int, ids: ProcessIds | None,
    registers: bytes,
) -> ElfNote:  # fmt: skip
    """NT_PRSTATUS of one thread; `siginfo` (may be empty) and `ids` only for the crashing one."""
    number = int.from_bytes(siginfo[0:4], "little", signed=True)
    code = int.from_bytes(siginfo[8:12], "little", signed=True)
    error = int.from_bytes(siginfo[4:8], "little", signed=True)
    ppid, pgrp, session = (ids.ppid, ids.pgrp, ids.session) if ids is not None else (0, 0, 0)
    head = _PRSTATUS.pack(
        number or signal, code, error, signal, 0, blocked, tid, ppid, pgrp, session, *(0,) * 8
    )
    body = head + registers
    # pr_fpvalid follows the registers: floating point registers are in NT_FPREGSET.
    body += b"\1\0\0\0".ljust(arch.prstatus_size - len(body), b"\0")
    return ElfNote(CORE, NT_PRSTATUS, body)


def prpsinfo(pid: int, ids: ProcessIds, uid: int, gid: int, cmdline: bytes) -> ElfNote:
    """NT_PRPSINFO; uid and gid are the real ids, `cmdline` the text of /proc/PID/cmdline."""
    letter = ids.state[:1] or b"R"
    arguments = cmdline[:79].replace(b"\0", b" ").rstrip(b" ")
    return ElfNote(
        CORE,
        NT_PRPSINFO,
        _PRPSINFO.pack(
            max(0, _STATES.find(letter)), letter, letter == b"Z", ids.nice, ids.flags,
            uid & 0xFFFFFFFF, gid & 0xFFFFFFFF, pid, ids.ppid, ids.pgrp, ids.session,
            ids.comm[:15], arguments,
        ),
    )  # fmt: skip


def file_note(mappings: Iterable[Mapping], page_size: int) -> ElfNote:
    """NT_FILE of the mappings of files: where they lie, the offset in pages, the path."""
    files = list(mappings)
    words = [len(files), page_size]
    for mapping in files:
        words += (mapping.start, mapping.end, mapping.offset // page_size)
    names = b"".join(
        mapping.path + (b" (deleted)\0" if mapping.deleted else b"\0") for mapping in files
    )
    return ElfNote(CORE, NT_FILE, Struct(f"<{len(words)}Q").pack(*words) + names)
