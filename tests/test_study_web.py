"""A participant's way through the pages, in the application itself."""

import html
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from evalkit.articles import answers, quizzes
from evalkit.articles.records import CHOICES, NEUTRAL, Participant, Study
from evalkit.articles.web import pages
from evalkit.articles.web.app import create_app
from evalkit.articles.web.settings import ServeSettings
from evalkit.articles.web.store import Store
from tests import studies
from tests.study_visits import Reply, Visitor

ARTICLES = 4
PAGES = ARTICLES + 1  # with the attention check, after two articles


@pytest.fixture
def study() -> Study:
    return studies.study(ARTICLES)


@pytest.fixture
def app(tmp_path: Path, study: Study) -> Iterator[Starlette]:
    with Store(tmp_path, study=study) as store:
        yield create_app(study, store, ServeSettings(tmp_path))


@pytest.fixture
def visitor(app: Starlette) -> Visitor:
    return Visitor(app)


def only(directory: Path) -> Participant:
    [participant] = answers.load(directory)
    return participant


def test_the_way_leads_from_consent_over_all_articles_and_one_check_to_a_code(visitor: Visitor) -> None:
    seen = ["/", "/instructions"]
    assert "I agree" in visitor.get("/").body
    visitor.begin()
    path = "/article/1"
    while path != "/thanks":
        seen.append(path)
        path = visitor.answer(path, 2).location or ""
    assert seen == ["/", "/instructions", "/article/1", "/article/2", "/check", "/article/3", "/article/4"]
    assert re.search(r"<code>[2-9A-Z]{5}-[2-9A-Z]{5}</code>", visitor.get("/thanks").body)


def test_answers_are_kept_with_the_participants_order_and_what_was_shown(
    visitor: Visitor, study: Study, tmp_path: Path
) -> None:
    visitor.begin()
    shown = []
    for place, choice in ((1, 5), (2, 1)):
        shown.append(visitor.get(f"/article/{place}").text)
        visitor.answer(f"/article/{place}", choice)
    found = only(tmp_path)
    assert [(each.article, each.position, each.choice) for each in found.answers] == [
        (article, place, choice)
        for place, (article, choice) in enumerate(zip(quizzes.order(study, found.id)[:2], (5, 1), strict=True))
    ]
    for answer, text in zip(found.answers, shown, strict=True):
        assert answer.writer == study.writer(answer.article, found.quiz)
        assert (
            quizzes.shown(study, found.condition, quiz=found.quiz, article=answer.article).split()[0:6]
            == (text.split("Subtitle of")[1].split()[1:7])
        )


@pytest.mark.parametrize("choice", range(1, len(CHOICES) + 1))
def test_the_attention_check_is_passed_by_the_answer_it_names_alone(
    visitor: Visitor, tmp_path: Path, choice: int
) -> None:
    visitor.begin()
    assert visitor.go(2) == "/check"
    asked = visitor.get("/check").asked
    visitor.answer("/check", choice)
    assert only(tmp_path).has_attended is (choice == asked)


@pytest.mark.parametrize("choice", range(1, len(CHOICES) + 1))
def test_who_always_gives_the_same_answer_fails_the_attention_check(
    app: Starlette, tmp_path: Path, choice: int
) -> None:
    for _ in range(12):
        visitor = Visitor(app)
        visitor.begin()
        for page in ("/article/1", "/article/2", "/check"):
            visitor.answer(page, choice)
    assert [each.has_attended for each in answers.load(tmp_path)] == [False] * 12


def test_participants_are_asked_for_answers_of_their_own(app: Starlette) -> None:
    asked = []
    for _ in range(12):
        visitor = Visitor(app)
        visitor.begin()
        visitor.go(2)
        asked.append(visitor.get("/check").asked)
    assert len(set(asked)) > 1


def test_the_attention_check_asks_for_the_same_however_often_it_is_shown(visitor: Visitor, tmp_path: Path) -> None:
    visitor.begin()
    visitor.go(2)
    asked = {visitor.get("/check").asked, visitor.answer("/check", "").asked, visitor.get("/check").asked}
    assert len(asked) == 1
    visitor.answer("/check", asked.pop())
    assert only(tmp_path).has_attended is True


def test_who_has_answered_all_has_finished_and_nobody_else(visitor: Visitor, tmp_path: Path) -> None:
    visitor.begin()
    visitor.go(PAGES - 1)
    assert not only(tmp_path).has_finished
    visitor.go(1)
    assert only(tmp_path).has_finished


