"""A training corpus from files: a document a txt file, or a row of a data file; each is read once an epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evalkit import rows
from evalkit.decoder.packing import Document
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.errors import DataError

TEXT_FIELD = "text"
ENCODED_AT_ONCE = 256  # documents


def read(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the documents of txt files and of data files with a `text` column; DataError names file and line."""
    for path in paths:
        if path.suffix == ".txt":
            yield _read_txt(path)
            continue
        for place, row in rows.read(path):
            text = row.get(TEXT_FIELD)
            if not isinstance(text, str):
                raise DataError(f"{place}: no text in column {TEXT_FIELD!r}; columns found: {', '.join(row) or 'none'}")
            yield text


def _read_txt(path: Path) -> str:
    """Read a whole file as one document."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give .txt files, data files with a {TEXT_FIELD!r} column") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error


@dataclass(frozen=True, slots=True)
class TextDocuments:
    """Tokenized documents, in another order each epoch; every one is read before any is read again."""

    ids: npt.NDArray[np.uint32]  # of all documents, one after the other
    ends: npt.NDArray[np.int64]  # where each document ends
    seed: int

    def document(self, number: int) -> Document:
        """Give document `number` of an endless reading."""
        epoch, place = divmod(number, len(self.ends))
        chosen = reading_order(len(self.ends), f"{self.seed}|{epoch}")[place]
        start = self.ends[chosen - 1] if chosen else 0
        ids = self.ids[start : self.ends[chosen]].tolist()
        return Document(ids, [1.0] * len(ids))

    def digest(self) -> str:
        """Hash all documents as they stand in the data."""
        return sha256(self.ids.tobytes() + self.ends.tobytes()).hexdigest()


@lru_cache(maxsize=2)  # a batch may span the end of one epoch and the start of the next
def reading_order(size: int, seed: str) -> list[int]:
    """Give the order in which an epoch reads its documents."""
    return random.Random(seed).sample(range(size), size)


def tokenize(texts: Sequence[str], tokenizer: Tokenizer, *, seed: int) -> TextDocuments:
    """Tokenize all documents; DataError where there is not a token among them."""
    parts: list[npt.NDArray[np.uint32]] = []
    for begin in range(0, len(texts), ENCODED_AT_ONCE):
        encodings = tokenizer.encode(texts[begin : begin + ENCODED_AT_ONCE])
        parts += [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings if encoding.ids]
    if not parts:
        raise DataError("the training data holds no text; expected at least one document")
    return TextDocuments(np.concatenate(parts), np.cumsum([len(part) for part in parts]), seed)
