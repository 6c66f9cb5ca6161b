"""Where tokens lie in a text, mended where the `tokenizers` library leaves it coarse or incomplete.

Offsets count characters of the text as it was given, whatever a normalizer made of it:

- The bytes of one character all have that character's offsets, in byte-level BPE and with byte fallback.
- A space that a normalizer puts before a text lies on the first character, which it begins.
- Characters that NFC composes all belong to the composed character's tokens. A text that is split inside of it is split
  through a token, and recorded so. Combining marks that NFC reorders lie in the order of the text nevertheless.
- Where a normalizer rewrote what Unigram then spells in bytes, each byte has the offsets of the whole unknown stretch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

Offsets = list[tuple[int, int]]


def is_untouched(text: str, losing_steps: AbstractSet[str]) -> bool:
    """Whether a normalizer's steps certainly leave a text as it is."""
    return not losing_steps or (losing_steps == {"NFC"} and unicodedata.is_normalized("NFC", text))


def without_gaps(offsets: Offsets, *, length: int) -> Offsets:
    """Give each of a text's `length` characters to a token: those that lie in none to the token before, or the first.

    The library aligns a composed character with the first of the characters that it was made of.
    """
    mended = list(offsets)
    border = length  # where the next token begins that begins later
    current = length
    for place in range(len(mended) - 1, -1, -1):
        start, end = mended[place]
        if start < current:
            border, current = current, start
        mended[place] = (start, max(end, border))
    for place in range(len(mended)):
        if mended[place][0] != current:
            break
        mended[place] = (0, mended[place][1])
    return mended


def split_fused(text: str, pieces: Sequence[bytes], offsets: Offsets) -> Offsets:
    """Give the bytes of unknown characters the offsets of their own character.

    Unigram takes neighbouring unknown characters as one and gives each of their bytes the offsets of all. `pieces` are
    the bytes of each token.
    """
    mended = list(offsets)
    begin = 0
    while begin < len(offsets):
        end = begin + 1
        while end < len(offsets) and offsets[end] == offsets[begin]:
            end += 1
        start, stop = offsets[begin]
        if end - begin > 1 and stop - start > 1:
            stretch = text[start:stop]
            if b"".join(pieces[begin:end]) == stretch.encode():
                mended[begin:end] = _by_character(stretch, pieces[begin:end], start=start)
        begin = end
    return mended


def _by_character(stretch: str, pieces: Sequence[bytes], *, start: int) -> Offsets:
    """Lay pieces that make up a stretch over the characters whose bytes they hold."""
    owners = [place for place, character in enumerate(stretch, start) for _ in character.encode()]
    found = []
    read = 0
    for piece in pieces:
        last = max(read, read + len(piece) - 1)
        found.append((owners[read], owners[last] + 1))
        read += len(piece)
    return found
