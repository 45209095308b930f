"""The pages in a real headless Chromium: no complaint, no request, tables that sort, no page wider than the screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptrain.files import write_file
from ptrain.report.comparison import write_comparison
from ptrain.report.page import all_plots, page_of
from ptrain.report.records import read_run
from tests.report.browser import Browser, chromium
from tests.report.directories import make_run

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(timeout=120) as page:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of runs with few and with many classes, and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "two": make_run(folder / "two", num_classes=2),
        "ten": make_run(folder / "ten", num_classes=10, class_names=[f"class {letter}" for letter in "ABCDEFGHIJ"]),
        "hundred": make_run(folder / "hundred", num_classes=100, num_samples=3000),
    }
    for path in made.values():
        run = read_run(path)
        write_file(path / "report.html", page_of(run, all_plots(run)))
    runs = [read_run(made["two"]), read_run(make_run(folder / "other", num_classes=2, skill=4.0, seed=1))]
    write_comparison(runs, folder / "comparison.html")
    return {name: path / "report.html" for name, path in made.items()} | {"comparison": folder / "comparison.html"}


@pytest.mark.parametrize("name", ["two", "ten", "hundred", "comparison"])
def test_no_complaint_no_request_and_nothing_wider_than_the_screen(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    for width, phone in ((1200, False), (360, True)):
        browser.open(pages[name], width=width, phone=phone)
        assert browser.complaints() == []
        assert browser.requests() == [pages[name].resolve().as_uri()]
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def column(browser: Browser, number: int) -> list[Any]:
    cells = f"[...document.querySelectorAll('#per-class tbody tr')].map(row => row.cells[{number}].textContent)"
    found: list[Any] = browser.evaluate(cells)
    return found


def test_a_click_on_a_heading_sorts_the_table(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["ten"])
    names, recalls = column(browser, 0), [float(text) for text in column(browser, 3)]
    heading = "#per-class th:nth-child(4)"
    browser.click(f"{heading} button")
    assert [float(text) for text in column(browser, 3)] == sorted(recalls, reverse=True)
    assert browser.evaluate(f"document.querySelector('{heading}').getAttribute('aria-sort')") == "descending"
    browser.click(f"{heading} button")
    assert [float(text) for text in column(browser, 3)] == sorted(recalls)
    browser.click("#per-class th:nth-child(1) button")
    assert column(browser, 0) == names
    assert browser.evaluate("document.querySelectorAll('#per-class [aria-sort]').length") == 1
    assert browser.complaints() == []


def test_a_heading_can_be_pressed_with_the_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["ten"])
    browser.evaluate("document.querySelector('#per-class th:nth-child(2) button').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
        )
    supports = [int(text) for text in column(browser, 1)]
    assert supports == sorted(supports, reverse=True)


def test_text_has_enough_contrast(browser: Browser, pages: dict[str, Path]) -> None:
    """Every colour of text on the page against its own background, WCAG 2.2 level AA."""
    browser.open(pages["ten"])
    worst = browser.evaluate("""(() => {
      const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
      const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      const light = (c) => { const l = c.slice(0, 3).map((v) => linear(v / 255));
        return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
      const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
      let worst = 99;
      for (const e of document.querySelectorAll("body *:not(svg *)")) {
        if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
        worst = Math.min(worst, (a + 0.05) / (b + 0.05));
      }
      return worst; })()""")
    assert worst >= 4.5


def test_it_prints_on_a_few_pages(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    browser.open(pages["ten"])
    browser.pdf(tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 8
