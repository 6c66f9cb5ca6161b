"""The requests of the engine's benchmark: made-up text of a fixed seed in the form of BoolQ and of arithmetic."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import decoders

from evalkit.decoder import tokenizer
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.records import Generate, LogLikelihood, Request

# GPT-2's pieces, so that a library that splits text as GPT-2 does finds the same tokens (Radford 2019).
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TOKENS = 2048  # of the tokenizer
PASSAGE = (90, 190)  # words; 173 tokens an example on average
POOL = 400  # examples that demonstrations are drawn from
ONE_TOKEN = (" no", " yes")
TWO_TOKENS = (" not true", " quite true")
NEW = 8  # tokens of an arithmetic answer
STOP = "\n"


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one form."""

    name: str
    requests: list[Request]  # those of an example stand together
    each: int  # requests an example

    @property
    def examples(self) -> int:
        """Count the examples."""
        return len(self.requests) // self.each

    def part(self, examples: int) -> Workload:
        """Give the first examples alone."""
        return Workload(self.name, self.requests[: examples * self.each], self.each)


class Writer:
    """Writes made-up passages; the words that are common are common in all of them."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        words = random.Random(0)  # the language is one, whatever is written in it
        syllables = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er")]
        self._words = ["".join(words.choices(syllables, k=words.randrange(1, 4))) for _ in range(1500)]
        self._weights = [1 / (rank + 3) for rank in range(len(self._words))]

    def words(self, count: int) -> str:
        """Write so many words."""
        return " ".join(self._draw.choices(self._words, self._weights, k=count))

    def row(self) -> dict[str, object]:
        """Write an example in BoolQ's columns."""
        sentences = [self.words(10).capitalize() + "." for _ in range(self._draw.randrange(*PASSAGE) // 10)]
        return {"passage": " ".join(sentences), "question": self.words(9), "label": self._draw.randrange(2)}

    def problem(self) -> dict[str, object]:
        """Write a sum of two numbers of two digits."""
        one, other = self._draw.randrange(10, 100), self._draw.randrange(10, 100)
        return {"question": f"What is {one} plus {other}?", "answer": str(one + other)}


def train_tokenizer() -> Tokenizer:
    """Train a byte-level BPE on text of this kind, which puts no token before a text."""
    writer = Writer(1)
    texts = [shown(writer.row()) + choice for _ in range(300) for choice in ONE_TOKEN + TWO_TOKENS]
    texts += [asked(writer.problem()) + " 100" for _ in range(1000)]
    made = tokenizer.train(texts, vocab_size=TOKENS, pattern=PATTERN)
    made.backend.decoder = decoders.ByteLevel()  # which transformers needs to turn ids into text
    return Tokenizer(made.backend, start=None, end_of_text=made.end_of_text)


def shown(row: dict[str, object]) -> str:
    """Show an example of BoolQ's form up to its answer."""
    return f"{row['passage']}\nquestion: {row['question']}?\nanswer:"


def asked(problem: dict[str, object]) -> str:
    """Show a problem up to its answer."""
    return f"Q: {problem['question']}\nA:"


def choices(
    examples: int, *, shots: int = 5, is_fixed: bool, answers: Sequence[str] = ONE_TOKEN, seed: int = 2
) -> Workload:
    """Ask for the choice of each example after demonstrations drawn for it, or the same for all."""
    writer, draw = Writer(seed), random.Random(seed)
    pool = [writer.row() for _ in range(POOL)]
    demonstrations = [shown(row) + answers[int(str(row["label"]))] for row in pool]
    fixed = draw.sample(demonstrations, shots)
    requests: list[Request] = []
    for _ in range(examples):
        drawn = fixed if is_fixed else draw.sample(demonstrations, shots)
        context = "\n\n".join([*drawn, shown(writer.row())])
        requests += [LogLikelihood(context, answer) for answer in answers]
    tokens = "" if answers == ONE_TOKEN else ", choices of 2 tokens"
    return Workload(f"BoolQ form, {shots} shots {_kind(is_fixed)}{tokens}", requests, len(answers))


def arithmetic(examples: int, *, shots: int = 10, is_fixed: bool, new: int = NEW, seed: int = 3) -> Workload:
    """Ask for the sum of each example, greedily."""
    writer, draw = Writer(seed), random.Random(seed)
    pool = [writer.problem() for _ in range(POOL)]
    demonstrations = [f"{asked(problem)} {problem['answer']}" for problem in pool]
    fixed = draw.sample(demonstrations, shots)
    requests: list[Request] = []
    for _ in range(examples):
        drawn = fixed if is_fixed else draw.sample(demonstrations, shots)
        requests.append(Generate("\n\n".join([*drawn, asked(writer.problem())]), stop=(STOP,), max_tokens=new))
    return Workload(f"arithmetic form, {shots} shots {_kind(is_fixed)}, {new} new tokens", requests, 1)


def prompts(count: int, *, tokens: int, kind: Tokenizer, seed: int = 4) -> list[str]:
    """Write texts of exactly so many tokens, no two of which begin alike."""
    writer, made = Writer(seed), []
    while len(made) < count:
        text = writer.words(2 * tokens)
        encoding = kind.encode([text])[0]
        while encoding.ids and len(encoding.ids) > tokens:  # a text that was cut may have other tokens at its end
            text = text[: encoding.offsets[tokens - 1][1]]
            encoding = kind.encode([text])[0]
        if len(encoding.ids) == tokens:
            made.append(text)
    return made


def _kind(is_fixed: bool) -> str:
    return "fixed" if is_fixed else "drawn"
