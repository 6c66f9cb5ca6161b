"""People's accuracy in the layout of the paper's Table 3.11, beside the published one, and what it leaves out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from evalkit.articles.analysis import published
from evalkit.articles.analysis.accuracy import Test
from evalkit.articles.analysis.analyse import Analysis, Group
from evalkit.articles.analysis.exclusions import REASONS
from evalkit.articles.analysis.published import PublishedGroup
from evalkit.articles.records import Exclusions
from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables

PAPER = "Brown et al. 2020"
LAYOUT = (  # of Table 3.11, with short names so that it fits a page
    "model",
    "asked",
    "excluded",
    "words",
    "accuracy, %",
    "t (p)",
    "don't know, %",
)
MEAN = (
    'Accuracy: right answers among those that are not "I don\'t know", by participant; mean and 95 % t interval over n'
)


def paper(analysis: Analysis) -> Table:
    """Arrange conditions as Table 3.11 does, the control first."""
    return Table(
        LAYOUT,
        tuple(_line(group) for group in _control_first(analysis)),
        tables.clean(f"People's answers: {analysis.title}"),
        notes=(
            f"{MEAN} participants who are left. As in the paper it may reach beyond 0 or 100 %.",
            "Words: of an article by a person and by the model, on average. t (p): two-sample t-test with pooled "
            f"variance, control minus model (scipy.stats.ttest_ind, as {PAPER}). Don't know: share of answers, "
            "participants as clusters.",
            exclusion_rules(analysis.exclusions),
            *map(tables.clean, analysis.notes),
        ),
        sources=(*sources(analysis), *(tables.clean(group.signature) for group in analysis.groups)),
    )


def published_table() -> Table:
    """Give the published table in the same layout, with t computed again from its rounded figures."""
    return Table(
        (*LAYOUT, "t computed again", "t that rounding allows"),
        tuple(_published_line(group) for group in published.load()),
        f"GPT-3's articles, about 200 words (Table 3.11) and 500 words (Table 3.12) of {PAPER}",
        notes=tuple(_published_notes()),
        sources=(
            f"{PAPER}, Language Models are Few-Shot Learners, arXiv:2005.14165v4, Tables 3.11, 3.12, E.1 and E.2",
        ),
    )


def people(analysis: Analysis) -> Table:
    """Count participants, why they were left out, and how long they took."""
    rows = [
        (
            tables.clean(group.name),
            group.recruited,
            *(group.excluded[reason] for reason in REASONS),
            group.left,
            group.undecided,
            group.seconds,
        )
        for group in analysis.groups
    ]
    return Table(
        ("model", "participants", *REASONS, "left", "neutral alone", "seconds an article"),
        tuple(rows),
        "Participants, those excluded by rule, and mean seconds an article with 95 % t intervals over participants",
        notes=(
            exclusion_rules(analysis.exclusions),
            'Neutral alone: left, but with no answer other than "I don\'t know".',
        ),
        sources=sources(analysis),
    )


def tests(analysis: Analysis) -> Table:
    """Set three tests of the same difference below each other."""
    rows: list[tuple[Cell, ...]] = []
    for group in analysis.groups:
        if group.against is None:
            continue
        robust = group.against.robust
        of = {
            "pooled": group.against.pooled,
            "Welch": group.against.welch,
            "clustered": robust.test if robust else None,
        }
        rows += [(tables.clean(group.name), name, *_test(test)) for name, test in of.items()]
    return Table(
        ("model", "test", "control - model, %", "t", "df", "p"),
        tuple(rows),
        "Accuracy of the control minus a model's, points of 100, with 95 % intervals and tests",
        notes=(
            "Pooled: Student's t-test with pooled variance, as the paper; Welch's has variances of their own. n counts "
            "the participants of both. p-values are not corrected for the number of models.",
            f"{CLUSTERED} What makes an article easy or hard in both conditions cancels.",
            *_absent(analysis, has_rows=bool(rows)),
        ),
        sources=sources(analysis),
    )


def clustered(analysis: Analysis) -> Table:
    """Show how much the simple interval leaves out, and what answers vary by."""
    rows: list[tuple[Cell, ...]] = []
    for group in analysis.groups:
        found, parts = group.robust, group.components
        variances = (parts.participant, parts.article, parts.residual) if parts else (None,) * 3
        rows.append(
            (
                tables.clean(group.name),
                percent_of(group.accuracy),
                percent_of(found.estimate if found else None),
                found.answers if found else None,
                found.freedom if found else None,
                found.design_effect if found else None,
                _widening(group),
                *(None if each is None else 100 * math.sqrt(each) for each in variances),
            )
        )
    return Table(
        (
            *("model", "mean accuracy, %", "clustered", "answers", "df"),
            *("design effect", "times as wide", "sd participants", "sd articles", "sd answers"),
        ),
        tuple(rows),
        "Mean accuracy where participants alone vary, and where articles vary too, with 95 % intervals",
        notes=(
            CLUSTERED,
            "Design effect: variance of the mean over that of participants alone. Times as wide: the interval, whose "
            "degrees of freedom are its own.",
            "sd, points of 100: participants, articles and single answers, by the method of moments (Henderson's "
            "method 1; Searle, Casella and McCulloch 1992, chapter 5); 0 where the estimate is not above 0.",
        ),
        sources=sources(analysis),
    )


CLUSTERED = (
    "Clustered: answers by participant and by article at once (Cameron, Gelbach and Miller 2011), t with degrees of "
    "freedom of the fewer clusters less one. The t-test takes these articles as given; this interval is for others of "
    "their kind too."
)


def exclusion_rules(exclusions: Exclusions) -> str:
    """Say in a sentence who is left out."""
    rules = [
        *["not all articles answered"] * exclusions.must_finish,
        *["attention check not passed"] * exclusions.must_attend,
    ]
    if exclusions.least_seconds is not None:
        rules.append(f"less than {exclusions.least_seconds:g} seconds an article at the median")
    if not rules:
        return "Nobody is excluded, as declared beforehand."
    return f"Excluded, as declared beforehand, by the first that applies: {'; '.join(rules)}."


def sources(analysis: Analysis) -> tuple[str, ...]:
    """Name what the numbers rest on: the study, whose signature has a hash of all texts."""
    return (tables.clean(analysis.signature),)


def p_text(value: float) -> str:
    """Print a p-value, small ones by their power of ten as the paper does, such as 2e-4."""
    if value >= 0.001:
        return f"{value:.3f}"
    digits, _, power = f"{value:.0e}".partition("e")
    return "0" if value == 0 else f"{digits}e{int(power)}"


def _line(group: Group) -> tuple[Cell, ...]:
    test = group.against.pooled if group.against else None
    return (
        tables.clean(group.name),
        group.recruited,
        group.recruited - group.left,
        f"{group.words_human:.0f}:{group.words_model:.0f}",
        percent_of(group.accuracy),
        None if test is None else f"{test.t:.1f} ({p_text(test.p)})",
        percent_of(group.dont_know),
    )


def _published_line(group: PublishedGroup) -> tuple[Cell, ...]:
    found = published.rebuild(group)
    return (
        published.label(group),
        group.recruited,
        group.excluded,
        f"{group.words_human}:{group.words_model}",
        percent_of(group.accuracy),
        None if group.t is None else f"{group.t} ({group.p})",
        100 * group.dont_know,
        None if found is None else found.t,
        None if found is None else f"{found.low:.1f} to {found.high:.1f}",
    )


def _published_notes() -> Iterator[str]:
    rows = [(group, found) for group in published.load() if (found := published.rebuild(group)) is not None]
    yield (
        "Computed again from printed means, intervals and participants left, pooled variance; every printed figure is "
        "rounded to whole percents, which allows t within the bounds given."
    )
    outside = [
        published.label(group)
        for group, found in rows
        if group.t is not None and not found.low <= group.t <= found.high
    ]
    yield f"Printed t outside of the bounds: {', '.join(outside) or 'none'}."
    doubtful = [published.label(group) for group, found in rows if not published.is_p_of_t(group, found)]
    yield f"Printed p that does not follow from the printed t with n - 2 degrees of freedom: {', '.join(doubtful)}."


def _test(test: Test | None) -> tuple[Cell, ...]:
    if test is None:
        return (None,) * 4
    freedom = int(test.freedom) if test.freedom == int(test.freedom) else test.freedom
    return (percent_of(test.difference), test.t, freedom, p_text(test.p))


def _widening(group: Group) -> float | None:
    simple, found = group.accuracy, group.robust
    if simple is None or found is None or simple.high == simple.low:
        return None
    return (found.estimate.high - found.estimate.low) / (simple.high - simple.low)


def _absent(analysis: Analysis, *, has_rows: bool) -> tuple[str, ...]:
    if has_rows:
        return ()
    return ("No control with participants to compare with." if analysis.control is None else "No model to compare.",)


def _control_first(analysis: Analysis) -> list[Group]:
    return sorted(analysis.groups, key=lambda group: not group.is_control)


def percent_of(estimate: Estimate | None) -> Estimate | None:
    """Scale a proportion, where there is one."""
    return None if estimate is None else tables.percent(estimate)
