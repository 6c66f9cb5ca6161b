"""Texts cut where no token can cross, so that what many of them have is tokenized once.

Prompts share demonstrations, choices a context, and each text is counted before it is answered. A line that ends in a
word ends a piece, so demonstrations are pieces. A tokenizer that may not be cut there has whole texts as its pieces.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence

import tokenizers

TEXTS_AT_ONCE = 256
HELD = 2**24  # characters of the pieces whose tokens are remembered
NEAR = 256  # characters before the end of a context in which the end of a word is looked for
WORD_END = re.compile(r"(?<=[A-Za-z0-9])(?=[ \n])")


class Pieces:
    """The tokens of pieces that were met before."""

    def __init__(self, backend: tokenizers.Tokenizer, *, divides: bool, most: int = HELD) -> None:
        """Cut texts at the ends of lines where the tokenizer `divides` them there; remember `most` characters."""
        self._backend = backend
        self._divides = divides
        self._most = most
        self._known: dict[str, array[int]] = {}
        self._held = 0  # characters

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Give the tokens of texts."""
        found = []
        for begin in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[begin : begin + TEXTS_AT_ONCE]
            divided = [list(lines(text)) if self._divides else [text] for text in some]
            self._learn([piece for pieces in divided for piece in pieces])
            for pieces in divided:
                made = array("i")
                for piece in pieces:
                    made += self._known[piece]
                found.append(made.tolist())
        return found

    def _learn(self, pieces: Sequence[str]) -> None:
        """Tokenize what is new of some pieces."""
        if self._held > self._most:
            self._known, self._held = {}, 0
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self._known]
        for piece, encoding in zip(new, self._backend.encode_batch(new, add_special_tokens=False), strict=True):
            self._known[piece] = array("i", encoding.ids)
            self._held += len(piece)


def lines(text: str) -> Iterator[str]:
    """Cut a text before every line feed that an ASCII letter or digit precedes."""
    begin = 0
    place = text.find("\n", 1)
    while place > 0:
        if text[place - 1].isascii() and text[place - 1].isalnum():
            yield text[begin:place]
            begin = place
        place = text.find("\n", place + 1)
    yield text[begin:]


def last_word_end(context: str, continuation: str) -> int:
    """Find the last place in a context, its end included, after a word and before white space; 0 where none is near."""
    near = context[-NEAR:]
    ends = [match.start() for match in WORD_END.finditer(near + continuation[:1])]
    return len(context) - len(near) + ends[-1] if ends else 0
