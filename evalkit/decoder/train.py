"""Train a decoder: next-token prediction on packed sequences, resumable to the bit.

The recipe is GPT-3's (Brown 2020, Appendix B): AdamW with betas 0.9 and 0.95, gradients clipped to norm 1, weight decay
0.1, linear warm-up, cosine to 10 %, a batch that grows. Everything random is made from the seed and the step's number,
so a run that was killed and goes on from its last checkpoint takes the same steps as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evalkit.decoder import training_state
from evalkit.decoder.checkpoint import save
from evalkit.decoder.model import Decoder
from evalkit.decoder.packing import Batch, Documents, PackingState, pack
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.training_state import LossPoint, TrainingState
from evalkit.decoder.weights import WEIGHTS
from evalkit.errors import UsageError

FINAL_LEARNING_RATE = 0.1  # of the highest
SEEDS = 2**63  # as many as torch takes


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a training with sequences of one length."""

    documents: Documents
    tokens: int  # to learn from before the next stage
    length: int  # T
    rows: int  # sequences computed at once; a step takes as many such micro-batches as its batch needs
    spread: int = 0  # half of the sequences begin at position 0, the others at a random one up to this


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Numbers of the optimiser; defaults are GPT-3's where it gives them for all sizes."""

    learning_rate: float
    batch_tokens: int  # learned from in one step, once the ramp is over
    warmup_tokens: int = 0
    restart_tokens: int | None = None  # where the cosine begins anew at half its height (Loshchilov 2017); None: never
    first_batch_tokens: int | None = None  # where the ramp begins; None for no ramp
    ramp_tokens: int = 0  # over which the batch grows linearly
    weight_decay: float = 0.1  # of the matrices in the blocks
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)
    seed: int = 0
    checkpoint_steps: int = 500
    compile: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that no training can have."""
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"--learning-rate: found {self.learning_rate}, expected a finite number above 0")
        for flag, found, least in (
            ("batch-tokens", self.batch_tokens, 1),
            ("checkpoint-steps", self.checkpoint_steps, 1),
            ("first-batch-tokens", self.first_batch_tokens, 1),
            ("warmup-tokens", self.warmup_tokens, 0),
            ("ramp-tokens", self.ramp_tokens, 0),
        ):
            if found is not None and found < least:
                raise UsageError(f"--{flag}: found {found}, expected {least} or more")
        if not 0 <= self.seed < SEEDS:
            raise UsageError(f"--seed: found {self.seed}, expected 0 to {SEEDS - 1}")


@dataclass(frozen=True, slots=True)
class Training:
    """All that a training is made of."""

    decoder: Decoder  # trained in place
    tokenizer: Tokenizer
    stages: tuple[Stage, ...]
    settings: TrainSettings
    start: str | None = None  # fingerprint of the checkpoint that learns on

    @property
    def tokens(self) -> int:
        """Tokens learned from in all stages."""
        return sum(stage.tokens for stage in self.stages)


@dataclass(frozen=True, slots=True)
class StepReport:
    """What is known after a step."""

    step: int
    tokens: int  # learned from so far
    total_tokens: int
    loss: float  # nats a token, weighted as the corpus says
    tokens_per_second: float  # since this process began


def train(training: Training, folder: Path, *, on_step: Callable[[StepReport], None] = lambda _: None) -> Decoder:
    """Train a decoder; write it, its loss curve and its checkpoints to `folder`.

    A folder that holds a checkpoint of the same training is continued. Raises UsageError where it is of another one or
    the loss is no longer finite, CheckpointError where it is damaged, StorageError where it cannot be written.
    """
    decoder, tokenizer, stages, settings = training.decoder, training.tokenizer, training.stages, training.settings
    described = describe(training)
    with training_state.storage(folder):
        pass  # a folder that cannot be made shows now, not after the first hour
    optimizer = make_optimizer(decoder, settings)
    state = training_state.resume(folder, decoder, optimizer, settings=described) or TrainingState()
    plain = partial(weighted_loss, decoder)
    loss_of = torch.compile(plain, dynamic=False) if settings.compile else plain
    decoder.train()
    clock, begun = time.perf_counter(), state
    while (position := locate(stages, state.tokens)) is not None:
        stage = stages[position]
        if position != state.stage:
            state = replace(state, stage=position, packing=PackingState())
        rate = learning_rate(state.tokens, total=training.tokens, settings=settings)
        loss, packing, taken = take_step(
            loss_of,
            optimizer,
            stage=stage,
            state=state,
            settings=settings,
            rate=rate,
            end_of_text=tokenizer.end_of_text,
        )
        point = LossPoint(state.step + 1, state.tokens + taken, rate, loss)
        state = replace(state, step=point.step, tokens=point.tokens, packing=packing, history=(*state.history, point))
        speed = (state.tokens - begun.tokens) / (time.perf_counter() - clock)
        on_step(StepReport(state.step, state.tokens, training.tokens, loss, speed))
        if state.step % settings.checkpoint_steps == 0:
            check_finite(decoder, step=state.step)
            training_state.write(folder, decoder, optimizer, state, settings=described)
    decoder.eval()
    if state.step == begun.step and (folder / WEIGHTS).exists():
        return decoder  # it was finished before
    check_finite(decoder, step=state.step)
    if state.step != begun.step and state.step % settings.checkpoint_steps:
        training_state.write(folder, decoder, optimizer, state, settings=described)
    with training_state.storage(folder):
        save(decoder, tokenizer, folder)
    return decoder


def check_finite(decoder: Decoder, *, step: int) -> None:
    """Raise UsageError where a step has left weights that are not finite."""
    if not all(bool(torch.isfinite(parameter).all()) for parameter in decoder.parameters()):
        raise diverged(step, "its weights are not finite")


def diverged(step: int, found: str) -> UsageError:
    """Say that a training cannot go on; its last checkpoint stays as it is."""
    return UsageError(
        f"step {step}: {found}, expected finite numbers; lower --learning-rate and choose another --out; "
        "the last checkpoint is kept"
    )


def take_step(
    loss_of: Callable[[Batch], Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    stage: Stage,
    state: TrainingState,
    settings: TrainSettings,
    rate: float,
    end_of_text: int,
) -> tuple[float, PackingState, int]:
    """Learn from one batch; give its mean loss, where the corpus now is, and how many tokens were learned from.

    Raises UsageError where loss or gradients are not finite.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    device = parameters[0].device
    count = max(1, round(batch_tokens(state.tokens, settings) / (stage.rows * stage.length)))
    packing, losses = state.packing, []
    generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + state.step) % SEEDS)
    for _ in range(count):
        batch, packing = micro_batch(stage, packing, generator=generator, end_of_text=end_of_text)
        with autocast(device):
            loss = loss_of(move(batch, device))
        (loss / count).backward()  # type: ignore[no-untyped-call]  # torch's own signature
        losses.append(loss.detach())
    for group in optimizer.param_groups:
        group["lr"] = rate
    norm = nn.utils.clip_grad_norm_(parameters, settings.clip).item()
    loss_mean = torch.stack(losses).mean().item()
    if not math.isfinite(loss_mean) or not math.isfinite(norm):
        raise diverged(state.step + 1, f"loss {loss_mean}, gradient norm {norm}")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss_mean, packing, count * stage.rows * stage.length


