"""Zero-shot detectors: by hand, against tables of probabilities from transformers, and against drawn tokens."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from evalkit.articles.detectors import scores
from evalkit.articles.detectors.scores import DETECTORS
from evalkit.decoder.engine import from_folder
from evalkit.records import PerToken, TokenScores
from tests.decoders import make_tokenizer, save_gpt2

TEXT = "The cat sat on the mat. Q: What is 98 plus 45?\n\nA: 143"
DRAWN = 40_000  # tokens at each position; a mean of them is off by 1/200 of a standard deviation


def made(
    *,
    logprobs: tuple[float, ...] = (-1.0, -2.0),
    ranks: tuple[int, ...] = (1, 2),
    entropies: tuple[float, ...] = (1.0, 1.0),
    variances: tuple[float, ...] = (1.0, 1.0),
) -> TokenScores:
    """Make the scores of a text from those of its tokens after the first, whose own are out of all bounds."""
    texts = ("x",) * (1 + len(logprobs))
    return TokenScores(texts, (-1e3, *logprobs), (10**6, *ranks), (1e3, *entropies), (1e6, *variances))


def test_the_log_likelihood_is_a_mean() -> None:
    assert scores.log_likelihood(made(logprobs=(-1.0, -2.0, -6.0))) == -3.0


def test_ranks_and_their_logarithms_are_means_with_the_sign_turned() -> None:
    assert scores.rank(made(ranks=(1, 2, 9))) == -4.0
    assert scores.log_rank(made(ranks=(1, 1, 8))) == pytest.approx(-math.log(2))


def test_the_entropy_is_a_mean() -> None:
    assert scores.entropy(made(entropies=(0.5, 2.5))) == 1.5


def test_the_histogram_counts_the_top_10_100_and_1000() -> None:
    found = made(ranks=(1, 10, 11, 100, 101, 1000, 1001, 5000))
    assert scores.histogram(found) == (0.25, 0.25, 0.25, 0.25)
    assert scores.gltr(found) == -1.5  # the mean of colours 0, 1, 2 and 3


def test_lrr_divides_sums() -> None:
    # 3 nats of surprise over log 2 + log 4 = 3 log 2.
    assert scores.lrr(made(logprobs=(-1.0, -2.0), ranks=(2, 4))) == pytest.approx(1 / math.log(2))


def test_the_curvature_is_in_standard_deviations() -> None:
    # -1 - 2 = -3 nats, expected -2 - 3 = -5, with a variance of 4 + 12 = 16: two nats are half a deviation of 4.
    found = made(logprobs=(-1.0, -2.0), entropies=(2.0, 3.0), variances=(4.0, 12.0))
    assert scores.fast_detectgpt(found) == 0.5


@pytest.mark.parametrize("name", DETECTORS)
def test_a_text_of_no_token_after_the_first_has_no_score(name: str) -> None:
    for found in (TokenScores((), (), (), (), ()), TokenScores(("a",), (-1.0,), (2,), (1.0,), (1.0,))):
        assert DETECTORS[name](found) is None


def test_ratios_that_divide_by_nothing_are_no_scores() -> None:
    certain = made(logprobs=(0.0, 0.0), ranks=(1, 1), entropies=(0.0, 0.0), variances=(0.0, 0.0))
    assert (scores.lrr(certain), scores.fast_detectgpt(certain)) == (None, None)


@pytest.mark.parametrize("name", [each for each in DETECTORS if each not in ("entropy", "lrr")])
def test_likelier_tokens_are_more_machine_like(name: str) -> None:
    likely, unlikely = made(logprobs=(-0.5, -1.0), ranks=(1, 2)), made(logprobs=(-6.0, -7.0), ranks=(90, 4000))
    higher, lower = DETECTORS[name](likely), DETECTORS[name](unlikely)
    assert higher is not None
    assert lower is not None
    assert higher > lower


def test_every_detector_can_be_named_by_a_task() -> None:
    assert {*get_args(scores.DetectorName)} == DETECTORS.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    save_gpt2(folder)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> TokenScores:
    [answer] = from_folder(folder, name="small", device="cpu").answer([PerToken(TEXT, 64)])
    assert isinstance(answer, TokenScores)
    return answer


@pytest.fixture(scope="module")
def tables(folder: Path) -> tuple[torch.Tensor, list[int]]:
    """Probabilities of all tokens (T, V) before each token of the text but the first, and these tokens."""
    from transformers import AutoModelForCausalLM

    tokenizer = make_tokenizer()
    ids = [tokenizer.end_of_text, *tokenizer.encode([TEXT])[0].ids]
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0].double()
    return logits[1:-1].softmax(-1), ids[2:]


DIRECT: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {  # table, own, ranks
    "log-likelihood": lambda _table, own, _ranks: own.log().mean(),
    "log-rank": lambda _table, _own, ranks: -ranks.log().mean(),
    "rank": lambda _table, _own, ranks: -ranks.mean(),
    "entropy": lambda table, _own, _ranks: torch.special.entr(table).sum(-1).mean(),
    "gltr": lambda _table, _own, ranks: -sum((ranks > top).double().mean() for top in (10, 100, 1000)),  # type: ignore[return-value]
    "lrr": lambda _table, own, ranks: own.log().sum().neg() / ranks.log().sum(),
}


@pytest.mark.parametrize("name", DIRECT)
def test_scores_equal_those_of_the_probabilities_of_transformers(
    found: TokenScores, tables: tuple[torch.Tensor, list[int]], name: str
) -> None:
    table, tokens = tables
    own = table.gather(1, torch.tensor(tokens)[:, None]).squeeze(1)
    ranks = table.argsort(-1, descending=True).argsort(-1).gather(1, torch.tensor(tokens)[:, None]).squeeze(1) + 1
    assert DETECTORS[name](found) == pytest.approx(DIRECT[name](table, own, ranks.double()).item(), rel=1e-4)


def test_the_curvature_equals_that_of_drawn_texts(found: TokenScores, tables: tuple[torch.Tensor, list[int]]) -> None:
    table, tokens = tables
    drawn = torch.multinomial(table, DRAWN, replacement=True, generator=torch.Generator().manual_seed(0))  # (T, N)
    totals = table.log().gather(1, drawn).sum(dim=0)  # of each text that is drawn token by token
    own = table.log()[range(len(tokens)), tokens].sum()
    expected = ((own - totals.mean()) / totals.std()).item()
    assert abs(expected) > 1
    # The mean of 40,000 texts is off by 0.005 deviations, their deviation by 0.35 % of itself: four times that.
    assert scores.fast_detectgpt(found) == pytest.approx(expected, abs=0.02, rel=0.015)


def test_a_text_that_the_model_draws_itself_has_a_curvature_around_0(
    tables: tuple[torch.Tensor, list[int]],
) -> None:
    table, _ = tables
    logs = table.log()
    means, generator = (table * logs).sum(-1), torch.Generator().manual_seed(1)
    variances = (table * (logs - means[:, None]).square()).sum(-1)
    drawn = logs.gather(1, torch.multinomial(table, 2000, replacement=True, generator=generator))  # (T, N)
    found = [scores.curvature(each, means.tolist(), variances.tolist()) for each in drawn.T.tolist()]
    assert np.mean([each for each in found if each is not None]) == pytest.approx(0, abs=0.1)
    assert np.std([each for each in found if each is not None]) == pytest.approx(1, abs=0.1)
