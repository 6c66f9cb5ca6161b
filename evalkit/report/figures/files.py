"""A figure in files beside each other: pictures for pages and papers, and its points as CSV."""

from __future__ import annotations

from pathlib import Path

from evalkit import atomic
from evalkit.errors import StorageError
from evalkit.report import csv
from evalkit.report.content import Figure


def write(directory: Path, figure: Figure) -> tuple[Path, ...]:
    """Write NAME.svg, .pdf, .png and .csv, each whole or not at all; StorageError where the disk refuses."""
    contents = {
        "svg": figure.svg.encode(),
        "pdf": figure.saved("pdf"),
        "png": figure.saved("png"),
        "csv": csv.render(figure.data).encode("utf-8", errors="backslashreplace"),
    }
    paths = {form: directory / f"{figure.name}.{form}" for form in contents}
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    for form, content in contents.items():
        atomic.write_bytes(paths[form], content)
    return tuple(paths.values())
