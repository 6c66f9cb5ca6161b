"""Trainings on a user's text: a new decoder of a given size, or a checkpoint that learns on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from evalkit.decoder import checkpoint, text_corpus
from evalkit.decoder import tokenizer as tokenizers
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.model import Decoder, parameter_count
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.train import Stage, Training, TrainSettings
from evalkit.errors import ModelMemoryError, UsageError

BYTES_A_PARAMETER = 16  # in float32: itself, its gradient and AdamW's two averages

# Pieces that merges stay inside of, as in GPT-2 but digit by digit: words, digits, runs of other signs, blanks.
PATTERN = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of the text is learned from, and in what pieces."""

    tokens: int
    length: int = 2048  # T of the packed sequences
    rows: int = 1  # sequences computed at once


def new(
    paths: Sequence[Path],
    config: DecoderConfig,
    *,
    tokenizer: Tokenizer | None,
    reading: Reading,
    settings: TrainSettings,
    device: str = "cpu",
) -> Training:
    """Train a new decoder; without a tokenizer, a byte-level BPE of config.vocab_size tokens is trained first."""
    check_sequences(reading, window=config.window, settings=settings)
    check_memory(config, device=device)
    texts = list(text_corpus.read(paths))
    made = tokenizer or tokenizers.train(texts, vocab_size=config.vocab_size, pattern=PATTERN)
    if made.size > config.vocab_size:
        raise UsageError(f"the tokenizer has {made.size} tokens, the model {config.vocab_size}; give as many or more")
    decoder = Decoder(config).initialise(seed=settings.seed).to(device)
    return _training(decoder, made, texts, reading=reading, settings=settings)


def fine_tune(
    paths: Sequence[Path], start: Path, *, reading: Reading, settings: TrainSettings, device: str = "cpu"
) -> Training:
    """Let the checkpoint in folder `start` learn on, with its own tokenizer, on sequences that fit its window."""
    loaded = checkpoint.load(start, device=device)
    window = loaded.decoder.config.window
    reading = replace(reading, length=min(reading.length, window))
    check_sequences(reading, window=window, settings=settings)
    texts = list(text_corpus.read(paths))
    training = _training(loaded.decoder.requires_grad_(), loaded.tokenizer, texts, reading=reading, settings=settings)
    return replace(training, start=loaded.fingerprint)


def check_memory(config: DecoderConfig, *, device: str) -> None:
    """Raise ModelMemoryError for a decoder that cannot be trained in all the memory that the device has."""
    if device.startswith("cuda"):
        available = torch.cuda.get_device_properties(device).total_memory
    else:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = parameter_count(config)
    needed = BYTES_A_PARAMETER * count
    if needed > available:
        raise ModelMemoryError(
            f"training {count:,} parameters needs {needed / 1e9:.1f} GB, {device} has "
            f"{available / 1e9:.1f} GB; choose a smaller --size or --shape"
        )


def check_sequences(reading: Reading, *, window: int, settings: TrainSettings) -> None:
    """Raise UsageError for sequences beyond the window, or more of them at once than a step learns from."""
    if not 1 < reading.length <= window:
        raise UsageError(
            f"--length: sequences of {reading.length} tokens; the window is {window}, choose 2 to that many"
        )
    if reading.rows * reading.length > settings.batch_tokens:
        raise UsageError(
            f"--rows {reading.rows} x --length {reading.length}: found {reading.rows * reading.length} tokens at once, "
            f"expected at most --batch-tokens {settings.batch_tokens}; lower --rows or --length, or raise that"
        )


def _training(
    decoder: Decoder, tokenizer: Tokenizer, texts: Sequence[str], *, reading: Reading, settings: TrainSettings
) -> Training:
    """Make the one stage that such a training has."""
    documents = text_corpus.tokenize(texts, tokenizer, seed=settings.seed)
    stage = Stage(documents, tokens=reading.tokens, length=reading.length, rows=reading.rows)
    return Training(decoder, tokenizer, (stage,), settings)
