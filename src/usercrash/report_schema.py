"""The JSON Schema of the report, generated from its model.

python -m usercrash.report_schema            print it
python -m usercrash.report_schema --check F  status 1 unless F is what would be printed
python -m usercrash.report_schema --write F  write it to F (docs/report.schema.json)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .report import VERSION, Report


def schema() -> str:
    """The schema (JSON Schema 2020-12) as indented text with a final newline."""
    root = msgspec.json.schema(Report)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"usercrash report, version {VERSION}",
    }
    return json.dumps(head | root, indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """The program; gives the exit status."""
    if not arguments:
        sys.stdout.write(schema())
        return 0
    if len(arguments) != 2 or arguments[0] not in ("--check", "--write"):
        sys.stderr.write("usage: python -m usercrash.report_schema [--check FILE | --write FILE]\n")
        return 2
    path = Path(arguments[1])
    if arguments[0] == "--write":
        path.write_text(schema(), encoding="utf-8")
        return 0
    if not path.exists() or path.read_text(encoding="utf-8") != schema():
        sys.stderr.write(f"{path} is not current: run with --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
