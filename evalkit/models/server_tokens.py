"""Where the tokens that a server echoes lie in the text that it was sent.

Servers' own `text_offset` cannot be used: vLLM's counts the start token's name and every replacement character, SGLang
gives -1. So the tokens are laid along the text. Four things are forgiven: a start token that is no part of the text, a
space before the text that SentencePiece put there, white space that a token lost when it was decoded alone, and parts
of characters, which decode to U+FFFD or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

BROKEN = "\ufffd"
LONGEST = 16  # characters that a token may be and yet decode to U+FFFD or nothing


@dataclass(frozen=True, slots=True)
class Layout:
    """The place of each token."""

    offsets: tuple[tuple[int, int] | None, ...]  # characters; None in a stretch whose tokens cannot be told apart
    stretches: tuple[tuple[int, int, int], ...]  # first token, and the characters of each such stretch
    has_start: bool  # the first token stands before the text


@dataclass(frozen=True, slots=True)
class Split:
    """Where a continuation begins."""

    before: int  # tokens that end within the context, a start token included
    boundary_merged: bool


def lay(tokens: Sequence[str], text: str) -> Layout | None:
    """Lay tokens along a text; None where they do not spell it."""
    has_start = bool(tokens) and BROKEN not in tokens[0] and (not tokens[0] or _match(text, 0, tokens[0]) is None)
    pieces = list(_pieces(tokens[has_start:]))
    places = _places(pieces, text)
    if places is None:
        return None
    offsets: list[tuple[int, int] | None] = [(0, 0)] * has_start
    stretches: list[tuple[int, int, int]] = []
    place = 0  # characters covered so far
    for (parts, token), (begin, end) in zip(pieces, places, strict=True):
        found = _parts(parts, text, place, begin) if parts else []
        if found is None:
            stretches.append((len(offsets), place, begin))
        offsets.extend([None] * len(parts) if found is None else found)
        if token:
            offsets.append((begin, end))
        place = end
    return Layout(tuple(offsets), tuple(stretches), has_start)


def split(layout: Layout, edge: int) -> Split | None:
    """Find where the context ends, `edge` characters into the text; None inside a stretch of unknown tokens."""
    if any(begin < edge < end for _, begin, end in layout.stretches):
        return None
    ends = {first: end for first, _, end in layout.stretches}
    before, known = 0, 0  # a token without offsets ends where its stretch does
    for place, offset in enumerate(layout.offsets):
        known = ends.get(place, known) if offset is None else offset[1]
        before += known <= edge
    offset = layout.offsets[before] if before < len(layout.offsets) else None
    return Split(before, offset is not None and offset[0] < edge)


def common(whole: Sequence[str], context: Sequence[str]) -> Split:
    """Split where a text's tokens leave those of its context alone: exact where all of these come back."""
    shared = next((at for at, pair in enumerate(zip(whole, context, strict=False)) if pair[0] != pair[1]), len(context))
    return Split(min(shared, len(whole)), shared < len(context))


def _match(text: str, place: int, token: str) -> int | None:
    """Say where a token ends that begins at `place`; None where it is not there."""
    if text.startswith(token, place):
        return place + len(token)
    bare = token.lstrip(" ")  # SentencePiece puts a space before a text, and drops it from a token on its own
    at = place
    while at < len(text) and text[at].isspace():
        at += 1
    return at + len(bare) if bare and text.startswith(bare, at) and (at > place or place == 0) else None


def _pieces(tokens: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield each token that spells characters, after the parts of characters before it; in the end those after all."""
    parts: list[str] = []
    for token in tokens:
        if token and BROKEN not in token:
            yield parts, token
            parts = []
        else:
            parts.append(token)
    yield parts, ""


def _places(pieces: Sequence[tuple[list[str], str]], text: str) -> list[tuple[int, int]] | None:
    """Find where each piece's token begins and ends, so that all together spell the text; None where none do."""
    sizes = [0, *accumulate(len(character.encode()) for character in text)]  # bytes before each character
    failed: set[tuple[int, int]] = set()  # numbers of pieces placed, and where the last of them ended
    placed: list[tuple[int, int]] = []
    open_: list[Iterator[tuple[int, int]]] = [_candidates(*pieces[0], text, 0, sizes)]
    while open_:
        step = next(open_[-1], None)
        if step is None:
            open_.pop()
            if placed:
                failed.add((len(placed), placed.pop()[1]))
        elif len(placed) + 1 == len(pieces):
            return [*placed, step]
        elif (len(placed) + 1, step[1]) not in failed:
            placed.append(step)
            open_.append(_candidates(*pieces[len(placed)], text, step[1], sizes))
    return None


def _candidates(parts: list[str], token: str, text: str, place: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where a token may begin and end whose parts begin at `place`, the nearest first.

    Each broken part is a byte at least; an empty one may be nothing, as what SentencePiece puts before a text.
    """
    if not parts and token:
        end = _match(text, place, token)
        if end is not None:
            yield place, end
        return
    least = sizes[place] + sum(map(bool, parts))
    if not token:
        if sizes[-1] >= least and (parts or place == len(text)):
            yield len(text), len(text)
        return
    begin = text.find(token, place)
    while 0 <= begin <= place + LONGEST * len(parts):
        if sizes[begin] >= least:
            yield begin, begin + len(token)
        begin = text.find(token, begin + 1)


def _parts(tokens: Sequence[str], text: str, begin: int, end: int) -> list[tuple[int, int]] | None:
    """Give the character of each part: all the same, or one byte each; None where neither holds."""
    if end == begin:
        # What SentencePiece puts before a text begins its first character, as in the decoder's own offsets.
        return [(begin, min(1, len(text)) if begin == 0 else begin)] * len(tokens)
    if end - begin == 1:
        return [(begin, end)] * len(tokens)
    owners = [(at, at + 1) for at in range(begin, end) for _ in text[at].encode()]
    if begin == 0 and not tokens[0] and len(owners) + 1 == len(tokens):
        return [owners[0], *owners]
    return owners if len(owners) == len(tokens) else None
