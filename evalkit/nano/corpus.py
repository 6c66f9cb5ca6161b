"""nano's training corpus: arithmetic problems in GPT-3's form, generated from one seed and in one order.

A document holds problems of one kind, one after the other, as a few-shot prompt does. No document ever holds a withheld
problem (evalkit.arithmetic.Problem.is_withheld). A planted share of the problems comes from the test set that
`--task arithmetic` asks by default, without its withheld ones: nano has read these and has not read the others.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from evalkit.arithmetic import KINDS, Kind, Problem, draw, test_problems
from evalkit.decoder.packing import Document
from evalkit.decoder.tokenizer import Tokenizer

PLANTED = 0.1  # share of the problems that is taken from the default test set
TEST_SEED, TEST_SIZE = 0, 2000  # of tasks/arithmetic.yaml
QUESTION_WEIGHT = 0.02  # operands cannot be foreseen: only answers count fully (and what ends them)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the corpus: which kinds it mixes, and how long its documents are."""

    name: str  # part of the seed of every document
    kinds: Mapping[str, float]  # kind of problem -> share of the documents
    problems: Sequence[int]  # per document, each equally likely


@dataclass(frozen=True, slots=True)
class SectionDocuments:
    """The documents of one section, by number."""

    section: Section
    tokenizer: Tokenizer
    seed: int

    def document(self, number: int) -> Document:
        """Generate document `number` and weight its tokens."""
        text, answers = write(problems(self.section, number, seed=self.seed))
        encoding = self.tokenizer.encode([text])[0]
        weights, answer = [], iter([*answers, (len(text), len(text))])
        start, end = next(answer)
        for begin, _ in encoding.offsets:
            while begin >= end and end < len(text):
                start, end = next(answer)
            weights.append(1.0 if start <= begin < end else QUESTION_WEIGHT)
        return Document(encoding.ids, weights)


def problems(section: Section, number: int, *, seed: int) -> list[Problem]:
    """Draw the problems of one document, none of them withheld."""
    generator = random.Random(f"nano|{seed}|{section.name}|{number}")
    kind = KINDS[generator.choices(list(section.kinds), list(section.kinds.values()))[0]]
    planted = readable_test_problems(kind.name)
    return [
        generator.choice(planted) if generator.random() < PLANTED else draw_readable(kind, generator)
        for _ in range(generator.choice(section.problems))
    ]


def draw_readable(kind: Kind, generator: random.Random) -> Problem:
    """Draw problems until one is not withheld."""
    while (problem := draw(kind, generator)).is_withheld:
        pass
    return problem


@cache
def readable_test_problems(kind: str) -> tuple[Problem, ...]:
    """Give the default test problems of a kind, those that are withheld left out."""
    asked = test_problems(KINDS[kind], seed=TEST_SEED, n=TEST_SIZE)
    return tuple(problem for problem in asked if not problem.is_withheld)


def write(problems: Sequence[Problem]) -> tuple[str, list[tuple[int, int]]]:
    """Write problems one after the other, and say which characters are answers: [start, end) of each.

    An answer runs from the space before it up to the first character after it, which says that it is complete.
    """
    text, answers = "", []
    for problem in problems:
        text += f"\n\nQ: What is {problem.question}?\n\nA:"
        start = len(text)
        text += f" {problem.answer}"
        answers.append((start, len(text) + 1))
    return text, answers
