"""The commands on finished runs: `diff` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli_contamination import ThresholdFlag
from evalkit.cli_flags import directory, read_names, run_directory, scan_directory
from evalkit.cli_output import show, show_report
from evalkit.errors import UsageError

RunsArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN...", parser=run_directory, help="Directories of finished runs.")
]
OutFlag = Annotated[
    Path | None, typer.Option(metavar="DIR", parser=directory, help="Also write the table here, in every form.")
]


def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", parser=run_directory, help="A finished run's directory.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", parser=run_directory, help="The run it is compared with.")],
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
    scan: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SCAN",
            parser=scan_directory,
            help="A finished scan: marks scores, adds its tables; may be repeated.",
        ),
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Beside GPT-3's eight sizes (Table H.1).")] = False,
    rows: Annotated[str, typer.Option(metavar="AXIS", help="tasks, models or shots.")] = "tasks",
    columns: Annotated[str, typer.Option(metavar="AXIS", help="shots, tasks or models.")] = "shots",
    order: Annotated[
        str, typer.Option(metavar="NAME", help="Of rows: given, name or score, the best first.")
    ] = "given",
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Scores under this metric alone; may be repeated.")
    ] = None,
    measure: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of contamination, as compare has it.  [default: gpt3]")
    ] = None,
    threshold: ThresholdFlag = None,
    interval: Annotated[
        str, typer.Option(metavar="FORM", help="bracket, or plusminus where it is symmetric.")
    ] = "bracket",
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME[,NAME]", help="Files in --out: html, csv, latex, md, parquet, json."),
    ] = None,
    latex: Annotated[
        str | None, typer.Option(metavar="STYLE", help="Numbers of LaTeX: plain, or aligned by siunitx.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=directory, help="Write the files here, too.")
    ] = None,
) -> None:
    """Make the tables of a paper from finished runs, without asking a model again.

    The best score of several models is bold, with those that do not differ from it significantly.
    """
    from evalkit.report import files
    from evalkit.report.layout import Layout
    from evalkit.report_command import Wanted
    from evalkit.report_command import report as make

    for flag, value in (("format", form), ("latex", latex)):
        if value is not None and out is None:
            raise UsageError(f"--{flag}: found no --out, expected the directory of the files")
    for flag, given in (("measure", measure), ("threshold", threshold)):
        if given is not None and not scan:
            raise UsageError(f"--{flag}: found no --scan, expected the directory of a finished scan")
    wanted = Wanted(
        runs=tuple(runs),
        scans=tuple(scan or ()),
        is_published=published,
        layout=Layout(rows, columns, order),  # type: ignore[arg-type]  # Wanted checks it
        metrics=tuple(metric or ()),
        measure="gpt3" if measure is None else measure,
        threshold=threshold,
        intervals=interval,  # type: ignore[arg-type]
    )
    forms = files.USUAL if form is None else read_names(form, flag="--format")
    style = "plain" if latex is None else latex
    page = make(wanted, out=out, forms=forms, style=style)  # type: ignore[arg-type]  # it checks both
    for table in (*page.summary, *page.contamination):
        show(table)
    if out is not None:
        typer.echo(f"report: {out / files.PAGE}" if "html" in forms else f"files: {out}")
