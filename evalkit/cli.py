"""The command line: one function a command, and the only place that prints and that catches errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

from evalkit import cli_contamination, cli_export, cli_results, cli_study
from evalkit.cli_flags import (
    ByFlag,
    ColumnsFlag,
    DataFlag,
    DemosFlag,
    DeviceFlag,
    DtypeFlag,
    LimitFlag,
    ModelFlag,
    OutFlag,
    PoolFlag,
    SeedFlag,
    SeedsFlag,
    ShotsFlag,
    TaskFlag,
    TokenBudgetFlag,
    TrustFlag,
    WindowFlag,
    directory,
    read_columns,
    read_names,
    read_paths,
    read_seeds,
    read_shots,
)
from evalkit.cli_output import INTERRUPTED, say, show_report
from evalkit.errors import EvalkitError, UsageError

if TYPE_CHECKING:
    from evalkit.interfaces import LanguageModel
    from evalkit.settings import Settings


class InOrder(TyperGroup):
    """A group that lists its commands in the order of their use."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # typer's own context
        """List the commands of COMMANDS first."""
        return sorted(super().list_commands(ctx), key=COMMANDS.index)


app = typer.Typer(
    cls=InOrder,
    help="Few-shot evaluation of decoder language models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMMANDS = (
    *("run", "prompt", "scan", "split", "compare", "scrub", "sketch", "ask"),
    *("diff", "report", "export", "study", "generate", "train", "tasks", "models"),
)

Load: TypeAlias = "Callable[..., LanguageModel]"  # as evalkit.models.load.load

CLOSED = 141  # and for a pipe that nobody reads any more


@app.callback()
def flags(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also after the command's name.")] = False,
) -> None:
    """Take the flags of every command; `main` reads --debug before they are parsed."""


@app.command()
def run(
    context: typer.Context,
    task: TaskFlag,
    data: DataFlag = None,
    pool: PoolFlag = None,
    columns: ColumnsFlag = None,
    model: ModelFlag = "nano",
    shots: ShotsFlag = "0",
    demos: DemosFlag = "per-example",
    seed: SeedFlag = 0,
    seeds: SeedsFlag = None,
    limit: LimitFlag = None,
    window: WindowFlag = None,
    device: DeviceFlag = None,
    dtype: DtypeFlag = None,
    by: ByFlag = None,
    token_budget: TokenBudgetFlag = None,
    trust_task_code: TrustFlag = False,
    out: OutFlag = None,
) -> None:
    """Evaluate a model on tasks and write a report. A run that was stopped goes on with the same command."""
    from evalkit.report.progress import ProgressDisplay
    from evalkit.run import run as evaluate
    from evalkit.settings import Settings

    settings = Settings(
        tasks=read_names(task),
        data=data,
        pool=pool,
        columns=read_columns(columns),
        model=model,
        shots=read_shots(shots),
        demos=demos,  # type: ignore[arg-type]  # Settings checks it
        seed=seed,
        seeds=read_seeds(seeds),
        limit=limit,
        window=window,
        device=device,
        dtype=dtype,
        by=by,
        token_budget=token_budget,
        trust_task_code=trust_task_code,
        out=out,
    )
    with ProgressDisplay(sys.stderr, unit="examples") as display:
        try:
            outcome = evaluate(settings, _loader(context, settings), on_progress=display, say=say)
        except KeyboardInterrupt:
            last = display.last
            kept = last.done if last is not None and last.what.startswith("answering") else 0
            what = f"{kept:,} of {last.total:,} examples" if last and kept else "nothing"
            if last is not None and last.what == "answering again":
                what = f"all examples, and {kept:,} of {last.total:,} again,"
            typer.echo(f"interrupted: {what} answered and kept; the same command continues this run", err=True)
            raise typer.Exit(INTERRUPTED) from None
    show_report(outcome.table, outcome.directory)


