"""Ready-made texts: what a model wrote elsewhere, in lines of id and text that go with a study's articles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit import rows
from evalkit.articles.gather import Gathered, some
from evalkit.articles.length import count_words
from evalkit.articles.likeness import Words, is_copy
from evalkit.articles.records import Article, Condition, Written
from evalkit.articles.settings import CONTROL, Given
from evalkit.errors import DataError, UsageError
from evalkit.report.table import count
from evalkit.signature import DIGITS
from evalkit.text import digest

_FLAG = re.compile(r"(?P<name>[^=]+?)(?:@(?P<size>[^=@]*))?=(?P<path>.+)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class Texts:
    """The ready-made texts of one condition."""

    condition: Condition
    digest: str
    notes: tuple[str, ...]


def parse(text: str) -> Given:
    """Read `NAME=FILE`, or `NAME@PARAMETERS=FILE` with a size such as 125M or 175B; UsageError for anything else."""
    match = _FLAG.fullmatch(text.strip())
    size = None if match is None or match["size"] is None else _SIZE.fullmatch(match["size"].strip())
    parameters = None if size is None else round(float(size[1]) * _UNITS[size[2].upper()])
    is_sized = match is not None and match["size"] is not None
    if match is None or (is_sized and not parameters) or not match["path"].strip():
        raise UsageError(
            f"--given: found {text!r}, expected NAME=FILE or NAME@PARAMETERS=FILE, such as davinci@175B=davinci.jsonl"
        )
    return Given(match["name"].strip(), Path(match["path"].strip()), parameters)


def read(given: Given, gathered: Gathered) -> Texts:
    """Read a text for each article: that of its id, or of several the one nearest in length; the first of equal ones.

    Texts stay as they are, but for white space around them. Raises DataError for lines without an id or a text, for ids
    that stand twice, and where articles of the study have none.
    """
    found = _read(given.path)
    if missing := [each.id for each in gathered.articles if each.id not in found]:
        raise DataError(
            f"{given.path}: found no text for {count(len(missing), 'article')} of the study ({some(missing)}), "
            "expected one for each id"
        )
    written = {each.id: _nearest(each, found[each.id]) for each in gathered.articles}
    hashed = digest([found[each.id] for each in gathered.articles])
    condition = Condition(
        name=given.name,
        is_control=given.name == CONTROL,
        signature=f"given|n:{len(written)}|texts:{hashed[:DIGITS]}",
        parameters=given.parameters,
        written=written,
    )
    return Texts(condition, hashed, tuple(_notes(given, gathered, found=found, written=written)))


def _read(path: Path) -> Mapping[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for place, row in rows.read(path):
        if row.get("id") is None:
            raise DataError(f"{place}: missing column 'id', expected the id of an article beside its text")
        name = str(row["id"])
        if name in found:
            raise DataError(f"{place}: found id {name!r} again, expected one line an article; several go into 'texts'")
        found[name] = _texts(row, place=place)
    return found


def _texts(row: rows.Row, *, place: rows.Place) -> Sequence[str]:
    if ("text" in row) == ("texts" in row):
        what = "both columns 'text' and 'texts'" if "text" in row else "neither column 'text' nor 'texts'"
        raise DataError(f"{place}: found {what}, expected one of them")
    values = row["texts"] if "texts" in row else [row["text"]]
    if not isinstance(values, list) or not values:
        raise DataError(f"{place}: column 'texts': found {values!r:.40}, expected a list of texts")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{place}: found {value!r:.40}, expected a text that is not empty")
    return [value.strip() for value in values]


def _nearest(article: Article, texts: Sequence[str]) -> Written:
    words = count_words(article.text)
    chosen = min(texts, key=lambda text: abs(count_words(text) - words))
    return Written(article.id, chosen, len(texts), None)


def _notes(
    given: Given, gathered: Gathered, *, found: Mapping[str, Sequence[str]], written: Mapping[str, Written]
) -> list[str]:
    notes = []
    copies = [each.id for each in gathered.articles if is_copy(Words.of(written[each.id].text), [Words.of(each.text)])]
    if copies:
        notes.append(
            f"{given.name}: {count(len(copies), 'text')} with words of the human article, kept: {some(copies)}."
        )
    if strange := [name for name in found if name not in gathered.ids]:
        notes.append(f"{given.name}: {count(len(strange), 'text')} of no article of the data: {some(strange)}.")
    return notes
