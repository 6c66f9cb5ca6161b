"""Detectors of two models: Binoculars and Fast-DetectGPT, against tables of probabilities from transformers."""

import math
from pathlib import Path

import pytest
import torch

from evalkit.articles.detectors import scores, two_models
from evalkit.decoder import joint
from evalkit.decoder.engine import DecoderModel, from_folder
from evalkit.decoder.joint import JointScores
from evalkit.errors import CheckpointError, UsageError, WindowError
from evalkit.models.scripted import ScriptedModel
from evalkit.records import PerToken, TokenScores
from tests.decoders import GPT2_PATTERN, make_tokenizer, save_gpt2, save_native

TEXT = "The cat sat on the mat. Q: What is 98 plus 45?\n\nA: 143"
PADDED = 7  # rows of the second model's head beyond the tokenizer's tokens
DRAWN = 40_000
NAMES = ("one", "other")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("models")
    save_gpt2(root / "one")
    save_gpt2(root / "other", seed=1, n_layer=2, vocab_size=make_tokenizer().size + PADDED)
    return root / "one", root / "other"


@pytest.fixture(scope="module")
def models(folders: tuple[Path, Path]) -> tuple[DecoderModel, DecoderModel]:
    one, other = folders
    return from_folder(one, name="one", device="cpu"), from_folder(other, name="other", device="cpu")


