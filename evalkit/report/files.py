"""A table written in every form, beside each other in one directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit import atomic
from evalkit.records import Sample, Table
from evalkit.report import csv, html, latex, markdown


def write(
    directory: Path, shown: Table, *, title: str, samples: Sequence[Sample] = (), more: Sequence[Table] = ()
) -> None:
    """Write table.md, table.csv, table.tex and index.html; StorageError where the disk refuses."""
    atomic.write(directory / "table.md", [markdown.render(shown)])
    atomic.write(directory / "table.csv", [csv.render(shown)])
    atomic.write(directory / "table.tex", [latex.render(shown)])
    atomic.write(directory / "index.html", [html.render(shown, title=title, samples=samples, more=more)])
