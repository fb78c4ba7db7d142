"""Which process a core is of, and which signal ended it: its own notes, then what it shows."""

from __future__ import annotations

from ...elf.headers import AT_ENTRY, AT_EXECFN, AT_PHDR
from ..core.image import CoreImage
from ..core.places import Places
from ..facts.process import Identity
from ..facts.signals import SigInfo, decode_siginfo, of_machine

_SIGSTOP = 19


def signal_of(image: CoreImage) -> SigInfo | None:
    """The signal that ended the process; None for a dump of a live one."""
    event = image.event
    if event is not None and event.signal == 0:
        return None
    arch = image.arch
    info = decode_siginfo(image.siginfo, arch.long, arch.order, arch.code_first, arch.signals)
    if info is None:
        number = image.threads[0].signal or (event.signal if event else 0)
        info = SigInfo(number) if 1 <= number <= 64 else None
    info = of_machine(info, arch) if info is not None else None
    if event is None and info is not None and info.number == _SIGSTOP:
        return None  # gdb's gcore: the stop of its own attach
    return info


def identity_of(image: CoreImage) -> Identity:
    """Ids, names and arguments: of the event where there is one, else of the kernel's notes; of a
    bare core the first thread stands for the process."""
    event, first, psinfo = image.event, image.threads[0], image.psinfo
    pid = event.pid if event and event.pid > 0 else psinfo.pid if psinfo else first.tid
    tid = event.tid if event and event.tid > 0 else first.host_tid or first.tid
    auxv = image.auxv
    places = Places(image.mappings)
    program = places.find(auxv.get(AT_PHDR, 0)) or places.find(auxv.get(AT_ENTRY, 0))
    return Identity(
        pid=pid,
        tid=tid,
        comm=psinfo.comm if psinfo else b"",
        args=psinfo.args if psinfo else b"",
        exe=program.path if program and program.path[:1] == b"/" else b"",
        execfn=image.read(auxv.get(AT_EXECFN, 0), 4096).partition(b"\0")[0],
        auxv=auxv,
    )
