"""evalkit's bootstrap against scipy's and sacrebleu's, on the statistics of BLEU, on one core, in one run.

A corpus of 2,000 segments with 10 numbers each, 10,000 resamples. scipy is given the same vectorised score and works in
batches, as all resamples at once would not fit memory; sacrebleu runs its own code of `--confidence` and `--paired-bs`,
and takes 1 GB. The paired tests begin with texts, the intervals with statistics. The sides take turns; printed are
medians, ratios to ours, and what was found.

    python benchmarks/resampling.py             five rounds
    python benchmarks/resampling.py --rounds 1
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # before numpy

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest, _bootstrap_resample, estimate_ci
from scipy.stats import bootstrap as scipy_bootstrap

from evalkit import paired, stats
from evalkit.records import Estimate

SEGMENTS = 2_000
RESAMPLES = 10_000
SCIPY_BATCH = 100  # of 2,000 segments with 10 numbers: 16 MB
WORDS = tuple(f"w{number}" for number in range(500))

Numbers = NDArray[np.float64]
Texts = tuple[str, ...]


class CorpusBleu:
    """BLEU without smoothing, from sacrebleu's statistics: lengths of answer and reference, matches, n-grams."""

    name = "BLEU"
    is_proportion = False

    def aggregate(self, rows: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Score segments."""
        return stats.bootstrap(rows, self.score_totals, clusters=clusters)

    def score_totals(self, totals: Numbers, _: Numbers) -> Numbers:
        """Score sets of segments from their sums."""
        return bleu(totals)


def bleu(totals: Numbers) -> Numbers:
    """Score sums of statistics, shape (..., 10)."""
    precisions = totals[..., 2:6] / totals[..., 6:10]
    penalty = np.exp(np.minimum(0, 1 - totals[..., 1] / totals[..., 0]))
    score: Numbers = 100 * penalty * np.exp(np.log(precisions).mean(axis=-1))
    return score


def corpus() -> tuple[Texts, Texts, Texts]:
    """Make references and two systems that get words wrong, the second a little less often."""
    draws = random.Random(0)
    references = [[draws.choice(WORDS) for _ in range(draws.randint(5, 40))] for _ in range(SEGMENTS)]

    def system(share: float) -> Texts:
        changed = ((draws.choice(WORDS) if draws.random() < share else word for word in words) for words in references)
        return tuple(map(" ".join, changed))

    return tuple(map(" ".join, references)), system(0.300), system(0.295)


def counted(answers: Texts, references: Texts) -> Numbers:
    """Count lengths, matches and n-grams of each segment, shape (E, 10)."""
    return np.array(BLEU()._extract_corpus_statistics(answers, [references]), dtype=float)


def scipy_interval(rows: Numbers) -> tuple[float, float]:
    """Make scipy's BCa interval of the corpus score."""

    def score(*columns: Numbers, axis: int) -> Numbers:
        return bleu(np.stack([column.sum(axis=axis) for column in columns], axis=-1))

    found: Any = scipy_bootstrap(  # Any: scipy has no types
        tuple(rows.T), score, paired=True, method="BCa", n_resamples=RESAMPLES, batch=SCIPY_BATCH, rng=0
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def sacrebleu_interval(rows: Numbers) -> tuple[float, float]:
    """Make sacrebleu's interval: the mean, and half of the middle 95 % on either side."""
    _, found = _bootstrap_resample(rows.tolist(), BLEU(), RESAMPLES)
    mean, half = estimate_ci(np.array([each.score for each in found]))
    return float(mean - half), float(mean + half)


def sacrebleu_paired(references: Texts, first: Texts, second: Texts) -> float:
    """Give sacrebleu's p-value, from texts."""
    systems = [("first", first), ("second", second)]
    _, scores = PairedTest(systems, {"BLEU": BLEU()}, [references], test_type="bs", n_samples=RESAMPLES)()
    return float(scores["BLEU"][1].p_value)


def alternate(sides: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, tuple[float, object]]:
    """Give each side's median seconds over rounds in which all take turns, and what it found."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, object] = {}
    for _ in range(rounds):
        for name, work in sides.items():
            begin = time.perf_counter()
            found[name] = work()
            seconds[name].append(time.perf_counter() - begin)
    return {name: (statistics.median(times), found[name]) for name, times in seconds.items()}


def report(title: str, measured: dict[str, tuple[float, object]]) -> None:
    """Print the sides' medians and their ratios to the first's."""
    print(f"{title}: {SEGMENTS:,} segments, {RESAMPLES:,} resamples")
    ours = next(iter(measured.values()))[0]
    for name, (seconds, found) in measured.items():
        print(f"  {name:<34}{seconds:8.3f} s {seconds / ours:8.1f} x   {found}")


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds

    references, first, second = corpus()
    rows = counted(first, references)
    metric = CorpusBleu()

    def ours() -> tuple[float, float]:
        found = stats.bootstrap(rows, metric.score_totals)
        return found.low, found.high

    def ours_paired() -> float:
        sides = ([tuple(row) for row in counted(side, references).tolist()] for side in (first, second))
        return paired.compare(*sides, metric=metric).p_value

    intervals: dict[str, Callable[[], object]] = {
        "evalkit, BCa": ours,
        "scipy.stats.bootstrap, BCa": lambda: scipy_interval(rows),
        "sacrebleu, symmetric percentiles": lambda: sacrebleu_interval(rows),
    }
    report("interval of BLEU", alternate(intervals, rounds=rounds))
    tests: dict[str, Callable[[], object]] = {
        "evalkit, two-sided p": ours_paired,
        "sacrebleu, p (about half of it)": lambda: sacrebleu_paired(references, first, second),
    }
    report("paired bootstrap of two systems", alternate(tests, rounds=rounds))


if __name__ == "__main__":
    main()
