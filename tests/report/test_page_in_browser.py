"""The report in a real browser: it draws, sorts, stays inside its file and its width, and obeys the keyboard."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from kit.report.page.parts import Fold, Heatmap, Matrices, Measured, Plot, Section, Series, SortableTable, Text
from kit.report.page.render import render_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

NASTY = ["<script>alert(1)</script>", 'a"b&c', "<b>bold</b>", "$x$", "plain"]
OPEN_ALL = "document.querySelectorAll('details').forEach((own) => { own.open = true; })"
COUNT_DRAWN = "[...document.querySelectorAll('.plot')].filter((own) => own.querySelector('.main-svg')).length"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page with every kind of part, on the disk."""
    counts = np.arange(25).reshape(5, 5)
    rows = [[name, Measured(value, 0.1), "x"] for name, value in zip(NASTY, (0.3, 0.1, None, 0.25, 10.0), strict=True)]
    bars = [Series("one", NASTY, [1, 2, 3, 4, 5], kind="bars"), Series("two", NASTY, [5, 4, 3, 2, 1], kind="bars")]
    curve = [Series(NASTY[0], [0.0, 0.5, 1.0], [0.1, None, float("nan")], [0.1, None, 0.1])]
    heat = Heatmap(
        "heat", "confusion", "said", "label",
        row_names=NASTY, column_names=NASTY, values=counts, order=[4, 3, 2, 1, 0], shares=True,
    )  # fmt: skip
    matrices = Matrices("m", "per class", names=NASTY, values=np.ones((5, 2, 2), int))
    parts = [
        Text(NASTY[0], "lead"),
        SortableTable("scores", ["name", "score", "text"], rows),
        Plot("bars", NASTY[2], "n", "", series=bars, upright=True),
        heat,
        Fold("more", [Plot("curve", "curve", series=curve), matrices]),
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(NASTY[0], "made now", [Section("one", "One", parts)]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, page_file):
    """Return a function that opens the page; what it complained of, asked for and popped up is noted on it."""
    contexts = []

    def open_page(width: int = 1280, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.asked, page.popped = [], [], []
        page.on(
            "console", lambda event: page.complaints.append(event.text) if event.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("dialog", lambda dialog: (page.popped.append(dialog.message), dialog.dismiss()))
        page.goto(page_file.as_uri())
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        page.evaluate(OPEN_ALL)
        page.wait_for_function(f"{COUNT_DRAWN} === document.querySelectorAll('.plot').length", timeout=20_000)
        return page

    yield open_page
    for context in contexts:
        context.close()


def column(page, number: int) -> list[str]:
    return page.evaluate(
        f"[...document.querySelectorAll('table.sortable tbody tr')].map((row) => row.children[{number}].textContent)"
    )


def test_every_plot_is_drawn_without_a_complaint_or_a_request(opened, page_file):
    page = opened()
    assert page.evaluate(COUNT_DRAWN) == 3
    assert page.complaints == [] and page.popped == []
    assert {url for url in page.asked if not url.startswith("data:")} == {page_file.as_uri()}


def test_names_stay_text_in_the_page_and_in_the_plots(opened):
    page = opened()
    assert page.inner_text("h1") == NASTY[0] and column(page, 0) == NASTY
    ticks = page.evaluate("[...document.querySelectorAll('#chart-bars .ytick text')].map((own) => own.textContent)")
    assert sorted(ticks) == sorted(NASTY)
    assert page.evaluate("document.querySelectorAll('#chart-bars b, #chart-bars [style*=bold]').length") == 0


def test_a_table_sorts_by_numbers_with_the_empty_last(opened):
    page = opened()
    page.click("th:nth-child(2) button")
    assert column(page, 1) == ["10.000 ± 0.100", "0.300 ± 0.100", "0.250 ± 0.100", "0.100 ± 0.100", ""]
    page.click("th:nth-child(2) button")
    assert column(page, 1)[0] == "0.100 ± 0.100" and column(page, 1)[-1] == ""
    assert page.get_attribute("th:nth-child(2)", "aria-sort") == "ascending"


def test_the_keyboard_reaches_the_table_and_sorts_it(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('th') !== null"):
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") != "none"


def test_a_heatmap_changes_to_counts_and_to_the_order_of_classes(opened):
    page = opened()
    read = "(({ z, y }) => ({ z, y }))(document.querySelector('#chart-heat .plot').data[0])"
    similar = page.evaluate(read)
    page.click("#chart-heat .choices button:nth-child(1)")
    page.click("#chart-heat .choices button:nth-child(2)")
    plain = page.evaluate(read)
    assert plain["z"] == np.arange(25).reshape(5, 5).tolist()
    assert similar["y"] == plain["y"][::-1] and abs(sum(similar["z"][0]) - 1) < 1e-9


@pytest.mark.parametrize("width", [360, 1920])
def test_nothing_is_wider_than_the_window(opened, width):
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_dark_page_is_dark_and_its_letters_are_light(opened):
    page = opened(scheme="dark")
    shade = "(own) => Math.max(...getComputedStyle(document.body)[own].match(/\\d+/g).slice(0, 3).map(Number))"
    assert page.evaluate(shade, "backgroundColor") < 60 < 200 < page.evaluate(shade, "color")
    assert page.evaluate("document.querySelector('#chart-bars .ytick text').style.fill") != "rgb(29, 35, 48)"
