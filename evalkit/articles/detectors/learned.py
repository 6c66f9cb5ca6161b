"""Detectors that learn from the study's own texts: words and characters, what a model made of the tokens, or both.

A logistic regression on TF-IDF of word and character n-grams, as the baseline that was published with GPT-2's outputs
(Solaiman et al. 2019, section 4.1), and on likelihood features. Every probability is given by a classifier that saw
neither text of the article, and whose vocabulary, scales and calibration were made without them too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evalkit.articles.detectors import scores
from evalkit.articles.detectors.measure import folds
from evalkit.records import TokenScores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # of the classifier, by the detector's name
    {
        "learned, TF-IDF": ("words", "characters"),
        "learned, likelihood": ("likelihood",),
        "learned, TF-IDF and likelihood": ("words", "characters", "likelihood"),
    }
)
FOLDS = 5  # of the articles; each is told by a classifier that learned from the others
INNER_FOLDS = 3  # of those others, for the calibration
LEAST_ARTICLES = 10  # below which nothing is learned
WORD_GRAMS = (1, 2)
CHARACTER_GRAMS = (2, 4)
MOST_GRAMS = 50_000  # of either kind, the most frequent
PENALTY = 1.0  # of the regression's squared weights, scikit-learn's default


def probabilities(
    human: Sequence[str],
    model: Sequence[str],
    features: tuple[Sequence[Sequence[float | None]], Sequence[Sequence[float | None]]],
    *,
    parts: Sequence[str],
    seed: int,
) -> tuple[list[float], list[float]]:
    """Tell the probability that a model wrote each human text and each of the model's, all out of fold.

    Texts and features, those of human texts first, are in the order of the articles (P), at least LEAST_ARTICLES of
    them. The log-odds are calibrated by Platt's scaling, a logistic curve fitted to scores of further folds within
    those that are learned from, also by article: a penalised regression on few texts is too unsure of itself.
    """
    import numpy as np
    from sklearn.calibration import CalibratedClassifierCV

    count = len(human)
    if count < LEAST_ARTICLES:
        raise ValueError(f"found {count} articles, expected at least {LEAST_ARTICLES} to learn from")
    table = _table([*human, *model], [*features[0], *features[1]])  # (2 P, 1 + F)
    truth = np.repeat([0, 1], count)
    fold = folds(count, number=FOLDS, seed=seed)
    told = np.empty(2 * count)
    for number in range(FOLDS):
        learned = np.flatnonzero(fold != number)
        inner = folds(len(learned), number=INNER_FOLDS, seed=seed)
        splits = [
            (_both(np.flatnonzero(inner != each), len(learned)), _both(np.flatnonzero(inner == each), len(learned)))
            for each in range(INNER_FOLDS)
        ]
        rows, left = _both(learned, count), _both(np.flatnonzero(fold == number), count)
        classifier = CalibratedClassifierCV(_classifier(parts), method="sigmoid", cv=splits, ensemble=False)
        classifier.fit(table[rows], truth[rows])
        told[left] = classifier.predict_proba(table[left])[:, 1]
    return told[:count].tolist(), told[count:].tolist()


def likelihood_features(found: TokenScores) -> tuple[float | None, ...]:
    """List what a classifier is told of a text's tokens: all zero-shot scores, GLTR's shares, and the spread.

    The spread is the standard deviation of the log-probabilities. None stands for what the text is too short for.
    """
    shares = scores.histogram(found) or (None,) * (len(scores.TOPS) + 1)
    logprobs = found.logprobs[1:]
    spread = statistics.pstdev(logprobs) if logprobs else None
    return (*(detector(found) for detector in scores.DETECTORS.values()), *shares, spread)


def _both(places: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Give the rows of both texts of articles, the human ones first."""
    import numpy as np

    return np.concatenate([places, places + count])


def _table(texts: Sequence[str], features: Sequence[Sequence[float | None]]) -> NDArray[np.object_]:
    """Put texts in the first column, and their features in the others, NaN where a text has none."""
    import numpy as np

    table = np.empty((len(texts), 1 + len(features[0])), dtype=object)
    table[:, 0] = texts
    table[:, 1:] = [[math.nan if value is None else value for value in row] for row in features]
    return table


def _classifier(parts: Sequence[str]) -> Any:  # Any: untyped
    """Make the regression on some parts: `words`, `characters`, `likelihood`."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    grams = {"max_features": MOST_GRAMS, "sublinear_tf": True}
    words = TfidfVectorizer(ngram_range=WORD_GRAMS, token_pattern=r"\w+|[^\w\s]", **grams)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=CHARACTER_GRAMS, lowercase=False, **grams)
    likelihood = make_pipeline(FunctionTransformer(_numbers), SimpleImputer(keep_empty_features=True), StandardScaler())
    known = {"words": (words, 0), "characters": (characters, 0), "likelihood": (likelihood, slice(1, None))}
    columns = ColumnTransformer([(part, *known[part]) for part in parts])
    return make_pipeline(columns, LogisticRegression(C=1 / PENALTY, max_iter=1000))


def _numbers(table: NDArray[np.object_]) -> NDArray[np.float64]:
    return table.astype(float)
