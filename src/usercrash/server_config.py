"""The configuration that a running server uses, for a client that finds it hung or gone.

A client reads no configuration while it holds a process, and its command line has no room
for much: so the server leaves its own, resolved, in the run directory.
"""

from __future__ import annotations

import os

import msgspec

from .config import Config, load_config
from .errors import UsercrashError

_NAME = "effective.json"


def save_effective(config: Config) -> None:
    """Write the server's configuration into its run directory; OSError as it comes."""
    path = os.path.join(config.paths.run, _NAME)
    part = f"{path}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(config))
    os.rename(part, path)


def load_effective(run: str, named: str) -> Config:
    """The configuration `named`, else the one that a server left in `run`, else the default's.

    UsercrashError if a named one is wrong.
    """
    if named:
        return load_config(named)
    path = os.path.join(run, _NAME)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            return msgspec.json.decode(file.read(1 << 20), type=Config)
    except FileNotFoundError:
        return load_config(None)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsercrashError(f"{path}: {error}", "remove it, or start usercrash_s") from error
