"""Small random decoders and their transformers twins, made on the spot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evalkit.decoder import checkpoint, tokenizer
from evalkit.decoder.cache import KVCache
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.model import Decoder
from evalkit.decoder.tokenizer import Tokenizer

TEXTS = ["The cat sat on the mat.", "Q: What is 98 plus 45?\n\nA: 143", "Größe, naïve, 東京 and 🙂 too"] * 4
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE of at most 320 tokens."""
    return tokenizer.train(TEXTS, vocab_size=320, pattern=GPT2_PATTERN)


def make_decoder(*, layers: int = 4, band: int = 8, window: int = 64, seed: int = 0) -> Decoder:
    """A random decoder with dense and banded layers and a wide spread of logits."""
    config = DecoderConfig.gpt3_like(layers, 32, 4, vocab_size=make_tokenizer().size, window=window, band=band)
    decoder = Decoder(config).initialise(seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return decoder.requires_grad_(False).eval()


def save_native(folder: Path, **shape: int) -> Decoder:
    """Save a random decoder in evalkit's own form."""
    folder.mkdir(parents=True, exist_ok=True)
    decoder = make_decoder(**shape)
    checkpoint.save(decoder, make_tokenizer(), folder)
    return decoder


def save_gpt2(folder: Path, *, shard_size: str = "1GB", seed: int = 0, **settings: object):
    """Save a random GPT-2 of transformers and give it back."""
    from transformers import GPT2Config

    made = make_tokenizer()
    config = GPT2Config(
        **{
            "vocab_size": made.size,
            "n_positions": 64,
            "n_embd": 48,
            "n_layer": 3,
            "n_head": 4,
            "bos_token_id": made.end_of_text,
            "eos_token_id": made.end_of_text,
        }
        | settings
    )
    return save_twin(folder, config, shard_size=shard_size, seed=seed)


def save_twin(folder: Path, config, *, shard_size: str = "1GB", seed: int = 0):
    """Save a random model of transformers, biases and norms randomised too, beside a tokenizer, and give it back."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, max_shard_size=shard_size)
    made = make_tokenizer()
    tokenizer.save(Tokenizer(made.backend, start=None, end_of_text=made.end_of_text), folder)
    return model


def prefill(decoder: Decoder, prompts: Sequence[list[int]], *, capacity: int) -> tuple[KVCache, Tensor]:
    """Compute all prompts at once; give their cache and the hidden state (B, d) of each one's last token."""
    lengths = [len(ids) for ids in prompts]
    tokens = pad_sequence([torch.tensor(ids) for ids in prompts], batch_first=True)  # (B, T)
    device, dtype = decoder.tokens.device, decoder.tokens.dtype
    cache = KVCache(decoder.config, rows=len(prompts), capacity=max(capacity, *lengths, 1), device=device, dtype=dtype)
    hidden = decoder(tokens, cache=cache, wanted=torch.tensor(lengths)[:, None] - 1)[:, 0]
    cache.set_lengths(lengths)
    return cache, hidden


def edit_json(path: Path, **changes: object) -> None:
    """Change settings of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
