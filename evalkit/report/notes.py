"""The notes under a table of results: what a reader must know to read the numbers right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.records import Result
from evalkit.report import table


def write(
    results: Sequence[Result], *, means: Sequence[Result], signatures: Sequence[str], window: int | None
) -> tuple[str, ...]:
    """Say how intervals are made and what did not fit the window; then the signatures.

    `results` are those of single tasks on all of their examples, `means` those of groups on any; `window` is None where
    it is not known.
    """
    return (*_intervals(results, means), *_skipped(results, window), *_dropped(results, window), *signatures)


def _intervals(results: Sequence[Result], means: Sequence[Result]) -> Iterator[str]:
    if any(result.is_proportion for result in results):
        yield "Intervals of proportions are Wilson's."
    if any(not result.is_proportion for result in results):
        yield "Intervals of other scores are BCa bootstrap intervals."
    if any(not result.is_proportion and result.estimate and result.estimate.n == 1 for result in results):
        yield "A score of one example has no interval: its bounds are the score itself."
    if any(result.spread is not None for result in results):
        yield "Scores are means over the seeds; SD of seeds is the standard deviation of the seeds' own scores."
    if means:
        sources = {True: "Price and Bonett 2004", False: "Zou, Huang and Zhang 2009"}
        used = " and ".join(dict.fromkeys(sources[result.is_proportion] for result in means))
        yield f"A mean counts every task alike; its interval adds the variances of the tasks ({used})."
    if any(result.estimate is None for result in means):
        yield "There is no mean where a task has no examples to score."


def _skipped(results: Sequence[Result], window: int | None) -> Iterator[str]:
    for result in _once(results):
        if result.skipped:
            scored = 0 if result.estimate is None else result.estimate.n
            yield (
                f"{_where(result)}: {result.skipped:,} of {scored + result.skipped:,} examples do not fit "
                f"{_named(window)} even without demonstrations, and are not scored."
            )


def _dropped(results: Sequence[Result], window: int | None) -> Iterator[str]:
    for result in _once(results):
        if result.estimate is not None and result.shots_used < result.shots:
            yield (
                f"{_where(result)}: {result.shots_used:.2f} demonstrations on average, as no more fit "
                f"{_named(window)} or are in the pool."
            )


def _named(window: int | None) -> str:
    return "the window" if window is None else f"the window of {window:,} tokens"


def _once(results: Sequence[Result]) -> list[Result]:
    """Keep one result a task and number of shots: metrics share their prompts."""
    return list({(result.task, result.shots): result for result in results}.values())


def _where(result: Result) -> str:
    return f"{result.title}, {table.count(result.shots, 'shot')}"
