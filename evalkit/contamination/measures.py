"""Measures: how much of an example a corpus holds, as a value 0..1 computed from the runs of words they share.

Every published measure is a view of the same runs, so one scan serves all. An occurrence of an n-gram in the corpus
lies in exactly one maximal run, so counting runs counts occurrences. For an example shorter than n words, the whole of
it is its one n-gram (Brown 2020, section 4: "or that overlap with the whole example when it is shorter"); the same rule
is taken for the measures whose papers have none.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.edited import EditedCopy
from evalkit.contamination.kernels.matches import SKIPS
from evalkit.contamination.substrings import Gpt4
from evalkit.errors import UsageError
from evalkit.registry import suggest

MOST_WORDS = 1000  # of an n-gram, as of a scan's --ngram
PREFIX = 10  # words at the front of a span that may not differ (Llama 2, A.6)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The M maximal runs of words that one example and the documents of a corpus share.

    They may overlap, and a run stands here once for each time that a document holds it. ValueError where they do not
    fit the example.
    """

    words: int  # of the example, at least 1
    part_words: tuple[tuple[str, int], ...]  # name and words of each part, in reading order
    start: NDArray[np.int64]  # (M,) first word in the example, from 0
    length: NDArray[np.int64]  # (M,) words
    document: NDArray[np.int64]  # (M,) number of the document; any, as long as documents differ in it
    reach: NDArray[np.int64] | None = None  # (M, 4) words when 1 to 4 of them may differ; None where that is not known
    edited: float | None = None  # as records.Overlap
    substrings: int | None = None  # as records.Overlap

    def __post_init__(self) -> None:
        columns = [self.length, self.document, *([] if self.reach is None else [self.reach])]
        if any(len(column) != len(self.start) for column in columns):
            raise ValueError(f"found columns of unlike length, expected {len(self.start)} runs in each")
        if self.words < 1 or sum(words for _, words in self.part_words) != self.words:
            raise ValueError(f"found parts {self.part_words} of an example of {self.words} words")
        if np.any((self.start < 0) | (self.length < 1) | (self.start + self.length > self.words)):
            raise ValueError(f"found a run that is empty or not inside the {self.words} words of the example")

    def choose(self, wanted: NDArray[np.bool_] | NDArray[np.int64]) -> Runs:
        """Keep the runs that a mask (M,) or their places in this record name."""
        reach = None if self.reach is None else self.reach[wanted]
        start, length, document = self.start[wanted], self.length[wanted], self.document[wanted]
        return replace(self, start=start, length=length, document=document, reach=reach)


class Measure(Protocol):
    """A value 0..1 for each example; 0 where the corpus holds nothing of it, 1 where it holds everything."""

    name: ClassVar[str]
    threshold: ClassVar[float | None]  # dirty from here on; None where the paper chooses one for each dataset

    @property
    def n(self) -> int | None:
        """Words of its n-grams, or of the shortest run that it counts; None where it counts no runs."""

    @property
    def mean_is_share(self) -> bool:
        """Whether the mean over examples reads as a share: of the examples, their n-grams or their words."""

    def value(self, runs: Runs) -> float:
        """Measure one example from its runs, of which none of `n` words or more may be missing."""


def find(text: str, *, ngram: int, stored: int) -> Measure:
    """Read a measure as `tag` writes it, such as `ngram-ratio(n=8)` or `llama2`; what is not given has its default.

    `ngram` is the task's N, which `gpt3` takes; `stored` the words of the shortest runs that the scan kept (shorter
    ones only where they are a whole example). Raises UsageError where the measure is unknown or needs shorter runs.
    """
    matched = re.fullmatch(r"([\w-]+)(?:\((.*)\))?", text.strip())
    name, given = (matched[1], matched[2]) if matched else (text, None)
    if name not in MEASURES:
        raise UsageError(f"--measure: unknown measure {name!r}; {suggest(name, MEASURES)}")
    settings: dict[str, Any] = {"n": ngram} if name == Gpt3.name else {}  # Any: see _settings
    settings |= _settings(name, given) if given else {}
    measure = MEASURES[name](**settings)
    check(measure, stored=stored)
    return measure


