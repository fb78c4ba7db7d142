"""The page: the templates of this package, filled.

Every text goes through `_foreign` and then through Jinja2's escaping, whatever a template
does with it: no control character, no markup and no endless line of the process's gets
into the page.
"""

from __future__ import annotations

import base64
import hashlib
from contextvars import ContextVar
from functools import cache

import jinja2
from markupsafe import Markup

from ...report import Report
from ..first import end_words, fields, shortened, stack_title, title_words
from ..layout import Span, clean
from .sections import excerpts, sections
from .stacks import first_stack

_LONG = 4096  # characters of one text
_SHORT = 160  # the same when the page has been filled with long ones
_LONG_TEXTS = 1 << 20  # characters of texts that are longer than _SHORT
_COLUMNS = 120  # of the first screen, for fields that are not to be long

_room: ContextVar[list[int]] = ContextVar("room")


def render_html(report: Report) -> str:
    """The whole page, of bounded size: what it leaves out it says, and the JSON has it."""
    environment, style = _environment()
    token = _room.set([_LONG_TEXTS])
    try:
        return environment.get_template("page.html").render(
            title=title_words(report),
            policy=_policy(style),
            style=Markup(style),  # our own file
            fields=_terms(report),
            excerpt=next(iter(excerpts(report)), None),
            stack_title=stack_title(report) if report.threads else "",
            stack=first_stack(report),
            sections=sections(report),
            end=end_words(report),
        )
    finally:
        _room.reset(token)


def preload() -> None:
    """Read and compile the templates: the sandbox may be unable to."""
    environment, _ = _environment()
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)


@cache
def _environment() -> tuple[jinja2.Environment, str]:
    """The templates and the style sheet, read once."""
    loader = jinja2.PackageLoader("usercrash.render.html")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, auto_reload=False,
        trim_blocks=True, lstrip_blocks=True, finalize=_foreign,
    )  # fmt: skip
    return environment, loader.get_source(environment, "style.css")[0]


def _policy(style: str) -> str:
    """Nothing may be loaded or run; the one style sheet is known by its hash."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _foreign(value: object) -> object:
    """What an expression of a template gives: cleaned as in the text, and not too long.

    Texts of our own are short and clean, so that all can go this way."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if len(text) > _SHORT:
        text = _shortened(text)
    return clean(text)


def _shortened(text: str) -> str:
    room = _room.get()
    limit = _LONG if room[0] > 0 else _SHORT
    room[0] -= min(len(text), limit)
    left = len(text) - limit
    return f"{text[:limit]}… ({left:,} more characters: see the JSON)" if left > 0 else text


def _terms(report: Report) -> list[tuple[str, list[tuple[Span, ...]]]]:
    """The first screen's fields, further lines of one put together with it."""
    terms: list[tuple[str, list[tuple[Span, ...]]]] = []
    for field in fields(report):
        parts = shortened(field, _COLUMNS)
        spans = tuple(part if isinstance(part, Span) else Span(part) for part in parts)
        if field.label or not terms:
            terms.append((field.label, []))
        terms[-1][1].append(spans)
    return terms
