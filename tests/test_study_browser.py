"""A study's quiz in a real browser: by keyboard, without scripts, on a phone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from evalkit.articles import answers, directory
from evalkit.articles.records import CHOICES
from tests import studies
from tests.browsers import browser

__all__ = ["browser"]  # a fixture

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}  # CSS pixels
ARTICLES = 5
LONG = "word" * 250_000
HOSTILE = '</p><script>window.ran = 1</script><img src=x onerror="window.ran = 1"><b>bold</b> \u202eevil \x00'


@dataclass(slots=True)
class Opened:
    """A tab without scripts, and what went wrong in it."""

    tab: Page
    troubles: list[str] = field(default_factory=list)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def focus(self, selector: str) -> None:
        """Go on by the tabulator to the element that is meant."""
        for _ in range(20):
            if self.tab.locator(f"{selector}:focus").count():
                return
            self.press("Tab")
        raise AssertionError(f"{selector}: not reached by keyboard")

    def answer(self, choice: int) -> None:
        """Choose by keyboard and send."""
        self.focus("fieldset input")
        self.press("Space", *["ArrowDown"] * (choice - 1))
        self.focus("button")
        with self.tab.expect_navigation():
            self.press("Enter")

    def begin(self, address: str) -> None:
        self.tab.goto(address)
        self.focus("button")
        with self.tab.expect_navigation():
            self.press("Enter")
        self.focus(".button")
        with self.tab.expect_navigation():
            self.press("Enter")

    def asked(self) -> int:
        """Find the choice that the attention check names."""
        [name] = re.findall("“(.*?)”", self.tab.locator("article").inner_text())
        return 1 + CHOICES.index(name[0].lower() + name[1:])

    def width(self) -> int:
        # Scripts of the page are off; those of the test run all the same.
        return int(self.tab.evaluate("document.documentElement.scrollWidth"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server, and its directory."""
    place = tmp_path_factory.mktemp("study")
    directory.save(studies.study(ARTICLES), place)
    with studies.serving(place) as server:
        yield server.address, place


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Opened]:  # Any: options of a context
    """A browser's context of its own, that must end without a message of the console or a request elsewhere."""
    with browser.new_context(java_script_enabled=False, **({"viewport": DESK} | options)) as context:
        found = Opened(context.new_page())

        def note_request(request: Request) -> None:
            if not request.url.startswith((f"{address}/", "data:")):
                found.troubles.append(request.url)

        def note_message(message: ConsoleMessage) -> None:
            found.troubles.append(message.text)

        found.tab.on("request", note_request)
        found.tab.on("console", note_message)
        yield found
        assert found.troubles == []


def given(place: Path) -> list[tuple[int, ...]]:
    return [tuple(each.choice for each in participant.answers) for participant in answers.load(place)]


@pytest.mark.parametrize("view", [DESK, PHONE], ids=["desk", "phone"])
def test_the_whole_quiz_is_taken_by_keyboard(browser: Browser, served: tuple[str, Path], view: dict[str, int]) -> None:
    address, place = served
    choices = [1, 5, 3, 2, 4]
    with opened(browser, address, viewport=view) as visit:
        visit.begin(address)
        for number, choice in enumerate(choices, start=1):
            if "Between" in visit.tab.title():
                visit.answer(visit.asked())
            assert visit.tab.title() == f"Article {number} of {ARTICLES}"
            assert visit.tab.locator("progress").get_attribute("value") == str(number - 1)
            assert visit.width() == view["width"]
            visit.answer(choice)
        assert re.fullmatch(r"[2-9A-Z]{5}-[2-9A-Z]{5}", visit.tab.locator(".code").inner_text())
    assert given(place)[-1] == tuple(choices)
    assert answers.load(place)[-1].has_attended is True


def test_the_personal_link_goes_on_in_another_browser(browser: Browser, served: tuple[str, Path]) -> None:
    address, place = served
    with opened(browser, address) as visit:
        visit.begin(address)
        visit.answer(4)
        visit.answer(4)
        visit.focus("summary")
        visit.press("Enter")
        link = visit.tab.locator(".later a").inner_text()
    with opened(browser, address, viewport=PHONE) as visit:
        visit.tab.goto(link)
        assert visit.tab.title() == "Between two articles"
        visit.answer(2)
        assert visit.tab.title() == f"Article 3 of {ARTICLES}"
    assert given(place)[-1] == (4, 4)


def test_back_does_not_change_an_answer(browser: Browser, served: tuple[str, Path]) -> None:
    address, place = served
    with opened(browser, address) as visit:
        visit.begin(address)
        visit.answer(1)
        visit.tab.go_back()
        assert visit.tab.title() == f"Article 2 of {ARTICLES}"
    assert given(place)[-1] == (1,)


def test_the_browser_asks_for_a_choice_before_it_sends(browser: Browser, served: tuple[str, Path]) -> None:
    address, place = served
    with opened(browser, address) as visit:
        visit.begin(address)
        visit.focus("button")
        visit.press("Enter")
        assert visit.tab.title() == f"Article 1 of {ARTICLES}"
    assert given(place)[-1] == ()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser: Browser, served: tuple[str, Path], scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    address, _ = served
    colours = "[...document.querySelectorAll(%r)].map(e => getComputedStyle(e).color)"
    behind = "getComputedStyle(document.querySelector(%r)).backgroundColor"
    with opened(browser, address, color_scheme=scheme) as visit:
        visit.begin(address)
        page = visit.tab.evaluate(behind % "body")
        texts = visit.tab.evaluate(colours % "h1, .subtitle, article p, legend, label, summary, .progress")
        button = visit.tab.evaluate(colours % "button")[0], visit.tab.evaluate(behind % "button")
    assert min(contrast(each, page) for each in texts) >= 4.5
    assert contrast(*button) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(colour: str) -> float:
        red, green, blue = (int(each) / 255 for each in re.findall(r"\d+", colour)[:3])
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in (red, green, blue)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("text", "shown"), [(HOSTILE, "onerror"), (LONG, "word")], ids=["hostile", "long"])
def test_hostile_text_is_shown_and_does_nothing(browser: Browser, tmp_path: Path, text: str, shown: str) -> None:
    study = studies.study()
    articles = tuple(replace(each, title=text, subtitle=text, text=text) for each in study.articles)
    written = {each.id: replace(study.conditions[0].written[each.id], text=text) for each in articles}
    conditions = tuple(replace(each, written=written) for each in study.conditions)
    directory.save(replace(study, articles=articles, conditions=conditions), tmp_path)
    with studies.serving(tmp_path) as server, browser.new_context(viewport=PHONE) as context:
        tab = context.new_page()
        tab.goto(server.address)
        tab.click("button")
        tab.click(".button")
        assert shown in tab.locator("article p").last.inner_text()
        assert tab.locator("article :is(script, img, b)").count() == 0
        assert tab.evaluate("window.ran") is None
        assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
