"""The commands on studies of articles: build, serve, detect and analyse."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli_flags import (
    DeviceFlag,
    DtypeFlag,
    TokenBudgetFlag,
    WindowFlag,
    directory,
    read_columns,
    read_names,
)
from evalkit.cli_output import INTERRUPTED, say, show

app = typer.Typer(
    help="Study who tells a model's news articles from human ones: people, detectors.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def study_directory(text: str) -> Path:
    """Read the name of a study's directory; UsageError for none, which would be the current one."""
    from evalkit.errors import UsageError

    if not text.strip():
        raise UsageError("STUDY: found an empty text, expected the directory of a study; write . for the current one")
    return Path(text)


StudyArgument = Annotated[
    Path, typer.Argument(metavar="STUDY", parser=study_directory, help="The directory of a study.")
]


@app.command()
def build(
    context: typer.Context,
    articles: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Human articles: a data file, a folder, a hub id; else evalkit's sample."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAME=COLUMN[,..]", help="Columns of --articles: title, subtitle, article, id."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]", help="Models that write, as run takes them.  [default: nano]"),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@SIZE]=FILE",
            help="Ready-made texts: lines of id and text; may be repeated.",
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Model of the control, or none; else the first of --model."),
    ] = None,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the report is called; participants are not shown it.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Articles, a seeded sample.")] = 25,
    candidates: Annotated[int, typer.Option(help="Continuations an article, of which one is chosen.")] = 5,
    examples: Annotated[int, typer.Option("--context", help="Articles before the one to be written.")] = 3,
    temperature: Annotated[float | None, typer.Option(help="Of the models.  [default: that of the task]")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the models.  [default: that of the task]")] = None,
    control_temperature: Annotated[float, typer.Option(help="Of the control, without --top-p.")] = 1.2,
    max_tokens: Annotated[int | None, typer.Option(help="Of a continuation.")] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Drop what stands in these files, folders, globs; may be repeated."),
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where documents of --corpus have their text.")
    ] = None,
    least_seconds: Annotated[
        float | None, typer.Option(help="Exclude who is faster with an article, at the median.")
    ] = None,
    keep_unfinished: Annotated[
        bool, typer.Option("--keep-unfinished", help="Do not exclude who has not answered all articles.")
    ] = False,
    keep_inattentive: Annotated[
        bool, typer.Option("--keep-inattentive", help="Do not exclude who failed the attention check.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all that is drawn: articles, context, texts, quizzes.")] = 0,
    window: WindowFlag = None,
    device: DeviceFlag = None,
    dtype: DtypeFlag = None,
    token_budget: TokenBudgetFlag = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=directory, help="The study's directory; without it, one under reports/."),
    ] = None,
) -> None:
    """Let models write articles and put them into two quizzes. A build that was stopped goes on."""
    from evalkit.articles.build import build as make
    from evalkit.articles.given import parse
    from evalkit.articles.records import Exclusions
    from evalkit.articles.settings import TITLE, BuildSettings
    from evalkit.report.progress import ProgressDisplay
    from evalkit.report.table import count

    texts = tuple(map(parse, given or ()))
    settings = BuildSettings(
        articles=articles,
        columns=read_columns(columns),
        models=(() if texts else ("nano",)) if model is None else read_names(model, flag="--model"),
        given=texts,
        control=control,
        title=TITLE if title is None else title,
        limit=limit,
        candidates=candidates,
        context=examples,
        seed=seed,
        temperature=temperature,
        top_p=top_p,
        control_temperature=control_temperature,
        max_tokens=max_tokens,
        corpus=tuple(corpus or ()),
        text_field=text_field,
        exclusions=Exclusions(not keep_unfinished, not keep_inattentive, least_seconds),
        window=window,
        device=device,
        dtype=dtype,
        token_budget=token_budget,
        out=out,
    )
    load = partial(context.obj, device=device, dtype=dtype, window=window, token_budget=token_budget)
    with ProgressDisplay(sys.stderr, unit="texts") as display:
        try:
            outcome = make(settings, load, on_progress=display, say=say)
        except KeyboardInterrupt:
            typer.echo("interrupted: finished texts are kept; the same command continues this study", err=True)
            raise typer.Exit(INTERRUPTED) from None
    articles_shown = count(len(outcome.study.articles), "article")
    conditions = count(len(outcome.study.conditions), "condition")
    typer.echo(f"study: {outcome.directory}, {articles_shown} by people and {conditions}")


