"""Arithmetic problems of GPT-3's ten tasks, generated from a seed (Brown 2020, section 3.9.1).

The released data files disagree with the paper's text in two places, and the files are followed: the 2,000 problems of
a task are all different, and composite problems have their parentheses around the first two digits, which run from 1
to 9. Operands are uniform on [0, 10**digits) otherwise.

A tenth of all operand pairs is withheld for ever from every corpus that evalkit generates, so that a model trained on
such a corpus can be asked what it has read and what it cannot have read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256

from evalkit.errors import TaskError
from evalkit.records import Example
from evalkit.registry import suggest

WITHHELD_ONE_IN = 10
SPLITS = ("test", "pool")

WORDS = {"+": "plus", "-": "minus", "*": "times"}
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the ten tasks."""

    name: str
    digits: int
    operators: str  # that may stand between operands
    operands: int = 2

    @property
    def size(self) -> int:
        """How many different problems there are."""
        values = 10**self.digits if self.operands == 2 else 9
        return int(values**self.operands * len(self.operators) ** (self.operands - 1))


KINDS = {
    kind.name: kind
    for kind in (
        *(
            Kind(f"{d}-digit-{name}", d, op)
            for d in (2, 3, 4, 5)
            for name, op in (("addition", "+"), ("subtraction", "-"))
        ),
        Kind("2-digit-multiplication", 2, "*"),
        Kind("1-digit-composite", 1, "+-*", operands=3),
    )
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Operands and the operators between them, worked from left to right."""

    operands: tuple[int, ...]
    operators: str

    @property
    def question(self) -> str:
        """`98 plus 45`, or `(2 * 4) * 6`."""
        if len(self.operands) == 2:
            return f"{self.operands[0]} {WORDS[self.operators]} {self.operands[1]}"
        a, b, c = self.operands
        return f"({a} {self.operators[0]} {b}) {self.operators[1]} {c}"

    @property
    def answer(self) -> int:
        """The value of the expression."""
        value = self.operands[0]
        for operator, operand in zip(self.operators, self.operands[1:], strict=True):
            value = OPERATIONS[operator](value, operand)
        return value

    @property
    def key(self) -> str:
        """The same for both orders of two operands: who has read one order has all but read the other."""
        operands = sorted(self.operands) if len(self.operands) == 2 else self.operands
        return f"{self.operators} {' '.join(map(str, operands))}"

    @property
    def is_withheld(self) -> bool:
        """Whether no generated corpus ever holds this problem; decided by a hash of its key alone.

        Two one-digit operands are never withheld, since composite problems contain every such pair.
        """
        if len(self.operands) == 2 and max(self.operands) < 10:
            return False
        return int.from_bytes(sha256(self.key.encode()).digest()[:8]) % WITHHELD_ONE_IN == 0


def draw(kind: Kind, generator: random.Random) -> Problem:
    """Draw one problem: operands and operators independent and uniform."""
    low, high = (0, 10**kind.digits) if kind.operands == 2 else (1, 10)
    operands = tuple(generator.randrange(low, high) for _ in range(kind.operands))
    return Problem(operands, "".join(generator.choice(kind.operators) for _ in range(kind.operands - 1)))


def distinct(kind: Kind, generator: random.Random, *, n: int, exclude: Collection[Problem] = ()) -> Iterator[Problem]:
    """Yield n different problems, none of them in `exclude`."""
    seen = set(exclude)
    for _ in range(n):
        problem = draw(kind, generator)
        while problem in seen:
            problem = draw(kind, generator)
        seen.add(problem)
        yield problem


def test_problems(kind: Kind, *, seed: int, n: int) -> tuple[Problem, ...]:
    """The problems a model is asked: the same for every model and every number of shots."""
    return tuple(distinct(kind, random.Random(f"arithmetic|{kind.name}|test|{seed}"), n=n))


def pool_problems(kind: Kind, *, seed: int, n: int, n_test: int) -> tuple[Problem, ...]:
    """Draw the problems that demonstrations come from, none of them among this seed's `n_test` test problems."""
    test = test_problems(kind, seed=seed, n=n_test)
    return tuple(distinct(kind, random.Random(f"arithmetic|{kind.name}|pool|{seed}"), n=n, exclude=test))


def examples(*, kind: str, split: str, seed: int = 0, n: int = 2000, n_test: int = 2000) -> tuple[Example, ...]:
    """Generate the examples of one task: `split` is `test`, or `pool` for demonstrations.

    Fields: question, answer, withheld. Problems that differ only in the order of two operands share a cluster.
    Raises TaskError for an unknown kind or split, and for more problems than there are.
    """
    for value, known in ((kind, tuple(KINDS)), (split, SPLITS)):
        if value not in known:
            raise TaskError(f"arithmetic: unknown problems {value!r}; {suggest(value, known)}")
    asked = n if split == "test" else n + n_test
    if not 0 < asked <= KINDS[kind].size:
        raise TaskError(f"arithmetic: {asked} different problems of {kind} asked for; there are {KINDS[kind].size}")
    problems = (
        test_problems(KINDS[kind], seed=seed, n=n)
        if split == "test"
        else pool_problems(KINDS[kind], seed=seed, n=n, n_test=n_test)
    )
    return tuple(
        Example(
            id=f"{kind}-{split}-{seed}-{position}",
            fields={"question": problem.question, "answer": str(problem.answer), "withheld": problem.is_withheld},
            targets=(f" {problem.answer}",),
            cluster=problem.key,
        )
        for position, problem in enumerate(problems)
    )
