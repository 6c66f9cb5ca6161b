"""What the intervals and tests of article studies are worth, on simulated participants whose true accuracy is known.

Two conditions with as many participants, 7 % neutral answers, 60 % of the others right in both, or more in the first.
Effects of participants and articles are standard deviations of the probability of a right answer: `articles` differ in
both conditions alike, `texts` in each for itself. Printed, with Wilson's 95 % interval: how often the 95 % interval of
the first condition's accuracy covers the truth, and how often the difference is found at 5 %, by the paper's t
statistics and clustered by participants and articles; beside the last, the power that its formula gives.

    python benchmarks/study_simulation.py                       2,000 repetitions a row
    python benchmarks/study_simulation.py --repetitions 200
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # before numpy

import argparse
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit import stats
from evalkit.articles.analysis import accuracy, clustered, power
from evalkit.articles.analysis.clustered import Crossed
from evalkit.articles.analysis.power import Variances
from evalkit.articles.analysis.simulation import Effects, draw

BASE, NEUTRAL = 0.6, 0.07
AT_ONCE = 100  # repetitions in memory

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    participants: int  # a condition
    articles: int
    effects: Effects
    difference: float = 0.0


def settings() -> tuple[Setting, ...]:
    """List the rows: studies of the paper's size and of its longer articles, without and with a difference."""
    alone = Effects(participant=0.06, neutral=NEUTRAL)
    shared = Effects(participant=0.06, article=0.1, neutral=NEUTRAL)
    apart = Effects(participant=0.06, text=0.1, neutral=NEUTRAL)
    some = Effects(participant=0.06, article=0.05, text=0.05, neutral=NEUTRAL)
    return (
        *(Setting(70, 25, each) for each in (alone, shared, apart, some)),
        *(Setting(60, 12, each) for each in (alone, shared, apart, some)),
        *(Setting(300, 25, each) for each in (alone, apart)),
        *(Setting(70, 25, each, 0.05) for each in (alone, shared, apart, some)),
    )


def crossed(is_right: Bools, is_neutral: Bools) -> Crossed:
    """Collect the answers of one condition, (P, A), that name a writer."""
    who, what = np.nonzero(~is_neutral)
    return Crossed(is_right[who, what].astype(float), who, what)


def outcome(is_right: Bools, is_neutral: Bools, *, truth: float) -> tuple[bool, bool, bool, bool]:
    """Tell of one repetition, (2, P, A), whether intervals cover the truth and tests find a difference."""
    rows = [
        ((one & ~none).sum(axis=1) / (~none).sum(axis=1)).tolist()
        for one, none in zip(is_right, is_neutral, strict=True)
    ]
    sides = [crossed(one, none) for one, none in zip(is_right, is_neutral, strict=True)]
    simple, robust = accuracy.mean(rows[0]), clustered.mean(sides[0])
    test, both = accuracy.compare(*rows, pooled=True), clustered.compare(*sides)
    if simple is None or robust is None or test is None or both is None:
        raise RuntimeError("found answers that nothing can be computed of, expected participants that differ")
    return (
        simple.low <= truth <= simple.high,
        robust.estimate.low <= truth <= robust.estimate.high,
        test.p < 0.05,
        both.test.p < 0.05,
    )


def repeat(setting: Setting, *, repetitions: int, generator: np.random.Generator) -> list[int]:
    """Count covered intervals and differences found, simple and clustered."""
    counts = np.zeros(4, dtype=int)
    for start in range(0, repetitions, AT_ONCE):
        draws = draw(
            (BASE + setting.difference, BASE),
            setting.effects,
            participants=setting.participants,
            articles=setting.articles,
            repetitions=min(AT_ONCE, repetitions - start),
            generator=generator,
        )
        for right, neutral in zip(draws.is_right, draws.is_neutral, strict=True):
            counts += outcome(right, neutral, truth=BASE + setting.difference)
    return [int(count) for count in counts]


def formula(setting: Setting) -> float:
    """Give the power that the formula with articles as a sample expects."""
    effects, rate = setting.effects, BASE + setting.difference / 2
    known = effects.participant**2 + effects.article**2 + effects.text**2
    variances = Variances(effects.participant**2, 2 * effects.text**2, rate * (1 - rate) - known)
    return power.crossed_power(
        setting.difference,
        variances,
        participants=setting.participants,
        articles=setting.articles,
        decided=setting.articles * (1 - NEUTRAL),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    generator = np.random.default_rng(asked.seed)
    print(f"{asked.repetitions:,} repetitions a row; % with 95 % intervals")
    names = ("covered, t", "covered, clustered", "found, t", "found, clustered")
    print(
        "people articles | sd people articles texts | difference | "
        + " | ".join(f"{name:>18}" for name in names)
        + " | formula"
    )
    for setting in settings():
        counts = repeat(setting, repetitions=asked.repetitions, generator=generator)
        cells = []
        for count in counts:
            found = stats.wilson(count, n=asked.repetitions)
            cells.append(f"{100 * found.value:5.1f} [{100 * found.low:4.1f}, {100 * found.high:4.1f}]")
        sizes = f"{setting.participants:6} {setting.articles:8}"
        effects = " ".join(
            f"{100 * each:{width}.0f}"
            for each, width in (
                (setting.effects.participant, 9),
                (setting.effects.article, 8),
                (setting.effects.text, 5),
            )
        )
        expected = formula(setting)
        shown = f"{100 * expected:7.1f}" if math.isfinite(expected) else ""
        print(
            f"{sizes} | {effects} | {100 * setting.difference:10.0f} | "
            + " | ".join(f"{cell:>18}" for cell in cells)
            + f" | {shown}",
            flush=True,
        )


if __name__ == "__main__":
    main()
