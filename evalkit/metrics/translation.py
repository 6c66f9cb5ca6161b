"""BLEU, chrF and TER of sacrebleu (Post 2018), from statistics of single sentences.

sacrebleu counts what a completion and its references share; the score of any set of examples follows from sums of
these counts and equals sacrebleu's score of the corpus. Scores are in percent, as sacrebleu's: BLEU and chrF lie in
0..100, TER is the lower the better and may exceed 100. White space around completion and references changes none of
them: sacrebleu's tokenizers divide sentences at it, and chrF leaves it out.

A signature is sacrebleu's but for `nrefs`, which belongs to the data and not to the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal

from evalkit import stats
from evalkit.errors import TaskError
from evalkit.metrics.responses import completion
from evalkit.records import Estimate, Example, RequestKind, Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sacrebleu.metrics.base import Metric as Sacrebleu
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

ORDERS = 4  # of n-grams in BLEU
Smoothing = Literal["exp", "none"]
Tokenizer = Literal[
    "13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab", "spm", "flores101", "flores200", "spBLEU-1K"
]
# What sacrebleu does not install with itself.
PACKAGES = {
    "ja-mecab": ("MeCab", "sacrebleu[ja]"),
    "ko-mecab": ("mecab_ko", "sacrebleu[ko]"),
    **dict.fromkeys(("spm", "flores101", "flores200", "spBLEU-1K"), ("sentencepiece", "sentencepiece")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bleu:
    """BLEU (Papineni 2002) with sacrebleu's tokenizers and smoothing; `intl` gives BLEU-sb of Brown 2020, App. H."""

    tokenize: Tokenizer = "13a"
    lowercase: bool = False
    smooth: Smoothing = "exp"

    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)

    def __post_init__(self) -> None:
        module, package = PACKAGES.get(self.tokenize, ("sacrebleu", "sacrebleu"))
        if find_spec(module) is None:
            raise TaskError(
                f"setting 'tokenize': found {self.tokenize!r}, which needs a package that is not installed; "
                f"run pip install {package!r}"
            )

    @property
    def name(self) -> str:
        """Name what is not sacrebleu's own choice."""
        other = [self.tokenize] * (self.tokenize != "13a") + ["lower case"] * self.lowercase
        other += ["not smoothed"] * (self.smooth == "none")
        return f"BLEU ({', '.join(other)})" if other else "BLEU"

    @property
    def signature(self) -> str:
        """Such as `case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0`."""
        return _signature(_bleu(self.tokenize, self.lowercase, self.smooth))

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Give tokens of completion and closest reference, then n-grams shared and n-grams in all, n from 1 to 4."""
        return _statistics(_bleu(self.tokenize, self.lowercase, self.smooth), example, responses)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Compute BLEU from the sums of the counts."""
        return bleu(totals, smooth=self.smooth)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate BLEU by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chrf:
    """chrF (Popović 2015), with `word_order=2` chrF++ (Popović 2017); precision and recall count 1 to `beta`."""

    word_order: int = 0
    char_order: int = 6
    beta: int = 2
    lowercase: bool = False

    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)

    def __post_init__(self) -> None:
        for key, least in (("word_order", 0), ("char_order", 1), ("beta", 1)):
            if getattr(self, key) < least:
                raise TaskError(f"setting {key!r}: found {getattr(self, key)}, expected at least {least}")

    @property
    def name(self) -> str:
        """Such as `chrF2++`, where 2 is beta, as sacrebleu calls it."""
        return f"chrF{self.beta}" + "+" * self.word_order

    @property
    def signature(self) -> str:
        """Such as `case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0`."""
        return _signature(_chrf(self.char_order, self.word_order, self.beta, self.lowercase))

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Give n-grams of the completion, of its best reference, and those shared, order by order."""
        return _statistics(_chrf(self.char_order, self.word_order, self.beta, self.lowercase), example, responses)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Compute the F score of precision and recall, each a mean over the orders that both sides have."""
        import numpy as np

        written, wanted, shared = np.moveaxis(totals.reshape(len(totals), -1, 3), 2, 0)  # (R, orders) each
        is_used = (written > 0) & (wanted > 0)
        orders = np.maximum(is_used.sum(axis=1), 1)
        precision = _divide(shared, written, where=is_used).sum(axis=1) / orders
        recall = _divide(shared, wanted, where=is_used).sum(axis=1) / orders
        weight = self.beta**2
        bottom = weight * precision + recall
        return 100 * _divide((1 + weight) * precision * recall, bottom, where=bottom > 0)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate chrF by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ter:
    """Translation edit rate (Snover 2006): edits and shifts of words over the references' mean length."""

    normalized: bool = False
    no_punct: bool = False
    asian_support: bool = False
    case_sensitive: bool = False

    name: ClassVar[str] = "TER"
    is_proportion: ClassVar[bool] = False
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)

    @property
    def signature(self) -> str:
        """Such as `case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0`."""
        return _signature(_ter(self.normalized, self.no_punct, self.asian_support, self.case_sensitive))

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Give the fewest edits to one of the references, and the mean length of all."""
        scorer = _ter(self.normalized, self.no_punct, self.asian_support, self.case_sensitive)
        return _statistics(scorer, example, responses)

    def score_totals(self, totals: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """Divide edits by lengths; with empty references alone 100 for any edit and 0 for none, as sacrebleu."""
        import numpy as np

        edits, length = totals.T
        return 100 * np.where(length > 0, _divide(edits, length, where=length > 0), edits > 0)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the rate by the bootstrap."""
        return stats.bootstrap(statistics, self.score_totals, clusters=clusters)


