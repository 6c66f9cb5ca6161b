"""The commands on contamination: scan, split, compare, scrub, sketch and ask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli_flags import directory, read_names, read_part, run_directory, scan_directory
from evalkit.cli_output import INTERRUPTED, show, show_report
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.contamination.scan import Settings

ScanArgument = Annotated[
    Path, typer.Argument(metavar="SCAN", parser=scan_directory, help="The directory of a finished scan.")
]

scan_app = typer.Typer(invoke_without_command=True)


@scan_app.callback()
def scan(
    context: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Files, folders, globs, hub:OWNER/NAME; may be repeated."),
    ] = None,
    task: Annotated[str, typer.Option("--task", metavar="NAME[,NAME]", help="Tasks, or paths of task files.")] = "",
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Other examples; without --task, lines of id and text.")
    ] = None,
    demonstrations: Annotated[
        bool, typer.Option("--demonstrations", help="Scan for the pools of demonstrations too.")
    ] = False,
    ngram: Annotated[int | None, typer.Option(help="N in words; without it, by GPT-3's rule.")] = None,
    kept: Annotated[int, typer.Option(help="Words of the shortest match that is kept.")] = 8,
    normaliser: Annotated[str, typer.Option(metavar="NAME", help="What counts as a word: gpt3 or lm-eval.")] = "gpt3",
    edited: Annotated[bool, typer.Option("--edited", help="Look for edited copies too; 2.5 times the work.")] = False,
    substrings: Annotated[bool, typer.Option("--substrings", help="Look for GPT-4's substrings too; as much.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn: substrings, planted copies.")] = 0,
    text_field: Annotated[str | None, typer.Option(metavar="NAME", help="Where documents have their text.")] = None,
    text_lines: Annotated[
        bool, typer.Option("--text-lines", help="Text files have a document a line; else a file is one.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; without it, one a core.")] = None,
    engine: Annotated[str, typer.Option(metavar="NAME", help="local, or ray: tasks of a running cluster.")] = "local",
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Scan a part of N, from 0; without it, the rest, and the report.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at what cannot be read; else it is counted.")] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Plant copies in a sample of the corpus, and tell how many are found.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=directory, help="The scan's directory; without it, one under reports/."),
    ] = None,
) -> None:
    """Find the test examples that a corpus contains. A scan that was stopped goes on with the same command."""
    if context.invoked_subcommand is not None:
        return
    from evalkit.contamination import scan as scanning
    from evalkit.report.progress import ProgressDisplay

    settings = scanning.Settings(
        tasks=read_names(task),
        corpus=tuple(corpus or ()),
        data=data,
        demonstrations=demonstrations,
        ngram=ngram,
        kept=kept,
        normaliser=normaliser,
        is_edited=edited,
        with_substrings=substrings,
        seed=seed,
        text_field=text_field,
        text_lines=text_lines,
        workers=workers,
        engine=engine,
        shard=None if shard is None else read_part(shard),
        strict=strict,
        out=out,
    )
    if self_test:
        if shard is not None or out is not None or engine != "local":
            raise UsageError(
                "--self-test: scans a sample here and writes nothing; leave out --shard, --engine and --out"
            )
        check_scan(settings)
        return
    try:
        with ProgressDisplay(sys.stderr, unit="MB") as display:
            outcome = scanning.scan(settings, on_progress=display)
    except KeyboardInterrupt:
        typer.echo("interrupted: finished shards are kept; the same command continues this scan", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if outcome is None:
        typer.echo(f"part {shard} is scanned; `evalkit scan merge DIR` writes the report when all parts are")
        return
    show_report(outcome.table, outcome.directory)


def check_scan(settings: Settings) -> None:
    """Print what a scan finds of planted copies; exit code 1 where it loses one that it should find."""
    from evalkit.contamination import scan as scanning
    from evalkit.contamination import self_test

    test, plan = scanning.prepare(settings)
    result = self_test.measure(test, plan, text_field=settings.text_field, seed=settings.seed)
    show(self_test.table(result))
    if result.lost:
        raise typer.Exit(1)


@scan_app.command()
def merge(
    scan: Annotated[
        Path,
        typer.Argument(metavar="SCAN", parser=scan_directory, help="The directory that all parts were scanned into."),
    ],
) -> None:
    """Write the report of a scan whose parts were scanned with --shard."""
    from evalkit.contamination import scan as scanning

    outcome = scanning.merge(scan)
    show_report(outcome.table, outcome.directory)


MeasureFlag = Annotated[
    str, typer.Option(metavar="NAME", help="gpt3, ngram-ratio(n=8), token-coverage(n=8), longest-match(n=8), ...")
]
ThresholdFlag = Annotated[float | None, typer.Option(help="Dirty from this value on; without it, the measure's own.")]


def split(
    scan: ScanArgument,
    measure: MeasureFlag = "gpt3",
    threshold: ThresholdFlag = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=directory, help="Without it, split/ in the scan's.")
    ] = None,
) -> None:
    """Write the clean and the dirty examples of a scan as data files."""
    from evalkit.contamination import split as splitting

    stored = splitting.load(scan)
    found = splitting.splits(stored, measure=measure, threshold=threshold)
    folder = out or scan / "split"
    splitting.write(stored, found, folder)
    for each in found:
        counts = f"{len(each.clean):,} clean, {len(each.dirty):,} dirty, {len(each.unscanned):,} unscanned"
        typer.echo(f"{each.task}: {counts} ({each.measure}, threshold {each.threshold:g})")
    typer.echo(f"files: {folder}")


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", parser=run_directory, help="Directories of runs, or lm_eval's samples."),
    ],
    scan: Annotated[
        Path, typer.Option(metavar="SCAN", parser=scan_directory, help="The directory of a finished scan.")
    ],
    measure: MeasureFlag = "gpt3",
    threshold: ThresholdFlag = None,
    relative: Annotated[str, typer.Option(metavar="NAME", help="Relative difference: plain or gpt3_table.")] = "plain",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=directory, help="Without it, compare/ in the scan's."),
    ] = None,
) -> None:
    """Show the scores of runs on all, clean and dirty examples; no model runs again."""
    from evalkit.contamination.compare import BESIDE
    from evalkit.contamination.compare import compare as score_again

    outcome = score_again(
        runs,
        scan,
        measure=measure,
        threshold=threshold,
        relative=relative,  # type: ignore[arg-type]  # it is checked there
        out=out,
    )
    show(outcome.table)
    show_report(outcome.more[0], out or scan / BESIDE)


def scrub(
    scan: ScanArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", parser=directory, help="A new directory, outside the corpus.")],
    window: Annotated[int, typer.Option(help="Characters removed on either side of a match.")] = 200,
    shortest: Annotated[int, typer.Option(help="Characters of the shortest piece that is kept.")] = 200,
    most_pieces: Annotated[int, typer.Option(help="A document in more pieces is removed.")] = 10,
    cap: Annotated[
        int | None, typer.Option(help="N-grams in more documents are boilerplate, and stay.  [default: 10]")
    ] = None,
    no_cap: Annotated[bool, typer.Option("--no-cap", help="Remove boilerplate too.")] = False,
) -> None:
    """Write a scanned corpus without the test set, as GPT-3's training filter did; the corpus is not touched."""
    from evalkit.contamination import scrub as scrubbing
    from evalkit.report.progress import ProgressDisplay

    if no_cap and cap is not None:
        raise UsageError("--no-cap: found --cap beside it; give one of them")
    most = None if no_cap else scrubbing.GPT3.cap if cap is None else cap
    rule = scrubbing.Rule(window, shortest, most_pieces, most)
    with ProgressDisplay(sys.stderr, unit="MB") as display:
        totals = scrubbing.scrub(scan, out, rule=rule, on_progress=display).totals
    typer.echo(f"{totals.documents:,} documents: {totals.untouched:,} untouched, {totals.split:,} split into", nl=False)
    typer.echo(f" {totals.pieces:,} pieces, {totals.emptied:,} emptied, {totals.removed:,} removed")
    left = f", {totals.boilerplate:,} of them left as boilerplate (--no-cap removes it)" if totals.boilerplate else ""
    typer.echo(f"{totals.matches:,} matches{left}")
    if no_cap and totals.unkept:
        typer.echo(f"{totals.unkept:,} more were counted and not kept: scan the new corpus, and scrub it again")
    typer.echo(f"corpus: {out / scrubbing.CORPUS}")


