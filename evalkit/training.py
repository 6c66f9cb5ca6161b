"""Train a decoder from the command line's settings: a recipe, a new decoder, or a checkpoint that learns on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit import atomic, owner, registry
from evalkit.errors import UsageError
from evalkit.interfaces import OnProgress, Progress

if TYPE_CHECKING:
    from evalkit.decoder.config import DecoderConfig
    from evalkit.decoder.train import StepReport, Training

CHECKPOINTS = Path("checkpoints")


@dataclass(frozen=True, slots=True)
class NewDecoder:
    """The decoder to begin with, where none is given."""

    size: str = "125M"  # of GPT-3
    shape: str | None = None  # layers, width and heads instead, as `4,128,4`
    vocab_size: int = 8192
    tokenizer: Path | None = None  # a folder with one; None trains a byte-level BPE on the data


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be trained, on what, and where it goes."""

    recipe: str | None
    data: tuple[Path, ...]
    out: Path | None
    init_from: str | None
    tokens: int
    length: int
    rows: int
    numbers: Mapping[str, Any]  # Any: the fields of TrainSettings, whose module needs torch
    device: str | None = None
    new: NewDecoder = field(default_factory=NewDecoder)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished training leaves."""

    folder: Path  # a checkpoint that --model takes
    curve: Path  # PNG beside a CSV of the same name


def train(request: Request, *, on_progress: OnProgress) -> Outcome:
    """Train to the end; a training that was stopped goes on from its last checkpoint.

    Raises UsageError, DataError or CheckpointError for what cannot be begun, StorageError where the disk refuses.
    """
    folder = request.out or CHECKPOINTS / (request.recipe or "decoder")
    if holds := owner.of(folder):
        raise UsageError(f"--out: {folder} holds {holds}, whose own files would be mixed up; choose another directory")
    on_progress(Progress("preparing", 0, 1))

    from evalkit.decoder.device import reported_memory
    from evalkit.decoder.train import train as run
    from evalkit.decoder.training_state import CURVE
    from evalkit.report.figures import loss

    def report(step: StepReport) -> None:
        on_progress(
            Progress("training", min(step.tokens, step.total_tokens), step.total_tokens, f"loss {step.loss:.4f}")
        )

    with reported_memory(advice="lower --rows, --length or the size of the decoder"):
        run(prepare(request), folder, on_step=report)
    return Outcome(folder, loss.draw(folder / CURVE))


def corpus(request: Request, path: Path, *, on_progress: OnProgress) -> int:
    """Write the documents that a training reads, each once for each reading, as JSON lines; gives their number.

    The last document of a stage is written whole. Raises what `train` raises.
    """
    on_progress(Progress("preparing", 0, 1))

    from evalkit.decoder.packing import reading

    training = prepare(request)
    written = 0
    seen = 0

    def lines() -> Iterator[str]:
        nonlocal written, seen
        for stage in training.stages:
            for document in reading(stage.documents, tokens=stage.tokens):
                seen += len(document.ids) + 1
                written += 1
                if written % 4096 == 0:
                    on_progress(Progress("writing", min(seen, training.tokens), training.tokens))
                yield json.dumps({"text": training.tokenizer.decode(document.ids)}, ensure_ascii=False) + "\n"

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, lines())
    on_progress(Progress("writing", training.tokens, training.tokens))
    return written


def prepare(request: Request) -> Training:
    """Make what is to be trained."""
    from evalkit.decoder.device import usable_device

    device = usable_device(request.device)
    if request.recipe is not None:
        if request.data or request.init_from:
            raise UsageError("--recipe brings its own data and decoder; leave out --data and --init-from")
        if request.recipe not in registry.RECIPES:
            hint = registry.suggest(request.recipe, registry.RECIPES)
            raise UsageError(f"--recipe: no recipe {request.recipe!r}; {hint}")
        made: Training = registry.resolve(registry.RECIPES, request.recipe)(device=device)
        return made
    if not request.data:
        raise UsageError("nothing to learn from: give --data with text files, or --recipe nano")
    for flag, found, least, most in (
        ("tokens", request.tokens, 1, 2**50),
        ("rows", request.rows, 1, 2**20),
        ("length", request.length, 2, 2**20),
        ("vocab-size", request.new.vocab_size, 257, 2**20),  # at least every byte, and end-of-text
    ):
        if found < least:
            raise UsageError(f"--{flag}: found {found}, expected {least} or more")
        if found > most:
            raise UsageError(f"--{flag}: found {found}, expected {most} or fewer")

    from evalkit.decoder import recipes, tokenizer
    from evalkit.decoder.train import TrainSettings

    settings = TrainSettings(**request.numbers)
    reading = recipes.Reading(request.tokens, request.length, request.rows)
    if request.init_from is not None:
        from evalkit.models.load import find

        start = find(request.init_from)
        return recipes.fine_tune(request.data, start, reading=reading, settings=settings, device=device)
    known = tokenizer.load(request.new.tokenizer) if request.new.tokenizer else None
    shape = new_shape(request.new, vocab_size=known.size if known else request.new.vocab_size, window=request.length)
    return recipes.new(request.data, shape, tokenizer=known, reading=reading, settings=settings, device=device)


def new_shape(new: NewDecoder, *, vocab_size: int, window: int) -> DecoderConfig:
    """Give the shape of a new decoder; its window is as long as the sequences it learns from."""
    from evalkit.decoder.config import DecoderConfig

    if new.shape is None:
        return DecoderConfig.gpt3(new.size, vocab_size=vocab_size, window=window)
    try:
        layers, width, heads = (int(part) for part in new.shape.split(","))
    except ValueError:
        raise UsageError(f"--shape: found {new.shape!r}, expected layers, width and heads such as 4,128,4") from None
    if min(layers, width, heads) < 1:
        raise UsageError(f"--shape: found {new.shape!r}, expected three numbers above 0")
    return DecoderConfig.gpt3_like(layers, width, heads, vocab_size=vocab_size, window=window)
