"""The notes that the kernel would write for a process, made from what ptrace and /proc say.

Layouts: struct elf_prstatus and elf_prpsinfo of <linux/elfcore.h>, for 32-bit processes those of
<linux/elfcore-compat.h>; NT_FILE as fill_files_note() of fs/binfmt_elf.c writes
it. Fields that only the kernel knows (CPU times) are zero. Pure functions.
"""

from __future__ import annotations

from _struct import Struct

from ..elf.arch import Arch
from ..elf.headers import AT_PHENT, NT_FILE, NT_PRPSINFO, NT_PRSTATUS
from ..model.maps import Mapping
from ..model.snapshot import ElfNote
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CORE = b"CORE"
LINUX = b"LINUX"

# struct elf_prstatus up to pr_reg: elf_siginfo (3 int), short cursig, ulong sigpend,
# sighold, pid, ppid, pgrp, sid, four timevals. By the size of a long, as the others.
_PRSTATUS = {8: Struct("<iiihxxQQiiii64x"), 4: Struct("<iiihxxIIiiii32x")}
assert (_PRSTATUS[8].size, _PRSTATUS[4].size) == (112, 72)
# struct elf_prpsinfo: state, sname, zomb, nice, flag, uid, gid (16 bits in 32-bit processes),
# pid, ppid, pgrp, sid, fname, psargs.
_PRPSINFO = {8: Struct("<bcbbxxxxQIIiiii16s80s"), 4: Struct("<bcbbIHHiiii16s80s")}
assert (_PRPSINFO[8].size, _PRPSINFO[4].size) == (136, 124)
_OVERFLOW_ID = 65534  # an id that does not fit in 16 bits (DEFAULT_OVERFLOWUID, <linux/highuid.h>)

_STATES = b"RSDTZW"
_PHDR32_SIZE = 32
_WITH_ADDRESS = frozenset((4, 5, 7, 8, 11))  # SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV
_SEGV_BNDERR = 3


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
    head = _PRSTATUS[arch.long].pack(
        number or signal, code, error, signal, 0, blocked & (1 << 8 * arch.long) - 1,
        tid, ppid, pgrp, session,
    )  # fmt: skip
    body = head + registers
    # pr_fpvalid follows the registers: floating point registers are in NT_FPREGSET.
    body += b"\1\0\0\0".ljust(arch.prstatus_size - len(body), b"\0")
    return ElfNote(CORE, NT_PRSTATUS, body)


def prpsinfo(
    pid: int, ids: ProcessIds, uid: int, gid: int, cmdline: bytes, long: int = 8
) -> ElfNote:
    """NT_PRPSINFO; uid and gid are the real ids, `cmdline` the text of /proc/PID/cmdline, `long`
    the size of an address."""
    letter = ids.state[:1] or b"R"
    arguments = cmdline[:79].replace(b"\0", b" ").rstrip(b" ")
    owners = [number & 0xFFFFFFFF for number in (uid, gid)]
    if long == 4:
        owners = [number if number <= 0xFFFF else _OVERFLOW_ID for number in owners]
    return ElfNote(
        CORE,
        NT_PRPSINFO,
        _PRPSINFO[long].pack(
            max(0, _STATES.find(letter)), letter, letter == b"Z", ids.nice,
            ids.flags & (1 << 8 * long) - 1, *owners, pid, ids.ppid, ids.pgrp, ids.session,
            ids.comm[:15], arguments,
        ),
    )  # fmt: skip


def file_note(mappings: Iterable[Mapping], page_size: int, long: int = 8) -> ElfNote:
    """NT_FILE of the mappings of files: where they lie, the offset in pages, the path; `long` is
    the size of an address, which those of a 32-bit process fit in."""
    files = list(mappings)
    words = [len(files), page_size]
    for mapping in files:
        words += (mapping.start, mapping.end, mapping.offset // page_size)
    names = b"".join(
        mapping.path + (b" (deleted)\0" if mapping.deleted else b"\0") for mapping in files
    )
    if long == 4:
        words = [word & 0xFFFFFFFF for word in words]
    letter = "Q" if long == 8 else "I"
    return ElfNote(CORE, NT_FILE, Struct(f"<{len(words)}{letter}").pack(*words) + names)


def auxv_long(auxv: bytes) -> int:
    """The size of an address in a process with this auxiliary vector: 8, or 4 if its
    program headers (AT_PHENT) are those of a 32-bit ELF file."""
    pairs = dict(Struct("<II").iter_unpack(auxv[: len(auxv) // 8 * 8]))
    return 4 if pairs.get(AT_PHENT) == _PHDR32_SIZE else 8


def own_auxv(auxv: bytes, long: int) -> bytes:
    """The vector up to AT_NULL: behind that of a 32-bit process /proc shows zeros."""
    step = 2 * long
    for position in range(0, len(auxv) - step + 1, step):
        if not any(auxv[position : position + long]):
            return auxv[: position + step]
    return auxv


def siginfo_of(native: bytes, long: int) -> bytes:
    """A siginfo_t of this kernel as the process itself has it: with addresses of 32 bits, what
    follows si_code begins 4 bytes earlier, and pointers are shorter (<asm-generic/siginfo.h>)."""
    if long == 8 or len(native) < 128:
        return native
    head, fields = native[:12], native[16:]
    number, code = (int.from_bytes(native[at : at + 4], "little", signed=True) for at in (0, 8))
    if code <= 0:
        # _kill, _rt: si_pid, si_uid, si_value; _timer: si_tid, si_overrun, si_value.
        body = fields[:8] + fields[8:12]
    elif number in _WITH_ADDRESS:
        # si_addr, then si_addr_lsb, or bounds or a key behind a gap as large as an address.
        body = fields[:4] + fields[8:12] + fields[16:24]
        if number == 11 and code == _SEGV_BNDERR:
            body = fields[:4] + bytes(4) + fields[16:20] + fields[24:28]
    elif number == 31:
        body = fields[:4] + fields[8:16]  # si_call_addr, si_syscall, si_arch
    elif number == 29:
        body = fields[:4] + fields[8:12]  # si_band, si_fd
    else:
        body = fields[:12]  # _sigchld: si_pid, si_uid, si_status
    return (head + body).ljust(128, b"\0")
