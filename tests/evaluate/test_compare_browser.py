"""The page of a comparison in a real browser. Run by `make test-browser`."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate.compare import compare
from tests.evaluate.cards import write_cards
from tests.evaluate.test_compare import AFTER, BEFORE, result
from tests.evaluate.test_report_browser import assert_text_stands_out, emulate_scheme, emulate_width

pytestmark = pytest.mark.browser


def open_comparison(browser, folder: Path) -> None:
    folders = [result(folder / name, lists) for name, lists in (("a", BEFORE), ("b", AFTER))]
    compare(*folders, folder / "out", cards=write_cards(folder / "cards"), resamples=20, tosses=20)
    browser.get((folder / "out/compare.html").as_uri())


def test_differences_and_changed_queries_are_read_from_the_rendered_page(browser, tmp_path):
    open_comparison(browser, tmp_path)

    cells = browser.find_element("css selector", '[data-metric="hit@1"]').text.split()
    signs = {name: browser.find_element("css selector", f'[data-metric="{name}"] [data-sign]') for name in ("hit@1", "hit@10")}
    article = browser.find_element("css selector", '[data-query-id="v3"]')

    assert cells[:4] == ["hit@1", "0.2500", "0.5000", "+0.2500"] and cells[5] == "to" and cells[-1] == "1.0000"
    assert signs["hit@1"].value_of_css_property("color") == "rgba(10, 125, 90, 1)"
    assert signs["hit@10"].get_attribute("data-sign") == "better"
    assert "rank 13 → rank 1" in article.text
    documents = {
        side: [item.get_attribute("data-doc-id") for item in article.find_elements("css selector", f'[data-side="{side}"] [data-doc-id]')]
        for side in "AB"
    }
    assert documents == {"A": ["g0", "g1", "g2", "g3", "g4"], "B": ["g12", "g0", "g1", "g2", "g3"]}
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(widths) > 20 and set(widths) == {48}
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_words_are_seen_beside_frames_that_leave_room_for_the_lists(browser, tmp_path, width):
    emulate_width(browser, width)
    open_comparison(browser, tmp_path)

    article = browser.find_element("css selector", '[data-query-id="v3"]')
    frames = article.find_elements("css selector", ".frames img")

    assert "Caption of v3" in article.text and "Recognised text\n50 % off" in article.text
    assert len(frames) == 3 and {frame.size["height"] for frame in frames} == {110}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser, tmp_path, scheme):
    emulate_scheme(browser, scheme)
    open_comparison(browser, tmp_path)

    assert_text_stands_out(browser, "arrow", "id", "mark", "change", "range")


def test_a_narrow_window_needs_no_sideways_scrolling(browser, tmp_path):
    emulate_width(browser, 390)
    open_comparison(browser, tmp_path)

    wide, window = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")

    assert wide <= window
