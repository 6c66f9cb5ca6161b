"""One suite for every back end: the same requests, the same answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.decoder.engine import from_folder
from evalkit.decoder.tokenizer import Tokenizer, save
from evalkit.errors import UsageError, WindowError
from evalkit.interfaces import LanguageModel
from evalkit.models.hf import load as load_hf
from evalkit.models.scripted import ScriptedModel
from evalkit.models.server import connect
from evalkit.models.server_http import Server
from evalkit.records import (
    Completion,
    Decoding,
    Generate,
    LogLikelihood,
    LogProb,
    PerToken,
    Request,
    Response,
    Rolling,
    TokenScores,
)
from tests.completions_server import Served, serving
from tests.decoders import make_tokenizer, save_gpt2

TEXT = "The cat sat on the mat. Größe, 東京 and 🙂"
PAIRS = [
    LogLikelihood("The cat", " sat on the mat."),
    LogLikelihood("The mat", " sat"),
    LogLikelihood("", "The cat"),
    LogLikelihood("Th", "e cat sat"),  # "The" is one token
    LogLikelihood("T", "he cat sat"),  # and so is the whole context merged
    LogLikelihood("Größe, 東", "京 and 🙂"),
    LogLikelihood("too 🙂", "🙂\n\n"),
]
GREEDY = [Generate("The cat", max_tokens=16), Generate("Q: What is", max_tokens=5), Generate("", max_tokens=12)]
SAMPLED = [
    Generate("The cat", max_tokens=24, decoding=Decoding(temperature=1.0), seed=1),
    Generate("The", max_tokens=16, decoding=Decoding(temperature=1.5, top_k=20), seed=2**40),
    Generate("Q: What is 98", max_tokens=20, decoding=Decoding(temperature=0.7, top_p=0.8), seed=3),
    Generate("", max_tokens=9, decoding=Decoding(temperature=3.0, top_k=50, top_p=0.9), seed=4),
]
ROLLED = [Rolling(TEXT * 3, 24), Rolling(TEXT * 2, 20, 7), Rolling("The", 24), Rolling("", 24)]
PER_TOKEN = [PerToken(TEXT * 3, 24), PerToken(TEXT * 2, 20, 7), PerToken("The", 24), PerToken("", 24)]
BEAMS = [
    Generate(context, max_tokens=10, decoding=Decoding(beams=4)) for context in ("The cat", "Q: What is 98 plus", "")
]
EVERY = ("decoder", "hf", "server", "scripted")
TRAINED = ("decoder", "hf", "server")
DESCRIBING = ("decoder", "hf", "scripted")


def backends(folder: Path, *, has_start: bool) -> Iterator[dict[str, LanguageModel]]:
    """The same small GPT-2 behind every back end, with and without a token before each text."""
    twin = save_gpt2(folder)
    tokenizer = make_tokenizer()
    if has_start:
        save(tokenizer, folder)
    else:
        tokenizer.start = None
    with serving(Served(folder, twin, tokenizer).answer) as url:
        yield {
            "decoder": from_folder(folder, name="small"),
            "hf": load_hf(str(folder), device="cpu"),
            "server": connect(Server(url, pause=0.0)),
            "scripted": ScriptedModel(lambda _: " one two three four five", window=62),
        }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, LanguageModel]]:
    yield from backends(tmp_path_factory.mktemp("plain"), has_start=False)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, LanguageModel]]:
    yield from backends(tmp_path_factory.mktemp("started"), has_start=True)


def rounded(responses: Sequence[Response]) -> list[object]:
    """Responses that compare equal where their log-probabilities differ by less than 1e-4."""
    return [(pytest.approx(numbers, abs=1e-4), rest) for numbers, rest in plain(responses)]


def plain(responses: Sequence[Response]) -> list[tuple[tuple[float, ...], Response]]:
    """Responses, what is rounded in them apart from what is not."""
    found: list[tuple[tuple[float, ...], Response]] = []
    for each in responses:
        if isinstance(each, LogProb):
            found.append(((each.total,), replace(each, total=0.0)))
        elif isinstance(each, TokenScores):
            numbers = (*each.logprobs, *each.entropies, *each.variances)
            found.append((numbers, replace(each, logprobs=(), entropies=(), variances=())))
        else:
            found.append(((), each))
    return found


def of_every_kind(backend: str) -> list[Request]:
    """Requests of each kind that a back end answers."""
    return [*PAIRS, *GREEDY, *ROLLED, *(PER_TOKEN if backend in DESCRIBING else ())]


def long_text(model: LanguageModel) -> str:
    """A text of more tokens than the model's window."""
    return " The cat sat" * model.window


