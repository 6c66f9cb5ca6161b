"""The command `export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli_flags import TrustFlag, directory, read_names, run_directory, scan_directory
from evalkit.cli_output import say


def export(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", parser=run_directory, help="Directories of finished runs.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", parser=directory, help="Where the files go.")],
    formats: Annotated[
        str, typer.Option("--format", metavar="NAME[,NAME]", help="parquet: a row a sample; lm_eval: as it logs runs.")
    ] = "parquet",
    scan: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SCAN", parser=scan_directory, help="Add to each row what this scan found; may be repeated."
        ),
    ] = None,
    trust_task_code: TrustFlag = False,
) -> None:
    """Write all samples of runs for other programs, without asking a model again."""
    from evalkit.export import export as write
    from evalkit.report.progress import ProgressDisplay

    names = tuple(dict.fromkeys(read_names(formats, flag="--format")))
    with ProgressDisplay(sys.stderr, unit="samples") as display:
        found = write(
            runs, out=out, formats=names, scans=tuple(scan or ()), trusted=trust_task_code, say=say, on_progress=display
        )
    if found.samples:
        typer.echo(f"samples: {found.samples:,} in {found.files[0]}")
    for path in found.files:
        if path.name.startswith("results_"):
            typer.echo(f"lm_eval: {path.parent}")
