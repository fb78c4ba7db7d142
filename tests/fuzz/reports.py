"""Whole reports: of damaged cores, and with damaged files that runtimes wrote of themselves."""

from __future__ import annotations

import json
import re
from random import Random

from tests.runtimes.keep_logs import HERE as RUNTIMES
from usercrash.analysis.assemble import assemble
from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.module_files import FileProviders
from usercrash.analysis.core.modules import load_modules
from usercrash.analysis.symbols.symbolizer import Symbolizer
from usercrash.model.event import CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.types import Pid, Tid
from usercrash.render.html import render_html
from usercrash.render.text import render_text
from usercrash.report import to_json

from .mutate import mutated

_NOWHERE = SearchPlaces(Place(b"/nonexistent"))
_WRITTEN = 1795873500
# What no terminal and no page may get from a process: control characters, and those that turn text
_ACTIVE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TEXTS = (
    b"\x1b]0;x\x07",
    b"<script>",
    "\u202e".encode(),
    b"\\u202e",
    b"\\u001b[2J",
    b"\xff",
    b"&lt;",
)
_SHOWN = re.compile(rb"goods|Error: x|at f|/srv/a|v20|# Problematic frame|\[lib[a-z]+|j  Shop")
_NODE = {
    "header": {
        "event": "no more goods", "trigger": "OOMError", "processId": 1,
        "dumpEventTimeStamp": f"{_WRITTEN}000", "nodejsVersion": "v20.1.2",
    },
    "javascriptStack": {"message": "Error: x", "stack": ["at f (/srv/a.js:1:27)", "at b.js:4:5"]},
    "javascriptHeap": {"usedMemory": 33_400_000, "memoryLimit": 71_300_000},
}  # fmt: skip


def damaged_core(cores: tuple[bytes, ...], random: Random) -> bytes:
    """A core with damage to notes and memory."""
    return mutated(cores, random, 8000)


def _runtime_file(random: Random) -> tuple[bytes, bytes]:
    """The fact of one, with damage: numbers that are too large, characters that do something."""
    if random.random() < 0.5:
        name, data = b"@node_report", json.dumps(_NODE).encode()
    else:
        logs = sorted((RUNTIMES / "kept").glob("*.log"))
        name, data = b"@hs_err", random.choice(logs).read_bytes()
    for _ in range(random.choice((0, 1, 2, 4))):
        words = [*_SHOWN.finditer(data)]
        at = random.choice(words).end() if words else random.randrange(len(data))
        if random.random() < 0.5:
            data = data[:at] + random.choice(_TEXTS) + data[at:]
        else:
            number = random.choice([*re.finditer(rb"\d+", data)] or [None])
            if number is not None:
                digits = b"9" * random.choice((1, 20, 400, 5000))
                data = data[: number.start()] + digits + data[number.end() :]
    return name, mutated([data], random) if random.random() < 0.3 else data


def run(data: bytes, random: Random) -> None:
    """The report of a core in all its forms: complete, and of plain text."""
    image = CoreImage.open(data)
    name, text = _runtime_file(random)
    image.facts[name] = text
    tid = image.threads[0].tid if image.threads else 1
    image.event = image.event or CrashEvent(
        source="fuzz", time_ns=(_WRITTEN + 1) * 10**9, pid=Pid(tid), tid=Tid(tid), signal=6
    )
    modules = load_modules(image, FileProviders([]))
    symbolizer = Symbolizer(None, NoteLog(), places=_NOWHERE, native=False)
    report = assemble(image, modules, symbolizer, "f" * 32)
    assert report.complete, [str(note) for note in image.notes]
    page = render_html(report)
    assert "<script" not in page  # (it has none of its own)
    for form in (render_text(report), to_json(report).decode(), page):
        active = _ACTIVE.search(form)
        assert active is None, form[max(active.start() - 80, 0) : active.end() + 20]