def micro_batch(
    stage: Stage, packing: PackingState, *, generator: torch.Generator, end_of_text: int
) -> tuple[Batch, PackingState]:
    """Take the next sequences of a stage, and say where its corpus then is."""
    ids, weights, packing = pack(
        stage.documents, packing, rows=stage.rows, length=stage.length, end_of_text=end_of_text
    )
    start = torch.randint(0, stage.spread + 1, (stage.rows,), generator=generator)
    start *= torch.randint(0, 2, (stage.rows,), generator=generator)
    return Batch(ids[:, :-1], ids[:, 1:], weights[:, 1:], start), packing


def move(batch: Batch, device: torch.device) -> Batch:
    """Bring a batch to the device."""
    return Batch(*(part.to(device) for part in (batch.tokens, batch.targets, batch.weights, batch.start)))


def weighted_loss(decoder: Decoder, batch: Batch) -> Tensor:
    """Mean cross-entropy in nats of the targets, weighted token by token."""
    logits = decoder.logits(decoder(batch.tokens, start=batch.start))
    losses = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    weights = batch.weights.flatten()
    return (losses * weights).sum() / weights.sum()


def make_optimizer(decoder: Decoder, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW that decays the matrices of the blocks, not embeddings, biases and norms."""
    blocks = [parameter for name, parameter in decoder.named_parameters() if is_decayed(name, parameter)]
    others = [parameter for name, parameter in decoder.named_parameters() if not is_decayed(name, parameter)]
    groups = [{"params": blocks, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=1e-8, fused=True)


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies to a parameter."""
    return name.startswith("blocks.") and parameter.dim() == 2


def learning_rate(tokens: int, *, total: int, settings: TrainSettings) -> float:
    """Rise linearly over the warm-up, then follow a cosine to a tenth: once, or once more after a restart."""
    peak, begin, end = settings.learning_rate, settings.warmup_tokens, settings.restart_tokens or total
    if tokens < begin:
        return peak * (tokens + settings.batch_tokens) / (begin + settings.batch_tokens)
    if settings.restart_tokens is not None and tokens >= settings.restart_tokens:
        peak, begin, end = peak / 2, settings.restart_tokens, total
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (tokens - begin) / max(1, end - begin))))
    return peak * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine)


