"""What the command `study analyse` does: people's answers and detectors' scores into tables, a figure and a page."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit import atomic, owner
from evalkit.articles import answers, directory, provenance, shown
from evalkit.articles.analysis import tables
from evalkit.articles.analysis.analyse import Analysis, analyse
from evalkit.articles.detectors import records as detections
from evalkit.articles.detectors.tables import tables as detector_tables
from evalkit.articles.records import Participant, Study
from evalkit.errors import DataError, UsageError
from evalkit.records import Estimate, Table
from evalkit.report import csv, earlier, files, table
from evalkit.report.content import Page
from evalkit.report.figures import articles as figures
from evalkit.report.files import Form
from evalkit.report.latex_columns import Style

FOLDER = "analysis"  # inside the study's directory
SUMMARY = 2  # tables of people that come first: ours and the published one
ROWS: Mapping[str, Callable[[Analysis], Table]] = {"participants.csv": tables.participants, "texts.csv": tables.texts}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an analysis leaves."""

    directory: Path
    page: Page


def report(
    study: Path,
    *,
    asked: Path | None = None,
    out: Path | None = None,
    forms: Collection[Form] = files.USUAL,
    style: Style = "plain",
) -> Outcome:
    """Analyse the answers of a study's participants, or those in the CSV file `asked`, and write what comes of it.

    Scores of detectors stand beside people's where `study detect` has left them. Raises DataError where there are
    neither answers nor scores or they are about another study, StorageError where a file is damaged or `out` cannot be
    written, UsageError for forms that are none.
    """
    files.check(forms, style=style)
    place = out or study / FOLDER
    if holds := owner.of(place):
        raise UsageError(f"--out: {place} holds {holds}, whose own files would be mixed up; choose another directory")
    found = directory.load(study)
    participants = _participants(study, found, asked)
    detection = _detection(study, found)
    if not participants and detection is None:
        raise DataError(
            f"{study}: found neither answers of participants nor scores of detectors; ask people with evalkit study "
            f"serve {study}, or detectors with evalkit study detect {study}"
        )
    analysis = analyse(found, participants) if participants else None
    page = replace(_page(found, participants, analysis, detection), provenance=provenance.read(study))
    with earlier.replacing(place) as written:
        written.extend(files.write(place, page, forms=forms, style=style))
        if analysis is not None:
            for name, make in ROWS.items():
                written.append(place / name)
                atomic.write(written[-1], [csv.render(make(analysis))])
    return Outcome(place, page)


def _participants(place: Path, study: Study, asked: Path | None) -> tuple[Participant, ...]:
    if asked is not None:
        return answers.read_csv(asked)
    return answers.load(place, study=study) if (place / directory.ANSWERS).exists() else ()


def _detection(place: Path, study: Study) -> detections.Detection | None:
    """Read the scores of detectors; DataError where they are those of other texts."""
    if not (place / detections.FILE).exists():
        return None
    found = detections.load(place)
    if found.study != study.signature:
        raise DataError(
            f"{place / detections.FILE}: scores of the study {found.study}, expected {study.signature}; run evalkit "
            f"study detect {place} again"
        )
    return found


def _page(
    study: Study,
    participants: tuple[Participant, ...],
    analysis: Analysis | None,
    detection: detections.Detection | None,
) -> Page:
    people = () if analysis is None else tables.tables(analysis)
    detected = () if detection is None else detector_tables(detection, people=_accuracies(analysis))
    drawn = None if analysis is None else figures.figure(analysis)
    summary: tuple[Table, ...] = people[:SUMMARY] or detected
    return Page(
        title=table.clean(study.title),
        summary=summary,
        people=people[SUMMARY:],
        detectors=detected if people else (),
        figures=() if drawn is None else (drawn,),
        quiz=shown.articles(study, participants),
    )


def _accuracies(analysis: Analysis | None) -> dict[str, Estimate]:
    """Give people's mean accuracy by condition."""
    groups = () if analysis is None else analysis.groups
    return {group.name: group.accuracy for group in groups if group.accuracy is not None}
