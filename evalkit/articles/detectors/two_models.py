"""Detectors that hold two models of one vocabulary against each other; larger is more machine-like.

The scorer judges a text, the second model says what else might stand in its place. Both numbers follow from the same
sums over positions. As with one model, the first token of a text is left out.

Binoculars: Hans et al. 2024, Spotting LLMs With Binoculars, read against github.com/ahans30/Binoculars. The scorer is
the performer (there Falcon-7B-Instruct), the second model the observer (Falcon-7B).
Fast-DetectGPT: Bao et al. 2024, read against github.com/baoguangsheng/fast-detect-gpt. The scorer is the scoring model
(there GPT-Neo-2.7B), the second model the one that samples, also called reference (GPT-J-6B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from evalkit.articles.detectors.scores import curvature
from evalkit.errors import UsageError
from evalkit.interfaces import LanguageModel

if TYPE_CHECKING:
    from evalkit.decoder.engine import DecoderModel
    from evalkit.decoder.joint import JointScores, TwoModels

JointDetector: TypeAlias = Callable[["JointScores"], "float | None"]


def binoculars(scores: JointScores) -> float | None:
    """Divide the text's log-perplexity by the cross-perplexity of the two models, and turn the sign.

    Both are sums over the same tokens: of minus the performer's log-probability of the token, and of minus its
    log-probabilities weighted with the observer's probabilities. The released program averages the second over one
    position more, which lies behind the text. None where the two models agree on every token with certainty.
    """
    across = math.fsum(scores.means[1:])
    return -math.fsum(scores.logprobs[1:]) / across if across else None


def fast_detectgpt(scores: JointScores) -> float | None:
    """Tell how many standard deviations the text is likelier to the scorer than one that the second model draws.

    The conditional probability curvature with a sampling model of its own (Bao 2024, section 2.3), analytic. None where
    the second model is certain of every token.
    """
    return curvature(scores.logprobs[1:], scores.means[1:], scores.variances[1:])


JOINT_DETECTORS: Mapping[str, JointDetector] = MappingProxyType(
    {"binoculars": binoculars, "fast-detectgpt of two models": fast_detectgpt}
)


def load(scorer: LanguageModel, second: LanguageModel) -> TwoModels:
    """Put two models together; UsageError where one does not run in evalkit's own decoder, or they do not fit."""
    from evalkit.decoder.joint import TwoModels

    own = _own(scorer, flag="scorer"), _own(second, flag="second")
    try:
        return TwoModels(*own)
    except UsageError as error:
        raise UsageError(f"--second: {error}") from error


def _own(model: LanguageModel, *, flag: str) -> DecoderModel:
    from evalkit.decoder.engine import DecoderModel

    if isinstance(model, DecoderModel):
        return model
    raise UsageError(
        f"--{flag}: {model.name} does not run in evalkit's own decoder, which tells the probabilities of all tokens; "
        "give nano, a checkpoint folder or a hub id"
    )