def test_seconds_run_from_the_first_showing(visitor: Visitor, tmp_path: Path) -> None:
    visitor.begin()
    visitor.get("/article/1")
    set_back(tmp_path, seconds=100)
    visitor.get("/article/1")
    visitor.answer("/article/1")
    assert 100 <= only(tmp_path).answers[0].seconds < 110


def test_a_head_request_and_a_prefetch_do_not_start_the_clock(visitor: Visitor, tmp_path: Path) -> None:
    visitor.begin()
    visitor.ask("HEAD", "/article/1")
    visitor.get("/article/1", sec_purpose="prefetch;prerender")
    set_back(tmp_path, seconds=100)
    visitor.answer("/article/1")
    assert only(tmp_path).answers[0].seconds < 50


def set_back(directory: Path, *, seconds: float) -> None:
    """Let all showings have been earlier."""
    with sqlite3.connect(directory / "answers.sqlite") as connection:
        connection.execute("UPDATE shown SET time = time - ?", (seconds,))
    connection.close()


def test_cells_are_filled_evenly(app: Starlette, tmp_path: Path) -> None:
    for _ in range(18):
        Visitor(app).begin()
    counts = Counter((each.condition, each.quiz) for each in answers.load(tmp_path))
    assert len(counts) == 4
    assert max(counts.values()) - min(counts.values()) <= 1


def test_seed_and_id_alone_draw_the_cell_of_a_participant(tmp_path: Path, study: Study) -> None:
    drawn = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        with Store(tmp_path / name, study=study) as store:
            drawn.append([store.begin(f"p{number}") for number in range(20)])
    assert drawn[0] == drawn[1]


def test_an_answer_that_is_sent_again_is_kept_once_and_leads_on(visitor: Visitor, tmp_path: Path) -> None:
    visitor.begin()
    form = {"token": visitor.get("/article/1").token, "choice": 4}
    assert [visitor.post("/article/1", form).location for _ in range(3)] == ["/article/2"] * 3
    visitor.answer("/article/2")
    assert visitor.post("/article/1", form).location == "/check"
    assert [each.choice for each in only(tmp_path).answers] == [4, 1]


def test_a_different_second_answer_is_not_taken_over(visitor: Visitor, tmp_path: Path) -> None:
    visitor.begin()
    token = visitor.get("/article/1").token
    visitor.post("/article/1", {"token": token, "choice": 4})
    assert visitor.post("/article/1", {"token": token, "choice": 5}).status == 409
    assert [each.choice for each in only(tmp_path).answers] == [4]


def test_a_second_answer_to_the_check_is_not_taken_over(visitor: Visitor, tmp_path: Path) -> None:
    visitor.begin()
    visitor.go(2)
    page = visitor.get("/check")
    wrong = {"token": page.token, "choice": NEUTRAL}
    assert [visitor.post("/check", wrong).location for _ in range(2)] == ["/article/3"] * 2
    assert visitor.post("/check", {"token": page.token, "choice": page.asked}).status == 409
    assert only(tmp_path).has_attended is False


def test_consent_that_is_sent_twice_begins_once(visitor: Visitor, tmp_path: Path) -> None:
    token = visitor.get("/").token
    assert [visitor.post("/begin", {"token": token}).location for _ in range(2)] == ["/instructions"] * 2
    assert len(answers.load(tmp_path)) == 1


def test_nobody_is_recorded_before_consent(visitor: Visitor, tmp_path: Path) -> None:
    for path in ("/", "/instructions", "/article/1", "/check", "/thanks"):
        visitor.open(path)
    assert answers.load(tmp_path) == ()


@pytest.mark.parametrize("choice", ["", "0", "6", "2.0", "two", "1 ", "١"])
def test_a_form_without_a_choice_is_shown_again_with_a_word_about_it(
    visitor: Visitor, tmp_path: Path, choice: str
) -> None:
    visitor.begin()
    reply = visitor.answer("/article/1", choice)
    assert (reply.status, only(tmp_path).answers) == (422, ())
    assert 'role="alert"' in reply.body
    assert visitor.post("/article/1", {"token": reply.token, "choice": 3}).location == "/article/2"


def test_no_article_can_be_seen_out_of_its_turn(visitor: Visitor) -> None:
    visitor.begin()
    assert [visitor.get(path).location for path in ("/article/2", "/check", "/thanks")] == ["/article/1", "/", "/"]
    visitor.go(2)
    assert [visitor.get(f"/article/{place}").location for place in (1, 2, 3)] == ["/check"] * 3
    visitor.go(PAGES - 2)
    assert visitor.get("/article/1").location == "/thanks"


