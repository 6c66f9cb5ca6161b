"""Trainings on a user's text: a new decoder of a given size, or a checkpoint that learns on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.decoder import checkpoint, text_corpus
from evalkit.decoder import tokenizer as tokenizers
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.model import Decoder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.train import Stage, Training, TrainSettings
from evalkit.errors import UsageError

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
    texts = list(text_corpus.read(paths))
    made = tokenizer or tokenizers.train(texts, vocab_size=config.vocab_size, pattern=PATTERN)
    if made.size > config.vocab_size:
        raise UsageError(f"the tokenizer has {made.size} tokens, the model {config.vocab_size}; give as many or more")
    decoder = Decoder(config).initialise(seed=settings.seed).to(device)
    return _training(decoder, made, texts, reading=reading, settings=settings)


def fine_tune(
    paths: Sequence[Path], start: Path, *, reading: Reading, settings: TrainSettings, device: str = "cpu"
) -> Training:
    """Let the checkpoint in folder `start` learn on, with its own tokenizer."""
    loaded = checkpoint.load(start, device=device)
    texts = list(text_corpus.read(paths))
    return _training(loaded.decoder.requires_grad_(), loaded.tokenizer, texts, reading=reading, settings=settings)


def _training(
    decoder: Decoder, tokenizer: Tokenizer, texts: Sequence[str], *, reading: Reading, settings: TrainSettings
) -> Training:
    """Make the one stage that such a training has."""
    if not 1 < reading.length <= decoder.config.window:
        raise UsageError(
            f"sequences of {reading.length} tokens; the window is {decoder.config.window}, choose 2 to that many"
        )
    documents = text_corpus.tokenize(texts, tokenizer, seed=settings.seed)
    stage = Stage(documents, tokens=reading.tokens, length=reading.length, rows=reading.rows)
    return Training(decoder, tokenizer, (stage,), settings)
