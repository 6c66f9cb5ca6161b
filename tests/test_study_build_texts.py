from pathlib import Path

import pytest

from evalkit.articles import choice, ending, given
from evalkit.articles.likeness import Words, is_copy, is_same
from evalkit.articles.records import Article
from evalkit.articles.settings import Given
from evalkit.errors import UsageError
from evalkit.records import Completion

TWENTY = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
ARTICLE = Article("a", "Title", "", "Rain fell on the town for six whole days. Nobody there could remember more of it.")


def sentences(text: str, *, is_whole: bool = True) -> list[str]:
    return [text[:end] for end in ending.ends(text, is_whole=is_whole)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("He came. She left.", "He came."),
        ("Did he come? She left.", "Did he come?"),
        ("It cost 3.5 crowns. She paid.", "It cost 3.5 crowns."),
        ("Mr. Smith and Dr. Jones came. She left.", "Mr. Smith and Dr. Jones came."),
        ("J. K. Rowling wrote. She left.", "J. K. Rowling wrote."),
        ("The U.S. Senate met. She left.", "The U.S. Senate met."),
        ("It opens at 9 a.m. on Monday. She left.", "It opens at 9 a.m. on Monday."),
        ("Acme Inc. grew. She left.", "Acme Inc. grew."),
        ("On Jan. 5 it rained. She left.", "On Jan. 5 it rained."),
        ("No. 10 was dark. She left.", "No. 10 was dark."),
        ("He said no. She left.", "He said no."),
        ('"Why?" he asked. She left.', '"Why?" he asked.'),
        ('"We stay." She left.', '"We stay."'),
        ("“We stay.” She left.", "“We stay.”"),
        ('"We stay. We wait." She left.', '"We stay. We wait."'),
        ("(It rained.) She left.", "(It rained.)"),
        ("1. Rain fell. 2. She left.", "1. Rain fell."),
        ("It was 2013. She left.", "It was 2013."),
        ("Wait... She left.", "Wait..."),
        ("He lives in the U.S.\nShe left.", "He lives in the U.S."),
        ("It rained.\n\nShe left.", "It rained."),
        ("雨が降った。彼女は去った。", "雨が降った。"),
    ],
)
def test_the_first_sentence_ends_where_a_reader_says(text: str, first: str) -> None:
    assert sentences(text)[0] == first


@pytest.mark.parametrize("text", ["No end", "", "and then Mr.", "A headline\nwithout stops", "it fell; it rose, and"])
def test_a_text_may_have_no_end_of_a_sentence(text: str) -> None:
    assert sentences(text, is_whole=False) == []


@pytest.mark.parametrize(("text", "is_end"), [("It rose by 3.", False), ("In the U.S.", False), ("It rose.", True)])
def test_where_a_text_was_broken_off_a_doubtful_stop_ends_nothing(text: str, is_end: bool) -> None:
    assert bool(sentences(text, is_whole=False)) == is_end
    assert sentences(text, is_whole=True) == [text]


def test_an_open_quotation_is_cut_where_nothing_else_ends() -> None:
    assert sentences('"We stay. We wait') == ['"We stay.']


@pytest.mark.parametrize(("words", "expected"), [(1, 2), (3, 2), (4, 5), (5, 5), (6, 5), (7, 8), (99, 8)])
def test_a_text_is_cut_at_the_end_nearest_in_words(words: int, expected: int) -> None:
    cut = ending.cut(" It rained. Then it stopped. She left us. And", words=words, is_whole=False)
    assert cut is not None
    assert len(cut.split()) == expected


def test_thirteen_words_in_a_row_make_a_copy() -> None:
    one = Words.of(f"Other words come first. {TWENTY}")
    run = TWENTY.split()[:13]
    assert is_copy(one, [Words.of("And now: " + ", ".join(run).upper())])
    assert not is_copy(one, [Words.of("And now: " + " ".join(run[:12]))])


def test_equal_words_in_another_order_make_a_copy() -> None:
    assert is_copy(Words.of(TWENTY), [Words.of(" ".join(reversed(TWENTY.split())))])


def test_articles_that_share_a_quotation_are_not_the_same() -> None:
    one, other = (Words.of(f"{TWENTY} {' '.join(f'{name}{number}' for number in range(30))}") for name in "xy")
    assert is_copy(one, [other])
    assert not is_same(one, other)


def left(*texts: str, context: tuple[str, ...] = ()) -> choice.Left:
    written = [(seed, Completion(text, 1, "stop")) for seed, text in enumerate(texts)]
    return choice.clean(ARTICLE, written, context=[Article("b", "", "", text) for text in context])


def test_the_candidate_nearest_in_words_is_chosen() -> None:
    found = left("Too short.", "Just as long as it has to be, with sixteen words that are its own entirely.", "Hm.")
    assert found.candidates[0].seed == 1


def test_of_equally_near_candidates_the_lower_seed_is_chosen() -> None:
    assert [each.seed for each in left("Snow lay.", "Wind blew.").candidates] == [0, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", choice.EMPTY),
        ("and so on", choice.UNENDED),
        ("Indeed: " + ARTICLE.text, choice.OF_HUMAN),
        (f"{TWENTY}.", choice.OF_CONTEXT),
        ("A good one it is.", choice.OF_OTHERS),
    ],
)
def test_what_cannot_be_shown_is_dropped_and_counted(text: str, reason: str) -> None:
    found = left("A good one it is.", text, context=(f"News: {TWENTY}.",))
    assert [each.text for each in found.candidates] == ["A good one it is."]
    assert found.dropped == {reason: 1}


def test_what_stands_in_the_corpus_is_dropped_and_counted() -> None:
    found = choice.without(left("Snow lay.", "Wind blew."), frozenset({"Snow lay."}))
    assert [each.text for each in found.candidates] == ["Wind blew."]
    assert found.dropped == {choice.IN_CORPUS: 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt-4=a.jsonl", Given("gpt-4", Path("a.jsonl"))),
        ("davinci@175B=a=b.jsonl", Given("davinci", Path("a=b.jsonl"), 175 * 10**9)),
        ("xl@1.5b=a.jsonl", Given("xl", Path("a.jsonl"), 1_500_000_000)),
        ("small@124439808=a.jsonl", Given("small", Path("a.jsonl"), 124_439_808)),
    ],
)
def test_given_texts_are_named_with_the_size_of_their_model(text: str, expected: Given) -> None:
    assert given.parse(text) == expected


@pytest.mark.parametrize("text", ["a.jsonl", "=a.jsonl", "x=", "x@=a.jsonl", "x@big=a.jsonl", "x@-1=a.jsonl"])
def test_given_texts_that_cannot_be_read_are_explained(text: str) -> None:
    with pytest.raises(UsageError, match="expected NAME=FILE or NAME@PARAMETERS=FILE"):
        given.parse(text)
