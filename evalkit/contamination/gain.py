"""What contamination is worth at each threshold (ConTAM), and Llama 2's four subsets: tables beside a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evalkit.contamination import comparison, subsets
from evalkit.contamination.comparison import Aggregation
from evalkit.records import Cell, Comparison, Estimate, Sample, Table
from evalkit.report import table as tables

STEPS = 20  # thresholds of a continuous measure: 0.05, 0.10, ..., 1.00
RESAMPLES = 1_000  # at each threshold


@dataclass(frozen=True, slots=True)
class Gain:
    """The estimated performance gain at one threshold: score of all scanned examples minus that of the clean ones."""

    threshold: float  # dirty from this value on
    share: float  # of the scanned examples that are dirty
    gain: Estimate | None  # in the units of the scores; None where no example is clean


@dataclass(frozen=True, slots=True)
class Curves:
    """One row of a comparison under a measure with all its values."""

    row: Comparison
    examples: int  # scanned and scored
    gains: tuple[Gain, ...]
    curve: tuple[subsets.GainPoint, ...] | None  # every threshold; None where the score is no mean over examples
    subsets: tuple[subsets.Subset, ...] | None  # likewise


def curves(
    row: Comparison, samples: Sequence[Sample], values: Mapping[str, float], *, metric_name: str, metric: Aggregation
) -> Curves | None:
    """Follow one row over the thresholds; `values` are the measure's, by example. None where no scored one has any.

    Singh 2024 (arXiv 2411.03923, ConTAM); the estimated performance gain of Llama 3, section 5.1.4. Unscanned examples
    are left out. A measure with no values but 0 and 1 has one threshold, 1.
    """
    scored = [sample for sample in samples if sample.prompt is not None and sample.example.id in values]
    if not scored:
        return None
    whole = comparison.Subset.of(scored, metric_name, metric)
    found = [values[name] for name in whole.ids]
    steps = [1.0] if {*values.values()} <= {0.0, 1.0} else [step / STEPS for step in range(1, STEPS + 1)]
    gains: list[Gain] = []
    for step in steps:
        clean = [sample for sample, value in zip(scored, found, strict=True) if value < step]
        share = 1 - len(clean) / len(scored)
        if gains and gains[-1].share == share:  # the same examples, as thresholds rise
            gains.append(Gain(step, share, gains[-1].gain))
            continue
        minus = comparison.difference(comparison.Subset.of(clean, metric_name, metric), whole, resamples=RESAMPLES)
        gains.append(Gain(step, share, None if minus is None else _negative(minus)))
    scores = whole.values()
    if scores is None:
        return Curves(row, len(scored), tuple(gains), None, None)
    curve, four = subsets.gain_curve(found, scores), subsets.llama2_subsets(found, scores)
    return Curves(row, len(scored), tuple(gains), curve, four)


def gain_table(rows: Sequence[Curves], *, measure: str) -> Table:
    """List the gains of all rows by threshold; of thresholds that make the same examples dirty, the lowest."""
    body: list[tuple[Cell, ...]] = []
    for each in rows:
        known: float | None = None
        for found in each.gains:
            if found.share != known:
                shown = _shown(found.gain, each.row)
                body.append((*_names(each.row), found.threshold, 100 * found.share, shown))
            known = found.share
    columns = ("task", "metric", "shots", "threshold", "dirty, %", "gain")
    notes = (
        "Gain: score of all scanned examples minus that of those below the threshold, in points where the score is a "
        f"percentage; interval from {RESAMPLES:,} joint resamples (Singh et al. 2024; Llama 3, section 5.1.4). No gain "
        "can be told where no example is below.",
    )
    caption = f"Estimated performance gain by threshold of {measure} (ConTAM)"
    return Table(columns, tuple(body), tables.clean(caption), notes)


def subset_table(rows: Sequence[Curves], *, measure: str) -> Table | None:
    """List Llama 2's four subsets of all rows; None where no score is a mean."""
    body = [line for each in rows for line in _subset_lines(each)]
    if not body:
        return None
    names = ("task", "metric", "shots", "subset")
    columns = (*names, "examples", "contamination, %", "score", "expected", "Z", "Z, exact")
    notes = (
        f"Clean: below {100 * subsets.CLEAN:.0f} %; dirty: {100 * subsets.DIRTY:.0f} % and more (Touvron et al. 2023, "
        "A.6). Z as published, for examples drawn with replacement; exact without.",
        *(_verdict(each.row, each.subsets) for each in rows if each.subsets is not None),
    )
    caption = f"Llama 2's four subsets under {measure}, with Z"
    return Table(columns, tuple(body), tables.clean(caption), tuple(tables.clean(note) for note in notes))


def _names(row: Comparison) -> tuple[str, str, int]:
    metric = f"{row.metric}, %" if row.is_proportion else row.metric
    return tables.clean(row.title), tables.clean(metric), row.shots


def _subset_lines(curve: Curves) -> Iterator[tuple[Cell, ...]]:
    scale = 100 if curve.row.is_proportion else 1
    for each in curve.subsets or ():
        yield (
            *_names(curve.row),
            each.name,
            each.n,
            None if each.contamination is None else 100 * each.contamination,
            None if each.mean is None else scale * each.mean,
            scale * each.expected,
            each.z,
            each.z_exact,
        )


def _verdict(row: Comparison, found: Sequence[subsets.Subset]) -> str:
    shown = "evidence" if subsets.shows_contamination(found) else "no evidence"
    return (
        f"{row.title}, {row.metric}, {tables.count(row.shots, 'shot')}: {shown} of contamination by Llama 2's "
        f"criterion (|Z| > {subsets.EVIDENCE:g} in all four, the clean two worse, the dirty two better)."
    )


def _shown(gain: Estimate | None, row: Comparison) -> Estimate | None:
    return tables.percent(gain) if gain is not None and row.is_proportion else gain


def _negative(minus: Estimate) -> Estimate:
    return Estimate(value=0.0 - minus.value, low=0.0 - minus.high, high=0.0 - minus.low, n=minus.n)
