"""Normalisers: what counts as a word when texts are compared.

A normaliser is a pure function from a text to its words. It is written here in plain Python, which defines it, and as a
table of code points, which `kernels.words` reads. The tests hold both to the same words.
"""

from __future__ import annotations

import string
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from evalkit.errors import UsageError
from evalkit.text import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CodePoints: TypeAlias = "NDArray[np.int32]"

SEPARATOR = -1  # in a table: the code point ends a word
DELETED = -2  # in a table: the code point is dropped; what stands around it is one word
SEVERAL = -3  # in a table: this and what is below name a place among those that become several code points


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A named and versioned rule; two results compare only if their tags are equal."""

    name: str
    version: int
    words: Callable[[str], list[str]]
    fold: Callable[[str], str | None]  # one character: what stands for it, blanks as separators; None drops it

    @property
    def tag(self) -> str:
        """Name, version and the Unicode data it rests on, such as `gpt3.1/unicode15.0`."""
        unicode = unicodedata.unidata_version.rpartition(".")[0]
        return f"{self.name}.{self.version}/unicode{unicode}"


@dataclass(frozen=True, slots=True)
class FoldTable:
    """A normaliser as numbers: what each code point becomes."""

    single: CodePoints  # (0x110000,) the one code point it becomes, SEPARATOR, DELETED, or SEVERAL - place in `several`
    several: CodePoints  # count and code points, one group after the other, of those that become more than one


def lm_eval_words(text: str) -> list[str]:
    """Split as lm-evaluation-harness' Janitor does: ASCII lower-cased, ASCII punctuation deleted, split at whitespace.

    lm_eval 0.4.13, lm_eval/decontamination/janitor.py, `word_ngrams` of the normalised string.
    """
    return text.translate(_LM_EVAL).split()


def _gpt3_fold(character: str) -> str:
    return "".join(folded if folded.isalnum() else " " for folded in character.casefold())


def _lm_eval_fold(character: str) -> str | None:
    if character.isspace():
        return " "
    return None if character in string.punctuation else _LM_EVAL_LOWER.get(character, character)


_LM_EVAL_LOWER = dict(zip(string.ascii_uppercase, string.ascii_lowercase, strict=True))
_LM_EVAL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)

# That GPT-3 replaced punctuation by blanks and did not delete it shows in the released overlap_frequency.md, where
# `i m going to go out on a limb` is a 13-gram's beginning.
NORMALISERS = {
    "gpt3": Normaliser("gpt3", 1, words, _gpt3_fold),
    "lm-eval": Normaliser("lm-eval", 1, lm_eval_words, _lm_eval_fold),
}


def find(name: str) -> Normaliser:
    """Look a normaliser up; UsageError where there is none of this name."""
    if name not in NORMALISERS:
        raise UsageError(f"--normaliser: found {name!r}, expected {' or '.join(NORMALISERS)}")
    return NORMALISERS[name]


@cache
def table(name: str) -> FoldTable:
    """Write a normaliser as a table; takes half a second, once a process."""
    import numpy as np

    fold = find(name).fold
    single = np.zeros(sys.maxunicode + 1, np.int32)
    several: list[int] = []
    for code in range(sys.maxunicode + 1):
        folded = fold(chr(code))
        if folded is None:
            single[code] = DELETED
        elif len(folded) == 1:
            single[code] = SEPARATOR if folded == " " else ord(folded)
        else:
            single[code] = SEVERAL - len(several)
            several += [len(folded), *(SEPARATOR if c == " " else ord(c) for c in folded)]
    return FoldTable(single, np.array([*several, 0], np.int32))
