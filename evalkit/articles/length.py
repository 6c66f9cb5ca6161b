"""How long an article is in words; in scripts without blanks between words, each character counts as one."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han and kana
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def count_words(text: str) -> int:
    """Count words: for a text without Han and kana, what `str.split` divides."""
    return len(_WORD.findall(text))


def word_starts(text: str) -> Sequence[int]:
    """List the places at which words begin; so many words a text has up to a place as begin before it."""
    return [word.start() for word in _WORD.finditer(text)]
