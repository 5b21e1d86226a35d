"""The report in a real browser: what a person sees, read from the rendered page. Run by `make test-browser`."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate.report import report
from tests.evaluate.cards import ODD_TITLE, little_result, write_cards

pytestmark = pytest.mark.browser

TAB, LEFT, RIGHT = "\ue004", "\ue012", "\ue014"
CONTRASTS = """
const numbers = (colour) => { const own = colour.match(/[\\d.]+/g).map(Number); return own.length < 4 ? [...own, 1] : own; };
const over = (upper, lower) => [0, 1, 2].map((part) => upper[part] * upper[3] + lower[part] * (1 - upper[3]));
const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, part) => sum + weight * linear(colour[part] / 255), 0);
function ground(element) {
  if (!element) return [255, 255, 255];
  const own = numbers(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
}
const written = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
  && !element.closest("script, style") && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
return written.map((element) => {
  const style = getComputedStyle(element), behind = ground(element);
  const text = numbers(element.closest("svg") ? style.fill : style.color);
  for (let own = element; own; own = own.parentElement) text[3] *= Number(getComputedStyle(own).opacity);
  const [low, high] = [luminance(over(text, behind)), luminance(behind)].sort((one, other) => one - other);
  return [`${element.tagName} ${element.getAttribute("class")}: ${element.textContent.trim().slice(0, 40)}`, (high + 0.05) / (low + 0.05)];
});
"""
"""[what, contrast to its ground] of every element with text of its own (WCAG 2, success criterion 1.4.3)."""


def open_report(browser, folder: Path) -> None:
    ranked, truth = little_result(folder)
    report(ranked, truth, folder, write_cards(folder / "cards"), split="test")
    browser.get((folder / "report.html").as_uri())


def emulate_scheme(browser, scheme: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def emulate_width(browser, width: int) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})


def assert_text_stands_out(browser, *wanted: str) -> None:
    """All text of the page has a contrast of 4.5 at least; elements of each class in `wanted` were among what was looked at."""
    contrasts = browser.execute_script(CONTRASTS)
    assert [pair for pair in contrasts if pair[1] < 4.5] == []
    assert {name for what, _ in contrasts for name in what.partition(":")[0].split()[1:]} >= set(wanted)


def query(browser, item: str):
    return browser.find_element("css selector", f'[data-query-id="{item}"]')


def test_hits_and_misses_are_read_from_the_rendered_page(browser, tmp_path):
    open_report(browser, tmp_path)

    results = query(browser, "v1").find_elements("css selector", "ol.results [data-doc-id]")

    assert [result.get_attribute("data-doc-id") for result in results] == [f"g{number}" for number in range(10)]
    assert [result.get_attribute("data-rank") for result in results] == [str(rank) for rank in range(1, 11)]
    hits = [result for result in results if result.get_attribute("data-hit") == "true"]
    assert [hit.get_attribute("data-doc-id") for hit in hits] == ["g0", "g2"]
    assert all("✓ relevant" in hit.text for hit in hits)
    assert all("✗ not relevant" in result.text for result in results if result not in hits)
    assert hits[0].text.splitlines()[-1] == "0.900"
    borders = {result.get_attribute("data-hit"): result.value_of_css_property("border-top-color") for result in results}
    assert borders["true"] == "rgba(10, 125, 90, 1)" != borders["false"]


def test_ground_truth_is_shown_with_where_it_was_found(browser, tmp_path):
    open_report(browser, tmp_path)

    shown = {
        item: [
            (document.get_attribute("data-doc-id"), document.find_element("css selector", ".where").text)
            for document in query(browser, item).find_elements("css selector", ".ground-truth [data-doc-id]")
        ]
        for item in ("v1", "v2", "v3", "v4")
    }

    assert shown == {
        "v1": [("g0", "rank 1"), ("g2", "rank 3")],
        "v2": [("g14", "not in the first 12"), ("gone", "was not searched")],
        "v3": [("g12", "rank 11")],
        "v4": [("g5", "rank 3")],
    }
    verdicts = {item: query(browser, item).find_element("css selector", ".verdict").text for item in shown}
    assert verdicts["v1"] == "First relevant at rank 1" and verdicts["v2"] == "Nothing relevant in the first 12"
    assert not browser.find_elements("css selector", '[data-query-id="v5"]')


def test_every_picture_is_really_there_and_words_are_words(browser, tmp_path):
    open_report(browser, tmp_path)

    widths = browser.execute_script("return [...document.images].map(image => [image.complete, image.naturalWidth])")

    assert len(widths) > 40 and all(complete and width == 48 for complete, width in widths)
    assert len(query(browser, "v1").find_elements("css selector", ".frames img")) == 3
    assert query(browser, "v4").find_element("css selector", ".frames").text == "no picture"
    assert ODD_TITLE in query(browser, "v1").find_element("css selector", '[data-doc-id="g2"]').text
    assert "Caption of v1" in query(browser, "v1").text
    assert browser.find_element("css selector", '[data-metric="hit@10"]').text == "0.500"


def test_the_curve_is_drawn_and_the_console_is_silent(browser, tmp_path):
    open_report(browser, tmp_path)

    curve = browser.find_element("css selector", ".curve svg")

    assert curve.size["width"] > 400 and curve.size["height"] > 200
    assert "recall@k" in curve.text
    assert browser.get_log("browser") == []


def press(browser, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def focused(browser) -> str | None:
    return browser.switch_to.active_element.get_attribute("data-query-id")


def test_keys_go_from_query_to_query_and_a_link_skips_the_numbers(browser, tmp_path):
    open_report(browser, tmp_path)
    order = [article.get_attribute("data-query-id") for article in browser.find_elements("css selector", "[data-query-id]")]

    press(browser, TAB)
    assert browser.switch_to.active_element.text == "Skip to the queries" and browser.switch_to.active_element.location["y"] >= 0
    press(browser, "j")
    first = focused(browser)
    press(browser, "j", "j")
    third = focused(browser)
    press(browser, "k")

    assert [first, focused(browser), third] == order[:3]
    assert browser.execute_script("return Math.round(document.activeElement.getBoundingClientRect().top)") in range(0, 30)
    assert browser.find_element("css selector", ".keys").is_displayed()


def test_pages_are_turned_by_links_and_by_keys(browser, tmp_path):
    ranked, truth = little_result(tmp_path)
    report(ranked, truth, tmp_path, write_cards(tmp_path / "cards"), queries_per_page=1)
    browser.get((tmp_path / "report.html").as_uri())

    def here() -> str:
        return browser.current_url.rpartition("/")[2]

    seen = []
    for key in (RIGHT, RIGHT, "j", "j", LEFT):
        press(browser, key)
        seen.append(here())
    assert seen == ["page-001.html", "page-002.html", "page-002.html", "page-003.html", "page-002.html"]
    for text, name in (("Last »", "page-004.html"), ("‹ Previous", "page-003.html"), ("« First", "page-001.html"), ("Next ›", "page-002.html")):
        browser.find_element("link text", text).click()
        assert here() == name
    sizes = browser.execute_script(
        "return Promise.all([...document.images].map(image => (image.loading = 'eager', image.decode().then(() => image.naturalWidth))))"
    )
    assert len(sizes) > 10 and set(sizes) == {48}
    browser.find_element("link text", "Numbers").click()
    assert here() == "report.html" and browser.get_log("browser") == []


def test_a_page_without_a_script_has_all_but_the_keys(browser, tmp_path):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    open_report(browser, tmp_path)

    assert browser.find_element("css selector", ".keys").is_displayed() is False
    assert "Caption of v1" in query(browser, "v1").text and browser.find_element("css selector", ".scores svg").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_figures_have_the_colours_of_the_page(browser, tmp_path, scheme):
    emulate_scheme(browser, scheme)
    open_report(browser, tmp_path)

    inks = [browser.find_element("css selector", f".{name} svg text").value_of_css_property("fill") for name in ("curve", "scores")]

    assert inks == [browser.find_element("css selector", "body").value_of_css_property("color").replace("rgba", "rgb").replace(", 1)", ")")] * 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser, tmp_path, scheme):
    emulate_scheme(browser, scheme)
    ranked, truth = little_result(tmp_path)
    report(ranked, truth, tmp_path, write_cards(tmp_path / "cards"), queries_per_page=3)

    for page, wanted in (
        ("report.html", ["arrow", "value", "range"]),
        ("report/page-001.html", ["arrow", "off", "blank", "id", "mark", "verdict"]),
    ):
        browser.get((tmp_path / page).as_uri())
        assert_text_stands_out(browser, *wanted)


@pytest.mark.parametrize("width", [390, 1000, 1061])
def test_letters_of_a_figure_stay_readable_where_it_has_little_room(browser, tmp_path, width):
    emulate_width(browser, width)
    open_report(browser, tmp_path)

    sizes = browser.execute_script("""
        return [...document.querySelectorAll("svg text")].map((text) => {
            const matrix = text.getScreenCTM();
            return Math.hypot(matrix.a, matrix.b) * parseFloat(getComputedStyle(text).fontSize);
        });""")
    wider = browser.execute_script('return [...document.querySelectorAll(".curve .wide")].map((own) => own.scrollWidth > own.clientWidth)')

    assert len(sizes) > 20 and min(sizes) >= 11
    assert wider == [width == 390] * 2


def test_a_figure_that_is_wider_than_the_window_is_scrolled_by_keys(browser, tmp_path):
    from selenium.webdriver.support.wait import WebDriverWait

    emulate_width(browser, 390)
    open_report(browser, tmp_path)

    press(browser, TAB, TAB)
    figure = browser.switch_to.active_element
    press(browser, RIGHT)

    assert (figure.aria_role, figure.accessible_name) == ("region", "What is found within the first k results")
    WebDriverWait(browser, 30).until(lambda _: figure.get_property("scrollLeft") > 0)  # it scrolls smoothly
    press(browser, "j")
    assert focused(browser) is not None


@pytest.mark.parametrize("width", [390, 1280])
def test_a_narrow_window_needs_no_sideways_scrolling(browser, tmp_path, width):
    emulate_width(browser, width)
    open_report(browser, tmp_path)

    wide, window = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")

    assert wide <= window
