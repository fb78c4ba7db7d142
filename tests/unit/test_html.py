"""The page of HTML: what stands on it, and that a process cannot write on it."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support import sample_reports
from tests.support.html_pages import Page, many_maps, many_threads, with_texts
from tests.support.sample_frames import frame, thread

import usercrash
import usercrash.report as r
from usercrash.minimal_report import minimal_report
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.render import sections as text_sections
from usercrash.render.first import end_words, fields, title_words
from usercrash.render.frames import other_threads, stack_lines
from usercrash.render.html import render_html
from usercrash.render.html.memory_map import draw
from usercrash.render.html.stacks import first_stack
from usercrash.render.layout import HEADING, Paper, Span, clean
from usercrash.render.text import report_paper

SAMPLES = sorted(sample_reports.ALL)
PAYLOADS = (
    "<script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "\"><img src=x onerror=alert(1)><a href='",
    "' onmouseover='alert(1)",
    "</title></head><body onload=alert(1)>",
    "<!--", "]]>", "<![CDATA[", "<?php", "<plaintext>", "&lt;script&gt;", "&#x3c;b&#x3e;",
    "javascript:alert(1)", "{{ 7*7 }}{% raw %}", "\x00<b\x00>", "\u202e<b>\u2028</b>", "\ud800<i>",
    "<" * 5000,
)  # fmt: skip


def page(report: r.Report) -> Page:
    return Page(render_html(report))


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: ascii(payload[:20]))
def test_no_text_becomes_markup(payload: str) -> None:
    base = sample_reports.null_pointer()
    tame = page(with_texts(base, lambda text: "word"))
    hostile = page(with_texts(base, lambda text: payload))
    assert hostile.shape() == tame.shape()
    assert clean(payload)[:100] in hostile.texts[0]


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1) | st.text(alphabet="<>&\"'/={}%!-[]? abscript\0\n", min_size=1))
def test_no_text_at_all_becomes_markup(payload: str) -> None:
    # Words that mean something to the view.
    assume(payload.strip() not in ("", "/") and not payload.startswith(("[stack", "[heap]")))
    base = sample_reports.null_pointer()
    tame = page(with_texts(base, lambda text: "word"))
    hostile = page(with_texts(base, lambda text: payload))
    assert hostile.shape() == tame.shape()
    assert all(character.isprintable() or character == "\n" for character in hostile.texts[0])


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_loaded_or_run(name: str) -> None:
    html = render_html(sample_reports.ALL[name]())
    found = Page(html)
    assert html.startswith("<!doctype html>\n") and found.declarations == ["doctype html"]
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use"}
    for tag, attributes in found.elements:
        assert not [one for one in attributes if one.startswith("on") or one in ("src", "style")]
        assert tag != "a" or (attributes["href"] or "").startswith("#")
    ((_, style),) = found.all("style")
    assert "url(" not in style and "@import" not in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [one["content"] or "" for one, _ in found.all("meta")
                 if one.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy.startswith("default-src 'none';") and f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", SAMPLES)
def test_links_lead_somewhere_and_headings_are_in_order(name: str) -> None:
    found = page(sample_reports.ALL[name]())
    ids = Counter(one["id"] for _, one in found.elements if "id" in one)
    assert max(ids.values()) == 1
    for attributes, _ in found.all("a"):
        assert (attributes["href"] or "")[1:] in ids
    for _, attributes in found.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(found.all(landmark)) == 1
    assert all("scope" in one for one, _ in found.all("th"))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_screen_has_the_words_of_the_text(name: str) -> None:
    report = sample_reports.ALL[name]()
    found = page(report)
    assert found.all("h1")[0][1] == found.all("title")[0][1] == title_words(report)
    (_, first) = found.all("dl", class_="first")[0]
    for field in fields(report):
        words = "".join(part.text if isinstance(part, Span) else part for part in field.parts)
        assert " ".join(clean(words)[:100].split()) in " ".join(first.split())
    assert first.split()[0] == fields(report)[0].label


@pytest.mark.parametrize("name", ["null_pointer", "overflow", "live"])
def test_every_section_of_the_text_is_there(name: str) -> None:
    report = sample_reports.ALL[name]()
    paper = report_paper(report)
    titles = [line[0].text for line in paper.lines if len(line) == 1 and line[0].style == HEADING]
    found = page(report)
    shown = {text for tag in ("h2", "h3") for _, text in found.all(tag)}
    assert set(titles) - {"Limits (soft, hard)"} <= shown
    whole = found.texts[0]
    for each in report.threads:
        for one in each.frames[:14]:
            assert one.function is None or clean(one.function) in whole
    assert "".join(report.process.environment[1]) in whole


def test_a_section_without_a_template_is_shown_as_its_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def python_stack(paper: Paper, report: r.Report) -> None:
        paper.heading("Python <stack>")
        paper.line(Span("  File <x>", "function"))
        paper.blank()
        paper.heading("More of it")
        paper.line("  more")

    def no_heading(paper: Paper, report: r.Report) -> None:
        paper.line("  bare")

    monkeypatch.setattr(text_sections, "ALL", [python_stack, no_heading])
    found = page(sample_reports.null_pointer())
    assert [text for _, text in found.all("h2")][2:] == ["Python <stack>", "No heading"]
    assert [text for _, text in found.all("h3")] == ["More of it"]
    assert ({"class": "function"}, "  File <x>") in found.all("span")
    assert "  bare" in found.texts[0]


def test_registers_lead_into_memory_where_their_bytes_are_marked() -> None:
    base = sample_reports.null_pointer()
    registers = {"rdi": "0x55d0c0b00020", "rax": "0x0", "rip": "0x55d0c0a01234",
                 "rsp": "0x7ffc00001000", "r9": "0x55d0c0b0002a"}  # fmt: skip
    first = msgspec.structs.replace(base.threads[0], registers=registers)
    found = page(msgspec.structs.replace(base, threads=[first, *base.threads[1:]]))
    links = {text: one["href"] for one, text in found.all("a")}
    assert links["55d0c0b00020"] == links["55d0c0b0002a"] == "#m0-55d0c0b00020"
    assert links["55d0c0a01234"] == "#c-55d0c0a01234" and links["7ffc00001000"] == "#s-7ffc00001000"
    assert "0" not in links
    ((_, row),) = [one for one in found.all("tr") if one[0].get("id") == "m0-55d0c0b00020"]
    assert "61 20 74 69" in row and "a title of a boo" in row
    marked = [(one["title"], text) for one, text in found.all("span", class_="target")
              if one.get("title")]  # fmt: skip
    assert marked == [("rdi, rbx = 0x55d0c0b00020", "61 20 74 69 74 6c 65 20"),
                      ("r9 = 0x55d0c0b0002a", "20 61 20 62 6f 6f"),
                      ("r9 = 0x55d0c0b0002a", "6b 00")]  # fmt: skip
    gaps = [text for one, text in found.all("span", class_="gap") if one.get("title")]
    assert gaps == ["-- -- -- -- -- -- -- --"]
    assert "16 bytes were not captured" in found.texts[0]


def test_what_the_cause_rests_on_stands_first_among_the_registers() -> None:
    base = sample_reports.null_pointer()
    assert base.cause is not None
    evidence = [
        r.Evidence(what="signal", value="SIGSEGV"),
        r.Evidence(what="rax", value="0x0", meaning="null"),
    ]
    cause = msgspec.structs.replace(base.cause, evidence=evidence)
    registers = {"rdi": "0x55d0c0b00020", "rcx": "0x0", "rax": "0x0"}
    first = msgspec.structs.replace(
        base.threads[0], registers=registers, register_notes={"rdi": "the heap"}
    )
    report = msgspec.structs.replace(base, cause=cause, threads=[first, *base.threads[1:]])
    found = page(report)
    names = [text for _, text in found.all("dt") if text in registers]
    assert names[:3] == ["rax", "rdi", "rcx"]
    assert [text for _, text in found.all("div", class_="bad")] == ["rax0 null"]
    text = "\n".join("".join(span.text for span in line) for line in report_paper(report).lines)
    assert re.search(r"rax +0  null\n +rdi +55d0c0b00020  the heap\n +rcx +0\n", text)


def test_the_answer_stands_before_all_else() -> None:
    """As on the terminal: why, the source, the stack; the list of sections does not come before."""
    html = render_html(sample_reports.null_pointer())
    places = [
        html.index(one) for one in ('<dl class="fields', "<nav", 'id="first-source"', 'id="stack"')
    ]
    assert places == sorted(places)


def test_the_map_is_to_scale() -> None:
    report = sample_reports.null_pointer()
    drawing = draw(report)
    assert drawing is not None
    parts = [part for run in drawing.runs for part in run.parts]
    sizes = {part.end - part.start: part.height for part in parts}
    assert [sizes[size] for size in sorted(sizes)] == sorted(sizes.values())
    for before, after in pairwise(parts):
        assert before.y + before.height <= after.y
    marks = {mark.kind: mark for mark in drawing.marks}
    assert marks["fault"].title == "fault address 0x10" and marks["fault"].at < parts[0].y
    assert parts[0].y <= marks["pc"].at <= parts[0].y + parts[0].height
    assert marks["sp"].at > parts[-1].y + parts[-1].height
    # An address between two mappings is drawn between them, at the end that it is near to.
    drawing = draw(sample_reports.overflow())
    assert drawing is not None
    parts = [part for run in drawing.runs for part in run.parts]
    (fault,) = [mark for mark in drawing.marks if mark.kind == "fault"]
    assert parts[0].y + parts[0].height < fault.at < parts[1].y


def test_very_much_makes_no_endless_page() -> None:
    base = sample_reports.null_pointer()
    threads = render_html(many_threads())
    assert len(threads) < 2_000_000
    assert "600 more stacks of 600 threads: see the JSON" in threads
    maps = render_html(many_maps())
    assert len(maps) < 1_000_000 and "mappings left out: see the JSON" in maps
    assert maps.count("<rect") <= 500
    assert "map-50000" in maps and "map-49990" in maps and "map-40000" not in maps
    who = msgspec.structs.replace(
        base.process, environment=["A=" + "<" * 100_000] * 3000, cmdline=["&" * 200_000] * 3000
    )
    long = render_html(msgspec.structs.replace(base, process=who))
    assert len(long) < 10_000_000
    assert "more characters: see the JSON)" in long and "2,000 more variables" in long


def test_the_programs_own_variables_are_unfolded() -> None:
    """Of a program that ended itself not those of abort() and its like."""
    base = sample_reports.null_pointer()
    one = r.Variable(kind="local", name="left", type="int", value="3")
    frames = [msgspec.structs.replace(frame(at, f"f{at}"), variables=[one]) for at in range(8)]
    mark = r.Fingerprint(version=1, key="0" * 16, sort="SIGABRT", frames=[], first=4)
    for kind, unfolded in (("abort", ["f4", "f5", "f6"]), ("null-pointer", ["f0", "f1", "f2"])):
        report = msgspec.structs.replace(
            base, threads=[thread(1, "t", frames)], fingerprint=mark,
            cause=r.Cause(kind=kind, summary="x"),
        )  # fmt: skip
        _, _, text = render_html(report).partition('id="variables"')
        opened = re.findall(r"<details open>\s*<summary>.*?(f\d)\+0x1c", text.partition("<h2")[0])
        assert opened == unfolded


def test_a_stack_with_one_line_more_is_whole() -> None:
    base = sample_reports.null_pointer()
    for many, folded in ((14, 0), (15, 0), (16, 2)):
        frames = [frame(at, f"f{at}") for at in range(many)]
        mark = r.Fingerprint(version=1, key="0" * 16, sort="SIGABRT", frames=[], first=10)
        report = msgspec.structs.replace(
            base, threads=[thread(1, "t", frames)], fingerprint=mark,
            cause=r.Cause(kind="abort", summary="x"),
        )  # fmt: skip
        found = first_stack(report)
        assert found is not None
        assert (len(found.rows), len(found.more)) == (many - folded, folded)


def test_no_list_is_endless() -> None:
    """Of a JSON in which every list is very long, and no text short."""

    def swollen(value: object, key: str = "", depth: int = 0) -> object:
        if isinstance(value, dict):
            return {name: swollen(item, name, depth + 1) for name, item in value.items()}
        if isinstance(value, list) and value and key not in ("gaps", "folds"):
            many = 3000 if depth < 3 else 40
            items = [swollen(item, "", depth + 1) for item in value]
            return items * (many // len(items) + 1)
        if key == "data":
            return str(value) * 500
        return value

    built = swollen(msgspec.to_builtins(sample_reports.null_pointer()))
    assert isinstance(built, dict)
    built["cause"]["details"] = ["detail"] * 3000
    built["threads"][0]["registers"] = {f"r{number}": "0x1" for number in range(3000)}
    html = render_html(msgspec.convert(built, r.Report))
    assert len(html) < 6_000_000
    for what in ("variables", "arguments", "limits", "files", "modules", "notes", "words",
                 "instructions", "places", "bytes", "lines", "threads"):  # fmt: skip
        assert re.search(rf"… [0-9,]+ more {what}: see the JSON", html), what


def test_gaps_that_make_no_sense() -> None:
    base = sample_reports.null_pointer()
    for gaps in ([[0]], [[-(10**12), 10**12 + 3]], [[5, -3]], [[0, 1 << 60]], [[1, 2, 3]]):
        block = msgspec.structs.replace(base.memory[0], gaps=gaps)
        report = msgspec.structs.replace(base, memory=[block])
        assert page(report).all("h2") and report_paper(report).lines


def test_maps_that_make_no_sense() -> None:
    base = sample_reports.null_pointer()
    first = base.maps[0]
    for maps in (
        [msgspec.structs.replace(first, start="x", end="y")],
        [msgspec.structs.replace(first, end=first.start)],
        [first, first, base.maps[1]],
        [base.maps[2], first],
        [msgspec.structs.replace(first, start="0x0", end=f"{1 << 64:#x}")],
    ):
        assert "<h2" in render_html(msgspec.structs.replace(base, maps=maps))


def test_numbers_that_are_none() -> None:
    """JSON is a file: a page is made of whatever stands in it."""
    text = r.to_json(sample_reports.null_pointer()).decode()
    broken = r.from_json(re.sub(r'"0x[0-9a-f]+"', '"0x<b>"', text).encode())
    found = page(broken)
    assert "<b>" in found.texts[0] and not found.all("b")


def test_costs_nothing_where_it_is_not_wanted() -> None:
    code = (
        "import sys\n"
        "from usercrash.cli import analyze, show\n"
        "from usercrash.isolated_analysis import preload\n"
        "import usercrash.debugger, usercrash.pipeline\n"
        "preload()\n"
        "print([one for one in ('jinja2', 'markupsafe') if one in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_templates_are_installed_with_the_package() -> None:
    """Every file that is no module stands in pyproject.toml, the templates among them."""
    root = Path(usercrash.__file__).parent
    project = tomllib.loads((root.parents[1] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["usercrash"]
    listed = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    others = {
        path for path in root.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".pyi")
    }  # fmt: skip
    assert others == listed
    assert root / "render/html/templates/page.html" in listed


@pytest.mark.parametrize("name", SAMPLES)
def test_it_ends_as_the_first_screen_does(name: str) -> None:
    report = sample_reports.ALL[name]()
    found = page(report)
    ((_, footer),) = found.all("footer")
    assert footer.split("\n")[1:-1] == [clean(words) for words in end_words(report)]


def test_a_stack_is_shortened_as_in_the_text_and_whole_with_its_addresses() -> None:
    base = sample_reports.null_pointer()
    name = "f<" + "std::vector<int>, " * 40 + "int>(" + "char const*, " * 40 + "int)"
    frames = [frame(0, name, trust="context"), *base.threads[0].frames[1:]]
    first = msgspec.structs.replace(base.threads[0], frames=frames)
    found = page(msgspec.structs.replace(base, threads=[first]))
    shown = [text for _, text in found.all("span", class_="function")]
    assert shown[0] == "f<...>(...)+0x1c" and f"{name}+0x1c" in shown
    rows = [text for _, text in found.all("span", class_="words")]
    assert "<signal handler called: SIGALRM>" in rows


def test_a_report_of_nearly_nothing() -> None:
    """As it is made where no analysis came to an end."""
    event = CrashEvent(SOURCE_PIPE, 1, Pid(7), Tid(7), 11, name=b"<b>")
    report = minimal_report("0" * 32, event, "it <failed>")
    found = page(report)
    assert "it <failed>" in found.texts[0]
    shown = [text for _, text in found.all("h2")]
    assert "Process" in shown and "Notes: what could not be had, and why" in shown
    empty = msgspec.structs.replace(report, cause=None, signal=None, notes=[])
    assert page(empty).all("h1")


def interpreted() -> r.Report:
    """A report whose threads run Python, too, and wait."""
    base = sample_reports.null_pointer()
    python = r.InterpretedStack(
        language="python",
        version="3.11.2",
        frames=[
            r.InterpretedFrame(index=0, function="sort<", file="/srv/app/sort.py", line=21,
                               entry=True, native=4),
            r.InterpretedFrame(index=1, function="main", file="/srv/app/main.py", line=None),
        ],
        frames_total=5,
        holds_lock=True,
        exception=r.InterpretedException(type="ValueError", text="no <number>"),
    )  # fmt: skip
    first, second, *others = base.threads
    waiting = r.Waiting(
        number=202, call="futex", arguments=[], summary="for the lock at 0x10 <held>"
    )
    return msgspec.structs.replace(base, threads=[
        msgspec.structs.replace(first, interpreted=[python]),
        msgspec.structs.replace(second, interpreted=[python], waiting=waiting),
        *(msgspec.structs.replace(other, waiting=waiting) for other in others),
    ])  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [sample_reports.null_pointer, sample_reports.overflow, sample_reports.live, interpreted],
)
def test_stacks_have_the_words_of_the_text(make: Callable[[], r.Report]) -> None:
    report = make()
    found = page(report)
    paper = Paper(230)
    other_threads(paper, report)
    expected = [without_spaces(line.lstrip()) for line in paper.text().splitlines() if line]
    (shown,) = [text for one, text in found.all("section", aria_labelledby="other-threads")] or [""]
    words = without_spaces(shown)
    assert len(expected) >= 5 or len(report.threads) == 1
    for line in expected:
        assert line in words, line
    paper = Paper(230)
    stack_lines(paper, report.threads[0], report.handled_signals, 14)
    (first,) = [text for _, text in found.all("section", aria_labelledby="stack")]
    for line in paper.text().splitlines():
        hidden = "more lines of this stack in the full report" in line
        assert hidden or without_spaces(line) in without_spaces(first), line


@pytest.mark.parametrize(("ending", "shown"), [(20, 24), (11, 15), (300, 12)])
def test_of_a_long_end_the_programs_functions_are_not_folded(ending: int, shown: int) -> None:
    names = [f"raise_{at}" for at in range(ending)] + ["serve"] + [f"by_{at}" for at in range(9)]
    frames = [frame(at, name) for at, name in enumerate(names)]
    report = sample_reports.null_pointer()
    crash = msgspec.structs.replace(
        report,
        threads=[msgspec.structs.replace(report.threads[0], frames=frames, folds=[])],
        fingerprint=r.Fingerprint(version=1, key="0" * 16, sort="", frames=["serve"], first=ending),
        cause=r.Cause(kind="abort", summary="abort() called", reason="abort"),
    )
    stack = first_stack(crash)
    assert stack is not None
    assert (len(stack.rows), len(stack.more)) == (shown, len(names) - shown)


def without_spaces(text: str) -> str:
    return "".join(text.split())
