"""Choose, of what a model wrote for an article, the text that participants see."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.articles import ending
from evalkit.articles.length import count_words
from evalkit.articles.likeness import Words, is_copy
from evalkit.articles.records import Article
from evalkit.records import Completion

# Why candidates are dropped, in the order in which they are looked at.
EMPTY = "empty"
HALVED = "with half of a surrogate pair"
UNENDED = "without a sentence's end"
OF_HUMAN = "copies of the human article"
OF_CONTEXT = "copies of an article of context"
OF_OTHERS = "copies of another candidate"
IN_CORPUS = "with words that stand in the corpus"
REASONS = (EMPTY, HALVED, UNENDED, OF_HUMAN, OF_CONTEXT, OF_OTHERS, IN_CORPUS)

HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A continuation that may be shown, cut after a sentence."""

    text: str
    seed: int


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of the candidates of one article."""

    candidates: tuple[Candidate, ...]  # the one whose number of words is nearest the human article's first
    dropped: Mapping[str, int]  # by REASONS


def clean(article: Article, written: Iterable[tuple[int, Completion]], *, context: Iterable[Article]) -> Left:
    """Cut candidates, given as seed and completion, after a sentence, and drop those that cannot be shown.

    Of equally near ones the lower seed comes first; of copies of each other the one that comes first stays.
    """
    words = count_words(article.text)
    human, shown = Words.of(article.text), [Words.of(each.text) for each in context]
    dropped: Counter[str] = Counter()
    cut: list[Candidate] = []
    for seed, completion in written:
        if not completion.text.strip():
            dropped[EMPTY] += 1
            continue
        if HALF.search(completion.text):  # of a server's JSON; study.json is UTF-8
            dropped[HALVED] += 1
            continue
        is_whole = completion.finish in {"stop", "end-of-text"}
        text = ending.cut(completion.text, words=words, is_whole=is_whole)
        if text is None:
            dropped[UNENDED] += 1
        else:
            cut.append(Candidate(text, seed))
    left: list[Candidate] = []
    seen: list[Words] = []
    for candidate in sorted(cut, key=lambda each: (abs(count_words(each.text) - words), each.seed)):
        own = Words.of(candidate.text)
        reasons = ((OF_HUMAN, [human]), (OF_CONTEXT, shown), (OF_OTHERS, seen))
        reason = next((reason for reason, others in reasons if is_copy(own, others)), None)
        if reason is not None:
            dropped[reason] += 1
            continue
        left.append(candidate)
        seen.append(own)
    return Left(tuple(left), dropped)


def without(left: Left, texts: frozenset[str]) -> Left:
    """Drop the candidates with these texts, which stand in the corpus."""
    kept = tuple(each for each in left.candidates if each.text not in texts)
    return Left(kept, Counter(left.dropped) + Counter({IN_CORPUS: len(left.candidates) - len(kept)}))


def total(lefts: Iterable[Left]) -> Mapping[str, int]:
    """Count what was dropped of many articles, by reason, in the order of REASONS."""
    counts: Counter[str] = Counter()
    for left in lefts:
        counts.update(left.dropped)
    return {reason: counts[reason] for reason in REASONS if counts[reason]}


def note(name: str, dropped: Mapping[str, int], *, asked: int) -> Sequence[str]:
    """Say how many candidates of a condition were dropped, and why; nothing where none were."""
    if not dropped:
        return ()
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
    return (f"{name}: {sum(dropped.values()):,} of {asked:,} candidates dropped: {reasons}.",)
