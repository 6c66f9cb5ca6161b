"""How commands print what they have made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from evalkit.records import Table


def show(table: Table) -> None:
    """Print a table."""
    from evalkit.report import terminal

    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    typer.echo(terminal.render(table, encoding=sys.stdout.encoding or "utf-8", is_coloured=is_coloured))


def show_report(table: Table, folder: Path) -> None:
    """Print a table, and where its report is."""
    show(table)
    typer.echo(f"report: {folder / 'index.html'}")
