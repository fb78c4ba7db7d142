"""docs/report.schema.json is what the model says, and reports obey it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support import sample_reports

from usercrash.report import from_json, to_json
from usercrash.report_schema import main, schema

FILE = Path(__file__).parents[2] / "docs" / "report.schema.json"
_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
_ODD = "\x1b[m \x7f \x80\x9b\x9f \u061c \u200e\u200f \u2028\u202e \u2066\u2069 \xa0\xe9 \u2026"
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


def problems(value: object, rule: dict[str, object], root: dict[str, object], at: str) -> list[str]:
    """What in `value` breaks the rule: the part of JSON Schema that msgspec writes."""
    if "$ref" in rule:
        name = str(rule["$ref"]).removeprefix("#/$defs/")
        definitions = root["$defs"]
        assert isinstance(definitions, dict)
        return problems(value, definitions[name], root, at)
    if "anyOf" in rule:
        choices = rule["anyOf"]
        assert isinstance(choices, list)
        found = [problems(value, one, root, at) for one in choices]
        return [] if any(not one for one in found) else found[0]
    kind = str(rule.get("type", ""))
    if kind and (
        not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        return [f"{at}: not {kind}"]
    result = []
    if isinstance(value, dict):
        properties = rule.get("properties", {})
        others = rule.get("additionalProperties")
        assert isinstance(properties, dict)
        required = rule.get("required", [])
        assert isinstance(required, list)
        result += [f"{at}: no {name}" for name in required if name not in value]
        for key, one in value.items():
            inner = properties.get(key, others)
            if inner is None:
                result.append(f"{at}/{key}: not in the schema")
            elif isinstance(inner, dict):
                result += problems(one, inner, root, f"{at}/{key}")
    if isinstance(value, list) and isinstance(rule.get("items"), dict):
        items = rule["items"]
        assert isinstance(items, dict)
        for number, one in enumerate(value):
            result += problems(one, items, root, f"{at}/{number}")
    return result


def test_the_file_is_current() -> None:
    assert main(["--check", str(FILE)]) == 0
    assert FILE.read_text("utf-8") == schema()


def test_check_finds_an_old_file(tmp_path: Path) -> None:
    old = tmp_path / "schema.json"
    assert main(["--check", str(old)]) == 1
    assert main(["--write", str(old)]) == 0
    assert main(["--check", str(old)]) == 0
    assert main(["--wrong"]) == 2


@pytest.mark.parametrize("name", sample_reports.ALL)
def test_reports_obey(name: str) -> None:
    report = sample_reports.ALL[name]()
    data = to_json(report)
    rules = json.loads(FILE.read_text("utf-8"))
    assert problems(json.loads(data), rules, rules, "") == []
    assert from_json(data) == report


@given(st.text())
@example(_ODD)
def test_no_text_steers_a_terminal(text: str) -> None:
    base = sample_reports.live()
    process = msgspec.structs.replace(base.process, comm=text)
    data = to_json(msgspec.structs.replace(base, process=process))
    assert from_json(data).process.comm == text
    held = data.decode()
    assert not any(unicodedata.category(char) == "Cc" for char in held)
    assert not any(unicodedata.bidirectional(char) in _DIRECTIONS for char in held)


def test_what_nobody_sees_is_told() -> None:
    base = sample_reports.live()
    text = "a\u200bb\u200d\u2060\ufeff\u00ad\U000e0041z"
    data = to_json(
        msgspec.structs.replace(base, process=msgspec.structs.replace(base.process, comm=text))
    )
    assert rb'"a\u200bb\u200d\u2060\ufeff\u00ad\udb40\udc41z"' in data
    assert from_json(data).process.comm == text


def test_a_wrong_report_is_found() -> None:
    rules = json.loads(FILE.read_text("utf-8"))
    value = json.loads(to_json(sample_reports.live()))
    del value["process"]["pid"]
    value["threads"][0]["tid"] = "7"
    value["more"] = 1
    found = problems(value, rules, rules, "")
    assert "/process: no pid" in found and "/threads/0/tid: not integer" in found
    assert "/more: not in the schema" in found


def test_fields_of_the_first_version() -> None:
    """What programs may rely on (version 1)."""
    value = json.loads(to_json(sample_reports.null_pointer()))
    wanted = {
        "event": "time source", "process": "pid tid comm exe cmdline uid gid",
        "signal": "number name code code_name fault_address sender", "cause": "kind summary",
    }  # fmt: skip
    for part, names in wanted.items():
        assert set(names.split()) <= set(value[part])
    thread = value["threads"][0]
    assert {"tid", "name", "crashed", "registers", "stack_end", "frames"} <= set(thread)
    frame_fields = (
        "index pc function linkage_name offset module module_offset build_id source inline trust"
    )
    assert set(frame_fields.split()) <= set(thread["frames"][0])
    assert set(thread["frames"][0]["source"]) >= {"file", "line"}
    assert {"modules", "maps", "open_files", "notes"} <= set(value)
