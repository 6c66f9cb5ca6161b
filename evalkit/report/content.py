"""What a report's page shows beside its tables, and what figures, samples and matches hand to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from evalkit.records import Sample, Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure: a picture for the page, and the files of papers beside it."""

    name: str  # of its files, such as `score-by-shots`
    title: str
    caption: str  # what is drawn, n, and which interval, in whole sentences
    svg: str  # glyphs as outlines, no script, nothing from elsewhere
    saved: Callable[[Literal["pdf", "png"]], bytes]  # draws it as a PDF with its fonts embedded, or as PNG
    data: Table  # every point that is drawn


@dataclass(frozen=True, slots=True)
class ShownSample:
    """A sample as readers browse it."""

    sample: Sample
    model: str
    is_right: bool | None  # None where the task has no right and wrong
    is_dirty: bool | None  # None where no scan looked at it, or it could not be scanned


@dataclass(frozen=True, slots=True)
class Passage:
    """A run of words that an example and a document share, in both: what is before it, the run, what is after it."""

    task: str
    example: str  # id
    words: int
    document: str  # file and place in it
    in_example: tuple[str, str, str]
    in_document: tuple[str, str, str] | None  # None where the corpus was not kept or cannot be read


@dataclass(frozen=True, slots=True)
class ShownText:
    """One text of an article as participants saw it, and what they answered."""

    writer: str  # `a person`, or the name of a model
    text: str
    answers: tuple[tuple[str, int], ...]  # each answer that could be given, in order, and how often it was


@dataclass(frozen=True, slots=True)
class ShownArticle:
    """A page of a quiz: the article of a title, by a person and by models."""

    title: str
    subtitle: str
    texts: tuple[ShownText, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """How one run or scan was made."""

    name: str  # of its directory
    command: str  # that makes it again
    settings: Mapping[str, str]  # every setting, version and digest, as text
    signatures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that index.html shows, in its order; what is empty is left out."""

    title: str
    summary: tuple[Table, ...]  # the first is the report's own table
    contamination: tuple[Table, ...] = ()
    people: tuple[Table, ...] = ()  # what participants of a study answered
    detectors: tuple[Table, ...] = ()  # what detectors make of the same articles
    figures: tuple[Figure, ...] = ()
    quiz: tuple[ShownArticle, ...] = ()
    samples: Iterable[ShownSample] = ()
    passages: tuple[Passage, ...] = ()
    provenance: tuple[Provenance, ...] = ()