@app.command()
def serve(
    study: StudyArgument,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 8000,
    admin_token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Opens /admin; without it, one is made.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name under which browsers reach the server; may be repeated."),
    ] = None,
    consent: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text to agree to, above what evalkit says.")
    ] = None,
    requests_a_second: Annotated[float, typer.Option(help="From one address, in the long run.")] = 100.0,
    requests_at_once: Annotated[int, typer.Option(help="From one address.")] = 1000,
    begins_a_minute: Annotated[float, typer.Option(help="New participants of an address, in the long run.")] = 60.0,
    begins_at_once: Annotated[int, typer.Option(help="New participants of an address.")] = 300,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Believe what a proxy on this machine says of addresses.")
    ] = False,
) -> None:
    """Ask people in their browsers, until it is stopped; answers stay."""
    from evalkit.articles.web.serve import serve as ask
    from evalkit.articles.web.settings import ServeSettings

    settings = ServeSettings(
        directory=study,
        host=host,
        port=port,
        admin_token=admin_token,
        names=tuple(name or ()),
        consent=consent,
        requests_a_second=requests_a_second,
        requests_at_once=requests_at_once,
        begins_a_minute=begins_a_minute,
        begins_at_once=begins_at_once,
        is_behind_proxy=behind_proxy,
    )
    ask(settings, say=typer.echo)


@app.command()
def detect(
    context: typer.Context,
    study: StudyArgument,
    scorer: Annotated[
        str, typer.Option(metavar="NAME", help="Model whose token probabilities tell; as run takes it.")
    ] = "nano",
    second: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another with its vocabulary: adds what two models tell.")
    ] = None,
    no_learned: Annotated[bool, typer.Option("--no-learned", help="Train no classifiers.")] = False,
    seed: Annotated[int, typer.Option(help="Of folds and resamples.")] = 0,
    window: WindowFlag = None,
    device: DeviceFlag = None,
    dtype: DtypeFlag = None,
    token_budget: TokenBudgetFlag = None,
) -> None:
    """Let detectors tell a study's texts, as people do."""
    from evalkit.articles import directory as directories
    from evalkit.articles.detectors import records
    from evalkit.articles.detectors.detect import DetectSettings
    from evalkit.articles.detectors.detect import detect as tell
    from evalkit.articles.detectors.tables import tables
    from evalkit.report.progress import ProgressDisplay

    found_study = directories.load(study)
    records.check(study)
    settings = DetectSettings(scorer=scorer, second=second, window=window, has_learned=not no_learned, seed=seed)
    load = partial(context.obj, device=device, dtype=dtype, window=window, token_budget=token_budget)
    with ProgressDisplay(sys.stderr, unit="texts") as display:
        found = tell(found_study, settings, load, on_progress=display, say=say)
    records.save(found, study)
    for table in tables(found):
        show(table)
    typer.echo(f"scores: {study / records.FILE}")


@app.command()
def analyse(
    study: StudyArgument,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answers from elsewhere, as answers.csv of /admin has them.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME[,NAME]", help="html, csv, latex, md, parquet, json.")
    ] = None,
    latex: Annotated[str, typer.Option(metavar="STYLE", help="Numbers of LaTeX: plain, or siunitx.")] = "plain",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=directory, help="Where it goes; else analysis/ in the study.")
    ] = None,
) -> None:
    """Make the paper's table, and what it leaves out, from people's answers and detectors' scores."""
    from evalkit.articles.report import report
    from evalkit.report import files

    forms = files.USUAL if form is None else read_names(form, flag="--format")
    outcome = report(study, asked=answers, out=out, forms=forms, style=latex)  # type: ignore[arg-type]  # it checks
    for table in outcome.page.summary:
        show(table)
    typer.echo(f"report: {outcome.directory / files.PAGE}" if "html" in forms else f"files: {outcome.directory}")
