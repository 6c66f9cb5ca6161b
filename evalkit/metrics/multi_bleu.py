"""BLEU as multi-bleu.perl of Moses computes it, on text prepared by XLM's scripts: the BLEU-mb of Brown 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar, Literal

from evalkit import stats
from evalkit.metrics import moses
from evalkit.metrics.responses import completion
from evalkit.metrics.translation import bleu, counts
from evalkit.records import Estimate, Example, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sacrebleu.metrics.bleu import BLEU

Language = Literal[
    "cs",
    "de",
    "el",
    "en",
    "es",
    "et",
    "fr",
    "hi",
    "hu",
    "is",
    "it",
    "lt",
    "lv",
    "nl",
    "pl",
    "pt",
    "ro",
    "ru",
    "sk",
    "sl",
]
KEPT = 100_000  # tokenized texts: a test set's references come back for every model and number of shots


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiBleu:
    """BLEU in 0..100 on Moses tokens: n-grams to 4, case kept, no smoothing, the closest of the references' lengths.

    `language` is that of the translations; metrics/moses.py says how texts are prepared, and where sacremoses leads to
    other tokens than the scripts.
    """

    language: Language

    name: ClassVar[str] = "BLEU (multi-bleu)"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)

    @property
    def signature(self) -> str:
        """Such as `case:mixed|tok:xlm-moses-de|smooth:none|sacremoses:0.2.0`."""
        version = metadata.version("sacremoses")
        return f"case:mixed|tok:xlm-moses-{self.language}|smooth:none|sacremoses:{version}"

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Give tokens of completion and closest reference, then n-grams shared and n-grams in all, n from 1 to 4."""
        answer = completion(responses, metric=self.name)
        references = [_tokenize(target, self.language) for target in example.targets]
        return counts(_counter(), _tokenize(answer, self.language), references)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Compute BLEU from the sums of the counts."""
        return bleu(totals, smooth="none")

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate BLEU by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


@lru_cache(maxsize=KEPT)
def _tokenize(text: str, language: str) -> str:
    return moses.tokenize(text, language=language)


@cache
def _counter() -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", smooth_method="none")
