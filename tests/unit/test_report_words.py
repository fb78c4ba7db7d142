"""Every kind and reason that the code can give is explained in docs/report.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from usercrash.analysis.explain import cause_abort

ROOT = Path(__file__).parents[2]


def _constants(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value:
            yield part.value


def words() -> set[str]:
    """The first argument and the reason of every call of `cause`, the values given to variables
    of these names."""
    found: set[str] = set()
    sources = [*ROOT.glob("src/usercrash/analysis/explain/cause*.py"),
               ROOT / "src/usercrash/analysis/explain/stack_overflow.py"]  # fmt: skip
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "cause":
                found.update(_constants(node.args[0]))
                for keyword in node.keywords:
                    if keyword.arg == "reason":
                        values = keyword.value
                        if isinstance(values, ast.IfExp):
                            found.update(_constants(values.body))
                            found.update(_constants(values.orelse))
                        else:
                            found.update(_constants(values))
            if isinstance(node, ast.Assign):
                names = [part.id for target in node.targets for part in ast.walk(target)
                         if isinstance(part, ast.Name)]  # fmt: skip
                if names and names[0] in ("reason", "kind"):
                    first = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
                    if isinstance(first, ast.Constant):
                        found.update(_constants(first))
    return found | {reason for _, reason, _ in cause_abort._CALLERS}


def test_all_are_documented() -> None:
    text = (ROOT / "docs" / "report.md").read_text("utf-8")
    found = words()
    assert {"null-pointer", "double-free", "rust-panic", "recursion"} <= found
    assert sorted(word for word in found if f"`{word}`" not in text) == []
