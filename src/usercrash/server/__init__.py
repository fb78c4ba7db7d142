"""usercrash_s, the server: program (command line), loop, incident (one client), jobs (the pool),
recovery (after a restart)."""

from .program import main

__all__ = ["main"]
