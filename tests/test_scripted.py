import pytest

from evalkit.errors import ModelMemoryError, WindowError
from evalkit.models.scripted import ScriptedModel, from_table
from evalkit.records import Completion, Generate, LogLikelihood, LogProb, Rolling


def complete(said: str, request: Generate, **settings: object) -> Completion:
    [response] = ScriptedModel(lambda _: said, **settings).answer([request])
    assert isinstance(response, Completion)
    return response


def test_text_ends_at_the_first_stop_string() -> None:
    response = complete(" 12\n\nQ: more", Generate("A:", stop=("Q:", "\n")))
    assert response == Completion(text=" 12", tokens=3, finish="stop")


def test_text_ends_at_max_tokens() -> None:
    assert complete(" a b c", Generate("A:", max_tokens=2)) == Completion(text=" a b", tokens=2, finish="max-tokens")


def test_text_ends_with_the_window() -> None:
    response = complete(" a b c", Generate("one two", max_tokens=9), window=4)
    assert response == Completion(text=" a b", tokens=2, finish="window")


def test_text_that_is_over_ends_there() -> None:
    assert complete(" a", Generate("A:")) == Completion(text=" a", tokens=1, finish="end-of-text")


def test_bytes_count_as_tokens() -> None:
    model = ScriptedModel(lambda _: "", tokens="bytes")
    assert model.count_tokens(["", "ab", "é"]) == [0, 2, 2]


def test_words_count_as_tokens() -> None:
    assert ScriptedModel(lambda _: "").count_tokens(["", " a b", "a\n"]) == [0, 2, 2]


def test_a_context_that_fills_the_window_is_refused() -> None:
    with pytest.raises(WindowError):
        complete("x", Generate("one two"), window=2)


def test_a_batch_that_is_too_large_is_refused() -> None:
    model = ScriptedModel(lambda _: "", most_requests=1)
    with pytest.raises(ModelMemoryError):
        model.answer([Generate("a"), Generate("b")])


def test_the_scripted_continuation_is_the_likeliest() -> None:
    model = ScriptedModel(from_table({"2 + 2 =": " 4"}))
    right, wrong = model.answer([LogLikelihood("2 + 2 =", " 4"), LogLikelihood("2 + 2 =", " 5")])
    assert right.is_greedy
    assert not wrong.is_greedy
    assert right.total > wrong.total


def test_a_table_answers_unknown_contexts_with_nothing() -> None:
    assert complete(from_table({})(Generate("?")), Generate("?")).text == ""


@pytest.mark.parametrize(("tokens", "expected"), [("words", 3), ("bytes", 8)])
def test_a_rolling_text_may_be_longer_than_the_window(tokens: str, expected: int) -> None:
    model = ScriptedModel(lambda _: "né le 5 mai", window=2, tokens=tokens)
    [response] = model.answer([Rolling("né le 5", window=2)])
    likely = -0.1
    assert response == LogProb(expected * likely, tokens=expected, bytes=8, is_greedy=True, boundary_merged=False)


def test_an_empty_rolling_text_has_no_tokens() -> None:
    [response] = ScriptedModel(lambda _: "").answer([Rolling("", window=2)])
    assert response == LogProb(0.0, tokens=0, bytes=0, is_greedy=True, boundary_merged=False)


def test_a_rolling_window_beyond_the_models_is_refused() -> None:
    with pytest.raises(WindowError, match="needs 1 tokens more"):
        ScriptedModel(lambda _: "", window=2).answer([Rolling("a b c", window=3)])


def test_a_table_answers_rolling_texts_too() -> None:
    model = ScriptedModel(from_table({"a b": "a b"}))
    known, unknown = model.answer([Rolling("a b", window=8), Rolling("b a", window=8)])
    assert known.total > unknown.total