def batch_tokens(tokens: int, settings: TrainSettings) -> int:
    """Tokens in the next step: growing linearly over the ramp, then constant."""
    if settings.first_batch_tokens is None or tokens >= settings.ramp_tokens:
        return settings.batch_tokens
    share = tokens / settings.ramp_tokens
    return round(settings.first_batch_tokens + share * (settings.batch_tokens - settings.first_batch_tokens))


def locate(stages: Sequence[Stage], tokens: int) -> int | None:
    """Say in which stage a training is after `tokens`; None at its end."""
    end = 0
    for position, stage in enumerate(stages):
        end += stage.tokens
        if tokens < end:
            return position
    return None


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Compute in bf16 where the device has it, in float32 elsewhere."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    if device.type == "cpu" and "amx_bf16" in cpu_flags():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def cpu_flags() -> frozenset[str]:
    """Name what the processor can do, as Linux lists it; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.split())


def describe(training: Training) -> dict[str, object]:
    """Give what must be equal for a training to be continued: its numbers, and digests of what it is made of."""
    settings, stages = training.settings, training.stages
    numbers = {name: getattr(settings, name) for name in TrainSettings.__slots__ if name != "checkpoint_steps"}
    shapes = [[stage.tokens, stage.length, stage.rows, stage.spread] for stage in stages]
    tokenizer = training.tokenizer
    digests = {
        "decoder": digest(asdict(training.decoder.config)),
        "tokenizer": digest(tokenizer.backend.to_str(), tokenizer.start, tokenizer.end_of_text),
        "text": digest(*(documents_digest(stage.documents) for stage in stages)),
        "starting checkpoint": training.start,
    }
    return {**numbers, "betas": list(settings.betas), "stages": shapes, training_state.DIGESTS: digests}


def documents_digest(documents: Documents) -> str:
    """Hash a corpus: all of it where it can, else its first document and the section it is made from."""
    whole = getattr(documents, "digest", None)
    if whole is not None:
        return str(whole())
    first = documents.document(0)
    return digest(list(first.ids), list(first.weights), getattr(documents, "section", None))


def digest(*parts: object) -> str:
    """Hash values by what they print as."""
    return sha256(repr(parts).encode()).hexdigest()
