"""The ways in which copies of a test set differ from it: what a self-test plants in a corpus."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from textwrap import fill

from evalkit.text import shuffled

GAP = re.compile(r"\s+")
WORD = re.compile(r"[^\W_]+")

_SIGNS = str.maketrans("'\"-\u2018\u2019\u201c\u201d\u2013\u2014", "\u2019\u201d\u2013''\"\"--")


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which copies differ from their originals."""

    name: str
    title: str
    rate: float = 0.0  # share of the words that are replaced
    is_escaped: bool = False  # whether the copy goes through a file of JSON lines, as escapes


KINDS = (
    Kind("verbatim", "verbatim"),
    Kind("capitals", "in capitals"),
    Kind("punctuation", "commas and hyphens between words"),
    Kind("signs", "quotes and dashes of another form"),
    Kind("wrapped", "other line breaks"),
    Kind("escaped", "verbatim, as escapes of JSON lines", is_escaped=True),
    Kind("replaced-5", "5 % of words replaced", rate=0.05),
    Kind("replaced-10", "10 % of words replaced", rate=0.10),
    Kind("replaced-20", "20 % of words replaced", rate=0.20),
)
SHUFFLED = Kind("shuffled", "words shuffled: no copy")


def write(text: str, kind: Kind, *, draws: Random, others: Sequence[str]) -> str:
    """Write a copy of a text; `others` are the words that may replace some of its own."""
    if kind.name in _REWRITE:
        return _REWRITE[kind.name](text)
    if kind.name == "punctuation":
        return GAP.sub(lambda gap: draws.choice((gap[0], gap[0], ", ", "-")), text)
    if kind.name == "wrapped":
        return fill(text, draws.randint(24, 72), break_long_words=False, break_on_hyphens=False)
    if kind.name == "shuffled":
        words = WORD.findall(text)
        return " ".join(draws.sample(words, len(words)))
    return _replace(text, kind.rate, draws=draws, others=others)


def _in_capitals(text: str) -> str:
    """Take capitals, but for the few letters whose capitals are those of another one, such as a dotless i."""
    return "".join(large if (large := each.upper()).casefold() == each.casefold() else each for each in text)


def _replace(text: str, rate: float, *, draws: Random, others: Sequence[str]) -> str:
    """Replace this share of the words, one at least."""
    words = list(WORD.finditer(text))
    count = min(len(words), max(1, round(rate * len(words))))
    pieces, at = [], 0
    for place in sorted(islice(shuffled(len(words), draws), count)):
        old = words[place][0].casefold()
        new = draws.choice(others) if others else old
        pieces += [text[at : words[place].start()], f"{new}x" if new == old else new]
        at = words[place].end()
    return "".join([*pieces, text[at:]])


_REWRITE: dict[str, Callable[[str], str]] = {
    "verbatim": str,
    "escaped": str,
    "capitals": _in_capitals,
    "signs": lambda text: text.translate(_SIGNS),
}
