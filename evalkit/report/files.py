"""A report's files beside each other in one directory: its tables in every form, its figures, its page."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from evalkit import atomic
from evalkit.errors import StorageError, UsageError
from evalkit.records import Table
from evalkit.registry import suggest
from evalkit.report import csv, json, latex, markdown, parquet
from evalkit.report.content import Page
from evalkit.report.figures import files as figures
from evalkit.report.latex_columns import Style
from evalkit.report.page import page as pages

Form: TypeAlias = Literal["html", "csv", "latex", "md", "parquet", "json"]

FORMS: tuple[Form, ...] = ("html", "csv", "latex", "md", "parquet", "json")
USUAL: tuple[Form, ...] = ("html", "csv", "latex", "md")
ENDINGS: Mapping[Form, str] = {
    "md": "md",
    "csv": "csv",
    "latex": "tex",
    "json": "json",
    "parquet": "parquet",
}  # of tables
DRAWN = {"html", "latex"}  # forms that figures stand beside
PAGE = pages.FILE
FIGURES = "figures"


def check(forms: Collection[str], *, style: str) -> None:
    """Raise UsageError where there is no such form, or style of LaTeX."""
    if unknown := [form for form in forms if form not in FORMS]:
        raise UsageError(f"--format: unknown form {unknown[0]!r}; {suggest(unknown[0], FORMS)}")
    if not forms:
        raise UsageError(f"--format: found no form, expected one or several of {', '.join(FORMS)}")
    if style not in get_args(Style):
        raise UsageError(f"--latex: found {style!r}, expected {' or '.join(get_args(Style))}")


def write(
    directory: Path,
    page: Page,
    *,
    forms: Collection[Form] = USUAL,
    style: Style = "plain",
    with_figures: bool = True,
) -> tuple[Path, ...]:
    """Write the tables in these forms, the figures in a folder of theirs, index.html, which has them in any case.

    Gives the files. Raises StorageError where the disk refuses.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    written: list[Path] = []
    for name, table in named(page).items():
        for form, ending in ENDINGS.items():
            if form in forms:
                written.append(directory / f"{name}.{ending}")
                _write_table(written[-1], table, form=form, style=style)
    if with_figures and DRAWN & set(forms):
        for figure in page.figures:
            written += figures.write(directory / FIGURES, figure)
    if "html" in forms:
        pages.write(directory, page)
        written.append(directory / PAGE)
    return tuple(written)


def named(page: Page) -> Mapping[str, Table]:
    """Name the tables of a page as their files are called: table, table-2, contamination, ..."""
    groups = {
        "table": page.summary,
        "contamination": page.contamination,
        "people": page.people,
        "detectors": page.detectors,
    }
    return {
        f"{name}-{number}" if number > 1 else name: each
        for name, group in groups.items()
        for number, each in enumerate(group, start=1)
    }


def _write_table(path: Path, table: Table, *, form: Form, style: Style) -> None:
    match form:
        case "parquet":
            atomic.write_bytes(path, parquet.render(table))
        case "latex":
            atomic.write(path, [latex.render(table, style=style)])
        case "csv":
            atomic.write(path, [csv.render(table)])
        case "json":
            atomic.write(path, [json.render(table)])
        case _:
            atomic.write(path, [markdown.render(table)])
