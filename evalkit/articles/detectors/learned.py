"""Detectors that learn from the study's own texts: words and characters, what a model made of the tokens, or both.

A logistic regression on TF-IDF of word and character n-grams, as the baseline that was published with GPT-2's outputs
(Solaiman et al. 2019, section 4.3), and on likelihood features. Every probability is given by a classifier that saw
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

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # what a detector learns from, by its name
    {
        "learned, TF-IDF": ("tf-idf",),
        "learned, likelihood": ("likelihood",),
        "learned, TF-IDF and likelihood": ("tf-idf", "likelihood"),
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
    detectors: Mapping[str, Sequence[str]] = PARTS,
    seed: int,
) -> Mapping[str, tuple[list[float], list[float]]]:
    """Tell the probability that a model wrote each human text and each of the model's, all out of fold, by detector.

    Texts and features, those of human texts first, are in the order of the articles (P), at least LEAST_ARTICLES of
    them. Each part has a regression of its own, as one on all would be swayed by the few features that are dense;
    detectors share it. A second one makes probabilities of their scores, learned from scores of further folds within
    those that are learned from, also by article: with one part this is Platt's scaling, which a penalised regression
    needs to be calibrated.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = len(human)
    if count < LEAST_ARTICLES:
        raise ValueError(f"found {count} articles, expected at least {LEAST_ARTICLES} to learn from")
    table = _table([*human, *model], [*features[0], *features[1]])  # (2 P, 1 + F)
    truth = np.repeat([0, 1], count)
    fold = folds(count, number=FOLDS, seed=seed)
    told = {name: np.empty(2 * count) for name in detectors}
    used = dict.fromkeys(part for parts in detectors.values() for part in parts)
    for number in range(FOLDS):
        learned = np.flatnonzero(fold != number)
        rows, left = _both(learned, count), _both(np.flatnonzero(fold == number), count)
        splits = _splits(len(learned), seed=seed)
        inner, outer = {}, {}  # scores of the rows that are learned from, and of those left out, by part
        for part in used:
            made = _classifier(part)
            inner[part] = cross_val_predict(made, table[rows], truth[rows], cv=splits, method="decision_function")
            outer[part] = made.fit(table[rows], truth[rows]).decision_function(table[left])
        for name, parts in detectors.items():
            blend = make_pipeline(StandardScaler(), LogisticRegression(C=1 / PENALTY))
            blend.fit(np.column_stack([inner[part] for part in parts]), truth[rows])
            told[name][left] = blend.predict_proba(np.column_stack([outer[part] for part in parts]))[:, 1]
    return {name: (found[:count].tolist(), found[count:].tolist()) for name, found in told.items()}


def likelihood_features(found: TokenScores) -> tuple[float | None, ...]:
    """List what a classifier is told of a text's tokens: all zero-shot scores, GLTR's shares, and the spread.

    The spread is the standard deviation of the log-probabilities. None stands for what the text is too short for.
    """
    shares = scores.histogram(found) or (None,) * (len(scores.TOPS) + 1)
    logprobs = found.logprobs[1:]
    spread = statistics.pstdev(logprobs) if logprobs else None
    return (*(detector(found) for detector in scores.DETECTORS.values()), *shares, spread)


def _splits(count: int, *, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Divide the texts of articles into INNER_FOLDS: the rows that are learned from, and those that are left out."""
    import numpy as np

    fold = folds(count, number=INNER_FOLDS, seed=seed)
    return [
        (_both(np.flatnonzero(fold != each), count), _both(np.flatnonzero(fold == each), count))
        for each in range(INNER_FOLDS)
    ]


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


def _classifier(part: str) -> Any:  # Any: untyped
    """Make the regression on one part: `tf-idf` of the text, or the `likelihood` features."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    columns: list[tuple[str, Any, Any]]  # Any: untyped
    if part == "likelihood":
        made = make_pipeline(FunctionTransformer(_numbers), SimpleImputer(keep_empty_features=True), StandardScaler())
        columns = [(part, made, slice(1, None))]
    else:
        grams = {"max_features": MOST_GRAMS, "sublinear_tf": True}
        words = TfidfVectorizer(ngram_range=WORD_GRAMS, token_pattern=r"\w+|[^\w\s]", **grams)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=CHARACTER_GRAMS, lowercase=False, **grams)
        columns = [("words", words, 0), ("characters", characters, 0)]
    return make_pipeline(ColumnTransformer(columns), LogisticRegression(C=1 / PENALTY, max_iter=1000))


def _numbers(table: NDArray[np.object_]) -> NDArray[np.float64]:
    return table.astype(float)
