"""Accuracy where participants and articles both vary: variance clustered in two ways.

The t interval of participants takes the articles as given: with others the result would be another, by an amount that
no number of participants makes smaller. Here answers of one participant may rise and fall together, and so may all
answers about one article, the human text and the model's alike (Cameron, Gelbach and Miller 2011, Robust Inference with
Multiway Clustering).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.articles.analysis.accuracy import LEVEL, Test, is_correct
from evalkit.articles.records import Participant
from evalkit.records import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Crossed:
    """The answers of a condition that name a writer, shape (N,) each, with who gave them about what."""

    right: NDArray[np.float64]  # 1 where the writer is the right one
    participant: NDArray[np.intp]  # 0 .. participants - 1, each of them at least once
    article: NDArray[np.intp]  # place among the study's articles


@dataclass(frozen=True, slots=True)
class Robust:
    """An estimate with the interval in which participants and articles vary."""

    estimate: Estimate  # n counts participants
    error: float  # standard error
    freedom: int  # degrees of freedom of its t: the fewer clusters, less one
    articles: int  # with an answer
    answers: int  # that name a writer
    design_effect: float | None  # variance over that of participants alone; None where theirs is 0


@dataclass(frozen=True, slots=True)
class RobustTest:
    """A test of the control's accuracy minus a model's, participants and articles varying."""

    test: Test
    robust: Robust


def crossed(participants: Sequence[Participant], articles: Sequence[str]) -> Crossed:
    """Collect the answers that name a writer; who gave none is left out. `articles` are the study's ids."""
    import numpy as np

    places = {article: place for place, article in enumerate(articles)}
    rows: list[tuple[bool, int, int]] = []
    number = 0
    for participant in participants:
        found = [(is_correct(answer), places[answer.article]) for answer in participant.answers]
        decided = [(right, number, article) for right, article in found if right is not None]
        rows += decided
        number += bool(decided)
    right, who, what = zip(*rows, strict=True) if rows else ((), (), ())
    return Crossed(np.array(right, dtype=float), np.array(who, dtype=np.intp), np.array(what, dtype=np.intp))


def mean(answers: Crossed) -> Robust | None:
    """Estimate the mean accuracy of participants; None for fewer than two participants or articles.

    The value is that of the plain mean: an answer weighs one over its participant's number of answers.
    """
    if not _is_enough(answers):
        return None
    value, scores = _scores(answers)
    return _robust(value, scores, answers.participant, answers.article)


def compare(control: Crossed, model: Crossed) -> RobustTest | None:
    """Test the control's mean accuracy minus a model's, on the same articles with other participants.

    What makes an article hard for both cancels. None where a side has fewer than two participants or articles, or
    nothing varies.
    """
    import numpy as np
    from scipy.stats import t

    if not (_is_enough(control) and _is_enough(model)):
        return None
    (one, above), (other, below) = _scores(control), _scores(model)
    people = np.concatenate([control.participant, model.participant + control.participant.max() + 1])
    articles = np.concatenate([control.article, model.article])
    robust = _robust(one - other, np.concatenate([above, -below]), people, articles)
    if robust.error == 0:
        return None
    statistic = robust.estimate.value / robust.error
    p = 2 * float(t.sf(abs(statistic), robust.freedom))
    return RobustTest(Test(robust.estimate, t=statistic, freedom=robust.freedom, p=p), robust)


def variance(scores: NDArray[np.float64], participant: NDArray[np.intp], article: NDArray[np.intp]) -> float:
    """Sum the variances of participants and of articles, less that of single answers, which both hold.

    Cameron, Gelbach and Miller 2011, section 2: each is G / (G - 1) times the sum of the squared sums of its G
    clusters' scores. The result may come out too small, even below 0: the larger of the first two is the least that is
    taken.
    """
    people, articles = _one_way(scores, participant), _one_way(scores, article)
    single = len(scores) / (len(scores) - 1) * float(scores @ scores)
    return max(people + articles - single, people, articles)


def _is_enough(answers: Crossed) -> bool:
    return len(set(answers.participant.tolist())) >= 2 and len(set(answers.article.tolist())) >= 2


def _scores(answers: Crossed) -> tuple[float, NDArray[np.float64]]:
    """Give the mean over participants, and what each answer adds to its deviation, shape (N,)."""
    import numpy as np

    per_participant = np.bincount(answers.participant)  # answers, (P,)
    weights = 1 / (per_participant[answers.participant] * len(per_participant))
    value = float(weights @ answers.right)
    return value, weights * (answers.right - value)


def _robust(
    value: float, scores: NDArray[np.float64], participant: NDArray[np.intp], article: NDArray[np.intp]
) -> Robust:
    from scipy.stats import t

    people, articles = len(set(participant.tolist())), len(set(article.tolist()))
    alone = _one_way(scores, participant)
    both = variance(scores, participant, article)
    freedom = min(people, articles) - 1
    margin = float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(both)
    return Robust(
        estimate=Estimate(value=value, low=value - margin, high=value + margin, n=people),
        error=math.sqrt(both),
        freedom=freedom,
        articles=articles,
        answers=len(scores),
        design_effect=both / alone if alone > 0 else None,
    )


def _one_way(scores: NDArray[np.float64], cluster: NDArray[np.intp]) -> float:
    import numpy as np

    sums = np.bincount(cluster, weights=scores)
    clusters = np.count_nonzero(np.bincount(cluster))
    return float(clusters / (clusters - 1) * (sums @ sums))
