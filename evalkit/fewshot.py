"""Draw the demonstrations of an example.

    per-example   each example has its own, drawn at random (GPT-3's rule, Brown 2020, section 2.4)
    fixed         one random set for all examples; where it holds a near-duplicate of an example, that one is left out
                  of this example's prompt and the next of the same random order joins
    grouped       as fixed, with `groups` different sets; a hash of its id says which an example gets
    first         the pool's first ones, in the pool's order
    balanced      as per-example, with each class (first target) as often as any other, give or take one: every round
                  visits the classes in a new random order and takes one example of each

All but `first` draw from the question outwards: the demonstration drawn first stands next to the question. So the
demonstrations of k shots are the last k of those of any larger number, and what is left of a prompt that was too long
is the prompt of fewer shots.

A demonstration is a near-duplicate of an example where they share an id or a cluster, where the words of their
questions are the same in any order (and those of their answers, where the questions have none but common words), or
where the Jaccard similarity of the questions' words is NEAR or more. The similarity leaves out words that over half of
the pool has, such as the template's, and speaks only of texts with FEWEST_WORDS.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from evalkit.errors import DataError, UsageError
from evalkit.prompt import question
from evalkit.records import DemonstrationMode, Example, Task
from evalkit.text import digest, generator, shuffled, words

NEAR = 0.8  # Jaccard similarity from which two questions are the same one
FEWEST_WORDS = 8  # below this, one different word makes a different question
GROUPS = 32


@dataclass(frozen=True, slots=True)
class Pool:
    """The examples demonstrations are drawn from, prepared once so that a draw need not read them all."""

    task: Task
    examples: tuple[Example, ...]
    likenesses: tuple[Likeness, ...]  # of each example
    common: frozenset[str]  # words that over half of the examples have
    ranks: Mapping[str, int]  # the other words, the rarest first
    classes: tuple[tuple[int, ...], ...]  # places of the examples with the same first target, by first appearance


@dataclass(frozen=True, slots=True)
class Likeness:
    """What near-duplicates are told by."""

    id: str
    cluster: str | None
    words: tuple[str, ...]  # of the question in the order of the alphabet, where `rare` is empty of the answers too
    rare: frozenset[str]  # without the pool's common words
    rarest: frozenset[str]  # so many of these that two sets with a similarity of NEAR share one (Bayardo 2007)


def prepare(examples: Sequence[Example], *, task: Task) -> Pool:
    """Prepare a pool: all examples of it, whatever --limit says. Raises TaskError where the template fails."""
    texts = [sorted(words(question(task, example))) for example in examples]
    spread = Counter(word for text in texts for word in set(text))
    common = frozenset(word for word, count in spread.items() if 2 * count > len(examples))
    ranks = {
        word: rank for rank, word in enumerate(sorted(spread.keys() - common, key=lambda word: (spread[word], word)))
    }
    classes: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        classes.setdefault(example.targets[0], []).append(place)
    return Pool(
        task=task,
        examples=tuple(examples),
        likenesses=tuple(
            _likeness(example, text, ranks, common=common) for example, text in zip(examples, texts, strict=True)
        ),
        common=common,
        ranks=ranks,
        classes=tuple(tuple(places) for places in classes.values()),
    )


def mode_of(task: Task, asked: DemonstrationMode) -> DemonstrationMode:
    """Tell how demonstrations are drawn: as asked, but the first ones where a task file of lm_eval has them so."""
    settings = {} if task.pool is None else task.pool.settings
    return "first" if asked == "per-example" and settings.get("sampler") == "first_n" else asked


def draw(
    pool: Pool,
    example: Example,
    *,
    shots: int,
    seed: int,
    mode: DemonstrationMode = "per-example",
    groups: int = GROUPS,
) -> tuple[Example, ...]:
    """Draw up to `shots` demonstrations, in prompt order: fewer where the pool has no more.

    The draw depends on the seed, the task's name, the example and the pool's content alone. Raises UsageError for shots
    below 0, DataError where shots are asked of an empty pool.
    """
    if shots < 0:
        raise UsageError(f"found {shots} shots, expected 0 or more")
    if groups < 1:
        raise UsageError(f"found {groups} groups of demonstrations, expected at least 1")
    if shots == 0:
        return ()
    if not pool.examples:
        raise DataError(f"{pool.task.name}: found an empty pool, expected demonstrations to draw {shots} shots from")
    text = sorted(words(question(pool.task, example)))
    own = _likeness(example, text, pool.ranks, common=pool.common)
    order = _order(pool, own, seed=seed, mode=mode, groups=groups)
    demonstrations = tuple(pool.examples[place] for place in islice(order, shots))
    return demonstrations if mode == "first" else demonstrations[::-1]


def _order(pool: Pool, own: Likeness, *, seed: int, mode: DemonstrationMode, groups: int) -> Iterator[int]:
    """Yield the places of an example's possible demonstrations lazily, in the order in which they are drawn."""
    size, name = len(pool.examples), pool.task.name
    if mode == "balanced":
        return _balanced(pool, own, generator("balanced", seed, name, own.id))
    if mode == "first":
        return _apart(pool, own, range(size))
    if mode == "fixed":
        return _apart(pool, own, shuffled(size, generator("fixed", seed, name)))
    if mode == "grouped":
        group = int(digest(own.id), 16) % groups
        return _apart(pool, own, shuffled(size, generator("grouped", seed, name, group)))
    return _apart(pool, own, shuffled(size, generator("per-example", seed, name, own.id)))


def _balanced(pool: Pool, own: Likeness, draws: Random) -> Iterator[int]:
    """Yield one place of each class a round, until all are used up."""
    orders: dict[int, Iterator[int]] = {}
    found = True
    while found:
        found = False
        for number in shuffled(len(pool.classes), draws):
            members = pool.classes[number]
            if number not in orders:
                order = shuffled(len(members), draws)
                orders[number] = _apart(pool, own, (members[place] for place in order))
            place = next(orders[number], None)
            if place is not None:
                found = True
                yield place


def _apart(pool: Pool, own: Likeness, places: Iterable[int]) -> Iterator[int]:
    """Leave out the near-duplicates of an example."""
    return (place for place in places if not _is_near(own, pool.likenesses[place]))


def _likeness(example: Example, text: Sequence[str], ranks: Mapping[str, int], *, common: frozenset[str]) -> Likeness:
    """Prepare an example's words for comparison with those of a pool."""
    rare = frozenset(text) - common
    # Only one order for all sets makes sure that two which share NEAR of their words share one of their first. Words
    # that the pool has not are the rarest of all.
    strange = sorted(word for word in rare if word not in ranks)
    order = [*strange, *sorted((word for word in rare if word in ranks), key=ranks.__getitem__)]
    if not rare:  # a question that says nothing, or is everybody's: what it is asked about tells examples apart
        answers = (*example.choices, *example.targets, example.ending or "")
        text = sorted([*text, *(word for answer in answers for word in words(answer))])
    first = order[: len(rare) - math.ceil(NEAR * len(rare)) + 1]
    return Likeness(example.id, example.cluster, tuple(text), rare, frozenset(first))


def _is_near(one: Likeness, other: Likeness) -> bool:
    if one.id == other.id or (one.cluster is not None and one.cluster == other.cluster) or one.words == other.words:
        return True
    if one.rarest.isdisjoint(other.rarest):
        return False
    fewer, more = sorted((len(one.rare), len(other.rare)))
    if fewer < FEWEST_WORDS:
        return False
    shared = len(one.rare & other.rare)
    return shared >= NEAR * (fewer + more - shared)