@app.command()
def prompt(
    context: typer.Context,
    task: TaskFlag,
    example: Annotated[str, typer.Option(metavar="ID", help="An example's id, or its place from 0.")] = "0",
    data: DataFlag = None,
    pool: PoolFlag = None,
    columns: ColumnsFlag = None,
    model: ModelFlag = "nano",
    shots: ShotsFlag = "0",
    demos: DemosFlag = "per-example",
    seed: SeedFlag = 0,
    window: WindowFlag = None,
    trust_task_code: TrustFlag = False,
) -> None:
    """Show the exact prompt of an example with visible whitespace, its tokens, and what was dropped."""
    from evalkit import preview
    from evalkit.settings import Settings

    numbers = read_shots(shots)
    if len(numbers) != 1:
        raise UsageError(f"--shots: found {shots!r}, expected one number, as one prompt is shown")
    settings = Settings(
        tasks=read_names(task),
        data=data,
        pool=pool,
        columns=read_columns(columns),
        model=model,
        shots=numbers,
        demos=demos,  # type: ignore[arg-type]  # Settings checks it
        seed=seed,
        window=window,
        trust_task_code=trust_task_code,
    )
    # typer.echo would take out what looks like a colour of a terminal.
    sys.stdout.write(preview.show(settings, _loader(context, settings), example=example, say=say) + "\n")


@app.command()
def generate(
    context: typer.Context,
    text: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What to continue; without it, nothing.")] = "",
    model: ModelFlag = "nano",
    max_tokens: Annotated[int, typer.Option(help="Longest answer in tokens; the window may end it before.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the fewest tokens of this probability.")] = None,
    beams: Annotated[int, typer.Option(help="Beam search of this width, with --temperature 0.")] = 1,
    length_penalty: Annotated[float, typer.Option(help="Of beam search; above 0 favours long answers.")] = 0.6,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End before this text; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn; another seed, another text.")] = 0,
    window: WindowFlag = None,
    device: DeviceFlag = None,
    dtype: DtypeFlag = None,
) -> None:
    """Continue a text, token by token as it is generated."""
    from evalkit.generate import checked, stream
    from evalkit.records import Decoding, Generate

    rule = Decoding(temperature, top_k, top_p, beams, length_penalty)
    request = checked(Generate(text, tuple(stop or ()), max_tokens, rule, seed))
    for piece in stream(context.obj(model, device=device, dtype=dtype, window=window), request):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="A training that ships with evalkit: nano.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH[,PATH]", help="Text: txt, jsonl, parquet, folders.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=directory, help="Where checkpoints go; begun there, it goes on."),
    ] = None,
    init_from: Annotated[str | None, typer.Option(metavar="MODEL", help="Let this checkpoint learn on.")] = None,
    size: Annotated[str, typer.Option(help="GPT-3's size of a new decoder, 125M to 175B.")] = "125M",
    shape: Annotated[str | None, typer.Option(metavar="L,D,H", help="Or its layers, width and heads.")] = None,
    vocab_size: Annotated[int, typer.Option(help="Tokens of a new byte-level BPE.")] = 8192,
    tokenizer: Annotated[Path | None, typer.Option(metavar="DIR", help="Use this tokenizer instead.")] = None,
    tokens: Annotated[int, typer.Option(help="To learn from in all.")] = 10_000_000,
    length: Annotated[int, typer.Option(help="Tokens of a packed sequence.")] = 2048,
    rows: Annotated[int, typer.Option(help="Sequences computed at once.")] = 1,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of a step, after the ramp.")] = 32_768,
    first_batch_tokens: Annotated[int | None, typer.Option(help="Tokens of the first step, if fewer.")] = None,
    ramp_tokens: Annotated[int, typer.Option(help="Over which the batch grows.")] = 0,
    warmup_tokens: Annotated[int, typer.Option(help="Over which the learning rate rises.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="Highest; falls to a tenth along a cosine.")] = 6e-4,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 500,
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile; needs a C++ compiler.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights and of the order of documents.")] = 0,
    device: DeviceFlag = None,
    write_corpus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Train nothing; write the documents it would read, as jsonl.")
    ] = None,
) -> None:
    """Train a decoder. A training that was stopped goes on with the same command, to the same weights."""
    from evalkit.report.progress import ProgressDisplay
    from evalkit.training import NewDecoder, Request, corpus, train

    request = Request(
        recipe=recipe,
        data=read_paths(data),
        out=out,
        init_from=init_from,
        new=NewDecoder(size=size, shape=shape, vocab_size=vocab_size, tokenizer=tokenizer),
        tokens=tokens,
        length=length,
        rows=rows,
        numbers={
            "batch_tokens": batch_tokens,
            "first_batch_tokens": first_batch_tokens,
            "ramp_tokens": ramp_tokens,
            "warmup_tokens": warmup_tokens,
            "learning_rate": learning_rate,
            "checkpoint_steps": checkpoint_steps,
            "compile": compiled,
            "seed": seed,
        },
        device=device,
    )
    with ProgressDisplay(sys.stderr, unit="tokens") as display:
        if write_corpus is not None:
            typer.echo(f"documents: {corpus(request, write_corpus, on_progress=display):,} in {write_corpus}")
            return
        outcome = train(request, on_progress=display)
    typer.echo(f"model: {outcome.folder}")
    typer.echo(f"loss curve: {outcome.curve}")


