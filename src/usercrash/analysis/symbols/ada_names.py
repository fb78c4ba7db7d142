"""Readable forms of GNAT's names: `pkg__child__proc__2` is `pkg.child.proc`.

Such a name looks like one of C: ask only where the unit is Ada, or the shape leaves no doubt.
Source: GNAT's exp_dbug.ads, which describes these encodings.
"""

from __future__ import annotations

import re

_OPERATORS = {
    "Oabs": "abs", "Oand": "and", "Omod": "mod", "Onot": "not", "Oor": "or", "Orem": "rem",
    "Oxor": "xor", "Oeq": "=", "One": "/=", "Olt": "<", "Ole": "<=", "Ogt": ">", "Oge": ">=",
    "Oadd": "+", "Osubtract": "-", "Oconcat": "&", "Omultiply": "*", "Odivide": "/", "Oexpon": "**",
}  # fmt: skip
_PART = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*\Z")
_NUMBER = re.compile(r"(?:\.\d+)+\Z|(?:__\d+(?:_\d+)*)(?:\.\d+)?\Z|\$\d+\Z")
# Behind a name: the body of a task (type), of an entry, of a protected operation; a nested body
_BODY = re.compile(r"(?<=[a-z0-9])(?:TK?B|_E\d+[bs]|[NP]|X[nb]*)\Z")
_INSIDE = re.compile(r"(?<=[a-z0-9])TK(?=__)|__B_\d+(?=__)")  # of a task's body, of a block
_ELABORATION = {"___elabs": "'Elab_Spec", "___elabb": "'Elab_Body"}


def ada_name(name: str) -> str | None:
    """What a name of GNAT's stands for, None where it has another form than those known here."""
    if name.startswith("_ada_"):
        name = name[5:]
    tail = ""
    for ending, told in _ELABORATION.items():
        if name.endswith(ending):
            name, tail = name[: -len(ending)], told
    name = _INSIDE.sub("", _BODY.sub("", _NUMBER.sub("", name)))
    parts = name.split("__")
    found = []
    for part in parts:
        if part in _OPERATORS:
            found.append(f'"{_OPERATORS[part]}"')
        elif _PART.match(part):
            found.append(part)
        else:
            return None
    return ".".join(found) + tail


def surely_ada(name: str) -> bool:
    """Whether a linker's name can be nobody's but GNAT's, without any debug information."""
    if name.startswith("_ada_") or name.endswith(tuple(_ELABORATION)):
        return True
    return name.startswith(("ada__", "system__", "gnat__", "interfaces__")) and "__" in name