def tag(measure: Measure) -> str:
    """Write a measure with its settings, such as `helm-token(n=13,weighted=true)`; `find` reads it back."""
    values = {each: getattr(measure, each) for each in _known(measure.name)}
    shown = [
        f"{each}={str(value).lower()}" for each, value in values.items() if value is not None and value is not False
    ]
    return f"{measure.name}({','.join(shown)})" if shown else measure.name


def check(measure: Measure, *, stored: int) -> None:
    """Raise UsageError where a measure has impossible settings, or counts runs shorter than the `stored` words."""
    if measure.n is None:
        return
    if measure.n > MOST_WORDS:
        raise UsageError(f"{tag(measure)}: found n={measure.n}, expected {MOST_WORDS} or less")
    if isinstance(measure, Llama2) and measure.n < PREFIX:
        raise UsageError(f"{tag(measure)}: found n={measure.n}, expected {PREFIX} or more")
    if isinstance(measure, Llama2) and measure.skip > SKIPS:
        raise UsageError(f"{tag(measure)}: found skip={measure.skip}, expected 0 to {SKIPS}")
    shortest = PREFIX if isinstance(measure, Llama2) and measure.skip else measure.n
    if shortest < stored:
        raise UsageError(
            f"{tag(measure)}: counts runs of {shortest} words, but the scan kept those of {stored} or more; "
            f"scan again and keep shorter ones, or give {'skip=0' if measure.n >= stored else f'n={stored}'}"
        )


def ngram_counts(runs: Runs, n: int) -> NDArray[np.int64]:
    """Count the occurrences in the corpus of each of the example's n-grams, (words - n + 1,), in reading order.

    An example shorter than n has one n-gram, all of it.
    """
    n = min(n, runs.words)
    grams = runs.words - n + 1
    begins = runs.start[runs.length >= n]
    ends = (runs.start + runs.length - n + 1)[runs.length >= n]
    edges = np.bincount(begins, minlength=grams + 1) - np.bincount(ends, minlength=grams + 1)
    return np.cumsum(edges)[:grams]


