"""Contaminated demonstrations: how many of those shown a corpus holds, and the scores with and without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.contamination.comparison import Aggregation, Subset
from evalkit.records import Comparison, Estimate, Sample, Split
from evalkit.report import table as tables


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """What a corpus holds of the demonstrations of one row; each counts as often as a prompt shows it."""

    shown: int
    dirty: int
    unscanned: int  # too short to be told clean from dirty
    without: Estimate | None  # score of the examples whose demonstrations are all clean
    having: Estimate | None  # of those with a dirty one

    @property
    def share(self) -> float | None:
        """The dirty ones of those that were scanned; None where none was."""
        scanned = self.shown - self.unscanned
        return self.dirty / scanned if scanned else None


def are_known(samples: Sequence[Sample], split: Split) -> bool:
    """Tell whether all demonstrations shown are among the examples that were split."""
    known = {*split.clean, *split.dirty, *split.unscanned}
    return all(name in known for sample in samples if sample.prompt for name in sample.prompt.demonstrations)


def judge(samples: Sequence[Sample], split: Split, *, metric_name: str, metric: Aggregation) -> Demonstrations | None:
    """Score the samples by what the corpus holds of their demonstrations; None where no demonstration is shown.

    `split` is of the pool that demonstrations were drawn from. Samples with an unscanned demonstration and no dirty one
    count on neither side, and so do those that show none.
    """
    clean, dirty = frozenset(split.clean), frozenset(split.dirty)
    showing = [(each, each.prompt.demonstrations) for each in samples if each.prompt and each.prompt.demonstrations]
    if not showing:
        return None
    names = [name for _, shown in showing for name in shown]

    def score(chosen: list[Sample]) -> Estimate | None:
        return Subset.of(chosen, metric_name, metric).estimate

    return Demonstrations(
        shown=len(names),
        dirty=sum(name in dirty for name in names),
        unscanned=sum(name not in dirty and name not in clean for name in names),
        without=score([sample for sample, shown in showing if clean.issuperset(shown)]),
        having=score([sample for sample, shown in showing if not dirty.isdisjoint(shown)]),
    )


def note(row: Comparison, found: Demonstrations) -> str:
    """Say in one line what was found."""
    where = f"{row.title}, {tables.count(row.shots, 'shot')}"
    if found.share is None:
        return f"{where}: none of the {found.shown:,} demonstrations shown could be scanned."
    scores = f"{_score(row, found.without)} where none of them is, {_score(row, found.having)} where any is"
    metric = f"{row.metric} in %" if row.is_proportion else row.metric
    short = f" ({found.unscanned:,} are too short to be told)" if found.unscanned else ""
    return (
        f"{where}: {tables.number(100 * found.share)} % of the {found.shown:,} demonstrations shown are in the "
        f"corpus{short}; {metric}: {scores}."
    )


def unscanned_note(titles: Sequence[str]) -> str:
    """Say that the scan did not look for the pools of these tasks."""
    named = titles[0] if len(titles) == 1 else f"{len(titles)} tasks"
    return (
        f"{named}: demonstrations come from a pool that the scan did not look for; scan with --demonstrations to know "
        "how many are in the corpus."
    )


def _score(row: Comparison, estimate: Estimate | None) -> str:
    if estimate is None:
        return tables.text(None)
    return f"{tables.text(tables.percent(estimate) if row.is_proportion else estimate)} (n = {estimate.n:,})"