@pytest.fixture(scope="module")
def tables(folders: tuple[Path, Path]) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Probabilities (T, V) under both models before each token of the text but the first, and these tokens."""
    from transformers import AutoModelForCausalLM

    tokenizer = make_tokenizer()
    ids = [tokenizer.end_of_text, *tokenizer.encode([TEXT])[0].ids]
    with torch.inference_mode():
        one, other = (
            AutoModelForCausalLM.from_pretrained(each)(torch.tensor([ids])).logits[0, 1:-1, : tokenizer.size]
            for each in folders
        )
    return one.double().softmax(-1), other.double().softmax(-1), ids[2:]


def own(table: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    return table[range(len(tokens)), tokens]


def test_binoculars_is_perplexity_over_cross_perplexity(
    models: tuple[DecoderModel, DecoderModel], tables: tuple[torch.Tensor, torch.Tensor, list[int]]
) -> None:
    performer, observer, tokens = tables
    perplexity = -own(performer, tokens).log().mean()
    across = -(observer * performer.log()).sum(-1).mean()
    found = two_models.binoculars(two_models.load(*models).score(PerToken(TEXT, 64)))
    assert found == pytest.approx(-(perplexity / across).item(), rel=1e-4)


def test_the_curvature_of_two_models_is_that_of_their_probabilities(
    models: tuple[DecoderModel, DecoderModel], tables: tuple[torch.Tensor, torch.Tensor, list[int]]
) -> None:
    judge, drawer, tokens = tables
    means = (drawer * judge.log()).sum(-1)
    variances = (drawer * judge.log().square()).sum(-1) - means.square()
    expected = (own(judge, tokens).log().sum() - means.sum()) / variances.sum().sqrt()
    found = two_models.fast_detectgpt(two_models.load(*models).score(PerToken(TEXT, 64)))
    assert found == pytest.approx(expected.item(), rel=1e-4)


def test_the_curvature_of_two_models_is_that_of_drawn_texts(
    models: tuple[DecoderModel, DecoderModel], tables: tuple[torch.Tensor, torch.Tensor, list[int]]
) -> None:
    judge, drawer, tokens = tables
    drawn = torch.multinomial(drawer, DRAWN, replacement=True, generator=torch.Generator().manual_seed(0))  # (T, N)
    totals = judge.log().gather(1, drawn).sum(dim=0)
    expected = ((own(judge, tokens).log().sum() - totals.mean()) / totals.std()).item()
    found = two_models.fast_detectgpt(two_models.load(*models).score(PerToken(TEXT, 64)))
    # The mean of 40,000 texts is off by 0.005 deviations, their deviation by 0.35 % of itself: four times that.
    assert found == pytest.approx(expected, abs=0.02, rel=0.015)


def test_by_hand() -> None:
    found = JointScores(logprobs=(-90.0, -1.0, -3.0), means=(-90.0, -2.0, -6.0), variances=(90.0, 1.0, 3.0))
    assert two_models.binoculars(found) == -0.5  # 4 nats over 8; the first token does not count
    assert two_models.fast_detectgpt(found) == 2.0  # 4 nats more than expected, with a deviation of 2


def test_a_text_of_one_token_has_no_score() -> None:
    for found in (JointScores((), (), ()), JointScores((-1.0,), (-1.0,), (1.0,))):
        assert [each(found) for each in two_models.JOINT_DETECTORS.values()] == [None, None]


def test_a_model_beside_itself_is_the_detector_of_one_model(folders: tuple[Path, Path]) -> None:
    one, twin = (from_folder(folders[0], name=name, device="cpu") for name in ("one", "twin"))
    [alone] = one.answer([PerToken(TEXT, 64)])
    assert isinstance(alone, TokenScores)
    together = two_models.load(one, twin).score(PerToken(TEXT, 64))
    assert two_models.fast_detectgpt(together) == pytest.approx(scores.fast_detectgpt(alone), rel=1e-4)
    expected = math.fsum(alone.logprobs[1:]) / math.fsum(alone.entropies[1:])
    assert two_models.binoculars(together) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("stride", [None, 3])
def test_long_texts_are_scored_in_the_windows_of_one_model(folders: tuple[Path, Path], stride: int | None) -> None:
    one, twin = (from_folder(folders[0], name=name, device="cpu") for name in ("one", "twin"))
    request = PerToken(TEXT * 3, 16, stride)
    [alone] = one.answer([request])
    assert isinstance(alone, TokenScores)
    together = two_models.load(one, twin).score(request)
    assert together.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    assert together.means == pytest.approx([-each for each in alone.entropies], abs=1e-4)
    assert together.variances == pytest.approx(alone.variances, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("at_once", [1, 2000, 10**6])
def test_scores_do_not_depend_on_how_many_positions_have_logits(
    models: tuple[DecoderModel, DecoderModel], at_once: int
) -> None:
    one, other = models
    ids = [one.tokenizer.end_of_text, *one.tokenizer.encode([TEXT])[0].ids]
    found = joint.score(one.decoder, other.decoder, ids, start=1, at_once=at_once)
    expected = two_models.load(one, other).score(PerToken(TEXT, 64))
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
    assert found.means == pytest.approx(expected.means, abs=1e-5)
    assert found.variances == pytest.approx(expected.variances, abs=1e-4)


@pytest.mark.parametrize("broken", ["one", "other"])
def test_the_model_whose_numbers_are_not_finite_is_named(folders: tuple[Path, Path], broken: str) -> None:
    loaded = {name: from_folder(each, name=name, device="cpu") for name, each in zip(NAMES, folders, strict=True)}
    with torch.inference_mode():
        loaded[broken].decoder.tokens.fill_(math.nan)
    with pytest.raises(CheckpointError, match=f"^{broken}: found log-probabilities that are not finite"):
        two_models.load(loaded["one"], loaded["other"]).score(PerToken(TEXT, 64))


def test_an_empty_text_has_no_tokens(models: tuple[DecoderModel, DecoderModel]) -> None:
    assert two_models.load(*models).score(PerToken("", 64)) == JointScores((), (), ())


def test_models_of_other_vocabularies_are_refused(models: tuple[DecoderModel, DecoderModel], tmp_path: Path) -> None:
    from evalkit.decoder import checkpoint, tokenizer

    decoder = save_native(tmp_path)
    other = tokenizer.train(["Nothing like it, but as many words."] * 4, vocab_size=280, pattern=GPT2_PATTERN)
    checkpoint.save(decoder, other, tmp_path)
    with pytest.raises(UsageError, match=r"^--second: one and stranger differ in \d+ of .* give two models") as caught:
        two_models.load(models[0], from_folder(tmp_path, name="stranger", device="cpu"))
    assert "\n" not in str(caught.value)


def test_models_that_do_not_tell_all_probabilities_are_refused(models: tuple[DecoderModel, DecoderModel]) -> None:
    with pytest.raises(UsageError, match="--second: scripted does not run in evalkit's own decoder"):
        two_models.load(models[0], ScriptedModel(lambda _: ""))


def test_a_window_beyond_one_of_the_models_is_refused(models: tuple[DecoderModel, DecoderModel]) -> None:
    with pytest.raises(WindowError, match="windows of 65 tokens"):
        two_models.load(*models).score(PerToken(TEXT, 65))
