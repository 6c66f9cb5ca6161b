"""Zero-shot detectors: numbers made of what one model thought of each token of a text; larger is more machine-like.

The first token of a text is left out of all of them. It follows the token that begins a text, so what is foreseen there
tells how documents begin and not how they go on; the published programs, which give GPT-2 no such token, leave it out
too. A text of fewer than two tokens has no score, nor has one where a ratio divides by nothing.

Sources, and the programs that these were read against: Solaiman et al. 2019, Release Strategies and the Social Impacts
of Language Models (log-likelihood); Gehrmann, Strobelt and Rush 2019, GLTR (ranks, entropy, histogram); Mitchell et al.
2023, DetectGPT (log rank, the sign of the entropy); Su et al. 2023, DetectLLM, github.com/mbzuai-nlp/DetectLLM (LRR);
Bao et al. 2024, Fast-DetectGPT, github.com/baoguangsheng/fast-detect-gpt (curvature).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias

from evalkit.records import TokenScores

Detector: TypeAlias = Callable[[TokenScores], "float | None"]
DetectorName: TypeAlias = Literal["log-likelihood", "log-rank", "rank", "entropy", "gltr", "lrr", "fast-detectgpt"]

TOPS = (10, 100, 1000)  # ranks up to which GLTR paints a token green, yellow and red; the rest is purple


def log_likelihood(scores: TokenScores) -> float | None:
    """Average the log-probabilities of the tokens, in nats (Solaiman 2019, section 4.3)."""
    return mean(scores.logprobs[1:])


def log_rank(scores: TokenScores) -> float | None:
    """Average the logarithms of the tokens' ranks, 1 being the likeliest, and turn the sign (Mitchell 2023)."""
    return _minus(mean([math.log(rank) for rank in scores.ranks[1:]]))


def rank(scores: TokenScores) -> float | None:
    """Average the tokens' ranks and turn the sign (Gehrmann 2019)."""
    return _minus(mean(scores.ranks[1:]))


def entropy(scores: TokenScores) -> float | None:
    """Average the entropies before the tokens, in nats, with the sign of Mitchell 2023, section 5.

    Gehrmann 2019 expects the reverse, that machines write where a model is sure of what follows; Mitchell found more
    entropy in what machines wrote, more often than not.
    """
    return mean(scores.entropies[1:])


def gltr(scores: TokenScores) -> float | None:
    """Average the colours of GLTR, 0 for the top 10 to 3 beyond the top 1,000, and turn the sign.

    Gehrmann 2019 shows the histogram to people and makes no score of it: this one is ours.
    """
    shares = histogram(scores)
    return None if shares is None else -math.fsum(colour * share for colour, share in enumerate(shares))


def histogram(scores: TokenScores) -> tuple[float, ...] | None:
    """Tell the shares of tokens in the top 10, beyond it in the top 100 and 1,000, and in the rest (Gehrmann 2019)."""
    ranks = scores.ranks[1:]
    if not ranks:
        return None
    colours = [bisect_left(TOPS, rank) for rank in ranks]
    return tuple(colours.count(colour) / len(ranks) for colour in range(len(TOPS) + 1))


def lrr(scores: TokenScores) -> float | None:
    """Divide minus the log-probabilities by the logarithms of the ranks, both summed (Su 2023, equation 1).

    None where every token is the likeliest one, whose logarithms are 0.
    """
    below = math.fsum(math.log(rank) for rank in scores.ranks[1:])
    return -math.fsum(scores.logprobs[1:]) / below if below else None


def fast_detectgpt(scores: TokenScores) -> float | None:
    """Tell how many standard deviations the text is likelier than one drawn token by token (Bao 2024, section 2.3).

    The conditional probability curvature in its analytic form, with one model that draws and judges: the sum of the
    log-probabilities, less the sum of their expectations, which are minus the entropies, over the root of the sum of
    their variances. None where the model is certain of every token.
    """
    return curvature(scores.logprobs[1:], [-each for each in scores.entropies[1:]], scores.variances[1:])


def curvature(logprobs: Sequence[float], means: Sequence[float], variances: Sequence[float]) -> float | None:
    """Standardise a text's log-probability by the means and variances of its tokens'; None where nothing varies."""
    variance = math.fsum(variances)
    return (math.fsum(logprobs) - math.fsum(means)) / math.sqrt(variance) if variance > 0 else None


def mean(values: Sequence[float]) -> float | None:
    """Average values; None where there are none."""
    return math.fsum(values) / len(values) if values else None


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        "log-likelihood": log_likelihood,
        "log-rank": log_rank,
        "rank": rank,
        "entropy": entropy,
        "gltr": gltr,
        "lrr": lrr,
        "fast-detectgpt": fast_detectgpt,
    }
)
