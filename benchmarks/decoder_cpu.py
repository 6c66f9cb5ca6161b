"""evalkit's decoder against transformers' GPT-2 with the same weights, on the CPU, in one run.

Prefill computes a prompt and the logits of its last position, which is all that generation needs; decode appends greedy
tokens. transformers is measured as its users run it: its forward with all logits, the same with logits_to_keep=1, and
generate with its default cache. The two sides take turns, and the medians and their ratio are printed.

    python benchmarks/decoder_cpu.py            GPT-2 124M's shape and nano's, batch 1 and 8
    python benchmarks/decoder_cpu.py --quick    nano's shape alone
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from evalkit.decoder import checkpoint, tokenizer
from evalkit.decoder.cache import KVCache
from evalkit.decoder.model import Decoder

LEAST_SECONDS = 10.0  # of work between which a median is taken; a short piece of work is repeated more often


@dataclass(frozen=True, slots=True)
class Shape:
    """A GPT-2 to build, and how much of it to run."""

    name: str
    config: dict[str, int]
    prompt: int  # tokens
    new: int  # tokens


SHAPES = (
    Shape("nano", {"vocab_size": 302, "n_positions": 2048, "n_embd": 128, "n_layer": 4, "n_head": 4}, 512, 64),
    Shape("gpt2-124M", {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}, 256, 16),
)


def twins(shape: Shape, folder: Path) -> tuple[Decoder, GPT2LMHeadModel]:
    """Make a random GPT-2 and load the same weights into our decoder, through the files."""
    torch.manual_seed(0)
    end = {"bos_token_id": 0, "eos_token_id": 0}
    peer = GPT2LMHeadModel(GPT2Config(**shape.config, **end)).eval()
    peer.save_pretrained(folder)
    tokenizer.save(tokenizer.train(["a b"], vocab_size=300, pattern=r"\s"), folder)
    ours = checkpoint.load(folder).decoder
    ours.pack()
    return ours, peer


def alternate(sides: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Give each side's median seconds over rounds in which all take turns: for LEAST_SECONDS, and `rounds` at least."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first = time.perf_counter()
    for turn in itertools.count():
        if turn > rounds and time.perf_counter() - first > LEAST_SECONDS:
            break
        for name, work in sides.items():
            begin = time.perf_counter()
            work()
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def prefill(decoder: Decoder, ids: torch.Tensor, *, capacity: int) -> tuple[KVCache, torch.Tensor]:
    """Compute prompts (B, T); give their cache and the hidden states (B, d) of their ends."""
    device, dtype = decoder.tokens.device, decoder.tokens.dtype
    cache = KVCache(decoder.config, rows=len(ids), capacity=capacity, device=device, dtype=dtype)
    hidden = decoder(ids, cache=cache, wanted=torch.full((len(ids), 1), ids.shape[1] - 1))[:, 0]
    cache.set_lengths([ids.shape[1]] * len(ids))
    return cache, hidden


def decode(decoder: Decoder, ids: torch.Tensor, new: int) -> torch.Tensor:
    """Generate greedily as the engine does, without its bookkeeping of text."""
    cache, hidden = prefill(decoder, ids, capacity=ids.shape[1] + new)
    tokens = [decoder.logits(hidden).argmax(-1)]
    for _ in range(new - 1):
        hidden = decoder(tokens[-1][:, None], cache=cache)[:, -1]
        cache.advance()
        tokens.append(decoder.logits(hidden).argmax(-1))
    return torch.stack(tokens, dim=1)


def compare(shape: Shape, batch: int, *, rounds: int) -> None:
    """Measure one shape at one batch size and print its lines."""
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = twins(shape, Path(folder))
    ids = torch.randint(
        1, shape.config["vocab_size"], (batch, shape.prompt), generator=torch.Generator().manual_seed(0)
    )
    attention = torch.ones_like(ids)

    def generate(count: int) -> torch.Tensor:
        return peer.generate(
            ids, attention_mask=attention, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0
        )[:, shape.prompt :]

    def last_logits() -> torch.Tensor:
        return ours.logits(prefill(ours, ids, capacity=shape.prompt)[1])

    with torch.inference_mode():
        torch.testing.assert_close(last_logits(), peer(ids).logits[:, -1], atol=1e-4, rtol=0)
        prefills = alternate(
            {
                "ours": last_logits,
                "peer": lambda: peer(ids),
                "peer, logits_to_keep=1": lambda: peer(ids, logits_to_keep=1),
            },
            rounds=rounds,
        )
        decodes = alternate(
            {
                "ours": lambda: decode(ours, ids, shape.new),
                "peer": lambda: generate(shape.new),
                "ours, prefill": lambda: decode(ours, ids, 1),
                "peer, prefill": lambda: generate(1),
            },
            rounds=rounds,
        )
    tokens = batch * shape.prompt
    head = f"{shape.name:<10} batch {batch}"
    for peer_name in ("peer", "peer, logits_to_keep=1"):
        rates = tokens / prefills["ours"], tokens / prefills[peer_name]
        show(head, f"prefill {shape.prompt} vs {peer_name.replace('peer', 'forward')}", *rates)
    steps = batch * (shape.new - 1)
    ours_rate = steps / (decodes["ours"] - decodes["ours, prefill"])
    peer_rate = steps / (decodes["peer"] - decodes["peer, prefill"])
    show(head, f"decode {shape.new} after {shape.prompt} vs generate", ours_rate, peer_rate)


def show(head: str, what: str, ours: float, peer: float) -> None:
    """Print one comparison."""
    print(
        f"{head}  {what:<44} ours {ours:>9,.0f}  transformers {peer:>9,.0f} tokens/s  ratio {ours / peer:.2f}",
        flush=True,
    )


def main() -> None:
    """Measure what the flags ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="nano's shape alone")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, medians of {arguments.rounds} rounds"
    )
    for shape in SHAPES[:1] if arguments.quick else SHAPES:
        for batch in (1, 8):
            compare(shape, batch, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
