"""The GPU part of the engine's benchmark, in bfloat16; with tiny shapes it runs on a CPU, to show that it works."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine_parts.limits import (
    Ceilings,
    Cost,
    alternate,
    measure,
    prefill_cost,
    request_cost,
    step_cost,
    synchronise,
)
from engine_parts.peers import Shape, Twins, compare, generate_side, lm_eval_side, make, scores, why_no_lm_eval
from engine_parts.workloads import TOKENS, Workload, arithmetic, choices, prompts, train_tokenizer
from evalkit.decoder.checkpoint import Checkpoint
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.engine import DecoderModel
from evalkit.decoder.graphs import CHECKED, UNRECORDED, Steps
from evalkit.decoder.model import Decoder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.records import Completion, Generate, LogLikelihood, Request

PARTS = ("prefill", "decode", "banded", "lm_eval")
DTYPE = torch.bfloat16
PREFILL_GOAL, DECODE_GOAL, STATIC_GOAL, LM_EVAL_GOAL = 0.60, 0.75, 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    shape: Shape
    banded: tuple[int, int, int, int]  # layers, width, heads, band
    window: int
    prefills: tuple[int, ...]  # prompts of the whole window at a time
    prompt: int  # tokens before a decode
    new: int  # tokens of a decode
    rows: int  # of the large decode
    examples: int
    batches: tuple[int, ...]  # of lm_eval


REAL = Plan(
    Shape("1.3B", layers=24, width=2048, heads=16, vocabulary=50257),
    banded=(32, 2560, 32, 256),
    window=2048,
    prefills=(1, 16),
    prompt=128,
    new=256,
    rows=64,
    examples=200,
    batches=(8, 32, 64),
)
TINY = Plan(
    Shape("tiny", layers=2, width=64, heads=4, vocabulary=TOKENS + 100),
    banded=(2, 64, 4, 32),
    window=256,
    prefills=(1, 2),
    prompt=16,
    new=8,
    rows=4,
    examples=4,
    batches=(2, 4),
)


def measure_all(parts: Sequence[str], *, rounds: int, is_pretended: bool, is_quick: bool) -> None:
    """Measure the parts asked for."""
    device = torch.device("cpu" if is_pretended else "cuda")
    plan = TINY if is_pretended else REAL
    examples = min(plan.examples, 32) if is_quick else plan.examples
    ceilings = measure(device, DTYPE, is_small=is_pretended)
    print(f"{'PRETENDED: ' if is_pretended else ''}ceilings: {ceilings.line(device)}", flush=True)
    tokenizer = train_tokenizer()
    if {"prefill", "decode", "lm_eval"} & set(parts):
        with tempfile.TemporaryDirectory() as folder:
            twins = make(plan.shape, Path(folder), tokenizer=tokenizer, device=device, dtype=DTYPE)
            if is_pretended:
                pretend(twins.ours)
            if "prefill" in parts:
                for rows in plan.prefills:
                    prefill(twins, plan, ceilings, rows=rows, rounds=rounds)
            if "decode" in parts:
                decode(twins, plan, ceilings, rows=1, rounds=rounds)
                decode(twins, plan, ceilings, rows=plan.rows, rounds=rounds)
            if "lm_eval" in parts:
                shots = (1, 2) if is_pretended else (5, 10)
                for is_fixed in (False, True):
                    for workload in (
                        choices(examples, shots=shots[0], is_fixed=is_fixed),
                        arithmetic(examples, shots=shots[1], is_fixed=is_fixed),
                    ):
                        against_lm_eval(twins, plan, workload, ceilings, rounds=rounds)
        del twins
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if "banded" in parts:
        banded(plan, tokenizer, ceilings, device, rounds=rounds)


def pretend(model: DecoderModel) -> None:
    """Let answers grow by the steps that a GPU would take, unrecorded."""
    model._decoder.steps = Steps(model._decoder)


def recordings(model: DecoderModel) -> str:
    """Say how the steps of answers were carried out."""
    steps = model._decoder.steps
    if steps is None:
        return "each step launched anew"
    if steps.refusal is not None:
        return f"no step could be recorded: {steps.refusal}"
    return f"{steps.recorded} steps recorded" if steps.recorded else "steps in place, none recorded"


def prefill(twins: Twins, plan: Plan, ceilings: Ceilings, *, rows: int, rounds: int) -> None:
    """Measure prompts that fill the window: through the engine, its forward alone, and transformers' forward."""
    device, window = twins.peer.device, plan.window
    decoder = twins.ours._decoder
    # The continuation is the token that follows the window's last, so the window is computed whole.
    texts = prompts(rows, tokens=window - 1, kind=twins.tokenizer)
    asked: list[Request] = [LogLikelihood(text, " yes") for text in texts]
    ids = torch.tensor([encoding.ids for encoding in twins.tokenizer.encode(texts)], device=device)
    last = torch.full((rows, 1), window - 2, device=device)

    def own_forward() -> None:
        with torch.inference_mode():
            decoder.logits(decoder(ids, wanted=last))

    def their_forward() -> None:
        with torch.inference_mode():
            twins.peer(ids, logits_to_keep=1)

    sides: dict[str, Callable[[], object]] = {
        "engine": lambda: twins.ours.answer(asked),
        "own forward": own_forward,
        "transformers": their_forward,
    }
    seconds = alternate(sides, rounds=5 * rounds, device=device)
    cost = prefill_cost(decoder.config, rows=rows, tokens=window - 1, dtype=DTYPE)
    print(f"{twins.ours.name}, prefill of {rows} x {window - 1}:")
    for name, each in seconds.items():
        share = cost.flops / each / ceilings.flops
        goal = f"; goal {PREFILL_GOAL:.0%}: {_judge(share >= PREFILL_GOAL)}" if name == "engine" else ""
        print(f"    {name:<13} {rows * (window - 1) / each:11,.0f} tokens/s, {cost.share(each, ceilings)}{goal}")
    print(end="", flush=True)


