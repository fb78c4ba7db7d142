"""Configuration: defaults, every kind of mistake with its place, any bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash import config
from usercrash.config import Config, load_config, parse_config
from usercrash.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.VARIABLE, raising=False)


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_config(text.encode(), "/etc/u.toml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_example_is_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load_config(str(ROOT / "docs/usercrash.toml")) == Config()


def test_the_example_names_every_key() -> None:
    text = (ROOT / "docs/usercrash.toml").read_text()
    for table in Config.__struct_fields__:
        assert f"[{table}]" in text
        for key in getattr(Config(), table).__struct_fields__:
            assert f"\n{key} = " in text


def test_values_are_taken() -> None:
    found = parse_config(
        b'[reports]\nslots = 3\n[server]\nrequest_seconds = 2\n[paths]\nrun="/r"', "f"
    )
    assert (found.reports.slots, found.server.request_seconds, found.paths.run) == (3, 2.0, "/r")
    assert found.paths.reports == "/var/log/usercrashes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\n[reports]\n# how many\nslots = 'x'",
            "reports.slots: expected an integer from 1 to 9999, got 'x' at /etc/u.toml:4",
        ),
        (
            "[reports]\nslots = 0",
            "reports.slots: expected an integer from 1 to 9999, got 0 at /etc/u.toml:2",
        ),
        (
            "[reports]\nslots = true",
            "reports.slots: expected an integer from 1 to 9999, got true at /etc/u.toml:2",
        ),
        (
            "[reports]\nslot = 5",
            "reports.slot: unknown key at /etc/u.toml:2 (did you mean slots?)",
        ),
        (
            "[reports]\nzzz = 5",
            "reports.zzz: unknown key at /etc/u.toml:2 (keys of [reports]: slots)",
        ),
        ("[report]\nslots = 5", "report: unknown table at /etc/u.toml:1 (did you mean [reports]?)"),
        ("slots = 5", "slots: unknown table at /etc/u.toml:1 (it belongs under [reports])"),
        ("a = 1\nreports = 5", "a: unknown table at /etc/u.toml:1"),
        (
            "\nreports = 5",
            "reports: expected a table [reports], got 5 at /etc/u.toml:2",
        ),
        (
            "[reports]\nslots = 7\n[analysis]\nseconds = 3\n[capture]\nseconds = -1",
            "capture.seconds: expected a number of seconds above 0, at most 3600, got -1"
            " at /etc/u.toml:6",
        ),
        ("[terminal]\nlinks = 1", "terminal.links: expected true or false, got 1 at /etc/u.toml:2"),
        ("[python]\nvariables = 'no'", "python.variables: expected true or false, got 'no'"),
        ("[source]\ndirectories = ['src']", "a list of at most 64 absolute paths of directories"),
        ("[capture]\nseconds = nan", "got nan at /etc/u.toml:2"),
        ("[capture]\nseconds = inf", "got inf at /etc/u.toml:2"),
        (
            "[paths]\nreports = 'here'",
            "paths.reports: expected an absolute path, got 'here' at /etc/u.toml:2",
        ),
        ("[paths]\nrun = '/" + "x" * 92 + "'", "an absolute path of at most 92 characters"),
        ("[paths]\nrun.x = 1", "92 characters, got a table at /etc/u.toml:2"),
        ("reports.slots = 0", "got 0 at /etc/u.toml:1"),
        ("\nreports = { slots = 0 }", "got 0 at /etc/u.toml:2"),
        ('[ "reports" ]\n"slots" = 0', "got 0 at /etc/u.toml:2"),
        ("[[reports]]\nslots = 0", "reports: expected a table [reports], got [{'slots': 0}]"),
        ("[reports\n", "not valid TOML: "),
        ("[reports]\nslots = 1\nslots = 2", "not valid TOML: Cannot overwrite a value"),
        ("a = " + "9" * 5000, "not valid TOML: "),
        ("a = " + "[" * 100_000, "/etc/u.toml"),
    ],
)  # fmt: skip
def test_mistakes_name_key_place_and_what_is_allowed(text: str, message: str) -> None:
    assert message in refusal(text)


def test_not_utf8() -> None:
    with pytest.raises(UsageError, match="not UTF-8 text at f:2"):
        parse_config(b"# fine\n\xff", "f")


def test_absent_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = str(tmp_path / "absent.toml")
    monkeypatch.setattr(config, "DEFAULT_PATH", absent)
    assert load_config(None) == Config()
    with pytest.raises(UsageError, match="there is no configuration file"):
        load_config(absent)
    monkeypatch.setenv(config.VARIABLE, absent)
    with pytest.raises(UsageError, match="there is no configuration file"):
        load_config(None)


def test_order_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {}
    for slots in (1, 2, 3):
        files[slots] = tmp_path / f"{slots}.toml"
        files[slots].write_text(f"[reports]\nslots = {slots}\n")
    monkeypatch.setattr(config, "DEFAULT_PATH", str(files[1]))
    assert load_config(None).reports.slots == 1
    monkeypatch.setenv(config.VARIABLE, str(files[2]))
    assert load_config(None).reports.slots == 2
    assert load_config(str(files[3])).reports.slots == 3


def test_what_is_not_a_file(tmp_path: Path) -> None:
    fifo, huge = tmp_path / "fifo", tmp_path / "huge"
    os.mkfifo(fifo)
    huge.touch()
    os.truncate(huge, 1 << 40)
    for path, message in (
        (fifo, "is not a regular file"),
        (tmp_path, "is not a regular file|Is a directory"),
        (huge, "is larger than 1 MiB"),
        (huge / "x", "Not a directory"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(UsageError, match=message):
            load_config(str(path))


def test_cache_of_others_than_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/c")
    assert Config().paths.cache == "/var/tmp/c/usercrash"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert Config().paths.cache == "/home/u/.cache/usercrash"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Config().paths.cache == "/var/cache/usercrash"


WORDS = st.sampled_from(
    [*"[]{}=\"'.#1\n", "[paths]", "[reports]", "[x]", "slots", "run", "reports"]
)


@given(
    st.binary() | st.lists(WORDS | st.text(max_size=3)).map(lambda parts: "".join(parts).encode())
)
def test_any_bytes_give_a_configuration_or_its_error(data: bytes) -> None:
    try:
        parse_config(data, "f")
    except UsageError as error:
        assert "f" in error.message