def covered_words(words: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the words (words,) that lie in any of the spans `starts`..`ends`, the ends excluded."""
    edges = np.bincount(starts, minlength=words + 1) - np.bincount(ends, minlength=words + 1)
    return np.cumsum(edges)[:words] > 0


def touched_parts(runs: Runs) -> tuple[str, ...]:
    """Name the parts of the example that any run touches, in reading order."""
    touched = covered_words(runs.words, runs.start, runs.start + runs.length)
    edges = np.cumsum([0, *(words for _, words in runs.part_words)])
    names = [name for name, _ in runs.part_words]
    return tuple(dict.fromkeys(name for name, a, b in zip(names, edges, edges[1:], strict=False) if touched[a:b].any()))


@dataclass(frozen=True, slots=True)
class Gpt3:
    """1 where any n-gram of the example is in the corpus, else 0; N is chosen for each task (Brown 2020, App. C)."""

    name: ClassVar[str] = "gpt3"
    threshold: ClassVar[float | None] = 1.0
    mean_is_share: ClassVar[bool] = True
    n: int

    def value(self, runs: Runs) -> float:
        """Tell whether a run of n words or more, or of the whole example, is there."""
        return float(np.any(runs.length >= min(self.n, runs.words)))


@dataclass(frozen=True, slots=True)
class NgramRatio:
    """Share of the example's n-grams that are in the corpus; contaminated from 0.7 on at n = 8.

    Chowdhery 2022 (PaLM), section 8, quoted in Touvron 2023 (Llama 2), A.6; NGRAM-MATCH of Singh 2024 (arXiv
    2411.03923). n-grams are counted by position, so one that the example repeats counts each time.
    """

    name: ClassVar[str] = "ngram-ratio"
    threshold: ClassVar[float | None] = 0.7
    mean_is_share: ClassVar[bool] = True
    n: int = 8

    def value(self, runs: Runs) -> float:
        """Give the share of n-gram positions."""
        return float(np.mean(ngram_counts(runs, self.n) > 0))


@dataclass(frozen=True, slots=True)
class TokenCoverage:
    """Share of the example's words that are part of an n-gram of the corpus.

    Grattafiori 2024 (Llama 3), section 5.1.4, with n = 8 and a threshold chosen for each dataset; TOKEN-MATCH of Singh
    2024 (arXiv 2411.03923). Words stand for tokens.
    """

    name: ClassVar[str] = "token-coverage"
    threshold: ClassVar[float | None] = None
    mean_is_share: ClassVar[bool] = True
    n: int = 8

    def value(self, runs: Runs) -> float:
        """Give the share of words in runs of n words or more."""
        kept = runs.length >= min(self.n, runs.words)
        start, end = runs.start[kept], (runs.start + runs.length)[kept]
        return float(np.mean(covered_words(runs.words, start, end)))


@dataclass(frozen=True, slots=True)
class LongestMatch:
    """Share of the example's words in its longest run, 0 below n words: LONGEST-MATCH of Singh 2024 (arXiv 2411.03923).

    The paper chooses the threshold for each model and benchmark.
    """

    name: ClassVar[str] = "longest-match"
    threshold: ClassVar[float | None] = None
    mean_is_share: ClassVar[bool] = True
    n: int = 8

    def value(self, runs: Runs) -> float:
        """Give the share of words in the longest run."""
        longest = int(np.max(runs.length, initial=0))
        return longest / runs.words if longest >= min(self.n, runs.words) else 0.0


@dataclass(frozen=True, slots=True)
class Llama2:
    """Share of the example's words in spans of n words or more that a document shares but for `skip` words.

    Touvron 2023 (Llama 2), A.6: minimum match n (there L) in 10..50, a skip-gram budget of 4, no mismatch among the
    first 10 tokens of a span nor at its end. Words stand for tokens, mismatched words inside a span count as covered.
    The threshold is that of the "clean" subset; `subsets` has all four.

    A span begins with a run of 10 words or more and goes on as far as the scan has followed it, with words that differ
    in place of others, none left out or put in.
    """

    name: ClassVar[str] = "llama2"
    threshold: ClassVar[float | None] = 0.2
    mean_is_share: ClassVar[bool] = True
    n: int = 10
    skip: int = 4  # words of a span that may differ

    def value(self, runs: Runs) -> float:
        """Give the share of words in spans; UsageError where the scan did not follow them."""
        length = runs.length
        if self.skip:
            if runs.reach is None:
                raise UsageError(
                    f"{tag(self)}: how far its spans reach is not known; give {self.name}(n={self.n},skip=0)"
                )
            may_grow = length >= min(PREFIX, runs.words)
            length = np.where(may_grow, runs.reach[:, self.skip - 1], length)
        kept = length >= min(self.n, runs.words)
        return float(np.mean(covered_words(runs.words, runs.start[kept], (runs.start + length)[kept])))


@dataclass(frozen=True, slots=True)
class HelmBinary:
    """1 where any n-gram of the example is in the corpus, and there at most `most` times; else 0.

    HELM, stanford-crfm/data-overlap, compute_metrics_from_ngrams.py, with n in 5, 9, 13 and `most` 10 or none. HELM
    measures input and references apart, evalkit the example as a whole.
    """

    name: ClassVar[str] = "helm-binary"
    threshold: ClassVar[float | None] = 1.0
    mean_is_share: ClassVar[bool] = True
    n: int = 13
    most: int | None = None  # occurrences of an n-gram that counts; None for any number

    def value(self, runs: Runs) -> float:
        """Tell whether an n-gram counts."""
        return float(np.any(_counting(ngram_counts(runs, self.n), self.most)))


@dataclass(frozen=True, slots=True)
class HelmJaccard:
    """Share of the example's n-grams that are in the corpus, each worth 1 or, where weighted, 1 / its occurrences.

    HELM as for `helm-binary`. Its "jaccard" has no union: it divides by the example's n-grams, counted by position, so
    unweighted and without `most` it is `ngram-ratio`.
    """

    name: ClassVar[str] = "helm-jaccard"
    threshold: ClassVar[float | None] = None
    n: int = 13
    weighted: bool = False
    most: int | None = None  # occurrences of an n-gram that counts; None for any number

    @property
    def mean_is_share(self) -> bool:
        """A weighted mean is a share of nothing."""
        return not self.weighted

    def value(self, runs: Runs) -> float:
        """Give the mean worth of an n-gram."""
        counts = ngram_counts(runs, self.n)
        found = counts[_counting(counts, self.most)]
        return float(np.sum(1 / found) if self.weighted else len(found)) / len(counts)


@dataclass(frozen=True, slots=True)
class HelmToken:
    """Share of the example's words in n-grams of the corpus, each worth 1 or, where weighted, 1 / the occurrences.

    HELM as for `helm-binary`, and as its code goes over the words: in a stretch of covered words, a word's occurrences
    are the fewest of the n-grams met so far in the stretch, and once those are at most `most`, every n-gram counts that
    begins before the stretch ends.
    """

    name: ClassVar[str] = "helm-token"
    threshold: ClassVar[float | None] = None
    n: int = 13
    weighted: bool = False
    most: int | None = None  # occurrences of an n-gram that counts; None for any number

    @property
    def mean_is_share(self) -> bool:
        """A weighted mean is a share of nothing."""
        return not self.weighted

    def value(self, runs: Runs) -> float:
        """Give the mean worth of a word."""
        n = min(self.n, runs.words)
        counts = ngram_counts(runs, n).tolist() + [0] * (n - 1)  # no n-gram begins at the last words
        fewest: int | None = None  # occurrences, in the stretch that this word is in; None between stretches
        end = 0  # of that stretch
        worth = 0.0
        for word, count in enumerate(counts):
            if count and (self.most is None or min(count, fewest or count) <= self.most):
                fewest, end = min(count, fewest or count), word + n
            if fewest is not None and word < end:
                worth += 1 / fewest if self.weighted else 1
            else:
                fewest = None
        return worth / runs.words


def _counting(counts: NDArray[np.int64], most: int | None) -> NDArray[np.bool_]:
    return (counts > 0) if most is None else (counts > 0) & (counts <= most)


def _known(name: str) -> dict[str, object]:
    """Give a measure's settings and their defaults."""
    return {each.name: None if each.default is MISSING else each.default for each in fields(MEASURES[name])}


def _settings(name: str, given: str) -> dict[str, Any]:  # Any: whole numbers and booleans, as each setting has
    """Read `n=8,weighted=true`."""
    known = _known(name)
    settings: dict[str, Any] = {}
    for each in given.split(","):
        key, _, value = (part.strip() for part in each.partition("="))
        if key not in known:
            raise UsageError(f"--measure {name}: unknown setting {key!r}; {suggest(key, known)}")
        if key in settings:
            raise UsageError(f"--measure {name}: found {key} twice; give it once")
        if isinstance(known[key], bool):
            if value not in ("true", "false"):
                raise UsageError(f"--measure {name}: found {key}={value}, expected true or false")
            settings[key] = value == "true"
        elif re.fullmatch(r"[0-9]{1,9}", value) and (int(value) or key == "skip"):
            settings[key] = int(value)
        else:
            raise UsageError(
                f"--measure {name}: found {key}={value}, expected a whole number above 0 of nine digits at most"
            )
    return settings


MEASURES = {
    each.name: each
    for each in (
        Gpt3,
        NgramRatio,
        TokenCoverage,
        LongestMatch,
        Llama2,
        HelmBinary,
        HelmJaccard,
        HelmToken,
        EditedCopy,
        Gpt4,
    )
}
