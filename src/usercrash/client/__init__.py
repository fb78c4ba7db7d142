"""usercrash_c, the client: program (what the kernel starts), link (its end of the connection),
alone (without a server)."""

from .program import main

__all__ = ["main"]
