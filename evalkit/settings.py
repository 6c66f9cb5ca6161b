"""What one run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from evalkit.errors import UsageError
from evalkit.records import DemonstrationMode
from evalkit.registry import suggest

Shots: TypeAlias = int | Literal["paper"]

MOST_SHOTS = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The flags of `evalkit run`; UsageError where one cannot be carried out."""

    tasks: tuple[str, ...]  # names, or paths of task files
    data: str | None = None  # examples to use instead of the task's own
    pool: str | None = None  # demonstrations to use instead of the task's own
    columns: tuple[tuple[str, str], ...] = ()  # evalkit's name of a field and its column, over those of the task
    model: str = "nano"
    shots: tuple[Shots, ...] = (0,)  # "paper" is each task's K in the GPT-3 paper
    demos: DemonstrationMode = "per-example"
    seed: int = 0  # of demonstrations, of --limit and of decoding
    seeds: tuple[int, ...] = ()  # in its place, where the scores of several are wanted; --limit takes the first
    limit: int | None = None  # examples a task, a seeded sample
    window: int | None = None  # None is the model's own
    device: str | None = None
    dtype: str | None = None
    by: str | None = None  # field of the examples that splits every row
    token_budget: int | None = None  # tokens computed together; None lets the model decide
    call_tokens: int = 2**18  # of prompts and answers given to the model at a time
    trust_task_code: bool = False  # run the Python functions that lm_eval tasks name
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        if not self.tasks:
            raise UsageError("found no task; name one with --task, `evalkit tasks` lists them")
        if not self.shots:
            raise UsageError("--shots: found no number, expected one or several such as 0,1,10 or paper")
        for shots in self.shots:
            if isinstance(shots, int) and not 0 <= shots <= MOST_SHOTS:
                raise UsageError(f"--shots: found {shots}, expected 0 to {MOST_SHOTS:,}")
        for flag, place in (("data", self.data), ("pool", self.pool)):
            if place is not None and not place.strip():
                raise UsageError(f"--{flag}: found an empty text, expected a file, a folder or a hub id")
        if len(set(self.seeds)) != len(self.seeds):
            raise UsageError(f"--seeds: found {','.join(map(str, self.seeds))}, expected seeds that differ")
        least = (("limit", self.limit, 1), ("window", self.window, 2), ("token-budget", self.token_budget, 1))
        for flag, value, bound in least:
            if value is not None and value < bound:
                raise UsageError(f"--{flag}: found {value}, expected {bound} or more")
        if self.demos not in get_args(DemonstrationMode):
            raise UsageError(
                f"--demos: unknown mode {self.demos!r}; {suggest(self.demos, get_args(DemonstrationMode))}"
            )

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of demonstrations and decoding."""
        return self.seeds or (self.seed,)