def bleu(totals: NDArray[np.float64], *, smooth: Smoothing) -> NDArray[np.float64]:
    """Compute BLEU in 0..100, shape (R,), from summed counts, shape (R, 10), as sacrebleu's `compute_bleu` does.

    With `exp` the k-th order that shares no n-gram counts as 1 / 2**k of one; without smoothing, and where an order has
    no n-grams or the first shares none, BLEU is 0.
    """
    import numpy as np

    written, wanted = totals[:, 0], totals[:, 1]  # (R,) each
    shared, every = totals[:, 2 : 2 + ORDERS], totals[:, 2 + ORDERS :]  # (R, orders) each
    if smooth == "exp":
        shared = np.where(shared > 0, shared, 0.5 ** np.cumsum(shared == 0, axis=1) * (shared[:, :1] > 0))
    is_scored = np.all((shared > 0) & (every > 0), axis=1)
    precision = np.where(is_scored[:, None], shared, 1) / np.where(is_scored[:, None], every, 1)
    # Completions longer than the references are not punished here: their precision falls.
    penalty = np.exp(np.minimum(0, 1 - wanted / np.where(is_scored, written, 1)))
    return np.where(is_scored, 100 * penalty * np.exp(np.log(precision).mean(axis=1)), 0.0)


@cache
def _bleu(tokenize: Tokenizer, lowercase: bool, smooth: Smoothing) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, lowercase=lowercase, smooth_method=smooth)


@cache
def _chrf(char_order: int, word_order: int, beta: int, lowercase: bool) -> CHRF:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(char_order=char_order, word_order=word_order, beta=beta, lowercase=lowercase)


@cache
def _ter(normalized: bool, no_punct: bool, asian_support: bool, case_sensitive: bool) -> TER:
    from sacrebleu.metrics.ter import TER

    return TER(normalized=normalized, no_punct=no_punct, asian_support=asian_support, case_sensitive=case_sensitive)


def _statistics(scorer: Sacrebleu, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
    """Count what sacrebleu counts for one sentence and all its references."""
    hypothesis = completion(responses, metric=type(scorer).__name__)
    return counts(scorer, hypothesis, example.targets)


def counts(scorer: Sacrebleu, hypothesis: str, references: Sequence[str]) -> tuple[float, ...]:
    """Count what sacrebleu counts for one sentence; its own resampling uses the same, a public way there is not."""
    (found,) = scorer._extract_corpus_statistics([hypothesis], [[reference] for reference in references])
    return tuple(float(each) for each in found)


def _signature(scorer: Sacrebleu) -> str:
    # Without a number of references it is not written: sacrebleu leaves out what is None.
    return str(scorer._SIGNATURE_TYPE({**vars(scorer), "num_refs": None}))


def _divide(top: NDArray[np.float64], bottom: NDArray[np.float64], *, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Divide where it is said; 0 elsewhere."""
    import numpy as np

    return np.divide(top, bottom, out=np.zeros_like(top), where=where)