@pytest.mark.parametrize("backend", EVERY)
def test_nothing_asked_is_nothing_answered(models: Mapping[str, LanguageModel], backend: str) -> None:
    assert models[backend].answer([]) == []


@pytest.mark.parametrize("backend", EVERY)
def test_answers_come_in_the_order_of_the_requests(models: Mapping[str, LanguageModel], backend: str) -> None:
    requests = [*of_every_kind(backend), *reversed(PAIRS)]
    single = [answer for request in requests for answer in models[backend].answer([request])]
    assert plain(models[backend].answer(requests)) == rounded(single)


@pytest.mark.parametrize("backend", EVERY)
def test_equal_requests_get_equal_answers(models: Mapping[str, LanguageModel], backend: str) -> None:
    requests = [*of_every_kind(backend), *SAMPLED]
    answers = models[backend].answer([*requests, *requests])
    assert answers[: len(requests)] == answers[len(requests) :]


@pytest.mark.parametrize("backend", EVERY)
def test_each_answer_is_told_once_as_it_comes(models: Mapping[str, LanguageModel], backend: str) -> None:
    told: list[tuple[int, Response]] = []
    requests = [*of_every_kind(backend), *PAIRS[:2]]
    answers = models[backend].answer(requests, on_response=lambda place, response: told.append((place, response)))
    assert sorted(told, key=lambda each: each[0]) == list(enumerate(answers))


