"""What `make test` runs: no kind of the tests may be empty, and none leaves files behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.build import need

SCRIPT = Path(__file__).parents[2] / "tools" / "run_tests.sh"
# In the place of Python: its statuses are those in its file, one for each call.
PYTEST = """#!/bin/sh
cd "$(dirname "$0")" || exit 99
printf '%s|' "$@" >>calls
echo >>calls
read -r status <statuses
sed -i 1d statuses
[ -z "${LEAVES:-}" ] || : >"checkout/$LEAVES"
exit "$status"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    place = tmp_path / "checkout"
    place.mkdir()
    subprocess.run([need("git", "git"), "init", "-q", "."], cwd=place, check=True)
    (place / ".gitignore").write_text(".cache/\n*.pyc\n")
    (place / "mine.py").touch()  # (not known to git yet)
    (tmp_path / "python").write_text(PYTEST)
    (tmp_path / "python").chmod(0o755)
    return place


def run(
    checkout: Path, statuses: list[int], *arguments: str, leaves: str = ""
) -> tuple[int, str, list[list[str]]]:
    """Its status, what it says, and the arguments of each call."""
    place = checkout.parent
    (place / "statuses").write_text("".join(f"{status}\n" for status in statuses))
    done = subprocess.run(
        ["sh", SCRIPT, place / "python", *arguments], cwd=checkout, capture_output=True, text=True,
        check=False, env={"PATH": "/usr/bin:/bin", "LEAVES": leaves},
    )  # fmt: skip
    calls = [line.split("|")[:-1] for line in (place / "calls").read_text().splitlines()]
    return done.returncode, done.stderr, calls


def test_both_kinds_with_their_arguments(checkout: Path) -> None:
    status, said, calls = run(checkout, [0, 0], "-k", "one or two")
    assert (status, said) == (0, "")
    beside = ["-n", "2", "--dist", "loadgroup", "-m", "not machine"]
    assert calls == [
        ["-m", "pytest", *kind, "-k", "one or two"] for kind in (beside, ["-m", "machine"])
    ]


@pytest.mark.parametrize(
    ("statuses", "arguments", "status", "said"),
    [
        ([0, 0], [], 0, ""),
        ([5, 0], [], 1, "usercrash: no test was found of those that may run beside others\n"),
        ([0, 5], [], 1,
         "usercrash: no test was found of those that need the machine for themselves\n"),
        ([5, 0], ["tests/kernel"], 0, ""),
        ([0, 5], ["tests/unit"], 0, ""),
        ([5, 5], ["-k", "nothing"], 1, "usercrash: no test was found that fits the arguments\n"),
        ([1, 0], [], 1, ""),
        ([0, 1], [], 1, ""),
        ([5, 3], ["tests/kernel"], 3, ""),
        ([2, 0], ["tests/kernel"], 2, ""),
    ],
)  # fmt: skip
def test_status(
    checkout: Path, statuses: list[int], arguments: list[str], status: int, said: str
) -> None:
    assert run(checkout, statuses, *arguments)[:2] == (status, said)


@pytest.mark.parametrize(
    ("leaves", "status"), [("isolate-0x1-v8.log", 1), ("mine.py", 0), ("there.pyc", 0)]
)
def test_what_is_left_behind(checkout: Path, leaves: str, status: int) -> None:
    done, said, _ = run(checkout, [0, 0], leaves=leaves)
    assert done == status and said.endswith(f": {leaves}\n" if status else "")
    assert bool(said) == bool(status)
