"""usercrash_s, the server: program (command line), loop, sockets (where it listens), reception and
incident (one client), workers (behind the kernel's socket), jobs, queue and elf_descriptors (the
pool), recovery (after a restart), kernel_log and missed (what never arrived), tally (figures)."""

from .program import main

__all__ = ["main"]