def sketch(
    corpus: Annotated[list[str], typer.Argument(metavar="CORPUS...", help="Files, folders, globs, hub:OWNER/NAME.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The sketch, a new file such as pile.sketch.")],
    shingle: Annotated[int, typer.Option(help="Words of the shingles that are kept.")] = 5,
    scale: Annotated[int, typer.Option(help="One shingle in so many is kept; a power of two.")] = 4,
    normaliser: Annotated[str, typer.Option(metavar="NAME", help="What counts as a word: gpt3 or lm-eval.")] = "gpt3",
    text_field: Annotated[str | None, typer.Option(metavar="NAME", help="Where documents have their text.")] = None,
    text_lines: Annotated[
        bool, typer.Option("--text-lines", help="Text files have a document a line; else a file is one.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; without it, one a core.")] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Sample a part of N, from 0; without it, the rest."),
    ] = None,
) -> None:
    """Store a sketch of a corpus, which `ask` looks test sets up in. A sketch that was stopped goes on."""
    from evalkit.contamination.corpus import shards
    from evalkit.contamination.sketch import build as building
    from evalkit.report.progress import ProgressDisplay

    scheme = building.Scheme(shingle, scale, normaliser=normaliser)
    part = None if shard is None else read_part(shard)
    plan = shards.plan(corpus, text_lines=text_lines)
    with ProgressDisplay(sys.stderr, unit="MB") as display:
        if part is not None:
            number, of = part
            building.sample(
                plan[number::of], out, scheme=scheme, text_field=text_field, workers=workers, on_progress=display
            )
            typer.echo(f"part {shard} is sampled; the same command without --shard writes the sketch")
            return
        built = building.build(
            plan,
            out,
            scheme=scheme,
            text_field=text_field,
            workers=workers,
            left_out=shards.left_out(corpus),
            on_progress=display,
        )
    for line in built.lines():
        typer.echo(line)


def ask(
    sketch: Annotated[Path, typer.Argument(metavar="SKETCH", help="A file that `evalkit sketch` wrote.")],
    task: Annotated[str, typer.Option("--task", metavar="NAME[,NAME]", help="Tasks, or paths of task files.")] = "",
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Other examples; without --task, lines of id and text.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Contained from this share of its shingles on; without it, a quarter.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=directory, help="Without it, one under reports/.")
    ] = None,
) -> None:
    """Tell which test examples a sketched corpus probably contains; the corpus is not read."""
    from evalkit.contamination import items
    from evalkit.contamination.sketch import query

    test = items.gather(read_names(task), data=data)
    asked = query.ask(sketch, test, share=query.SHARE if share is None else share)
    folder = out or query.default(sketch, asked)
    query.write(asked, folder, sketch=sketch)
    show_report(asked.table, folder)
