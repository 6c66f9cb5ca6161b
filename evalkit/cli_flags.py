"""Flags that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.settings import Shots


def directory(text: str) -> Path:
    """Read a directory's name; UsageError for none."""
    if not text.strip():
        raise UsageError("--out: found an empty text, expected a directory; leave the flag out for the usual one")
    return Path(text)


def read_names(task: str) -> tuple[str, ...]:
    """Read names that commas separate."""
    return tuple(name.strip() for name in task.split(",") if name.strip())


def read_paths(text: str | None) -> tuple[Path, ...]:
    """Read paths that commas separate."""
    return tuple(Path(part.strip()) for part in (text or "").split(",") if part.strip())


def read_part(text: str) -> tuple[int, int]:
    """Read a part of a job array, `0/8` to `7/8`; UsageError for anything else."""
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        raise UsageError(f"--shard: found {text!r}, expected a part such as 0/8")
    if not int(number) < int(of):
        raise UsageError(f"--shard: found {text}, expected i/n with i from 0 to n - 1")
    return int(number), int(of)


def read_shots(text: str) -> tuple[Shots, ...]:
    """Read numbers of shots that commas separate, or `paper`; UsageError for anything else."""
    numbers: list[Shots] = []
    for part in text.split(","):
        name = part.strip()
        if name == "paper":
            numbers.append("paper")
            continue
        try:
            numbers.append(int(name))
        except ValueError:
            raise UsageError(f"--shots: found {name!r}, expected numbers such as 0,1,10, or paper") from None
    return tuple(numbers)


TaskFlag = Annotated[str, typer.Option("--task", metavar="NAME[,NAME]", help="Tasks, or paths of task files.")]
DataFlag = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Other examples: jsonl, csv, parquet, a folder of these, or a hub id."),
]
ModelFlag = Annotated[str, typer.Option(metavar="NAME", help="nano, a checkpoint's folder, or a hub id.")]
ShotsFlag = Annotated[str, typer.Option("--shots", metavar="N[,N]", help="Demonstrations, such as 0,1,10; or paper.")]
DemosFlag = Annotated[str, typer.Option(metavar="MODE", help="per-example, fixed, grouped, first or balanced.")]
SeedFlag = Annotated[int, typer.Option(help="Of demonstrations, of --limit and of decoding.")]
LimitFlag = Annotated[int | None, typer.Option(help="Examples a task, a seeded sample.")]
WindowFlag = Annotated[int | None, typer.Option(help="Tokens that prompt and answer share.")]
DeviceFlag = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")]
DtypeFlag = Annotated[str | None, typer.Option(help="float32, bfloat16, float16.")]
ByFlag = Annotated[
    str | None,
    typer.Option(metavar="FIELD", help="Also score the examples of each value of this field."),
]
OutFlag = Annotated[
    Path | None,
    typer.Option(metavar="DIR", parser=directory, help="The run's directory; without it, one under reports/."),
]
TokenBudgetFlag = Annotated[int, typer.Option(help="Tokens of prompts and answers in a batch.")]
