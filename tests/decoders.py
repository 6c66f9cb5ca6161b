"""Small random decoders and their transformers twins, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from evalkit.decoder import checkpoint, tokenizer
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
    """Save a random GPT-2 of transformers, biases and norms randomised too, and give it back."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
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
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, max_shard_size=shard_size)
    tokenizer.save(Tokenizer(made.backend, start=None, end_of_text=made.end_of_text), folder)
    return model


def edit_json(path: Path, **changes: object) -> None:
    """Change settings of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
