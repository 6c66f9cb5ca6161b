"""How commands print what they have made."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import typer

from evalkit.records import Table

WIDEST = 120  # columns of notes
INTERRUPTED = 130  # what a shell reports for Ctrl-C


def show(table: Table) -> None:
    """Print a table."""
    from evalkit.report import terminal

    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    columns = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(terminal.render(table, encoding=encoding, is_coloured=is_coloured, columns=columns))


def show_report(table: Table, folder: Path) -> None:
    """Print a table, and where its report is."""
    show(table)
    typer.echo(f"report: {folder / 'index.html'}")


def say(line: str) -> None:
    """Tell the user one line beside the output."""
    typer.echo(f"note: {' '.join(line.split())}", err=True)
