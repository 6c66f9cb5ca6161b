"""What detectors make of a study as a table, with people's accuracy beside theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evalkit.articles.detectors.learned import FOLDS as LEARNED_FOLDS
from evalkit.articles.detectors.measure import FOLDS
from evalkit.articles.detectors.records import Detection, Told
from evalkit.records import Cell, Estimate, Table
from evalkit.report import table

COLUMNS = (
    *("condition", "detector", "accuracy, %", "AUROC, %", "TPR at 1 % FPR, %", "pairs told apart, %"),
    *("Brier score", "calibration error", "articles"),
)
PEOPLE = "people"


def tables(detection: Detection, *, people: Mapping[str, Estimate] | None = None) -> tuple[Table, ...]:
    """Lay out a row for each condition and detector; `people` adds their accuracy, 0..1, by the condition's name."""
    asked = people or {}
    rows: list[tuple[Cell, ...]] = []
    seen: set[str] = set()
    for told in detection.rows:
        name = told.condition
        if name not in seen and name in asked:
            rows.append((table.clean(name), PEOPLE, table.percent(asked[name]), *[None] * 6))
        seen.add(name)
        rows.append(_row(told))
    caption = (
        f"Who wrote it, told by detectors, those of tokens' probabilities under {table.clean(detection.scorer)}"
        + ("" if detection.second is None else f" and {table.clean(detection.second)}")
        + "."
    )
    notes = tuple(_notes(detection, has_people=bool(seen & asked.keys())))
    return (Table(COLUMNS, tuple(rows), caption, notes=notes, sources=(detection.signature,)),)


def _row(told: Told) -> tuple[Cell, ...]:
    found, calibration = told.measures, told.calibration
    measured: tuple[Cell, ...] = (None,) * 4
    if found is not None:
        measured = (
            table.percent(found.accuracy),
            table.percent(found.auroc),
            table.percent(found.true_positives),
            table.percent(found.told_apart),
        )
    return (
        table.clean(told.condition),
        told.detector,
        *measured,
        None if calibration is None else calibration.brier,
        None if calibration is None else calibration.error,
        len(told.human) - told.unscored,
    )


def _notes(detection: Detection, *, has_people: bool) -> Iterator[str]:
    if has_people:
        yield "People: their mean accuracy over the answers that are not neutral."
    yield (
        f"Accuracy: of a threshold chosen on the other articles, at most {FOLDS} folds of articles; for learned "
        "detectors of probability one half."
    )
    yield (
        "AUROC: the chance that a model's text scores above a person's; scores that lie the wrong way round are left "
        "so. TPR at 1 % FPR: the share of model texts that score above all but 1 % of the human ones; its interval is "
        "too narrow where articles are few, of 25 it covers the truth three times in four, of 150 nine times in ten."
    )
    yield (
        "Intervals take articles as what is drawn, both texts of one together: for accuracy and pairs Wilson's, else "
        "the BCa bootstrap's, or Wilson's where all are told right or all wrong."
    )
    if any(told.kind == "learned" for told in detection.rows):
        yield (
            f"Learned detectors: probabilities out of fold, {LEARNED_FOLDS} folds of articles; a coin's Brier score is "
            "0.25."
        )
    allowed = {each.measures.allowed: len(each.human) - each.unscored for each in detection.rows if each.measures}
    if 0 in allowed:
        yield (
            f"1 % of {allowed[0]} human texts is less than one: the TPR is the share of model texts above every human "
            "one, and says little of larger numbers."
        )
    left_out = max((told.unscored for told in detection.rows), default=0)
    if left_out:
        yield f"Up to {table.count(left_out, 'article')} of a row have a text without a score and are left out."
    yield from detection.notes
