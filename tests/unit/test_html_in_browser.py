"""The page of HTML in a browser: wide and narrow, light and dark, by keyboard, in print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import sample_reports
from tests.support.browser import Browser
from tests.support.html_pages import many_maps, many_threads, write

from usercrash.render.html import render_html
from usercrash.report import Report

PAGES: dict[str, Callable[[], Report]] = {
    **sample_reports.ALL,
    "threads": lambda: many_threads(30, 12),
    "maps": lambda: many_maps(1100),
}

# Characters of the page that no font here has: drawn as what stands for a missing one.
# The last character of the private planes is missing everywhere.
MISSING = """
(() => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 48;
  const ink = canvas.getContext('2d', {willReadFrequently: true});
  const drawn = (character, family) => {
    ink.clearRect(0, 0, 48, 48);
    ink.font = '24px ' + family;
    ink.fillText(character, 8, 32);
    return canvas.toDataURL();
  };
  const missing = new Set();
  for (const element of [document.body, document.querySelector('.stack')]) {
    const family = getComputedStyle(element).fontFamily;
    const box = drawn('\\u{10FFFD}', family);
    for (const character of new Set(document.body.textContent + '\\u{10FFFC}'))
      if (character.trim() && drawn(character, family) === box) missing.add(character);
  }
  return [...missing];
})()
"""

# Texts whose contrast with what is behind them is below WCAG's AA (4.5 : 1).
FAINT = """
(() => {
  const numbers = color => color.match(/[0-9.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = numbers(color).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (numbers(color)[3] !== 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ['title', 'STYLE'].includes(element.tagName)) continue;
    texts++;
    const style = getComputedStyle(element);
    const ink = light(element.closest('svg') ? style.fill : style.color);
    const paper = light(behind(element));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) faint.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  // What is drawn in a colour: 3 : 1.
  for (const key of document.querySelectorAll('.key')) {
    const ink = light(getComputedStyle(key, '::before').backgroundColor);
    const paper = light(behind(key));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 3) faint.push(`${key.className} ${ratio.toFixed(2)}`);
  }
  return texts > 20 ? [...new Set(faint)] : ['no texts'];
})()
"""

# What reaches out of the window without a box of its own to scroll in.
OUTSIDE = """
[document.documentElement.scrollWidth, ...[...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll *, .hidden, .skip')
               && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.tagName + '.' + e.className)]
"""

FOLDED = (
    """[...document.querySelectorAll("details li, details tr")].filter(e => !e.checkVisibility())"""
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    return {name: write(place, name, render_html(make())) for name, make in PAGES.items()}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_fits_and_can_be_read(
    browser: Browser, pages: dict[str, Path], name: str, dark: bool
) -> None:
    for width in (1280, 375, 320):
        browser.open(pages[name], width=width, dark=dark)
        browser.value("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert browser.value(OUTSIDE) == [width]
        assert browser.complaints() == []
    assert browser.value(FAINT) == []
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("name", PAGES)
def test_every_character_has_a_glyph(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=1280)
    assert browser.value(MISSING) == ["\U0010fffc"]


def test_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["null_pointer"], width=1280)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    browser.press("Tab")
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value("document.activeElement.getBoundingClientRect().left") == 16
    browser.press("Enter")
    assert browser.value("[location.hash, document.activeElement.id]") == ["#report", "report"]
    seen = []
    for _ in range(60):
        browser.press("Tab")
        at = browser.value(
            "[document.activeElement.tagName.toLowerCase(), "
            "document.activeElement.getAttribute('href') ?? '', "
            f"document.activeElement.getAttribute('aria-label') ?? '', {outline}].join('|')"
        )
        tag, link, label, line = str(at).split("|")
        if tag == "body":
            break
        assert line != "none", at
        seen.append((tag, link, label))
    assert {"a", "summary", "div", "g"} <= {tag for tag, _, _ in seen}
    assert ("a", "#c-55d0c0a01234", "") in seen
    assert ("g", "", "fault address 0x10") in seen


def test_a_link_opens_what_is_folded(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["null_pointer"], width=375)
    browser.value("document.querySelectorAll('details').forEach(e => e.open = false)")
    browser.value("location.hash = 'map-2'")
    assert browser.value("document.getElementById('map-2').checkVisibility()") is True


@pytest.mark.parametrize("name", ["null_pointer", "threads"])
def test_in_print_nothing_is_folded(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=1280)
    assert browser.value(f"{FOLDED}.length > 5")
    browser.open(pages[name], width=700, media="print")
    assert browser.value(f"{FOLDED}.length") == 0
    assert browser.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.value(OUTSIDE) == [700]
    # Addresses and bytes stand in one line each.
    cells = "document.querySelectorAll('.dump th, .dump td:not(:last-child), .code tbody th')"
    assert browser.value(f"Math.max(...[...{cells}].map(e => e.offsetHeight)) < 40")


def test_the_checks_find_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    html = render_html(sample_reports.null_pointer())
    policy = re.compile("<meta http-equiv=[^>]*>\n")
    wrong = {
        "refused": html.replace("<h1>", "<h1 style='color: red'><img src='x.png'>"),
        "wide": html.replace("<h1>", f"<table class='dump'><tr><td>{'x' * 400}</td></table><h1>"),
        "faint": policy.sub("", html).replace("--dim: #57606a", "--dim: #b0b0b0"),
    }
    pages = {name: write(tmp_path, name, text) for name, text in wrong.items()}
    browser.open(pages["refused"], width=375)
    assert len(browser.complaints()) == 2
    browser.open(pages["wide"], width=375)
    found = browser.value(OUTSIDE)
    assert isinstance(found, list) and found[0] > 375 and "TABLE.dump" in found
    browser.open(pages["faint"], width=375)
    assert "DT." in str(browser.value(FAINT))
