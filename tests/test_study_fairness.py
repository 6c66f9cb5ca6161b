"""Nothing but the writing may tell whose text of an article is shown."""

import time
from pathlib import Path

import pytest

from evalkit.articles import choice, directory, ending, gather, length
from evalkit.articles.records import Article
from evalkit.articles.settings import Given
from evalkit.records import Completion, Generate, Request
from tests.test_study_build import TEXTS, Row, given, invent, lines, rows, run, settings

SENTENCE = "雨が降った。"  # five characters of Han and kana, and a stop that is a word of its own
ENDED = {name: {"text": f"Given text {name} ends."} for name in TEXTS}


@pytest.mark.parametrize(
    "text", ["", "One two.", " It’s  a\n\ntab\there\xa0now \u2028 – done…", "Ärger über Öl", "Привет, мир!"]
)
def test_words_are_what_white_space_divides(text: str) -> None:
    assert length.count_words(text) == len(text.split())
    assert [text[:place].split() + text[place:].split() for place in length.word_starts(text)] == [text.split()] * len(
        text.split()
    )


@pytest.mark.parametrize(
    ("text", "words"), [("雨が降った", 5), ("雨 が", 2), ("AI時代", 3), (SENTENCE, 6), ("한국어 신문", 2)]
)
def test_where_a_script_has_no_blanks_each_character_is_a_word(text: str, words: int) -> None:
    assert length.count_words(text) == words


@pytest.mark.parametrize("sentences", [1, 4, 9])
def test_a_text_without_blanks_is_cut_as_long_as_the_human_one(sentences: int) -> None:
    human = SENTENCE * sentences
    assert ending.cut(SENTENCE * 10, words=length.count_words(human), is_whole=True) == human


def test_of_candidates_without_blanks_the_nearest_in_characters_is_chosen() -> None:
    article = Article("a", "雨", "", SENTENCE * 5)
    texts = ("雪が降った。", "風が吹いた。" * 5, "日が出ていた。" * 20)
    written = [(seed, Completion(text, 1, "end-of-text")) for seed, text in enumerate(texts)]
    assert choice.clean(article, written, context=[]).candidates[0].seed == 1


def test_a_text_with_half_of_a_surrogate_pair_is_not_shown(tmp_path: Path) -> None:
    def broken(request: Request) -> str:
        assert isinstance(request, Generate)
        return f" {invent(request.seed, 5)}" + " Broken \ud800." * (request.seed % 2)

    outcome = run(settings(tmp_path, candidates=8), broken)
    assert directory.load(tmp_path / "study") == outcome.study
    assert directory.built(tmp_path / "study")["conditions"]["one"]["dropped"][choice.HALVED] > 0


def broken_off(number: int) -> list[Row]:
    """Articles the first of which end within a sentence, as where data are cut at a number of words."""
    return [
        row | {"article": f"{row['article']} And then"} if place < number else row for place, row in enumerate(rows())
    ]


def test_human_articles_that_end_within_a_sentence_are_told(tmp_path: Path) -> None:
    notes = run(settings(tmp_path, broken_off(2))).notes
    told = "of 2 articles one text alone ends with a sentence, the human one or the model's, by which they can be told"
    assert [note for note in notes if "ends with a sentence" in note] == [
        f"one: {told}: 'n0', 'n1'.",
        f"control: {told}: 'n0', 'n1'.",
    ]


def test_given_texts_that_end_within_a_sentence_are_told(tmp_path: Path) -> None:
    [note] = [
        each for each in run(settings(tmp_path, models=(), given=(given(tmp_path, **TEXTS),))).notes if "alone" in each
    ]
    assert note.startswith("davinci: of 4 articles one text alone ends with a sentence")


@pytest.mark.parametrize(("texts", "number"), [(ENDED, 0), (TEXTS, 4)])
def test_texts_that_end_alike_are_no_news(tmp_path: Path, texts: dict[str, Row], number: int) -> None:
    notes = run(settings(tmp_path, broken_off(number), models=(), given=(given(tmp_path, **texts),))).notes
    assert not [note for note in notes if "ends with a sentence" in note]


def about_marks(folder: Path, human: str, model: str) -> list[str]:
    """Build a study whose texts of either side hold a mark; return the notes on marks."""
    folder.mkdir(exist_ok=True)
    written = [row | {"article": f"It{human}rains. {row['article']}"} for row in rows()]
    texts: dict[str, Row] = {name: {"text": f"It{model}is a text {name}."} for name in TEXTS}
    notes = run(settings(folder, written, models=(), given=(given(folder, **texts),))).notes
    return [note for note in notes if "have lost them" in note]


@pytest.mark.parametrize(
    ("mark", "what"), [("\n", "line breaks"), ("“", "curly quotation marks"), ("’", "curly quotation marks")]
)
def test_marks_that_one_side_alone_has_are_told(tmp_path: Path, mark: str, what: str) -> None:
    [of_model] = about_marks(tmp_path / "model", " ", mark)
    [of_human] = about_marks(tmp_path / "human", mark, " ")
    assert of_model.startswith(f"davinci: 0 human texts and 4 of the model's have {what}")
    assert of_human.startswith(f"davinci: 4 human texts and 0 of the model's have {what}")


@pytest.mark.parametrize("mark", [" ", "\n", "“"])
def test_marks_that_both_sides_have_are_no_news(tmp_path: Path, mark: str) -> None:
    assert about_marks(tmp_path, mark, mark) == []


def test_studies_whose_conditions_have_other_names_have_other_signatures(tmp_path: Path) -> None:
    path = lines(tmp_path / "texts.jsonl", [{"id": name, **row} for name, row in ENDED.items()])
    signatures = {
        run(settings(tmp_path, models=(), given=(Given(name, path),), out=tmp_path / name)).study.signature
        for name in ("davinci", "curie")
    }
    assert len(signatures) == 2


def test_context_for_many_articles_is_found_in_seconds(tmp_path: Path) -> None:
    written = [{"id": f"n{place}", "title": f"Title {place}", "article": invent(place, 40)} for place in range(600)]
    asked = settings(tmp_path, written, limit=150)
    started = time.perf_counter()
    assert len(gather.gather(asked).pool) == 450
    assert time.perf_counter() - started < 5  # less than one; some twenty where each pair is taken apart anew
