"""Scores of each token: log-probability, rank, entropy and variance, those of a plain loop, the same in any batch."""

import math
from pathlib import Path

import pytest
import torch

from evalkit import encoding
from evalkit.decoder import checkpoint
from evalkit.decoder.engine import DecoderModel, from_folder
from evalkit.decoder.scoring import describe
from evalkit.errors import UsageError, WindowError
from evalkit.interfaces import LanguageModel
from evalkit.models.hf import load as load_hf
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Generate, LogLikelihood, LogProb, PerToken, Request, Rolling, TokenScores
from tests.decoders import make_tokenizer, save_gpt2

SHORT = "The cat sat on the mat."
LONG = "The cat sat on the mat. Größe, 東京 and 🙂 too. Q: What is 98 plus 45?\n\nA: 143\n" * 2
WINDOW = 24
SHARED = [LONG + "The end", LONG + " 143 and 🙂", LONG]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    save_gpt2(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> DecoderModel:
    return from_folder(folder, name="small")


def limited(folder: Path, *, token_budget: int) -> DecoderModel:
    loaded = checkpoint.load(folder, device="cpu", dtype=torch.float32)
    return DecoderModel(loaded, name="limited", token_budget=token_budget)


def scores(model: LanguageModel, text: str, window: int = WINDOW, stride: int | None = None) -> TokenScores:
    [found] = model.answer([PerToken(text, window, stride)])
    assert isinstance(found, TokenScores)
    return found


def assert_same(found: object, expected: object) -> None:
    assert isinstance(found, TokenScores)
    assert isinstance(expected, TokenScores)
    assert (found.texts, found.ranks) == (expected.texts, expected.ranks)
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert found.entropies == pytest.approx(expected.entropies, abs=1e-4)
    assert found.variances == pytest.approx(expected.variances, abs=1e-4, rel=1e-4)


def plain_loop(folder: Path, text: str, *, stride: int) -> TokenScores:
    """Score a text with transformers, a forward a window."""
    from transformers import AutoModelForCausalLM

    twin = AutoModelForCausalLM.from_pretrained(folder)
    made = make_tokenizer()
    ids = [made.end_of_text, *made.encode([text])[0].ids]  # no start token, so end-of-text begins the text
    logprobs: list[float] = []
    ranks: list[int] = []
    entropies: list[float] = []
    variances: list[float] = []
    done = 0
    while done < len(ids) - 1:
        count = min(WINDOW if done == 0 else stride, len(ids) - 1 - done)
        done += count
        with torch.inference_mode():
            logits = twin(torch.tensor([ids[max(0, done - WINDOW) : done]])).logits[0, -count:].double()
        for row, token in zip(logits, ids[done - count + 1 : done + 1], strict=True):
            shares = row.softmax(-1)
            logprobs.append(shares[token].log().item())
            ranks.append(row.argsort(descending=True).tolist().index(token) + 1)
            entropies.append(-(shares * shares.log()).sum().item())
            variances.append((shares * shares.log().square()).sum().item() - entropies[-1] ** 2)
    texts = tuple(made.decode([token]) for token in ids[1:])
    return TokenScores(texts, tuple(logprobs), tuple(ranks), tuple(entropies), tuple(variances))


@pytest.mark.parametrize("stride", [None, 1, 5])
@pytest.mark.parametrize("text", [SHORT, LONG.replace("東京", "").replace("🙂", "")])
def test_scores_equal_a_plain_loop_over_transformers(
    folder: Path, model: DecoderModel, text: str, stride: int | None
) -> None:
    assert_same(scores(model, text, stride=stride), plain_loop(folder, text, stride=stride or WINDOW))


@pytest.mark.parametrize("stride", [None, 1, 5])
@pytest.mark.parametrize("text", [SHORT, LONG])
def test_log_probabilities_sum_to_those_of_a_rolling_request(
    model: DecoderModel, text: str, stride: int | None
) -> None:
    found = scores(model, text, stride=stride)
    [whole] = model.answer([Rolling(text, WINDOW, stride)])
    assert isinstance(whole, LogProb)
    assert math.fsum(found.logprobs) == pytest.approx(whole.total, abs=1e-4)
    assert len(found.logprobs) == whole.tokens


def test_texts_of_the_tokens_join_to_the_text(model: DecoderModel) -> None:
    assert "".join(scores(model, LONG).texts) == LONG


def test_a_character_of_several_tokens_is_the_last_ones(model: DecoderModel) -> None:
    # Its first two of four bytes are one token, as in 🙂, from which the tokenizer learned.
    assert scores(model, "🧪!").texts == ("", "", "🧪", "!")


@pytest.mark.parametrize("token_budget", [1, 40, 5000])
def test_scores_do_not_depend_on_what_is_computed_together(
    folder: Path, model: DecoderModel, token_budget: int
) -> None:
    requests: list[Request] = [PerToken(text, 60, stride) for text in SHARED for stride in (None, 7)]
    requests += [Rolling(SHARED[0], 60), LogLikelihood("The cat", " sat on"), Generate("The cat sat", max_tokens=3)]
    together = limited(folder, token_budget=token_budget).answer(requests)
    for request, found in zip(requests[:6], together, strict=False):
        assert_same(found, model.answer([request])[0])


def test_scores_do_not_depend_on_the_order_of_the_requests(model: DecoderModel) -> None:
    requests = [PerToken(text, 60, 7) for text in SHARED]
    for found, expected in zip(reversed(model.answer(requests[::-1])), model.answer(requests), strict=True):
        assert_same(found, expected)


def computed(folder: Path, requests: list[Request]) -> int:
    """Count the tokens that a decoder reads to answer requests."""
    loaded = checkpoint.load(folder, device="cpu", dtype=torch.float32)
    read: list[int] = []
    loaded.decoder.register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    DecoderModel(loaded, name="counted").answer(requests)
    return sum(read)


def test_a_text_that_requests_share_is_computed_once(folder: Path) -> None:
    once = computed(folder, [PerToken(LONG, WINDOW)])
    assert computed(folder, [PerToken(LONG, WINDOW), Rolling(LONG, WINDOW), PerToken(LONG, WINDOW)]) == once


@pytest.mark.parametrize("backend", ["decoder", "hf", "scripted"])
def test_an_empty_text_has_no_tokens(folder: Path, model: DecoderModel, backend: str) -> None:
    models: dict[str, LanguageModel] = {
        "decoder": model,
        "hf": load_hf(str(folder), device="cpu"),
        "scripted": ScriptedModel(lambda _: ""),
    }
    assert scores(models[backend], "") == TokenScores((), (), (), (), ())


@pytest.mark.parametrize("stride", [None, 1, 5])
def test_scores_of_transformers_equal_the_decoders(folder: Path, model: DecoderModel, stride: int | None) -> None:
    hf = load_hf(str(folder), device="cpu", token_budget=100)
    requests: list[Request] = [PerToken(text, WINDOW, stride) for text in (SHORT, LONG, "")]
    found = hf.answer([LogLikelihood("The cat", " sat on"), *requests, Rolling(LONG, WINDOW)])
    for one, other in zip(found[1:4], model.answer(requests), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    ("request_", "error", "expected"),
    [
        (PerToken(LONG, 65), WindowError, "windows of 65 tokens are asked for"),
        (PerToken(LONG, 0), UsageError, "found a rolling window of 0 tokens"),
        (PerToken(LONG, 8, 9), UsageError, "found a stride of 9 tokens"),
    ],
)
def test_windows_and_strides_that_cannot_be_are_refused(
    model: DecoderModel, request_: PerToken, error: type[Exception], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        model.answer([request_])


def described(logits: list[list[float]], targets: list[int]) -> tuple[list[int], list[float], list[float]]:
    made = torch.tensor(logits)
    return describe(made, rows=torch.arange(len(targets)), targets=torch.tensor(targets))


def test_equal_logits_have_the_better_rank() -> None:
    ranks, _, _ = described([[1.0, 2.0, 2.0, 0.0]] * 4, [0, 1, 2, 3])
    assert ranks == [3, 1, 1, 4]


def test_a_token_that_cannot_come_adds_no_entropy_and_is_the_last() -> None:
    ranks, entropies, variances = described([[0.0, 0.0, -math.inf]], [2])
    assert (ranks, entropies, variances) == ([3], [pytest.approx(math.log(2))], [0.0])


def test_a_certain_token_leaves_neither_entropy_nor_variance() -> None:
    _, entropies, variances = described([[0.0, -math.inf, -math.inf], [1e4, 0.0, -1e4]], [0, 0])
    assert entropies == variances == [0.0, 0.0]


def test_the_variance_is_that_of_the_log_probability_of_a_drawn_token() -> None:
    # Probabilities 3/4 and 1/4: the log-probabilities lie log 3 apart, so the variance is 3/4 * 1/4 * (log 3)^2.
    _, _, variances = described([[math.log(3), 0.0]], [0])
    assert variances == [pytest.approx(3 / 16 * math.log(3) ** 2, rel=1e-6)]


def test_a_small_variance_of_a_large_entropy_is_exact() -> None:
    # 2^16 tokens, half of them e^0.001 times as likely: the entropy is 11.09, its square 123, the variance 2.5e-7.
    half = 2**15
    _, _, variances = described([[0.001] * half + [0.0] * half], [0])
    share = 1 / (1 + math.exp(-0.001))
    assert variances == [pytest.approx(share * (1 - share) * 1e-6, rel=1e-3)]


def test_entropies_of_large_logits_are_exact() -> None:
    _, entropies, _ = described([[3e4, 3e4, 3e4, 3e4]], [0])
    assert entropies == [pytest.approx(math.log(4), abs=1e-6)]


def test_scripted_scores_sum_to_the_scripted_rolling_answer() -> None:
    model = ScriptedModel(lambda _: "The cat sat on the mat.")
    for text in ("The cat sat", "The dog"):
        found = scores(model, text)
        [whole] = model.answer([Rolling(text, WINDOW)])
        assert isinstance(whole, LogProb)
        assert sum(found.logprobs) == pytest.approx(whole.total)
        assert ("".join(found.texts), len(found.ranks)) == (text, whole.tokens)


def test_scripted_bytes_join_to_the_text() -> None:
    assert scores(ScriptedModel(lambda _: "", tokens="bytes"), "é!").texts == ("", "é", "!")


SCORES = TokenScores(
    texts=("", "é", " \ud800"),
    logprobs=(-1.0000000000000002, -math.inf, 0.0),
    ranks=(1, 7, 2),
    entropies=(0.25, 1e-300, 3.0),
    variances=(0.125, 0.0, 1e-7),
)


@pytest.mark.parametrize("found", [SCORES, TokenScores((), (), (), (), ())])
def test_scores_come_back_as_they_were_written(found: TokenScores) -> None:
    assert encoding.decode_response(encoding.encode_response(found)) == found


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("[1, 7, 2]", "[1, 7]"), ValueError),
        (("[1, 7, 2]", "[1, 7, 2.5]"), TypeError),
        (("[1, 7, 2]", "12"), TypeError),
        (('"ranks"', '"rank"'), KeyError),
        ((', "variances": [0.125, 0.0, 1e-07]', ""), KeyError),  # as earlier versions wrote them
    ],
)
def test_scores_that_were_not_written_so_are_refused(change: tuple[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        encoding.decode_response(encoding.encode_response(SCORES).replace(*change))


def test_requests_that_differ_in_anything_have_other_keys() -> None:
    requests = [PerToken("a", 8), PerToken("b", 8), PerToken("a", 9), PerToken("a", 8, 4), Rolling("a", 8)]
    assert len({encoding.request_key(each) for each in requests}) == len(requests)
