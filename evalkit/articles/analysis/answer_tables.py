"""What participants answered: the hardest and easiest texts, five answers by writer, agreement; rows for CSV."""

from __future__ import annotations

from evalkit.articles.analysis.accuracy_tables import exclusion_rules, percent_of, sources
from evalkit.articles.analysis.analyse import Analysis
from evalkit.articles.analysis.texts import TextScore
from evalkit.articles.records import CHOICES, Writer
from evalkit.records import Cell, Table
from evalkit.report import table as tables

SHOWN = 5  # of the hardest texts, and of the easiest
WRITTEN_BY: dict[Writer, str] = {"human": "a person", "model": "a model"}
TEXT_COLUMNS = ("article", "title", "written by", "accuracy, %", '"I don\'t know"')


def extremes(analysis: Analysis) -> Table:
    """List the models' texts whose writer was told least and most often."""
    controls = {group.name for group in analysis.groups if group.is_control}
    models = [text for text in analysis.texts if text.writer == "model" and text.condition not in controls]
    ranked = sorted(models, key=lambda text: (text.accuracy.value, -text.accuracy.n))
    hardest = ranked[: min(SHOWN, (len(ranked) + 1) // 2)]
    easiest = ranked[len(hardest) :][-SHOWN:]
    return Table(
        TEXT_COLUMNS,
        tuple(map(_text_line, (*hardest, *easiest))),
        f"The {len(hardest)} hardest and {len(easiest)} easiest of {tables.count(len(models), 'text')} by models, the "
        "control's left out",
        notes=(
            f'Share of "written by a machine" among n answers other than "I don\'t know", {WILSON}.',
            "The ends of a long list are partly chance: asked again, the hardest texts would look easier.",
        ),
        sources=sources(analysis),
    )


def texts(analysis: Analysis) -> Table:
    """List every text, human ones first: for CSV."""
    return Table(
        TEXT_COLUMNS,
        tuple(map(_text_line, analysis.texts)),
        "Accuracy by text",
        notes=(f"Human texts: the answers of all conditions together. {WILSON[0].upper()}{WILSON[1:]}.",),
        sources=sources(analysis),
    )


def choices(analysis: Analysis) -> Table:
    """Cross the five answers with the writer, and accuracy with how sure the answer was."""
    rows: list[tuple[Cell, ...]] = []
    for group in analysis.groups:
        for each in group.choices:
            total = sum(each.counts)
            shares = [100 * count / total if total else None for count in each.counts]
            rows.append((tables.clean(group.name), WRITTEN_BY[each.writer], total, *shares))
    return Table(
        ("model", "written by", "answers", *CHOICES),
        tuple(rows),
        "Answers by who wrote the text, % of its answers",
        notes=("Texts by persons are those that the participants of the same condition saw.",),
        sources=sources(analysis),
    )


def confidence(analysis: Analysis) -> Table:
    """Show whether sure answers are right more often, and whether participants agree with each other."""
    rows = [
        (
            tables.clean(group.name),
            percent_of(group.confidence.very_likely),
            percent_of(group.confidence.more_likely),
            group.agreement.five,
            group.agreement.verdict,
        )
        for group in analysis.groups
    ]
    return Table(
        (
            "model",
            'accuracy of "very likely", %',
            'of "more likely", %',
            "alpha, five answers",
            "alpha, human or machine",
        ),
        tuple(rows),
        "Accuracy by how sure the answer was, and agreement about the same text, with 95 % intervals",
        notes=(
            "Accuracy: n answers, participants as clusters (Korn and Graubard 1998).",
            "alpha: Krippendorff's, 1 is full agreement and 0 that of chance; ordinal for the five answers, nominal "
            'for human or machine without "I don\'t know" (Krippendorff 2011). BCa bootstrap over n texts.',
        ),
        sources=sources(analysis),
    )


def participants(analysis: Analysis) -> Table:
    """Give a row a participant, everybody who was recruited: for CSV."""
    rows = [
        (
            tables.clean(each.participant),
            tables.clean(each.condition),
            each.quiz,
            each.answered,
            each.neutral,
            each.correct,
            each.accuracy,
            each.median_seconds,
            each.reason,
        )
        for each in analysis.tallies
    ]
    columns = ("participant", "condition", "quiz", "answered", "neutral", "correct", "accuracy", "median seconds")
    return Table(
        (*columns, "excluded because"),
        tuple(rows),
        "Participants",
        notes=(exclusion_rules(analysis.exclusions),),
        sources=sources(analysis),
    )


WILSON = "with Wilson's 95 % interval"


def _text_line(text: TextScore) -> tuple[Cell, ...]:
    writer = "a person" if text.condition is None else tables.clean(text.condition)
    return (
        tables.clean(text.article),
        tables.clean(text.title),
        writer,
        tables.percent(text.accuracy),
        text.neutral,
    )
