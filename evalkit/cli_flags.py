"""Flags that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.settings import Shots


def directory(text: str) -> Path:
    """Read the name of a directory to write to; UsageError for none."""
    if not text.strip():
        raise UsageError("--out: found an empty text, expected a directory; leave the flag out for the usual one")
    return Path(text)


def run_directory(text: str) -> Path:
    """Read the name of a run's directory; UsageError for none, which would be the current one."""
    if not text.strip():
        raise UsageError("RUN: found an empty text, expected the directory of a run; write . for the current one")
    return Path(text)


def scan_directory(text: str) -> Path:
    """Read the name of a scan's directory; UsageError for none, which would be the current one."""
    if not text.strip():
        raise UsageError("--scan: found an empty text, expected the directory of a scan; write . for the current one")
    return Path(text)


def read_names(text: str | None, *, flag: str = "--task") -> tuple[str, ...]:
    """Read names that commas separate, none from an empty text; UsageError where nothing stands beside a comma."""
    if text is None or not text.strip():
        return ()
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise UsageError(f"{flag}: found nothing beside a comma in {text!r}, expected a name; take the comma out")
    return parts


def read_paths(text: str | None) -> tuple[Path, ...]:
    """Read the paths of --data that commas separate, as `read_names` does."""
    return tuple(Path(part) for part in read_names(text, flag="--data"))


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


def read_seeds(text: str | None) -> tuple[int, ...]:
    """Read seeds that commas separate; UsageError for anything else."""
    try:
        return tuple(int(part) for part in read_names(text, flag="--seeds"))
    except ValueError:
        raise UsageError(f"--seeds: found {text!r}, expected numbers such as 0,1,2") from None


def read_columns(text: str | None) -> tuple[tuple[str, str], ...]:
    """Read `name=column` pairs that commas separate; UsageError for anything else."""
    pairs = [part.partition("=") for part in read_names(text, flag="--columns")]
    for name, sign, column in pairs:
        if not (name.strip() and sign and column.strip()):
            raise UsageError(f"--columns: found {name + sign + column!r}, expected NAME=COLUMN, such as target=answer")
    named = [name.strip() for name, _, _ in pairs]
    if repeated := [name for name in named if named.count(name) > 1]:
        raise UsageError(f"--columns: found {repeated[0]!r} twice; name it once")
    return tuple((name.strip(), column.strip()) for name, _, column in pairs)


TaskFlag = Annotated[
    str, typer.Option("--task", metavar="NAME[,NAME]", help="Tasks, paths of task files, or lm_eval:NAME.")
]
DataFlag = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Other examples: a data or text file, a folder, SOURCE,TARGET lines, a hub id."),
]
PoolFlag = Annotated[
    str | None, typer.Option("--pool", metavar="PATH", help="Other demonstrations, of the same forms.")
]
ColumnsFlag = Annotated[
    str | None, typer.Option("--columns", metavar="NAME=COLUMN[,..]", help="Columns of --data, such as target=answer.")
]
SeedsFlag = Annotated[
    str | None, typer.Option("--seeds", metavar="N,N", help="Several seeds: their mean, and the spread between them.")
]
TrustFlag = Annotated[
    bool, typer.Option("--trust-task-code", help="Run the Python functions that lm_eval task files name.")
]
ModelFlag = Annotated[
    str, typer.Option(metavar="NAME", help="nano, a checkpoint's folder, a hub id, hf:ID or server:URL.")
]
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
TokenBudgetFlag = Annotated[
    int | None, typer.Option(help="Tokens computed together; by default as many as suit the device.")
]