@pytest.mark.parametrize("has_start", [False, True])
@pytest.mark.parametrize("backend", TRAINED)
def test_pieces_of_a_text_sum_to_the_whole(request: pytest.FixtureRequest, backend: str, has_start: bool) -> None:
    model: LanguageModel = request.getfixturevalue("started" if has_start else "models")[backend]
    made = make_tokenizer()
    first, *edges = [edge for edge in range(1, len(TEXT)) if is_between_tokens(made, edge)]
    assert len(edges) > 5
    asked = [LogLikelihood(TEXT[:first], TEXT[first:])]
    for edge in edges:
        asked += [LogLikelihood(TEXT[:first], TEXT[first:edge]), LogLikelihood(TEXT[:edge], TEXT[edge:])]
    total, *parts = (answer.total for answer in model.answer(asked) if isinstance(answer, LogProb))
    sums = [sum(pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    assert sums == pytest.approx([total] * len(edges), abs=1e-4)


def is_between_tokens(made: Tokenizer, edge: int) -> bool:
    """Whether the text up to `edge` has, on its own, the tokens that it has in the whole."""
    before, whole = made.encode([TEXT[:edge], TEXT])
    return before.ids == whole.ids[: len(before.ids)]


@pytest.mark.parametrize("backend", EVERY)
def test_text_ends_before_the_first_stop_string(models: Mapping[str, LanguageModel], backend: str) -> None:
    [free] = models[backend].answer([GREEDY[0]])
    assert isinstance(free, Completion)
    assert len(free.text) > 6
    stop = free.text[3:5]
    [stopped] = models[backend].answer([replace(GREEDY[0], stop=("never there", stop))])
    assert isinstance(stopped, Completion)
    assert (stopped.text, stopped.finish) == (free.text[: free.text.index(stop)], "stop")


@pytest.mark.parametrize("most", [0, 1, 4])
@pytest.mark.parametrize("backend", EVERY)
def test_no_answer_is_longer_than_asked_for(models: Mapping[str, LanguageModel], backend: str, most: int) -> None:
    [free] = models[backend].answer([GREEDY[0]])
    [short] = models[backend].answer([replace(GREEDY[0], max_tokens=most)])
    assert isinstance(free, Completion)
    assert isinstance(short, Completion)
    assert (short.tokens, short.finish) == (most, "max-tokens")
    assert free.text.startswith(short.text.rstrip("\ufffd"))


@pytest.mark.parametrize("backend", EVERY)
def test_an_answer_ends_with_the_window(models: Mapping[str, LanguageModel], backend: str) -> None:
    model = models[backend]
    context = "The cat"
    while model.count_tokens([context + " sat"])[0] < model.window - 2:
        context += " sat"
    [answer] = model.answer([Generate(context, max_tokens=99)])
    assert isinstance(answer, Completion)
    assert (model.count_tokens([context])[0] + answer.tokens, answer.finish) == (model.window, "window")


@pytest.mark.parametrize(
    ("backend", "kind"),
    [(backend, kind) for kind in (Generate, LogLikelihood, Rolling) for backend in EVERY]
    + [(backend, PerToken) for backend in DESCRIBING],
)
def test_what_exceeds_the_window_is_refused(models: Mapping[str, LanguageModel], backend: str, kind: type) -> None:
    model = models[backend]
    request: Request = {
        Generate: Generate(long_text(model)),
        LogLikelihood: LogLikelihood(long_text(model), " mat"),
        Rolling: Rolling("The cat", model.window + 1),
        PerToken: PerToken("The cat", model.window + 1),
    }[kind]
    with pytest.raises(WindowError, match=r"window"):
        model.answer([request])


def test_a_server_is_not_asked_for_ranks_and_entropies(models: Mapping[str, LanguageModel]) -> None:
    with pytest.raises(UsageError, match="found a request for ranks, entropies and variances of tokens") as caught:
        models["server"].answer(PER_TOKEN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", TRAINED)
def test_a_continuation_without_tokens_is_refused(models: Mapping[str, LanguageModel], backend: str) -> None:
    with pytest.raises(UsageError, match="no tokens"):
        models[backend].answer([LogLikelihood("The cat", "")])


@pytest.mark.parametrize("backend", ["hf", "server"])
@pytest.mark.parametrize("has_start", [False, True])
def test_log_probabilities_equal_the_decoders(request: pytest.FixtureRequest, backend: str, has_start: bool) -> None:
    models = request.getfixturevalue("started" if has_start else "models")
    expected = models["decoder"].answer([*PAIRS, *ROLLED])
    assert {each.boundary_merged for each in expected} == {True, False}
    assert plain(models[backend].answer([*PAIRS, *ROLLED])) == rounded(expected)


@pytest.mark.parametrize("has_start", [False, True])
def test_scores_of_tokens_equal_the_decoders(request: pytest.FixtureRequest, has_start: bool) -> None:
    models = request.getfixturevalue("started" if has_start else "models")
    assert plain(models["hf"].answer(PER_TOKEN)) == rounded(models["decoder"].answer(PER_TOKEN))


@pytest.mark.parametrize("backend", ["hf", "server"])
@pytest.mark.parametrize("has_start", [False, True])
def test_greedy_text_equals_the_decoders(request: pytest.FixtureRequest, backend: str, has_start: bool) -> None:
    models = request.getfixturevalue("started" if has_start else "models")
    assert models[backend].answer(GREEDY) == models["decoder"].answer(GREEDY)


def test_sampled_text_of_one_seed_equals_the_decoders(models: Mapping[str, LanguageModel]) -> None:
    assert models["hf"].answer(SAMPLED) == models["decoder"].answer(SAMPLED)


def test_beams_equal_the_decoders_beside_other_answers(models: Mapping[str, LanguageModel]) -> None:
    requests = [*BEAMS, *GREEDY, *SAMPLED]
    assert models["hf"].answer(requests) == [
        answer for request in requests for answer in models["decoder"].answer([request])
    ]


@pytest.mark.parametrize("backend", ["hf", "server"])
@pytest.mark.parametrize("has_start", [False, True])
def test_tokens_are_counted_as_the_decoder_counts(
    request: pytest.FixtureRequest, backend: str, has_start: bool
) -> None:
    models = request.getfixturevalue("started" if has_start else "models")
    texts = ["", "The cat", TEXT, "\n\n", TEXT * 9]
    assert models[backend].count_tokens(texts) == models["decoder"].count_tokens(texts)


def test_fingerprints_differ(models: Mapping[str, LanguageModel], started: Mapping[str, LanguageModel]) -> None:
    found = [*(models[each].fingerprint for each in EVERY), started["hf"].fingerprint, started["decoder"].fingerprint]
    assert len(set(found)) == len(found)
