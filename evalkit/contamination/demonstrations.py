"""Contaminated demonstrations: how many of those shown a corpus holds, and the scores with and without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.contamination.comparison import Aggregation, Subset
from evalkit.records import Cell, Comparison, Estimate, Sample, Split, Table
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


def table(rows: Sequence[tuple[Comparison, Demonstrations]]) -> Table:
    """List what was found, a line for each row of a comparison that shows demonstrations."""
    body: list[tuple[Cell, ...]] = []
    for row, found in rows:
        metric = f"{row.metric}, %" if row.is_proportion else row.metric
        share = None if found.share is None else 100 * found.share
        scores = [_score(row, each) for each in (found.without, found.having)]
        body.append((tables.clean(row.title), metric, row.shots, found.shown, share, found.unscanned, *scores))
    columns = ("task", "metric", "shots", "shown", "in the corpus, %", "too short", "score, none", "score, any")
    notes = (
        "Shown: demonstrations of all prompts. Too short: those that cannot be told clean from dirty. Score of the "
        "examples whose demonstrations are none in the corpus, and of those with any that is.",
    )
    return Table(columns, tuple(body), "Demonstrations that the corpus contains", notes)


def unscanned_note(titles: Sequence[str]) -> str:
    """Say that the scan did not look for the pools of these tasks."""
    named = titles[0] if len(titles) == 1 else f"{len(titles)} tasks"
    return (
        f"{named}: demonstrations come from a pool that the scan did not look for; scan with --demonstrations to know "
        "how many are in the corpus."
    )


def _score(row: Comparison, estimate: Estimate | None) -> Estimate | None:
    return tables.percent(estimate) if estimate is not None and row.is_proportion else estimate
