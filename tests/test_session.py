"""What is computed together: answers do not depend on it, and memory that runs out only changes it."""

import random
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from evalkit.decoder import checkpoint
from evalkit.decoder.engine import DecoderModel
from evalkit.decoder.model import Decoder
from evalkit.errors import ModelMemoryError
from evalkit.records import Decoding, Generate, LogLikelihood, LogProb, Request, Response, Rolling
from tests.decoders import save_native

SAMPLED = Decoding(temperature=1.0)
WORDS = [*"the cat sat on mat Größe 98 plus 45 a b naïve 東京 Q: What is".split(), "A:\n"]  # noqa: SIM905


def mixed_requests(count: int, *, seed: int = 0) -> list[Request]:
    """Requests of all kinds, many of which begin alike."""
    draws = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(draws.choice(WORDS) for _ in range(words))

    shown = [text(20) for _ in range(3)]
    rules = (Decoding(), Decoding(), SAMPLED, Decoding(beams=3))
    made: list[Request] = []
    while len(made) < count:
        start = draws.choice(shown)
        context = draws.choice([f"{start}\n\n{text(8)}", text(12), start])
        choices = draws.sample([" yes", " no", " the cat sat on the", " mat Größe", " 98 plus 45"], 3)
        made += [LogLikelihood(context, choice) for choice in choices]
        stop, tokens = draws.choice([(), ("\n",)]), draws.choice([1, 5, 16])
        made.append(Generate(context, stop, tokens, draws.choice(rules), seed=len(made)))
        if draws.random() < 0.1:
            made.append(Rolling(text(60), window=32, stride=draws.choice([None, 8])))
    draws.shuffle(made)
    return made[:count]


def assert_same(found: list[Response], expected: list[Response]) -> None:
    """Hold that answers are equal, log-probabilities but for rounding."""
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, LogProb) and isinstance(other, LogProb):
            assert one.total == pytest.approx(other.total, abs=1e-4)
            assert replace(one, total=0.0) == replace(other, total=0.0)
        else:
            assert one == other


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    folder = tmp_path_factory.mktemp("wide")
    save_native(folder, window=256, band=16)
    return checkpoint.load(folder)


@pytest.mark.parametrize("budget", [1, 300, 2000])
def test_answers_do_not_depend_on_what_is_computed_together(wide: checkpoint.Checkpoint, budget: int) -> None:
    requests = mixed_requests(120)
    alone = DecoderModel(wide, name="alone", token_budget=1)
    expected = [alone.answer([request])[0] for request in requests]
    assert_same(DecoderModel(wide, name="together", token_budget=budget).answer(requests), expected)


def test_choices_and_greedy_texts_are_the_same_at_any_batch_size_over_2000_requests(
    wide: checkpoint.Checkpoint,
) -> None:
    requests = mixed_requests(2000, seed=1)
    small, large = (DecoderModel(wide, name="random", token_budget=budget) for budget in (700, 16384))
    assert_same(small.answer(requests), large.answer(requests))


def test_every_answer_is_told_once_as_soon_as_it_is_there(wide: checkpoint.Checkpoint) -> None:
    requests = mixed_requests(60, seed=2)
    told: dict[int, Response] = {}

    def keep(place: int, response: Response) -> None:
        assert place not in told
        told[place] = response

    found = DecoderModel(wide, name="random").answer([*requests, requests[0]], on_response=keep)
    assert [told[place] for place in range(61)] == found


class Small(Decoder):
    """A decoder on a device with little memory."""

    most = 0  # tokens computed together
    refused: ClassVar[list[int]] = []

    def forward(self, tokens: torch.Tensor, **given: Any) -> torch.Tensor:
        if tokens.numel() > self.most:
            self.refused.append(tokens.numel())
            raise MemoryError("full")
        return super().forward(tokens, **given)


def small(wide: checkpoint.Checkpoint, *, most: int) -> DecoderModel:
    decoder = Small(wide.decoder.config).eval().requires_grad_(False)
    decoder.load_state_dict(wide.decoder.state_dict())
    decoder.most, Small.refused = most, []
    return DecoderModel(replace(wide, decoder=decoder), name="small", token_budget=16384)


def test_running_out_of_memory_changes_nothing_but_the_batches_and_is_remembered(wide: checkpoint.Checkpoint) -> None:
    requests = mixed_requests(100, seed=3)
    expected = DecoderModel(wide, name="random").answer(requests)
    model = small(wide, most=300)
    assert_same(model.answer(requests), expected)
    assert Small.refused
    Small.refused = []
    assert_same(model.answer(requests), expected)
    assert Small.refused == []


def test_a_single_request_beyond_the_memory_is_an_error(wide: checkpoint.Checkpoint) -> None:
    requests = [LogLikelihood("The cat", " sat"), LogLikelihood("The mat sat " * 20, " on"), Generate("Q: What is")]
    with pytest.raises(ModelMemoryError, match="too little memory"):
        small(wide, most=40).answer(requests)


def drawn(context: str, count: int) -> list[Request]:
    return [Generate(context, max_tokens=5, decoding=SAMPLED, seed=seed) for seed in range(count)]


def test_answers_of_one_prompt_are_parted_where_memory_runs_out(wide: checkpoint.Checkpoint) -> None:
    requests = drawn("The cat", 30)
    model = small(wide, most=8)
    assert_same(model.answer(requests), DecoderModel(wide, name="random").answer(requests))
    assert Small.refused


@pytest.mark.parametrize("answers", [1, 70])
def test_memory_that_runs_out_after_a_prefix_was_answered_is_no_error(
    wide: checkpoint.Checkpoint, answers: int
) -> None:
    shared = "the cat sat on mat" * 4
    requests = [
        *drawn(shared, answers),
        *(LogLikelihood(f"{shared} {number} a b a b a b", " yes") for number in range(30)),
    ]
    model = small(wide, most=60)
    assert_same(model.answer(requests), DecoderModel(wide, name="random").answer(requests))
    assert Small.refused
