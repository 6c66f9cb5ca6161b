"""How nano is trained: its shape, its tokenizer and the order in which it reads its corpus.

Nearly everything in a problem but its answer is noise, so answers carry the loss. The circuit that looks up operands is
learned within minutes from documents of one or two problems and hardly at all from long ones, so documents grow. And
a position has an embedding of its own, so sequences come to begin anywhere in the window, and fill it at the end.
"""

from __future__ import annotations

import math

import torch

from evalkit.arithmetic import KINDS
from evalkit.decoder import tokenizer as tokenizers
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.model import INIT_STD, Decoder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.train import Stage, Training, TrainSettings
from evalkit.nano.corpus import Section, SectionDocuments, problems, write

SEED = 0
WINDOW = 2048
BAND = 32  # holds the longest problem of the ten tasks, question and answer
MILLION = 1_000_000
MICRO_BATCH = 4096  # tokens

# Digits are single tokens, with the space before them if there is one; so is a minus sign. All else may merge.
PATTERN = r" ?-(?=\p{N})| ?\p{N}"
VOCABULARY = 512  # at most: the corpus has too few words to need them all

SUMS = {"2-digit-addition": 1.0}
EASY = {"2-digit-addition": 3.0, "2-digit-subtraction": 3.0, "1-digit-composite": 1.0}
MIDDLE = EASY | {"3-digit-addition": 2.0, "3-digit-subtraction": 2.0, "2-digit-multiplication": 1.0}
ALL = dict.fromkeys(KINDS, 1.0) | {"2-digit-addition": 2.0, "2-digit-subtraction": 2.0}
SMALL = dict.fromkeys(KINDS, 0.5) | {
    "2-digit-addition": 4.0,
    "2-digit-subtraction": 3.0,
    "3-digit-addition": 1.5,
    "3-digit-subtraction": 1.5,
    "2-digit-multiplication": 2.5,
    "1-digit-composite": 2.5,
}

SETTINGS = TrainSettings(
    learning_rate=2e-3,
    batch_tokens=8192,
    first_batch_tokens=4096,
    ramp_tokens=24 * MILLION,
    warmup_tokens=400_000,
    restart_tokens=37 * MILLION,
    seed=SEED,
    checkpoint_steps=200,
    compile=True,
)


def training(*, device: str = "cpu") -> Training:
    """Give the whole training, from the first weight to the last stage."""
    tokenizer = train_tokenizer()
    return Training(new_decoder(tokenizer).to(device), tokenizer, stages(tokenizer), SETTINGS)


def config(tokenizer: Tokenizer) -> DecoderConfig:
    """Give nano's shape: GPT-3's, four layers deep and 128 wide."""
    return DecoderConfig.gpt3_like(4, 128, 4, vocab_size=tokenizer.size, window=WINDOW, band=BAND)


def train_tokenizer() -> Tokenizer:
    """Train the byte-level BPE on the first documents of the corpus."""
    section = Section("tokenizer", ALL, (1, 2, 4))
    texts = (write(problems(section, number, seed=SEED))[0] for number in range(2000))
    return tokenizers.train(texts, vocab_size=VOCABULARY, pattern=PATTERN)


def new_decoder(tokenizer: Tokenizer) -> Decoder:
    """Initialise the weights; learned positions begin as sinusoids (Vaswani 2017, section 3.5) instead of as noise.

    Matrices have std 0.6 / sqrt(width), which is GPT-2's 0.02 at its width of 768 and more at this one.
    """
    decoder = Decoder(config(tokenizer)).initialise(seed=SEED)
    width = decoder.config.d_model
    with torch.no_grad():
        for name, parameter in decoder.blocks.named_parameters():
            if parameter.dim() == 2 and name.endswith("weight"):
                parameter.mul_(0.6 / math.sqrt(width) / INIT_STD)
        frequencies = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
        angles = torch.arange(WINDOW)[:, None] * frequencies  # (window, d / 2)
        decoder.positions.copy_(INIT_STD * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))
    return decoder


def stages(tokenizer: Tokenizer) -> tuple[Stage, ...]:
    """Give the stages: documents grow longer, kinds are added, and sequences spread over the window."""
    few, some, several, many = (1, 2), (1, 2, 4), (1, 2, 4, 8, 12), (1, 2, 4, 8, 12, 16, 32, 64)
    plan = (  # name, kinds, problems a document, millions of tokens, sequence length, last start position
        ("sums", SUMS, few, 2.5, 24, 0),
        ("easy", EASY, few, 3.5, 32, 0),
        ("middle", MIDDLE, some, 5.0, 64, 128),
        ("spread", MIDDLE, several, 6.0, 128, WINDOW - 128),
        ("all", ALL, several, 15.0, 256, WINDOW - 256),
        ("window", ALL, many, 5.0, WINDOW, 0),
        ("again", SMALL, several, 10.0, 256, WINDOW - 256),
        ("end", SMALL, many, 1.0, WINDOW, 0),
    )
    return tuple(
        Stage(
            SectionDocuments(Section(name, kinds, counts), tokenizer, SEED),
            tokens=round(millions * MILLION),
            length=length,
            rows=MICRO_BATCH // length,
            spread=spread,
        )
        for name, kinds, counts, millions, length, spread in plan
    )
