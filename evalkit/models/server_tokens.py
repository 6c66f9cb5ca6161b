"""Where the tokens that a server echoes lie in the text that it was sent.

Servers' own `text_offset` cannot be used: vLLM's counts the start token's name and every replacement character, SGLang
gives -1. So the tokens are laid along the text. Three things are forgiven: a start token that is no part of the text,
white space that a token lost when it was decoded alone, and parts of characters, which decode to U+FFFD or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BROKEN = "\ufffd"


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
    offsets: list[tuple[int, int] | None] = []
    stretches: list[tuple[int, int, int]] = []
    has_start = bool(tokens) and BROKEN not in tokens[0] and (not tokens[0] or _match(text, 0, tokens[0]) is None)
    if has_start:
        offsets.append((0, 0))
    place = 0  # characters covered so far
    pending: list[str] = []  # tokens since then that are parts of characters

    def settle(end: int) -> None:
        """Give the pending tokens the characters up to `end`."""
        if not pending:
            return
        found = _parts(pending, text, place, end)
        if found is None:
            stretches.append((len(offsets), place, end))
            offsets.extend([None] * len(pending))
        else:
            offsets.extend(found)
        pending.clear()

    for token in tokens[len(offsets) :]:
        if not token or BROKEN in token:
            pending.append(token)
            continue
        begin = _find(text, place, token, parts=len(pending)) if pending else place
        end = None if begin is None else _match(text, begin, token)
        if begin is None or end is None:
            return None
        settle(begin)
        offsets.append((begin, end))
        place = end
    if not pending and place != len(text):
        return None
    settle(len(text))
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


def _find(text: str, place: int, token: str, *, parts: int) -> int | None:
    """Find a token that comes after `parts` parts of characters, each at least a byte."""
    at = place
    while at < len(text):
        at += 1
        if len(text[place:at].encode()) >= parts and text.startswith(token, at):
            return at
    return None


def _parts(tokens: Sequence[str], text: str, begin: int, end: int) -> list[tuple[int, int]] | None:
    """Give the character of each part: all the same, or one byte each; None where neither holds."""
    if end - begin == 1:
        return [(begin, end)] * len(tokens)
    owners = [at for at in range(begin, end) for _ in text[at].encode()]
    return [(at, at + 1) for at in owners] if len(owners) == len(tokens) else None
