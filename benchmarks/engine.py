"""Measure evalkit's engine against lm_eval's hf back end and transformers: same weights, same requests, in one run.

    python benchmarks/engine.py                    the GPU part where there is a GPU, else the CPU parts
    python benchmarks/engine.py --parts choices    choices, arithmetic, commands, plain: some of the CPU parts
    python benchmarks/engine.py --dtype bfloat16   the CPU parts in bfloat16, which some CPUs have a matrix unit for
    python benchmarks/engine.py --quick            smaller, in about two minutes
    python benchmarks/engine.py --pretend          the GPU part with tiny shapes on the CPU; its figures say nothing

It needs Python 3.12, torch 2.11, transformers 5, tokenizers and safetensors; it downloads nothing. Weights are random
and text is made up, from fixed seeds. The sides take turns; medians and their ratio are printed, and scores have to be
equal: log-likelihoods within 1e-3, choices and greedy texts all, in float32. In bfloat16 what differs is counted.
Where examples share nothing both sides answer some of them (--peer-examples); where they do, we answer --examples and
lm_eval, which computes each on its own, the first of these, and rates are compared. Where it is not installed, its
lines are left out and the reason is printed.

Beside our figures stands what bounds them: the operations and bytes that the work needs where every token that requests
begin with alike is computed once, against the rates of a large matrix product and a large copy, measured first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # evalkit need not be installed

import torch
from engine_parts import commands, gpu
from engine_parts.limits import Ceilings, alternate, measure, prefill_cost, request_cost, step_cost
from engine_parts.peers import (
    DIFFERENT,
    Shape,
    Twins,
    checked,
    generate_side,
    lm_eval_side,
    make,
    scores,
    why_no_lm_eval,
)
from engine_parts.workloads import TWO_TOKENS, Workload, arithmetic, choices, prompts, train_tokenizer

from evalkit.records import Generate, LogLikelihood, Request

CPU = torch.device("cpu")
SHAPES = {
    "d=256": Shape("d=256", layers=6, width=256, heads=8, vocabulary=2048),
    "124M": Shape("124M", layers=12, width=768, heads=12, vocabulary=50257),
}
PARTS = ("choices", "arithmetic", "commands", "plain")
LM_EVAL_BATCHES = (8, 1)
PEER_EXAMPLES = {"d=256": 48, "124M": 8}  # about ten seconds of lm_eval
DRAWN_GOAL, FIXED_GOAL, GENERATE_GOAL = 2.5, 10.0, 4.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    examples: int  # of ours
    peer_examples: int | None  # that lm_eval is timed on; None takes PEER_EXAMPLES

    def of_peer(self, shape: Shape) -> int:
        """Give the number of examples that lm_eval is timed on."""
        return min(self.examples, self.peer_examples or PEER_EXAMPLES[shape.name])


def main() -> None:
    """Measure what the flags ask for; exit with 1 where the sides' scores differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few examples, one round")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="CPU parts")
    parser.add_argument("--gpu-parts", nargs="+", choices=gpu.PARTS, default=gpu.PARTS)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="of the CPU parts")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the CPU parts")
    parser.add_argument("--rounds", type=int, help="after the first, which warms up (default: 3)")
    parser.add_argument("--examples", type=int, help="of ours with fixed demonstrations (default: 200)")
    parser.add_argument("--peer-examples", type=int, help="that lm_eval is timed on (default: 48, and 8 of 124M)")
    parser.add_argument("--cpu", action="store_true", help="the CPU parts though there is a GPU")
    parser.add_argument("--pretend", action="store_true", help="the GPU part with tiny shapes on the CPU")
    given = parser.parse_args()
    is_quick = given.quick
    size = Size(
        given.rounds or (1 if is_quick else 3),
        given.examples or (32 if is_quick else 200),
        given.peer_examples or (4 if is_quick else None),
    )
    if given.pretend or (torch.cuda.is_available() and not given.cpu):
        gpu.measure_all(given.gpu_parts, rounds=size.rounds, is_pretended=given.pretend, is_quick=is_quick)
    else:
        measure_cpu(given.parts, [SHAPES[name] for name in given.shapes], size, getattr(torch, given.dtype))
    if DIFFERENT:
        sys.exit(f"the sides gave different scores {len(DIFFERENT)} times, which is said beside the figures")


def measure_cpu(parts: list[str], shapes: list[Shape], size: Size, dtype: torch.dtype) -> None:
    """Measure the CPU parts; whole commands in float32 alone."""
    if "commands" in parts and dtype == torch.float32:  # first, while this process is small and its memory is quiet
        commands.compare(SHAPES["d=256"], examples=size.examples, rounds=size.rounds)
    if not {"choices", "arithmetic", "plain"} & set(parts):
        return
    missing = why_no_lm_eval()
    if missing is not None:
        print(f"lines of lm_eval's loop are left out: {missing}", flush=True)
    tokenizer = train_tokenizer()
    for shape in shapes:
        with tempfile.TemporaryDirectory() as folder:
            twins = make(shape, Path(folder), tokenizer=tokenizer, device=CPU, dtype=dtype)
            ceilings = measure(CPU, dtype)
            print(f"ceilings: {ceilings.line(CPU)}", flush=True)
            if "plain" in parts:
                plain(twins, ceilings, size)
            if "choices" in parts:
                few = size.of_peer(shape)  # what shares nothing takes as long an example, be it few or many
                drawn, fixed = choices(few, is_fixed=False), choices(size.examples, is_fixed=True)
                pairs = choices(few, is_fixed=False, answers=TWO_TOKENS)
                for workload, goal in ((drawn, DRAWN_GOAL), (fixed, FIXED_GOAL), (pairs, DRAWN_GOAL)):
                    against_lm_eval(shape, twins, workload, goal, ceilings, size)
            if "arithmetic" in parts:
                for is_fixed in (False, True):
                    workload = arithmetic(size.examples, is_fixed=is_fixed)
                    against_lm_eval(shape, twins, workload, GENERATE_GOAL, ceilings, size)


