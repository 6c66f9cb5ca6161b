"""What bounds a model on a machine: its two measured rates, and the operations and bytes that work takes."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from evalkit.decoder import tree
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.spans import spans
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.records import Generate, LogLikelihood, Request

LARGE = {"cpu": (2048, 2**28), "cuda": (8192, 2**32)}  # side of the matrices; bytes of the copy


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a machine does at best, as measured."""

    flops: float  # a second, in a large matrix product
    bandwidth: float  # bytes a second that a large copy reads and writes
    dtype: torch.dtype

    def line(self, device: torch.device) -> str:
        """Show both, with the machine's name."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"{name}, torch {torch.__version__}: {kind} matrix product {self.flops / 1e12:.3g} TFLOP/s, "
            f"copy {self.bandwidth / 1e9:.3g} GB/s read and written"
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work takes at least."""

    flops: float
    bytes: float

    def share(self, seconds: float, ceilings: Ceilings) -> str:
        """Say what bounds the work, and which share of that limit these seconds reach."""
        computing, moving = self.flops / ceilings.flops, self.bytes / ceilings.bandwidth
        bound = "matrix products" if computing > moving else "memory"
        return (
            f"{_scaled(self.flops)}FLOP, {_scaled(self.bytes)}B: bound by {bound}, "
            f"{max(computing, moving) / seconds:.0%} of the limit"
        )


def measure(device: torch.device, dtype: torch.dtype, *, is_small: bool = False) -> Ceilings:
    """Measure a machine's two ceilings, each the best of several tries."""
    side, size = (256, 2**22) if is_small else LARGE[device.type]
    one = torch.randn(side, side, device=device, dtype=dtype)
    other, product = torch.randn_like(one), torch.empty_like(one)
    source = torch.ones(size, device=device, dtype=torch.int8)
    target = torch.empty_like(source)
    flops = 2 * side**3 / _best(lambda: torch.mm(one, other, out=product), device)
    return Ceilings(flops, 2 * size / _best(lambda: target.copy_(source), device), dtype)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Give the seconds of one call of a short piece of work: some in a row, the best of ten such rows."""
    in_a_row = 10 if device.type == "cuda" else 2
    found = []
    for _ in range(10):
        synchronise(device)
        begin = time.perf_counter()
        for _ in range(in_a_row):
            work()
        synchronise(device)
        found.append((time.perf_counter() - begin) / in_a_row)
    return min(found)


def alternate(
    sides: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device, least_seconds: float = 0.0
) -> dict[str, float]:
    """Give each side's median seconds over `rounds` in which all take turns, or as many as `least_seconds` hold."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first = time.perf_counter()
    for turn in itertools.count():
        if turn > rounds and time.perf_counter() - first > least_seconds:
            break
        for name, work in sides.items():
            synchronise(device)
            begin = time.perf_counter()
            work()
            synchronise(device)
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def sequence_flops(config: DecoderConfig, begin: int, end: int) -> float:
    """Count the operations of the tokens at positions begin .. end - 1 of a sequence, without the head."""
    linear = config.d_model * config.qkv_width + config.heads * config.head_size * config.d_model
    linear += config.d_model * config.d_ff * (3 if config.is_gated else 2)
    total = 2.0 * config.layers * linear * (end - begin)
    for band in config.bands:
        total += 4 * config.heads * config.head_size * (_pairs(end, band) - _pairs(begin, band))
    return total


def _pairs(tokens: int, band: int | None) -> float:
    """Count the pairs of a token and one that it sees, itself included, in a sequence."""
    ramp = tokens if band is None else min(tokens, band)
    return ramp * (ramp + 1) / 2 + (tokens - ramp) * ramp


def head_flops(config: DecoderConfig) -> float:
    """Count the operations of one position's logits."""
    return 2.0 * config.d_model * config.vocab_size


def weight_bytes(config: DecoderConfig, dtype: torch.dtype) -> float:
    """Count the bytes of the weights that a step reads whole; of untied embeddings and positions it reads rows."""
    linear = config.d_model * (config.qkv_width + config.heads * config.head_size)
    linear += config.d_model * config.d_ff * (3 if config.is_gated else 2)
    return float((config.layers * linear + config.vocab_size * config.d_model) * dtype.itemsize)


def cached_bytes(config: DecoderConfig, tokens: int, dtype: torch.dtype) -> float:
    """Count the bytes of keys and values that a step reads of one sequence of so many tokens."""
    seen = sum(tokens if band is None else min(tokens, band) for band in config.bands)
    return 2.0 * seen * config.kv_heads * config.head_size * dtype.itemsize


def step_cost(config: DecoderConfig, *, rows: int, tokens: int, dtype: torch.dtype) -> Cost:
    """Count one decode step of so many rows, each `tokens` long."""
    flops = rows * (sequence_flops(config, tokens - 1, tokens) + head_flops(config))
    return Cost(flops, weight_bytes(config, dtype) + rows * cached_bytes(config, tokens, dtype))


def prefill_cost(config: DecoderConfig, *, rows: int, tokens: int, dtype: torch.dtype) -> Cost:
    """Count a prefill of so many rows and the logits of their last positions."""
    flops = rows * (sequence_flops(config, 0, tokens) + head_flops(config))
    return Cost(flops, weight_bytes(config, dtype) + rows * cached_bytes(config, tokens, dtype))


def request_cost(config: DecoderConfig, tokenizer: Tokenizer, requests: Sequence[Request], dtype: torch.dtype) -> Cost:
    """Count what requests need where every token that several begin with is computed once.

    The bytes are those of the weights, read once for all that is read and once a step of generation.
    """
    asked = [request for request in requests if isinstance(request, LogLikelihood | Generate)]
    found = spans(tokenizer, asked)
    is_generate = [isinstance(request, Generate) for request in asked]
    needed = [span.ids if whole else span.ids[:-1] for span, whole in zip(found, is_generate, strict=True)]
    nodes = [node for root in tree.build(needed) for node in root.walk()]
    flops = sum(sequence_flops(config, node.begin, node.end) for node in nodes)
    positions = {tuple(span.ids[:at]) for span in found for at in range(span.start, max(span.start + 1, len(span.ids)))}
    steps = 0
    for request, span in zip(asked, found, strict=True):
        if isinstance(request, Generate):
            steps = max(steps, request.max_tokens - 1)
            length = len(span.ids)
            flops += sequence_flops(config, length, length + request.max_tokens - 1)
            flops += (request.max_tokens - 1) * head_flops(config)
    return Cost(flops + len(positions) * head_flops(config), (1 + steps) * weight_bytes(config, dtype))


def _scaled(number: float) -> str:
    for prefix in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.4g} T"
