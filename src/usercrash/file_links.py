"""Links from a terminal to files (OSC 8): only to files that are there, on this machine.

What a report calls a file may be any text of a crashed program. A link is made of an absolute path
at which a regular file was found, by the walk that enters nothing that may hang; it holds
nothing but letters, digits, `/-._~` and percent signs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import quote

from .analysis.core.file_search import Place, Spot
from .config import Config

_MAX_LOOKS = 200  # files of one report that are looked for
_MAX_PATH = 1024
# Those that show the sequence, or parts of it. (Others pass over what they do not know.)
_UNABLE = ("linux", "vt", "cons", "dumb", "eterm", "emacs")


def links_wished(config: Config, *, color: bool) -> bool:
    """Whether a terminal that has colours is to get links, too."""
    environment = os.environ
    able = not environment.get("TERM", "dumb").startswith(_UNABLE)
    wished = config.terminal.links and environment.get("FORCE_HYPERLINK") != "0"
    return color and able and wished and not environment.get("INSIDE_EMACS")


@dataclass(slots=True)
class FileLinks:
    """Makes the links of one report, each once."""

    _known: dict[str, str] = field(default_factory=dict)

    def link(self, path: str) -> str:
        """The URL of the file; "" where there is none that can be told."""
        if path not in self._known:
            if len(self._known) >= _MAX_LOOKS:
                return ""
            self._known[path] = _link(path)
        return self._known[path]


def _link(path: str) -> str:
    if not path.startswith("/") or len(path) > _MAX_PATH:
        return ""
    if os.path.normpath(path) != path or path.startswith("//"):  # (a host's name, to some)
        return ""
    try:
        name = path.encode()
    except UnicodeEncodeError:
        return ""
    if Spot(Place(b""), name, True).status() is None:
        return ""
    return f"file://{quote(os.uname().nodename, safe='')}{quote(name, safe='/')}"
