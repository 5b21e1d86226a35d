"""Searching by hand in a real browser: dropping, choosing and typing, with a script and without, and by keys. Run by `make test-browser`."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.evaluate.served import serving, stub_finder
from tests.pipeline.corpora import clip, picture

pytestmark = pytest.mark.browser

DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], arguments[1]));
for (const kind of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    finder = stub_finder(tmp_path_factory.mktemp("page"))
    with serving(finder) as port:
        yield f"http://127.0.0.1:{port}/"
    finder.close()


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory):
    from tests.pipeline.browsed import write_browsed  # here: it loads torch, which runs that leave these tests out are spared

    return write_browsed(tmp_path_factory.mktemp("browsed"))


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except Exception:
            pass  # the page is being exchanged
        time.sleep(0.05)
    raise AssertionError("the page did not get there in 60 s")


def results(browser) -> list[str]:
    return [item.get_attribute("data-doc-id") for item in browser.find_elements("css selector", "[data-doc-id][data-rank]")]


def drop(browser, name: str, content: bytes) -> None:
    browser.execute_script(DROP, base64.b64encode(content).decode(), name)


def headline(browser) -> str:
    return browser.find_element("css selector", "#results h2").text


def error(browser) -> str:
    return browser.find_element("css selector", ".error").text


def test_a_file_dropped_anywhere_is_searched_with(browser, page):
    browser.get(page)

    drop(browser, "photo.jpg", picture())
    wait(lambda: headline(browser) == "Nearest to a picture")

    assert len(results(browser)) == 10
    assert len(browser.find_elements("css selector", ".given img")) == 1
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert widths == [48] * 11
    assert browser.get_log("browser") == []


def test_typed_words_and_enter_search_the_chosen_domain(browser, page):
    browser.get(page)

    browser.find_element("css selector", "#among option:nth-child(2)").click()
    browser.find_element("css selector", "#words").send_keys("x\n")
    wait(lambda: headline(browser) == "Nearest to “x”")

    assert results(browser)[0] == "v1" and len(results(browser)) == 4
    assert browser.find_element("css selector", "#words").get_attribute("value") == "x"
    assert browser.find_element("css selector", "#among").get_attribute("value") == "video"
    assert browser.find_element("css selector", ".item .score").text == "1.000"


def test_more_like_this_is_a_link(browser, page):
    browser.get(page)

    browser.find_element("link text", "More like this").click()
    wait(lambda: headline(browser) == "Nearest to goods g0")

    assert "g0" not in results(browser) and len(results(browser)) == 9
    browser.find_element("link text", "Video for this").click()
    wait(lambda: results(browser) and results(browser)[0].startswith("v"))


def test_wrong_files_are_said_in_the_page(browser, page):
    browser.get(page)

    drop(browser, "notes.jpg", b"dear diary")
    wait(lambda: "a text, whatever its name says" in error(browser))
    drop(browser, "large.jpg", bytes(200_000))

    assert error(browser) == "large.jpg has 0.2 MB; at most 0.1 MB"
    assert not browser.find_elements("css selector", "[aria-busy]")
    browser.find_element("css selector", "#words").send_keys("x\n")
    wait(lambda: headline(browser) == "Nearest to “x”")  # without the file


def test_a_form_without_a_script_does_the_same(browser, page, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(picture())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page)

    assert not browser.find_element("css selector", ".drag").is_displayed()
    browser.find_element("css selector", "#file").send_keys(str(tmp_path / "photo.jpg"))
    browser.find_element("css selector", "form button").click()
    wait(lambda: headline(browser) == "Nearest to a picture")

    assert len(results(browser)) == 10


def test_keys_reach_everything_and_may_skip_to_the_results(browser, page):
    from selenium.webdriver import ActionChains, Keys

    browser.get(page + "search?words=x")

    def tab() -> str:
        ActionChains(browser).send_keys(Keys.TAB).perform()
        focused = browser.switch_to.active_element
        assert focused.value_of_css_property("outline-style") == "solid" and focused.value_of_css_property("outline-width") == "3px"
        return focused.get_attribute("id") or focused.text

    assert tab() == "Skip to the results" and browser.switch_to.active_element.location["y"] >= 0
    assert [tab() for _ in range(7)] == ["file", "words", "among", "k", "Search", "More like this", "Video for this"]
    browser.get(page + "search?words=x")
    tab()
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert tab() == "More like this"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("address", ["", "search?words=x", "search?id=nobody"])
def test_no_window_needs_sideways_scrolling(browser, page, width, address):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    browser.get(page + address)

    wide, window = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")

    assert wide <= window == width


def test_a_real_run_finds_the_good_of_a_photo_and_takes_a_clip(browser, browsed):
    finder = browsed.finder()
    try:
        with serving(finder, upload_bytes=1_000_000, time_s=30) as port:
            browser.get(f"http://127.0.0.1:{port}/")
            browser.find_element("css selector", "#words").send_keys("item number 3")
            drop(browser, "mine.jpg", Path(browsed.corpus / "goods/test3.jpg").read_bytes())
            wait(lambda: headline(browser) == "Nearest to a picture and “item number 3”")
            first = browser.find_element("css selector", "[data-rank='1']").text
            drop(browser, "clip.mp4", clip())
            wait(lambda: headline(browser).startswith("Nearest to a clip"))
            frames = browser.find_elements("css selector", ".given img")
    finally:
        finder.close()

    assert first.splitlines()[:4] == ["1", "1.000", "item number 3", "g3"]
    assert len(frames) == 5 and len(results(browser)) == 8
