"""The page in a real browser, opened from disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request

from evalkit.report.page import markup, page
from tests import pages
from tests.browsers import browser

__all__ = ["browser"]  # a fixture

PHONE = 390  # CSS pixels
LINE = "a b" * 350_000  # of a million characters
HIDDEN = "".join(map(chr, [*range(0x20), 0x7F, 0x9F, 0xAD, 0x61C, 0x180E, 0x200B, 0x2028, 0x202E, 0x2066, 0x206A]))
HIDDEN += "\ufeff\ufff9\U000e0041"
SAMPLES = [
    *(
        pages.shown(
            f"e{at:03}",
            context=f"Q: one?\nA: 1\n\nQ: What is {at} plus 1?\nA:",
            answer=f" {at + 1}",
            is_right=at % 4 != 0,
            is_dirty=at % 10 == 0 if at < 60 else None,
            shots=at % 2,
        )
        for at in range(120)
    ),
    pages.shown("hostile", context=pages.HOSTILE, answer=pages.HOSTILE, is_right=False, task="hostile"),
    pages.shown("long", context=LINE, is_right=None, task="hostile"),
    pages.shown("white", context="a  b\tc\n\nd ", is_right=None, task="hostile"),
    pages.shown("hidden", answer=HIDDEN, task="hostile"),
    pages.choosing(-2.0, -1.0, -1.5),
]


@dataclass(slots=True)
class Opened:
    """A tab, and what went wrong in it."""

    tab: Page
    troubles: list[str] = field(default_factory=list)

    def rows(self) -> list[str]:
        return self.tab.locator(".rows .question").all_inner_texts()

    def search(self, text: str) -> None:
        self.tab.fill("[name=search]", text)
        self.tab.wait_for_selector(".rows:not([aria-busy])", state="attached")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    page.write(folder, pages.page(summary=(pages.table(rows=20),), contamination=(pages.table(12),), samples=SAMPLES))
    return (folder / page.FILE).as_uri()


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    with browser.new_page() as made:
        yield made


@pytest.fixture
def opened(tab: Page, address: str) -> Iterator[Opened]:
    """The page, opened anew, that must end without a message, an error or a request."""
    found = Opened(tab)

    def note_request(request: Request) -> None:
        if request.url != address:
            found.troubles.append(request.url)

    def note_message(message: ConsoleMessage) -> None:
        found.troubles.append(message.text)

    def note_error(error: Error) -> None:
        found.troubles.append(str(error))

    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.emulate_media(media="screen")
    tab.on("request", note_request)
    tab.on("console", note_message)
    tab.on("pageerror", note_error)
    tab.goto(address)
    tab.wait_for_selector("#browser:not([hidden])")
    yield found
    tab.remove_listener("request", note_request)
    tab.remove_listener("console", note_message)
    tab.remove_listener("pageerror", note_error)
    assert found.troubles == []
    assert tab.evaluate("window.ran") is None


def column(tab: Page, number: int) -> list[str]:
    return tab.locator(f"#summary tbody tr > :nth-child({number})").all_inner_texts()


def test_every_section_is_there(opened: Opened) -> None:
    headings = opened.tab.locator("h2").all_inner_texts()
    before = ["Summary", "Contamination", "People", "Detectors", "Figures"]
    assert headings == [*before, "Quiz", "Samples", "Matches", "Provenance"]
    assert opened.tab.locator("#summary tbody tr").count() == 21
    assert opened.tab.locator("#figures svg").bounding_box()["width"] > 300


def test_numbers_are_sorted_by_their_value_and_missing_ones_last(opened: Opened) -> None:
    header = opened.tab.locator("#summary th:nth-child(2)")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(opened.tab, 2)[:3] == ["24", "23", "22"]
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(opened.tab, 2)[:3] == ["1", "5", "6"]
    opened.tab.locator("#summary th:nth-child(3) button").click()
    assert header.get_attribute("aria-sort") is None
    assert column(opened.tab, 1)[-1] == "task z"
    opened.tab.locator("#summary th:nth-child(3) button").click()
    assert column(opened.tab, 1)[-2:] == ["task 0", "task z"]


def test_text_is_sorted_as_people_count(opened: Opened) -> None:
    opened.tab.locator("#summary th:first-child button").click()
    assert column(opened.tab, 1)[1:4] == ["task 1", "task 2", "task 3"]  # not task 10


def test_a_third_click_restores_the_order(opened: Opened) -> None:
    before = column(opened.tab, 1)
    for _ in range(3):
        opened.tab.locator("#summary th:nth-child(3) button").click()
    assert column(opened.tab, 1) == before


def test_long_tables_can_be_filtered(opened: Opened) -> None:
    assert opened.tab.locator("#contamination .filter").count() == 0
    opened.tab.fill("#summary .filter input", "TASK 1")
    assert opened.tab.locator("#summary tbody tr:visible").count() == 11  # task 1, task 10 to task 19
    assert opened.tab.inner_text("#summary .filter .count") == "11 of 21"


def test_numbers_stand_under_each_other_at_the_point(opened: Opened) -> None:
    ends = opened.tab.eval_on_selector_all(
        "#summary td[data-value]:last-child sup", "all => all.map(each => each.getBoundingClientRect().left)"
    )
    assert len(ends) == 20
    assert max(ends) - min(ends) < 1


def test_samples_are_listed_fifty_a_page(opened: Opened) -> None:
    assert opened.tab.inner_text("#samples .count") == "125 samples"
    assert len(opened.rows()) == 50
    opened.tab.click("[aria-label='Next page']")
    assert opened.rows()[0] == "Q: What is 50 plus 1?"
    assert opened.tab.inner_text(".place") == "51 to 100"


def test_samples_are_found_by_id_question_and_answer(opened: Opened) -> None:
    for text, expected in (("E017", ["Q: What is 17 plus 1?"]), ("is 33 PLUS", ["Q: What is 33 plus 1?"])):
        opened.search(text)
        assert opened.rows() == expected
    opened.search(" 118")
    assert "Q: What is 117 plus 1?" in opened.rows()


def test_what_precedes_the_question_is_not_searched(opened: Opened) -> None:
    opened.search("Q: one?")
    assert opened.rows() == []
    assert "No sample fits." in opened.tab.inner_text(".rows")


def test_samples_are_filtered_by_what_is_known_of_them(opened: Opened) -> None:
    for name, value, count in (
        ("outcome", "wrong", 31),
        ("scanned", "dirty", 6),
        ("shots", "1", 60),
        ("task", "quiz", 1),
    ):
        opened.tab.select_option(f"[name={name}]", value)
        assert opened.tab.inner_text("#samples .count") == f"{count} of 125 samples"
        opened.tab.select_option(f"[name={name}]", "")
    assert opened.tab.locator("[name=model]").is_hidden()  # all are of one


def test_filters_hold_together(opened: Opened) -> None:
    opened.tab.select_option("[name=outcome]", "wrong")
    opened.tab.select_option("[name=scanned]", "dirty")
    assert opened.tab.inner_text("#samples .count") == "3 of 125 samples"  # 0, 20, 40


def test_a_sample_opens_with_all_that_is_known_of_it(opened: Opened) -> None:
    opened.tab.click(".rows li:nth-child(3) a")
    text = opened.tab.inner_text(".detail:not([hidden])")
    for said in ("e002", "9 tokens of 2,048, 0 demonstrations", "2 tokens, ended by stop string", "exact_match 1"):
        assert said in text
    assert opened.tab.locator(".detail pre").first.text_content() == "Q: one?\nA: 1\n\nQ: What is 2 plus 1?\nA:"
    assert opened.tab.locator(".detail .own").text_content() == "Q: What is 2 plus 1?\nA:"


def test_choices_show_their_likelihoods(opened: Opened) -> None:
    opened.tab.select_option("[name=task]", "quiz")
    opened.tab.click(".rows a")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    rows = [row.split("\t") for row in opened.tab.locator(".detail tbody tr").all_inner_texts()]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["choice 0", "-2.000", "-2.000", "1", "right"],
        ["choice 1", "-1.000", "-0.500", "2", "likeliest"],
        ["choice 2", "-1.500", "-0.500", "3", "likeliest by token"],
    ]


def test_white_space_is_shown_and_copied_as_it_is(opened: Opened) -> None:
    opened.search("white")
    opened.tab.click(".rows a")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    signs = opened.tab.eval_on_selector_all(".detail pre:first-of-type .white", "all => all.map(e => e.dataset.sign)")
    assert signs == ["··", "→", "↵", "↵", "·"]
    opened.tab.evaluate("getSelection().selectAllChildren(document.querySelector('.detail pre'))")
    assert opened.tab.evaluate("String(getSelection())") == "a  b\tc\n\nd "
    opened.tab.uncheck(".toggle input")
    shown = "getComputedStyle(document.querySelector('.detail .white'), '::before').content"
    assert opened.tab.evaluate(shown) == "none"


def test_the_keyboard_is_enough(opened: Opened) -> None:
    tab = opened.tab
    focused = "document.activeElement.textContent"
    tab.focus("[name=search]")
    tab.keyboard.press("ArrowDown")
    assert "What is 0 plus" in tab.evaluate(focused)
    tab.keyboard.press("ArrowDown")
    assert "What is 1 plus" in tab.evaluate(focused)
    tab.keyboard.press("End")
    tab.keyboard.press("ArrowDown")  # on to the next page
    assert "What is 50 plus" in tab.evaluate(focused)
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".detail:not([hidden])")
    assert "e050" in tab.evaluate(focused)
    tab.keyboard.press("Escape")
    assert tab.locator(".detail").is_hidden()
    assert "What is 50 plus" in tab.evaluate(focused)


def test_a_link_opens_its_sample(opened: Opened) -> None:
    opened.tab.click(".rows li:nth-child(5) a")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    opened.tab.reload()
    assert "e004" in opened.tab.inner_text(".detail:not([hidden]) h3")


def test_going_back_closes_a_sample(opened: Opened) -> None:
    opened.tab.click(".rows li:nth-child(5) a")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    opened.tab.go_back()
    opened.tab.wait_for_selector(".detail", state="hidden")
    assert len(opened.rows()) == 50


def test_samples_can_be_leafed_through(opened: Opened) -> None:
    opened.tab.click(".rows li:nth-child(1) a")
    opened.tab.click("[aria-label='Next sample']")
    opened.tab.wait_for_selector(".detail h3:has-text('e001')")
    assert opened.tab.locator("[aria-label='Previous sample']").is_enabled()


def test_a_hostile_sample_is_text(opened: Opened) -> None:
    opened.search("hostile")
    opened.tab.click(".rows a")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    shown = opened.tab.locator(".detail pre").first.text_content() or ""
    assert shown == markup.HIDDEN.sub(lambda found: markup.written(found[0]), pages.HOSTILE)
    assert opened.tab.locator("#browser img, #browser script").count() == 0


def test_what_is_hidden_is_written_out_as_python_does(opened: Opened) -> None:
    opened.tab.select_option("[name=task]", "hostile")
    opened.tab.click(".rows a:has-text('hidden')")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    expected = markup.HIDDEN.sub(lambda found: markup.written(found[0]), HIDDEN)
    assert opened.tab.locator(".detail h4:has-text('Answer') + pre").text_content() == expected


def test_a_line_of_a_million_characters_is_cut_until_it_is_asked_for(opened: Opened) -> None:
    opened.search("long")
    opened.tab.click(".rows a")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    own = opened.tab.locator(".detail .own")
    assert len(own.text_content() or "") == 20_000
    opened.tab.click("text=Show all 1,050,000 characters")
    assert len(own.text_content() or "") == len(LINE)


def test_a_command_is_copied(opened: Opened) -> None:
    opened.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.tab.click(".copy")
    opened.tab.wait_for_selector(".copy:text-matches('Copied|Selected')")
    taken = "async () => String(getSelection()) || await navigator.clipboard.readText()"
    assert opened.tab.evaluate(taken) == "evalkit run --tasks 'a b'"


@pytest.mark.parametrize("width", [PHONE, 1280])
def test_the_page_does_not_scroll_sideways(opened: Opened, width: int) -> None:
    opened.tab.set_viewport_size({"width": width, "height": 844})
    assert opened.tab.evaluate("document.documentElement.scrollWidth") == width
    opened.tab.click(".rows a")
    opened.tab.wait_for_selector(".detail:not([hidden])")
    assert opened.tab.evaluate("document.documentElement.scrollWidth") == width
    edges = (
        "['h1', 'h2', 'figcaption', '#summary table'].map(s => document.querySelector(s).getBoundingClientRect().left)"
    )
    assert len(set(opened.tab.evaluate(edges))) == 1


def test_on_a_phone_passages_stand_below_each_other(opened: Opened) -> None:
    opened.tab.set_viewport_size({"width": PHONE, "height": 844})
    one, other = (opened.tab.locator(".pair > div").nth(at).bounding_box() for at in (0, 1))
    assert one["x"] == other["x"]
    assert one["y"] + one["height"] <= other["y"]


def test_paper_gets_whole_tables_and_no_samples(opened: Opened) -> None:
    opened.tab.emulate_media(media="print")
    assert opened.tab.locator("#samples").is_hidden()
    assert opened.tab.locator("#summary .scroll").evaluate("e => getComputedStyle(e).overflowX") == "visible"


def test_names_of_models_are_text_whatever_they_are(browser: Browser, tmp_path: Path) -> None:
    models = ("constructor", "__proto__", "neither", "a\u202eb")
    page.write(tmp_path, pages.page(samples=[pages.shown(model=name) for name in models]))
    with browser.new_page() as tab:
        tab.goto((tmp_path / page.FILE).as_uri())
        tab.wait_for_selector("#browser:not([hidden])")
        assert tab.locator("[name=model] option").all_inner_texts() == ["all", *models[:3], r"a\u202eb"]


def test_a_long_choice_says_that_it_is_cut(browser: Browser, tmp_path: Path) -> None:
    page.write(tmp_path, pages.page(samples=[pages.choosing(-2.0, -1.0, first="a" * 1500)]))
    with browser.new_page() as tab:
        tab.goto((tmp_path / page.FILE).as_uri())
        tab.wait_for_selector("#browser:not([hidden])")
        tab.click(".rows a")
        shown = tab.locator(".detail tbody tr").first.locator("td").first
        assert shown.text_content() == "a" * 200 + " … 1,300 more characters"


def test_without_a_script_tables_figures_and_some_samples_are_there(browser: Browser, address: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        tab = context.new_page()
        tab.goto(address)
        assert tab.locator("#summary tbody tr").count() == 21
        assert tab.locator("#figures svg").is_visible()
        assert tab.locator("#provenance dl").is_visible()
        assert tab.locator("#browser").is_hidden()
        tab.locator("#few summary").first.click()
        assert "What is 0 plus 1?" in tab.locator("#few details").first.inner_text()