def test_the_cookie_leads_back_to_the_page_that_is_next(visitor: Visitor) -> None:
    visitor.begin()
    assert visitor.get("/").location == "/instructions"
    visitor.go(1)
    assert visitor.get("/").location == "/article/2"


def test_the_personal_link_leads_another_browser_to_the_page_that_is_next(visitor: Visitor, app: Starlette) -> None:
    visitor.begin()
    link = visitor.get("/article/1").link
    visitor.go(3)
    other = Visitor(app)
    assert other.get(link).location == "/"
    assert other.get("/").location == "/article/3"


def test_a_restart_changes_nothing_for_who_has_begun(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path, study=study) as store:
        visitor = Visitor(create_app(study, store, ServeSettings(tmp_path)))
        visitor.begin()
        form = {"token": visitor.get("/article/1").token, "choice": 4}
    with Store(tmp_path, study=study) as store:
        visitor.app = create_app(study, store, ServeSettings(tmp_path))
        assert visitor.post("/article/1", form).location == "/article/2"


def everything(visitor: Visitor) -> Iterator[Reply]:
    """Take the whole quiz, and give every reply of it."""
    yield visitor.get("/")
    yield visitor.begin()
    path = "/article/1"
    while path != "/thanks":
        yield visitor.get(path)
        sent = visitor.answer(path, 2)
        yield sent
        path = sent.location or ""
    yield visitor.get("/thanks")
    yield visitor.get("/nowhere")


def test_no_reply_names_a_condition_a_quiz_a_model_or_a_writer(app: Starlette) -> None:
    told = re.compile("zanzibar|timbuktu|control|signature|quiz|condition|small study|125000000", re.IGNORECASE)
    for _ in range(4):  # every condition with every quiz
        for reply in everything(Visitor(app)):
            assert not told.search(re.sub(r"<style>.*?</style>", "", reply.body, flags=re.DOTALL))
            assert not told.search(str([pair for pair in reply.headers if pair[0] != "cache-control"]))


def test_pages_differ_by_the_article_alone_whoever_wrote_it(app: Starlette) -> None:
    found = set()
    for _ in range(8):  # of every condition with every quiz, two
        visitor = Visitor(app)
        visitor.begin()
        reply = visitor.get("/article/1")
        page = re.sub(r"<article>.*?</article>", "ARTICLE", reply.body, flags=re.DOTALL)
        headers = [pair for pair in reply.headers if pair[0] != "content-length"]
        found.add((page.replace(reply.token, "TOKEN").replace(reply.link, "LINK"), str(headers), *visitor.cookies))
    assert len(found) == 1


@pytest.mark.parametrize("text", ["One.\n\nTwo.", "One.\nTwo.", " One.\r\n\r\n\r\nTwo. \n", "One.\u2029Two."])
def test_an_article_has_the_same_paragraphs_however_its_lines_are_broken(text: str) -> None:
    assert pages.paragraphs(text) == ["One.", "Two."]


@pytest.mark.parametrize("blank", [" ", "  ", "\t", "\xa0", "\u2009", "\u3000"])
def test_words_are_apart_alike_whatever_white_space_is_between(blank: str) -> None:
    assert pages.paragraphs(f"One{blank}two.") == ["One two."]


def test_every_page_has_one_heading_a_language_and_no_script(visitor: Visitor) -> None:
    for reply in everything(visitor):
        if reply.status != 303:
            assert len(re.findall(r"<h1[ >]", reply.body)) == 1
            assert '<html lang="en">' in reply.body
            assert "<script" not in reply.body


def test_the_five_answers_are_labelled_and_stand_in_a_fieldset(visitor: Visitor) -> None:
    visitor.begin()
    [fieldset] = re.findall(r"<fieldset>.*?</fieldset>", visitor.get("/article/1").body, re.DOTALL)
    labels = re.findall(
        r'<label><input type="radio" name="choice" value="(\d)" required> <span>(.*?)</span></label>', fieldset
    )
    assert labels == [
        (str(place), html.escape(choice[0].upper() + choice[1:], quote=True).replace("&#x27;", "&#39;"))
        for place, choice in enumerate(CHOICES, start=1)
    ]


def test_the_researchers_own_text_is_part_of_the_consent(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path, study=study) as store:
        app = create_app(study, store, ServeSettings(tmp_path), consent="Ask\n<us>.\r\n \nWe are two.\n")
        assert '<p dir="auto">Ask &lt;us&gt;.</p>\n<p dir="auto">We are two.</p>' in Visitor(app).get("/").body
