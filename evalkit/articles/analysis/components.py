"""How much of the differences between answers is participants, articles, or neither: components of variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.articles.analysis.clustered import Crossed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Components:
    """Variances of a right answer's probability, on the scale of 0 and 1; what is estimated below 0 is 0."""

    participant: float
    article: float
    residual: float  # of one answer


def components(answers: Crossed) -> Components | None:
    """Estimate them by the method of moments for two crossed factors without interaction.

    Henderson's method 1: sums of squares of participants, articles and single answers are set equal to what is expected
    of them (Searle, Casella and McCulloch 1992, Variance Components, chapter 5). None where they do not tell the three
    apart.
    """
    import numpy as np

    n = len(answers.right)
    if n == 0:
        return None
    people, articles = np.bincount(answers.participant), _counts(answers.article)  # answers, (P,) and (A,)
    total, mean = float(answers.right @ answers.right), float(answers.right.sum() ** 2 / n)
    by_people = float((np.bincount(answers.participant, weights=answers.right) ** 2 / people).sum())
    sums = np.bincount(answers.article, weights=answers.right)
    by_articles = float((sums[np.bincount(answers.article) > 0] ** 2 / articles).sum())
    p, a = len(people), len(articles)
    of_mean = np.array([float(people @ people) / n, float(articles @ articles) / n, 1.0])
    # Rows: what a sum of squares, less the mean's, holds of each component.
    expected = np.array([[n, n, n], [n, p, p], [a, n, a]]) - of_mean
    if p < 2 or a < 2 or np.linalg.matrix_rank(expected) < 3:
        return None
    found = np.linalg.solve(expected, np.array([total, by_people, by_articles]) - mean)
    # Rounding leaves a component of exactly 0 a little beside it.
    participant, article, residual = (float(each) if each > 1e-12 else 0.0 for each in found)
    return Components(participant, article, residual)


def of_difference(control: Crossed, model: Crossed, *, control_residual: float, model_residual: float) -> float | None:
    """Estimate how an article's true difference between two conditions varies from article to article, its variance.

    The variance over articles of the difference of their mean accuracies, less what single answers add to it. None for
    fewer than two articles with answers in both.
    """
    import numpy as np

    articles = max(control.article.max(initial=-1), model.article.max(initial=-1)) + 1
    counts = [np.bincount(side.article, minlength=articles) for side in (control, model)]
    both = (counts[0] > 0) & (counts[1] > 0)
    if both.sum() < 2:
        return None
    means = [
        np.bincount(side.article, weights=side.right, minlength=articles)[both] / count[both]
        for side, count in zip((control, model), counts, strict=True)
    ]
    chance = control_residual / counts[0][both] + model_residual / counts[1][both]
    return max(0.0, float(np.var(means[0] - means[1], ddof=1) - chance.mean()))


def _counts(of: NDArray[np.intp]) -> NDArray[np.intp]:
    import numpy as np

    found = np.bincount(of)
    return found[found > 0]