app.add_typer(cli_contamination.scan_app, name="scan")
app.add_typer(cli_study.app, name="study")
for command in (
    cli_contamination.split,
    cli_contamination.compare,
    cli_contamination.scrub,
    cli_contamination.sketch,
    cli_contamination.ask,
    cli_results.diff,
    cli_results.report,
    cli_export.export,
):
    app.command()(command)


@app.command()
def tasks() -> None:
    """List the tasks that ship with evalkit."""
    from evalkit.task import available

    for listing in available():
        typer.echo(f"{listing.name:<28}{listing.summary or listing.title}")
        for name in listing.subtasks:
            typer.echo(f"  {name}")


@app.command()
def models() -> None:
    """List the models that ship with evalkit, and how others are named."""
    from evalkit.registry import MODELS

    for name in sorted(MODELS):
        typer.echo(f"{name:<12}ships with evalkit")
    typer.echo(f"{'FOLDER':<12}a checkpoint: config.json, model.safetensors or pytorch_model.bin, tokenizer.json")
    typer.echo(f"{'HUB ID':<12}a checkpoint of the Hugging Face hub, such as openai-community/gpt2")
    typer.echo(f"{'hf:ID':<12}any other causal model of transformers, by its folder or hub id")
    typer.echo(f"{'server:URL':<12}a server of the completions API: vLLM, SGLang, llama.cpp")


def load_model(name: str, **flags: Any) -> LanguageModel:  # Any: as evalkit.models.load.load takes them
    """Load the model that --model names."""
    from evalkit.models.load import load

    return load(name, **flags)


def main(arguments: Sequence[str] | None = None, *, load: Load = load_model) -> int:
    """Run a command and return the exit code: 0 done, 2 something to mend, 1 a fault of evalkit, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_debugging = "--debug" in given
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as in `evalkit tasks >&-`
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its code; it must not stop the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        command = typer.main.get_command(app)
        without_debug = [each for each in given if each != "--debug"]
        code = command.main(without_debug, prog_name="evalkit", standalone_mode=False, obj=load)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (BrokenPipeError, SystemExit):  # the latter is what typer makes of the former
        # Whoever read our output has enough of it, and the interpreter must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", code=INTERRUPTED)
    except Exception as error:
        if is_debugging:
            import traceback

            traceback.print_exc()
        if type(error).__name__ == "NoArgsIsHelpError":  # of click, whose class typer has moved before
            typer.echo(str(error.format_message()), err=True)  # type: ignore[attr-defined]
            return 2
        return _say(*_explain(error))


def _explain(error: Exception) -> tuple[str, int]:
    """Put an error in one line, with its exit code."""
    if isinstance(error, EvalkitError):
        return f"error: {error}", 2
    if hasattr(error, "format_message"):  # click's own errors, whose class typer has moved before
        return f"error: {error.format_message().rstrip('.')}; --help shows the flags", 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror or error}; mend this and run the same command again", 2
    return f"error: unexpected {type(error).__name__}: {error}; --debug shows where it comes from", 1


def _loader(context: typer.Context, settings: Settings) -> Callable[[], LanguageModel]:
    """Load the model of a run once it is needed."""
    return partial(
        context.obj,
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        window=settings.window,
        token_budget=settings.token_budget,
    )


def _say(message: str, code: int) -> int:
    typer.echo(" ".join(message.split()), err=True)
    return code