def decode(twins: Twins, plan: Plan, ceilings: Ceilings, *, rows: int, rounds: int) -> None:
    """Measure the steps of generation beside generate with a static cache."""
    texts = prompts(rows, tokens=plan.prompt, kind=twins.tokenizer)
    own, seconds = own_step(twins.ours, texts, plan, rounds=rounds, device=twins.peer.device)
    peer = {count: generate_side(twins, texts, new=count, is_static=True) for count in (2, plan.new)}
    sides = {"long": peer[plan.new], "short": peer[2]}
    theirs = alternate(sides, rounds=rounds, device=twins.peer.device)
    step = (theirs["long"] - theirs["short"]) / (plan.new - 2)
    asked: list[Request] = [Generate(text, max_tokens=plan.new) for text in texts]
    _, equal, count = compare(scores(twins.ours.answer(asked)), peer[plan.new](), each=1)
    cost = step_cost(twins.ours._decoder.config, rows=rows, tokens=plan.prompt + plan.new // 2, dtype=DTYPE)
    share = cost.bytes / own / ceilings.bandwidth
    goals = [] if rows > 1 else [f"goal {DECODE_GOAL:.0%} of the copy: {_judge(share >= DECODE_GOAL)}"]
    if rows > 1:
        goals = [f"goal {STATIC_GOAL:g} times static generate: {_judge(step / own >= STATIC_GOAL)}"]
    print(
        f"{twins.ours.name}, decode of {plan.new} after {plan.prompt}, batch {rows}: {rows / own:,.0f} tokens/s, "
        f"generate with a static cache {rows / step:,.0f}, ratio {step / own:.2f}; {'; '.join(goals)}\n"
        f"    a step: {cost.share(own, ceilings)}, {share:.0%} of the copy's rate; whole answers {seconds:.2f} s "
        f"against {theirs['long']:.2f} s; {equal} of {count} texts equal in bfloat16; "
        f"{recordings(twins.ours)}",
        flush=True,
    )


def own_step(
    model: DecoderModel, texts: Sequence[str], plan: Plan, *, rounds: int, device: torch.device
) -> tuple[float, float]:
    """Give the seconds of one of our decode steps, and those of whole answers."""
    asked: dict[int, list[Request]] = {
        count: [Generate(text, max_tokens=count) for text in texts] for count in (2, plan.new)
    }
    for response in model.answer(asked[plan.new]):
        assert isinstance(response, Completion)
        if response.tokens < plan.new:
            print(f"    an answer ended after {response.tokens} of {plan.new} tokens, which flatters the figure")
    for _ in range(UNRECORDED + CHECKED):  # so that no recording is made or compared while time is taken
        model.answer(asked[2])
    sides = {"long": lambda: model.answer(asked[plan.new]), "short": lambda: model.answer(asked[2])}
    seconds = alternate(sides, rounds=rounds, device=device)
    return (seconds["long"] - seconds["short"]) / (plan.new - 2), seconds["long"]


def banded(plan: Plan, tokenizer: Tokenizer, ceilings: Ceilings, device: torch.device, *, rounds: int) -> None:
    """Measure GPT-3's alternating layers beside the same weights with dense layers alone."""
    layers, width, heads, band = plan.banded
    vocabulary = plan.shape.vocabulary
    alternating = DecoderConfig.gpt3_like(layers, width, heads, vocab_size=vocabulary, window=plan.window, band=band)
    values = {name: getattr(alternating, name) for name in alternating.__slots__} | {"bands": (None,) * layers}
    weights = random_weights(alternating, device)
    models = {
        name: engine(config, weights, tokenizer, name=name)
        for name, config in (("banded", alternating), ("dense", DecoderConfig(**values)))
    }
    if device.type == "cpu":
        for model in models.values():
            pretend(model)
    rows = plan.prefills[-1]
    texts = prompts(rows, tokens=plan.window - 1, kind=tokenizer)
    asked: list[Request] = [LogLikelihood(text, " yes") for text in texts]
    prefills = alternate(
        {name: lambda model=model: model.answer(asked) for name, model in models.items()},  # type: ignore[misc]
        rounds=5 * rounds,
        device=device,
    )
    near_full = Plan(**{name: getattr(plan, name) for name in plan.__slots__} | {"prompt": plan.window - plan.new})
    long = prompts(1, tokens=near_full.prompt, kind=tokenizer)
    steps = {name: own_step(model, long, near_full, rounds=rounds, device=device)[0] for name, model in models.items()}
    costs: dict[str, Callable[[DecoderConfig], Cost]] = {
        f"prefill of {rows} x {plan.window - 1}": lambda config: prefill_cost(
            config, rows=rows, tokens=plan.window - 1, dtype=DTYPE
        ),
        f"decode step at {plan.window - plan.new // 2} tokens": lambda config: step_cost(
            config, rows=1, tokens=plan.window - plan.new // 2, dtype=DTYPE
        ),
    }
    for (what, cost), found in zip(costs.items(), (prefills, steps), strict=True):
        ratio = found["dense"] / found["banded"]
        print(
            f"{layers} layers of {width}, banded against dense, {what}: ratio {ratio:.2f}; goal 1: {_judge(ratio >= 1)}"
        )
        for name, model in models.items():
            share = cost(model._decoder.config).share(found[name], ceilings)
            print(f"    {name:<7} {1000 * found[name]:9.2f} ms, {share}", flush=True)
    print(*(f"    {name}: {recordings(model)}" for name, model in models.items()), sep="\n", flush=True)


def random_weights(config: DecoderConfig, device: torch.device) -> dict[str, torch.Tensor]:
    """Make tensors on the device: normal with std 0.02, the scales of norms 1."""
    torch.manual_seed(0)
    made = {}
    for name, parameter in Decoder(config, device="meta").named_parameters():
        tensor = torch.randn(parameter.shape, device=device, dtype=DTYPE) * 0.02
        made[name] = tensor + 1 if "norm" in name and name.endswith(".weight") else tensor
    return made


def engine(config: DecoderConfig, weights: dict[str, torch.Tensor], tokenizer: Tokenizer, *, name: str) -> DecoderModel:
    """Make a model of weights that are there."""
    decoder = Decoder(config, device="meta")
    decoder.load_state_dict(weights, assign=True)
    decoder.requires_grad_(False)
    return DecoderModel(Checkpoint(decoder.eval(), tokenizer, fingerprint=name), name=name)


def against_lm_eval(twins: Twins, plan: Plan, workload: Workload, ceilings: Ceilings, *, rounds: int) -> None:
    """Measure our answers and lm_eval's loop at several batch sizes."""
    device = twins.peer.device
    ours = scores(twins.ours.answer(workload.requests))
    sides: dict[str, Callable[[], object]] = {"ours": lambda: twins.ours.answer(workload.requests)}
    missing = why_no_lm_eval()
    notes = [] if missing is None else [f"lm_eval's lines are left out: {missing}"]
    for batch in plan.batches if missing is None else ():
        name = f"lm_eval, batch {batch}"
        side = lm_eval_side(twins, workload, batch=batch)
        try:
            furthest, equal, count = compare(ours, side(), each=workload.each)
        except torch.OutOfMemoryError:
            notes.append(f"{name}: out of memory")
            torch.cuda.empty_cache()
            continue
        kind = "texts equal" if isinstance(ours[0], str) else f"choices equal, log-likelihoods within {furthest:.2g}"
        notes.append(f"{name}: {equal} of {count} {kind}, in bfloat16")
        sides[name] = side
    seconds = alternate(sides, rounds=rounds, device=device)
    synchronise(device)
    own = seconds.pop("ours")
    cost = request_cost(twins.ours._decoder.config, twins.tokenizer, workload.requests, DTYPE)
    print(f"{twins.ours.name}, {workload.name}: {workload.examples / own:,.1f} examples/s of {workload.examples}")
    print(f"    {cost.share(own, ceilings)}")
    for name, each in seconds.items():
        is_best = each == min(seconds.values())
        goal = f", its best; goal {LM_EVAL_GOAL:g}: {_judge(each / own >= LM_EVAL_GOAL)}" if is_best else ""
        print(f"    {name:<18} {workload.examples / each:9,.1f} examples/s, ratio {each / own:6.2f}{goal}")
    print(*(f"    {note}" for note in notes), sep="\n", flush=True)


def _judge(is_met: bool) -> str:
    return "met" if is_met else "MISSED"