def against_lm_eval(
    shape: Shape, twins: Twins, workload: Workload, goal: float, ceilings: Ceilings, size: Size
) -> None:
    """Measure our answers and lm_eval's loop at each of its batch sizes; the best of them is marked."""
    examples = min(workload.examples, size.of_peer(shape))
    part = workload.part(examples)
    sides: dict[str, Callable[[], object]] = {"ours": lambda: twins.ours.answer(workload.requests)}
    equal = []
    if why_no_lm_eval() is None:
        ours = scores(twins.ours.answer(part.requests))
        for batch in LM_EVAL_BATCHES:
            side = lm_eval_side(twins, part, batch=batch)
            sides[f"lm_eval, batch {batch}"] = side
            theirs = side()
            equal.append(checked(ours, theirs, each=workload.each, dtype=twins.dtype))
    seconds = alternate(sides, rounds=size.rounds, device=CPU)
    own = workload.examples / seconds.pop("ours")
    cost = request_cost(twins.ours._decoder.config, twins.tokenizer, workload.requests, twins.dtype)
    print(f"{twins.ours.name}, {workload.name}: {own:.2f} examples/s of {workload.examples}")
    print(f"    {cost.share(workload.examples / own, ceilings)}")
    rates = {name: examples / each for name, each in seconds.items()}
    for name, rate in rates.items():
        is_best = rate == max(rates.values())
        judged = f"{', its best' if is_best else ''}; goal {goal:g}: {'met' if own / rate >= goal else 'MISSED'}"
        print(f"    {name:<18} {rate:8.2f} examples/s of {examples:<4} ratio {own / rate:6.2f}{judged}")
    for line in dict.fromkeys(equal):
        print(f"    {line}")
    print(end="", flush=True)


def plain(twins: Twins, ceilings: Ceilings, size: Size) -> None:
    """Measure one long prompt's score, and decoding after a short one, beside transformers' forward and generate."""
    config = twins.ours._decoder.config
    long, short, new = 1024, 128, 32
    [text] = prompts(1, tokens=long, kind=twins.tokenizer)
    prefill: list[Request] = [LogLikelihood(text, " yes")]
    ids = torch.tensor([twins.tokenizer.encode([text])[0].ids])

    def forward() -> None:
        with torch.inference_mode():
            twins.peer(ids, logits_to_keep=1)

    seconds = alternate(
        {"ours": lambda: twins.ours.answer(prefill), "forward": forward}, rounds=max(3, size.rounds), device=CPU
    )
    cost = prefill_cost(config, rows=1, tokens=long, dtype=twins.dtype)
    print(
        f"{twins.ours.name}, prefill of {long}: {long / seconds['ours']:,.0f} tokens/s, forward with one logit "
        f"{long / seconds['forward']:,.0f}, ratio {seconds['forward'] / seconds['ours']:.2f}\n"
        f"    {cost.share(seconds['ours'], ceilings)}",
        flush=True,
    )
    for rows in (1, 8):
        decode(twins, prompts(rows, tokens=short, kind=twins.tokenizer), new, ceilings, rounds=max(3, size.rounds))


def decode(twins: Twins, texts: list[str], new: int, ceilings: Ceilings, *, rounds: int) -> None:
    """Measure the steps of generation, as the difference of a long answer and one of a token."""
    length = len(twins.tokenizer.encode(texts[:1])[0].ids)
    asked: dict[int, list[Request]] = {
        count: [Generate(text, max_tokens=count) for text in texts] for count in (1, new)
    }
    peer = {count: generate_side(twins, texts, new=count, is_static=False) for count in (1, new)}
    what = f"{twins.ours.name}, decode of {new} after {length}, batch {len(texts)}"
    equal = checked(scores(twins.ours.answer(asked[new])), peer[new](), each=1, dtype=twins.dtype)
    seconds = alternate(
        {
            "ours": lambda: twins.ours.answer(asked[new]),
            "ours, one": lambda: twins.ours.answer(asked[1]),
            "generate": peer[new],
            "generate, one": peer[1],
        },
        rounds=rounds,
        device=CPU,
    )
    own, theirs = ((seconds[name] - seconds[f"{name}, one"]) / (new - 1) for name in ("ours", "generate"))
    config = twins.ours._decoder.config
    cost = step_cost(config, rows=len(texts), tokens=length + new // 2, dtype=twins.dtype)
    print(
        f"{what}: {len(texts) / own:,.1f} tokens/s, generate {len(texts) / theirs:,.1f}, ratio {theirs / own:.2f}; "
        f"{equal}\n    a step: {cost.share(own, ceilings)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
