"""usercrash_c, the client: program (what the kernel starts), collecting (capture, let go), link
(its end of the connection), alone (without a server)."""

from .program import main

__all__ = ["main"]
