"""A report's files beside each other in one directory: its tables in every form, its figures, its page."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from evalkit import atomic
from evalkit.errors import StorageError
from evalkit.records import Table
from evalkit.report import csv, json, latex, markdown, parquet
from evalkit.report.content import Page
from evalkit.report.figures import files as figures
from evalkit.report.latex_columns import Style
from evalkit.report.page import page as pages

Form: TypeAlias = Literal["html", "csv", "latex", "md", "parquet", "json"]

FORMS: tuple[Form, ...] = ("html", "csv", "latex", "md", "parquet", "json")
USUAL: tuple[Form, ...] = ("html", "csv", "latex", "md")
DRAWN = {"html", "latex"}  # forms that figures stand beside
PAGE = pages.FILE
FIGURES = "figures"


def write(
    directory: Path,
    page: Page,
    *,
    forms: Collection[Form] = USUAL,
    style: Style = "plain",
    with_figures: bool = True,
) -> None:
    """Write the tables in these forms, the figures in a folder of theirs, index.html, which has them in any case.

    Raises StorageError where the disk refuses.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    for name, table in named(page).items():
        if "md" in forms:
            atomic.write(directory / f"{name}.md", [markdown.render(table)])
        if "csv" in forms:
            atomic.write(directory / f"{name}.csv", [csv.render(table)])
        if "latex" in forms:
            atomic.write(directory / f"{name}.tex", [latex.render(table, style=style)])
        if "json" in forms:
            atomic.write(directory / f"{name}.json", [json.render(table)])
        if "parquet" in forms:
            atomic.write_bytes(directory / f"{name}.parquet", parquet.render(table))
    if with_figures and DRAWN & set(forms):
        for figure in page.figures:
            figures.write(directory / FIGURES, figure)
    if "html" in forms:
        pages.write(directory, page)


def named(page: Page) -> Mapping[str, Table]:
    """Name the tables of a page as their files are called: table, table-2, contamination, ..."""
    groups = {"table": page.summary, "contamination": page.contamination}
    return {
        f"{name}-{number}" if number > 1 else name: each
        for name, group in groups.items()
        for number, each in enumerate(group, start=1)
    }
