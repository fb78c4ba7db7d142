"""/proc texts with hostile names, and secrets."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from usercrash.analysis.facts import proc_texts as facts
from usercrash.analysis.facts.process import Identity, build_event, build_process, build_system
from usercrash.analysis.facts.secrets import (
    MASK,
    is_secret_name,
    mask_assignment,
    mask_cmdline,
    mask_lines,
    mask_value,
)
from usercrash.analysis.facts.texts import Texts
from usercrash.analysis.report_parts.lists import log_lines
from usercrash.elf.arch.x86_64 import ARCH as X86_64
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.types import Pid, Tid
from usercrash.report import Process

EVENT = CrashEvent(SOURCE_PIPE, 1_700_000_000_123_456_789, Pid(100), Tid(101), 11, 1)
STATUS = (
    b"Name:\ta) R 1\\nUid:\t0\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t100\nPid:\t101\n"
    b"PPid:\t1\nTracerPid:\t0\nUid:\t1000\t1001\t1000\t1000\nGid:\t5\t6\t5\t5\nGroups:\t5 27 \n"
    b"NStgid:\t100\t7\nNSpid:\t101\t8\nVmHWM:\t    1234 kB\nVmRSS:\t1000 kB\nThreads:\t9\n"
    b"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nCapEff:\t0000000000000400\n"
)


def process(given_facts: dict[bytes, bytes], identity: Identity | None = None) -> Process:
    notes = NoteLog()
    who = identity or Identity(100, 101)
    return build_process(given_facts, who, EVENT, Texts(notes), notes)


def test_status_cannot_be_forged_by_the_name() -> None:
    result = process({b"status": STATUS, b"task/101/comm": b"a) R 1\nUid:\t0\n"})
    assert (result.uid, result.euid, result.gid, result.egid) == (1000, 1001, 5, 6)
    assert result.groups == [5, 27]
    assert result.ppid == 1 and result.namespace_pid == 7
    assert result.memory_peak == 1234 * 1024
    assert result.seccomp == "3 filters" and result.capabilities == "net_bind_service"
    assert result.no_new_privileges is True
    assert result.thread_name == "a) R 1\nUid:\t0"


def test_stat_with_a_hostile_name() -> None:
    line = b"12 (x) R 1 2 (\n) S 7 12 12 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 5555 0 0"
    stat = facts.parse_stat(line)
    assert stat is not None
    assert (stat.comm, stat.state, stat.ppid, stat.start_ticks) == (b"x) R 1 2 (\n", b"S", 7, 5555)
    assert facts.parse_stat(b"12 (x") is None


def test_start_and_uptime() -> None:
    stat = b"100 (x) S 7 12 12 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 50000 0 0"
    result = process({b"stat": stat, b"@uptime": b"600.50 1.0\n", b"@clk_tck": b"100"})
    assert result.uptime_seconds == 100.5
    assert result.start_time == "2023-11-14T22:11:39+00:00"


def test_names_of_threads_and_process() -> None:
    given_facts = {b"task/100/comm": b"server\n", b"task/101/comm": b"\xff\x1b[31m\n"}
    notes = NoteLog()
    texts = Texts(notes)
    result = build_process(given_facts, Identity(100, 101), EVENT, texts, notes)
    assert (result.comm, result.thread_name) == ("server", "\\xff\x1b[31m")
    assert base64.b64decode(texts.raw["/process/thread_name"]) == b"\xff\x1b[31m"


def test_without_facts() -> None:
    who = Identity(5, 6, b"worker", b"/bin/app --x ", b"/bin/app", b"app", {11: 3, 12: 4, 13: 5})
    result = process({}, who)
    assert (result.comm, result.exe, result.cmdline) == ("worker", "/bin/app", ["/bin/app", "--x"])
    assert (result.uid, result.euid, result.gid, result.egid) == (3, 4, 5, None)
    assert result.auxiliary_vector["AT_UID"] == "0x3"


def test_limits_cgroup_environment() -> None:
    limits = (
        b"Limit                     Soft Limit           Hard Limit           Units     \n"
        b"Max stack size            8388608              unlimited            bytes     \n"
        b"Max nice priority         0                    0                    \n"
    )
    container = b"4" * 64
    result = process({
        b"limits": limits,
        b"cgroup": b"0::/system.slice/docker-" + container + b".scope\n",
        b"environ": b"HOME=/root\0API_KEY=abc\0PWD=/x\0",
        b"cmdline": b"app\0--password\0hunter2\0\0\0\0",
    })  # fmt: skip
    assert [(one.name, one.soft, one.hard, one.unit) for one in result.limits] == [
        ("Max stack size", "8388608", "unlimited", "bytes"),
        ("Max nice priority", "0", "0", ""),
    ]
    assert result.container == "4" * 64
    assert result.unit == "docker-" + "4" * 64 + ".scope"
    assert result.environment == ["HOME=/root", "API_KEY=<masked>", "PWD=/x"]
    assert result.cmdline == ["app", "--password", "<masked>"]


def test_unit_of_a_user_service() -> None:
    line = b"0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.service"
    assert facts.cgroup_names([line]) == (b"app-foo.service", b"")


def test_huge_environment_is_bounded() -> None:
    notes = NoteLog()
    given_facts = {b"environ": b"\0".join(b"V%d=%s" % (i, b"\x01" * 4000) for i in range(500))}
    build_process(given_facts, Identity(1, 1), None, Texts(notes), notes)
    assert any("variables" in note.what for note in notes)


def test_secrets_in_environment() -> None:
    for name in (b"AWS_SECRET_ACCESS_KEY", b"db_password", b"MYSQL_PWD", b"GH_TOKEN", b"COOKIE"):
        assert mask_assignment(name + b"=x") == name + b"=" + MASK
    for kept in (b"PWD=/x", b"SSH_AUTH_SOCK=/run/x", b"XDG_SESSION_ID=3", b"PATH=/bin", b"TOKEN="):
        assert mask_assignment(kept) == kept
    assert mask_assignment(b"DB=postgres://u:p%40ss@host/db") == b"DB=postgres://u:<masked>@host/db"
    assert mask_assignment(b"U=http://host:80/x@y") == b"U=http://host:80/x@y"
    assert mask_value(b"https://x/y?a=1&sig_token=abc&b=2") == (
        b"https://x/y?a=1&sig_token=<masked>&b=2"
    )
    assert MASK in mask_value(b"eyJhbGciOiJI.eyJzdWIiOiIx.abc-_123")


def test_secrets_by_short_words() -> None:
    secret = (
        b"pin_code", b"userPin", b"PIN", b"card-cvv2", b"otp", b"WIFI_PSK", b"creditCardNumber",
        b"pincode", b"dbPw", b"mfa_2",
    )  # fmt: skip
    for name in secret:
        assert is_secret_name(name), name
    for name in (
        b"spin",
        b"pinned",
        b"ping",
        b"mapping",
        b"SPIN_LOCK",
        b"credits",
        b"pwm",
        b"opts",
    ):
        assert not is_secret_name(name), name


def test_web_tokens_in_other_text() -> None:
    token = b"eyJhbGciOiJI.eyJzdWIiOiIx.abc-_123"
    for before in (b"", b"a.", b"token-", b'{"t":"', b"eyJshort.", b"x eyJ."):
        assert mask_value(before + token + b" z") == before + MASK + b" z", before
    for kept in (b"eyJhbGciOiJI.x.y", b"heyJhbGciOiJI.eyJzdWIiOiIx.abc", b"eyJabc.eyJabcdefgh.x"):
        assert mask_value(kept) == kept
    hostile = b"-eyJ" * 250_000  # (to look for an end from each of the beginnings takes minutes)
    assert mask_value(hostile) == hostile


def test_secrets_in_the_last_lines_of_logs() -> None:
    notes = NoteLog()
    texts = Texts(notes)
    lines = b"PUT https://u:hunter2@host/x\nAuthorization: Basic aHVudGVyMg\n\xffplain"
    found = log_lines({b"@log/stderr": lines}, texts)
    assert [(line.source, line.text) for line in found] == [
        ("stderr", "PUT https://u:<masked>@host/x"),
        ("stderr", "Authorization: <masked>"),
        ("stderr", "\\xffplain"),
    ]


def test_secrets_in_cmdline() -> None:
    line = [b"curl", b"-H", b"Authorization: Bearer abc", b"--token", b"t", b"--no-password", b"f"]
    assert mask_cmdline(line) == [
        b"curl", b"-H", b"Authorization: <masked>", b"--token", MASK, b"--no-password", b"f",
    ]  # fmt: skip
    assert mask_cmdline([b"x", b"--api-key=1", b"password=2", b"--key", b"--v"]) == [
        b"x", b"--api-key=<masked>", b"password=<masked>", b"--key", b"--v",
    ]  # fmt: skip


def test_event_and_system() -> None:
    assert build_event(EVENT).time == "2023-11-14T22:13:20.123456+00:00"
    assert build_event(EVENT).dump_mode == "user"
    assert build_event(None).source == "core_file"
    texts = Texts(NoteLog())
    assert build_system({b"@uptime": b"x"}, X86_64, texts).uptime_seconds is None


NAMES = st.sampled_from([
    b"status", b"stat", b"cmdline", b"environ", b"cgroup", b"limits", b"comm", b"loginuid",
    b"sessionid", b"oom_score", b"attr/current", b"exe", b"cwd", b"@uptime", b"@clk_tck",
    b"@hostname", b"task/100/comm", b"task/100/stat",
])  # fmt: skip


@given(st.dictionaries(NAMES, st.binary(max_size=300)))
def test_any_facts(given_facts: dict[bytes, bytes]) -> None:
    process(given_facts)
    build_system(given_facts, X86_64, Texts(NoteLog()))


@given(
    st.dictionaries(NAMES, st.lists(st.sampled_from([b"Uid:", b"\t", b"\n", b"99999999999999999999",
    b"-1", b"(", b")", b" 1" * 22, b"kB", b"VmHWM: 9 kB", b"nan", b"1e400", b"\xff"])))
)  # fmt: skip
def test_any_tokens(pieces: dict[bytes, list[bytes]]) -> None:
    process({name: b"".join(parts) for name, parts in pieces.items()})


def test_private_keys_over_several_lines_of_a_log() -> None:
    key = [
        b"app[7]: -----BEGIN RSA PRIVATE KEY-----",
        b"app[7]: MIIEowIBAAKCAQEAfaKeFakefAkefAkefaKeFakefAkefAkefaKeFakefAkefAke",
        b"app[7]: fAkefaKeFakefA==",
        b"app[7]: -----END RSA PRIVATE KEY-----",
    ]
    before, after = b"app[7]: reading the key", b"app[7]: token=secret user=eve"
    shown = mask_lines([before, *key, after])
    assert shown[0] == before and shown[-1] == mask_value(after)
    assert not any(b"efAke" in line or b"MII" in line for line in shown)
    # its end was not written any more
    assert mask_lines([before, *key[:2], key[1]])[2:] == [MASK, MASK]
    # its beginning is older than the tail: what stands before it and is no base64 stays
    assert mask_lines([after, *key[1:2], *key[3:], after]) == [
        mask_value(after), MASK, MASK, mask_value(after),
    ]  # fmt: skip
    # a key in one line hides no other line
    whole = b"-----BEGIN PRIVATE KEY-----MIIabc-----END PRIVATE KEY-----"
    assert mask_lines([whole, before]) == [MASK, before]
    # a name that only looks like base64 is not hidden without a key
    plain = [b"loadingConfigurationFile", before]
    assert mask_lines(plain) == plain
