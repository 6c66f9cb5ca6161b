import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from evalkit.records import Estimate, Marked, Table
from evalkit.report.content import Page, Passage, Provenance, ShownArticle, ShownText
from evalkit.report.page import drawing, page, passages, quiz, samples
from tests import pages

STYLE = (Path(page.__file__).parent / "style.css").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """What a page is made of; data blocks are left out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.sources: list[tuple[str, str]] = []  # of scripts and styles
        self.policy = self.text = ""
        self._raw: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += given.items()
        self.policy = given["content"] if "http-equiv" in given else self.policy
        if tag in {"script", "style"} and "type" not in given:
            self._raw = tag

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.sources.append((self._raw, data))
        else:
            self.text += data
        self._raw = None


def rendered(**changes: object) -> str:
    return "".join(page.render(pages.page(**changes)))


def shown(table: Table) -> str:
    return "".join(page.render(Page("t", (table,))))


def test_a_policy_comes_first_and_allows_these_scripts_and_this_style_alone() -> None:
    html = rendered()
    reader = Reader(html)
    assert reader.tags[:4] == ["html", "head", "meta", "meta"]
    assert html.index("charset") < 1024  # bytes that a browser looks through
    allowed: dict[str, list[str]] = {"script": [], "style": []}
    for kind, source in reader.sources:
        allowed[kind].append(f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'")
    assert reader.policy == (
        f"default-src 'none'; script-src {' '.join(allowed['script'])}; style-src {allowed['style'][0]}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert len(allowed["script"]) == 2


def test_nothing_is_fetched_and_nothing_but_the_scripts_runs() -> None:
    reader = Reader(rendered())
    assert all(value.startswith("#") for name, value in reader.attributes if name in {"href", "src", "action"})
    assert not any(name.startswith("on") or name == "style" for name, _ in reader.attributes)


def test_hostile_text_is_text_everywhere() -> None:
    bad = pages.HOSTILE
    table = Table((bad, bad), ((bad, Marked(1.5, signs=(bad,))),), bad, (bad,), (bad,))
    figure = replace(pages.page().figures[0], title=bad, caption=bad, data=table)
    sample = replace(pages.shown(bad, context=bad, answer=bad, task=bad), model=bad)
    html = rendered(
        title=bad,
        summary=(table,),
        contamination=(),
        people=(table,),
        detectors=(),
        figures=(figure,),
        quiz=(ShownArticle(bad, bad, (ShownText(bad, bad, ((bad, 1),)),)),),
        samples=[sample],
        passages=(Passage(bad, bad, 1, bad, (bad, bad, bad), (bad, bad, bad)),),
        provenance=(Provenance(bad, bad, {bad: bad}, (bad,)),),
    )
    reader = Reader(html)
    assert reader.tags.count("script") == 2 + 1 + 2  # its own, the index, a block of texts and one of records
    assert "img" not in reader.tags
    assert reader.text.count("window.ran = 1</script>") >= 30
    assert not re.search("[\x00\x1b\u202a-\u202e\ud800-\udfff]", html)
    assert reader.text.count("\\u202e") == reader.text.count("\\x00") == reader.text.count("\\ud800")
    assert pages.data(html).prompt(0) == bad


def test_empty_sections_are_left_out() -> None:
    names = ["summary", "contamination", "people", "detectors", "figures", "quiz", "samples", "matches", "provenance"]
    assert re.findall(r'<section id="(\w+)"', rendered()) == names
    assert re.findall(r'<li><a href="#(\w+)">', rendered()) == names
    alone = "".join(page.render(Page("t", (pages.table(),))))
    assert re.findall(r'<section id="(\w+)"', alone) == ["summary"]
    assert "<nav" not in alone


def test_headings_come_in_order_and_ids_are_unique() -> None:
    reader = Reader(rendered())
    levels = [int(tag[1]) for tag in reader.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_values_stand_beside_what_is_shown_of_them() -> None:
    html = shown(Table(("t", "n", "x"), (("a", 12345, Estimate(1 / 3, 0.25, 0.5, 9)), ("b", None, None)), "c"))
    assert '<td class="number" data-value="12345">12,345</td>' in html
    assert f'data-value="{1 / 3!r}"' in html
    assert html.count("data-missing") == 2


def test_intervals_have_the_same_room_in_a_column() -> None:
    rows = (("a", Estimate(5.0, 0.0, 9.5, 9)), ("b", Estimate(99.0, 90.0, 100.0, 9)), ("c", None))
    slots = re.findall(r'class="(slot w\d+)">([^<]*)<', shown(Table(("t", "x"), rows, "c")))
    # "[90.00," is 4 digits, a bracket, a point and a comma: 8 + 1.5 + 1 + 1 halves; "100.00]" has one more digit.
    assert [text for width, text in slots if width == "slot w12"] == ["[0.00,", "[90.00,", ""]
    assert [text for width, text in slots if width == "slot w13"] == ["9.50]", "100.00]", ""]


def test_intervals_print_as_plus_minus_where_a_table_says_so() -> None:
    rows = (("a", Estimate(50.0, 48.0, 52.0, 9)), ("b", Estimate(1.0, 0.5, 9.0, 9)))
    html = shown(Table(("t", "x"), rows, "c", intervals="plusminus"))
    assert re.findall(r'<span class="slot w\d+">([^<]*)</span>', html) == ["", "± 2.00", "[0.50,", "9.00]"]


def test_the_best_is_bold_and_signs_are_raised() -> None:
    html = shown(Table(("t", "x"), (("a", Marked(1.5, is_best=True, signs=("†", "‡"))), ("b", 2.5)), "c"))
    assert re.search(r'<b>1\.50</b><sup class="slot w\d">†‡</sup>', html)
    assert re.search(r'2\.50<sup class="slot w\d"></sup>', html)  # keeps the room, so that points stay aligned


def test_a_note_that_numbers_rest_on_comes_last() -> None:
    html = shown(replace(pages.table(), sources=("t|v1",)))
    assert "<li>A note.</li><li>t|v1</li>" in html


def test_matches_stand_side_by_side_with_shared_words_marked() -> None:
    html = "".join(passages.render(pages.page().passages))
    assert "<blockquote>one <mark>two three</mark> four</blockquote>" in html
    assert "<blockquote>x <mark>Two, three</mark> y</blockquote>" in html
    assert "<h4>Document <code>a.txt:1</code></h4>" in html


def test_a_passage_whose_corpus_is_gone_says_so() -> None:
    found = replace(pages.page().passages[0], in_document=None)
    assert "cannot be read" in "".join(passages.render([found]))


def test_matches_beyond_what_a_page_holds_are_counted() -> None:
    html = "".join(passages.render(pages.page().passages * (passages.MOST + 1)))
    assert html.count('<details class="match"') == passages.MOST
    assert "The first 200 of 201 matches" in html


def test_a_quiz_shows_a_text_with_its_writer_and_how_often_each_answer_was_given() -> None:
    html = "".join(quiz.render(pages.page().quiz))
    assert "<h4>Written by a person</h4>" in html
    assert "<strong>Cave moss</strong><p><em>Its calendar</em></p><blockquote>Moss.</blockquote>" in html
    assert "<li>human <span>3 (75 %)</span></li><li>? <span>1 (25 %)</span></li>" in html


def test_an_article_without_answers_or_title_is_shown_by_its_text() -> None:
    html = "".join(quiz.render([ShownArticle("", "", (ShownText("nano", "x" * 90, (("human", 0),)),))]))
    assert f"<h3>{'x' * 60}</h3>" in html
    assert "<li>human <span>0</span></li>" in html


def test_pictures_keep_shapes_and_lose_what_runs_or_fetches() -> None:
    html = drawing.inline(pages.SVG, name="f1", labelled_by="c")
    assert html.startswith('<svg viewBox="0 0 252 180" width="403" role="img" aria-labelledby="c"')
    assert '<path id="f1-a" d="M0 0L9 9">' in html
    assert '<g fill="#ffffff" stroke="#0072b2"><use href="#f1-a" clip-path="url(#f1-c)">' in html
    for gone in ("script", "onload", "style", "https:", "javascript", "foreignObject", "<b>", "M1 1"):
        assert gone not in html


def test_a_figure_has_its_points_as_a_table() -> None:
    html = rendered()
    figure = html[html.index('<figure class="drawing">') : html.index('<section id="samples"')]
    assert re.search(r"<details><summary>.*<table.*task 0.*</details>", figure, re.DOTALL)


def test_without_a_script_the_first_sample_of_each_outcome_is_there() -> None:
    many = [pages.shown(f"e{at}", is_right=(True, False, None)[at % 3], shots=at // 6) for at in range(12)]
    html = "".join(page.render(Page("t", (pages.table(),), samples=many)))
    assert html.count('<details class="sample"') == 6


def test_a_prompt_keeps_the_line_breaks_it_begins_with() -> None:
    html = "".join(samples.render([pages.shown(context="\n\nQ: one?\n\nA:")]))
    assert "<pre>\n\n\nQ: one?\n\nA:</pre>" in html  # the first of the three is markup


def test_a_text_of_a_million_characters_is_cut_where_no_script_opens_it() -> None:
    html = "".join(samples.render([pages.shown(answer="x" * 1_000_000)]))
    assert len(html) < 10_000
    assert "996,000 more characters" in html


def test_a_long_choice_is_cut_where_that_is_told() -> None:
    html = "".join(samples.render([pages.choosing(-2.0, -1.0, first="a" * 1500)]))
    assert f'<th scope="row">{"a" * 200}<span class="soft"> … 1,300 more characters</span></th>' in html


@pytest.mark.parametrize("hidden", ["\xad", "\u180e", "\u206a", "\ufff9"])
def test_what_nobody_sees_is_written_out(hidden: str) -> None:
    html = "".join(samples.render([pages.shown(answer=f"a{hidden}b")]))
    assert hidden not in html
    assert f"\\{'x' if hidden < chr(0x100) else 'u'}{ord(hidden):0{2 if hidden < chr(0x100) else 4}x}" in html


def test_likelihoods_say_which_choice_is_right_and_which_is_likeliest() -> None:
    group = samples.likelihoods(pages.choosing(-2.0, -1.0, -1.5).sample)[0]
    # By the token -2 / 1, -1 / 2, -1.5 / 3: the last two are alike.
    assert samples.remarks(group) == ["right", "likeliest", "likeliest by token"]


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * each for each in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # WCAG 2.2, relative luminance


@pytest.mark.parametrize("at", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "tint", "chosen"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "good", "bad"])
def test_text_has_the_contrast_that_wcag_asks_for(at: int, ground: str, ink: str) -> None:
    colours = dict(re.findall(r"--(\w+): #(\w+);", re.findall(r":root \{.*?\}", STYLE, re.DOTALL)[at]))
    one, other = sorted((luminance(colours[ink]), luminance(colours[ground])))
    assert (other + 0.05) / (one + 0.05) >= 4.5


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    page.write(tmp_path, pages.page())
    assert (tmp_path / "index.html").read_text(encoding="utf-8").endswith("</html>\n")
