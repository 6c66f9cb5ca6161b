"""Plans as tables: what the study could have found, what another would take, and the power law of accuracy by size."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.articles.analysis.accuracy_tables import sources
from evalkit.articles.analysis.analyse import Analysis
from evalkit.articles.analysis.fit import RESAMPLES, PowerLaw
from evalkit.articles.analysis.power import MOST, Plan
from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables

UNREACHED = "none is enough"


def detectable(analysis: Analysis) -> Table:
    """List the smallest difference from the control that each condition's participants could find."""
    rows: list[tuple[Cell, ...]] = []
    for group in analysis.groups:
        if group.against is None:
            continue
        found = group.against.detectable
        values = (found.simple, found.crossed, found.limit) if found else (None,) * 3
        rows.append((tables.clean(group.name), len(group.accuracies), *map(_points, values)))
    return Table(
        ("model", "participants", "t-test", "articles vary", "endless participants"),
        tuple(rows),
        "Smallest difference of mean accuracy from the control that is found at 80 % power and 5 %, points of 100",
        notes=(
            "t-test: with these articles, from the noncentral t. Articles vary: found for articles of this kind, "
            f"{WESTFALL}.",
            f"Endless participants: what no number of them goes below with {analysis.articles} articles; 0 where the "
            "articles' differences between conditions do not vary beyond chance.",
        ),
        sources=sources(analysis),
    )


def plan(analysis: Analysis) -> Table:
    """List how many participants a difference takes."""
    found = analysis.plan
    rows: tuple[tuple[Cell, ...], ...] = ()
    if found is not None:
        rows = tuple(
            (
                _points(each.difference),
                each.simple,
                *((each.crossed or UNREACHED, each.doubled or UNREACHED) if found.variances else (None, None)),
            )
            for each in found.planned
        )
    articles = analysis.articles
    return Table(
        ("difference, points of 100", "t-test", f"{articles} articles vary", f"{2 * articles} articles vary"),
        rows,
        "Participants a condition that find a difference of mean accuracy at 80 % power and 5 %",
        notes=tuple(_plan_notes(found, articles=articles)),
        sources=sources(analysis),
    )


def power_law(analysis: Analysis) -> Table:
    """State the fit of accuracy against size."""
    law = analysis.law
    rows: tuple[tuple[Cell, ...], ...] = ()
    if law is not None:
        found = law.exponent
        hundredfold = Estimate(100 * found.value, 100 * found.low, 100 * found.high, found.n)
        kept, least, most = (100 * float(10**-each) for each in (found.value, found.high, found.low))
        tenfold = Estimate(kept, least, most, found.n)
        ends = (100 * law.at(law.sizes[0]), 100 * law.at(law.sizes[-1]))
        rows = ((hundredfold, tenfold, law.factor, len(law.sizes), *ends),)
    return Table(
        ("100 b", "kept at ten times the size, %", "a", "sizes", "at the smallest, %", "at the largest, %"),
        rows,
        "Power law a x^-b of mean accuracy against parameters x, with 95 % intervals",
        notes=(assumption(law), *[note for note in analysis.notes if law is None and "power law" in note.lower()]),
        sources=sources(analysis),
    )


def assumption(law: PowerLaw | None) -> str:
    """Say how the curve was fitted and what that takes for granted."""
    n = f"; n counts {law.exponent.n} participants" if law else ""
    return (
        "Least squares of conditions' mean accuracies on their own scale, each counting the same, without the control; "
        f"intervals: participants resampled within conditions, {RESAMPLES:,} times, percentiles{n}. The curve takes "
        "every tenfold of parameters to lower accuracy by the same factor, without end, below the 50 % of chance too, "
        "and models to differ in nothing but size; the intervals leave out that models and articles are a sample."
    )


WESTFALL = "participants and articles both a sample (Westfall, Kenny and Judd 2014)"


def _plan_notes(found: Plan | None, *, articles: int) -> Iterator[str]:
    if found is None:
        yield "No plan: no condition has two participants whose accuracies differ."
        return
    yield (
        f"t-test: standard deviation of participants' accuracies {100 * found.deviation:.1f} points, from all "
        f"conditions. A participant decides {found.decided:.1f} of {articles} articles."
    )
    if found.variances is None:
        yield "Without a control there is no difference between conditions that could vary from article to article."
        return
    yield (
        f"Articles vary: {WESTFALL}; an article's difference between conditions has a standard deviation of "
        f"{100 * found.variances.text**0.5:.1f} points, means over the comparisons with the control. More "
        f"participants leave that as it is: where {UNREACHED}, {MOST:,} were tried."
    )


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share
