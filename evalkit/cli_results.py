"""The commands on finished runs: `diff` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli_flags import directory
from evalkit.cli_output import show, show_report
from evalkit.errors import UsageError

RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of finished runs.")]
OutFlag = Annotated[
    Path | None, typer.Option(metavar="DIR", parser=directory, help="Also write the table here, in every form.")
]


def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's directory.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="The run it is compared with.")],
    out: OutFlag = None,
) -> None:
    """Compare two runs example by example: paired differences, their tests, and what could have been found."""
    from evalkit.diff import diff as compare

    found = compare(first, second, out=out)
    if out is None:
        show(found.table)
    else:
        show_report(found.table, out)


def report(
    runs: RunsArgument,
    published: Annotated[bool, typer.Option("--published", help="Beside GPT-3's eight sizes (Table H.1).")] = False,
    out: OutFlag = None,
) -> None:
    """Make a table of finished runs, without asking a model again."""
    from evalkit.report_command import compare_with_published

    if not published:
        raise UsageError("report: found nothing to set the runs beside, expected --published")
    shown = compare_with_published(runs, out=out)
    if out is None:
        show(shown)
    else:
        show_report(shown, out)
