"""Find the candidates whose words stand in a corpus: a scan of it for them, as `evalkit scan` has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from evalkit import atomic
from evalkit.articles.directory import SCANS
from evalkit.articles.likeness import RUN
from evalkit.contamination import scan
from evalkit.interfaces import OnProgress
from evalkit.text import digest


def standing(
    texts: Sequence[str],
    places: Sequence[str],
    *,
    text_field: str | None,
    directory: Path,
    on_progress: OnProgress,
) -> frozenset[str]:
    """Tell which texts have RUN words in a row that a corpus has, or are shorter and stand there whole.

    The scan is kept below the study's directory and goes on where it was stopped. A text of fewer than 8 words is too
    short to be looked for. Raises DataError where there is no corpus, or where nothing of it can be read.
    """
    distinct = list(dict.fromkeys(texts))
    name = digest(distinct, list(places), text_field, length=8)
    folder = directory / SCANS
    folder.mkdir(exist_ok=True)
    data = folder / f"{name}.jsonl"
    lines = (json.dumps({"id": str(place), "text": text}, ensure_ascii=False) for place, text in enumerate(distinct))
    atomic.write(data, (f"{line}\n" for line in lines))
    settings = scan.Settings(
        tasks=(), corpus=tuple(places), text_field=text_field, data=str(data), ngram=RUN, out=folder / name
    )
    outcome = scan.scan(settings, on_progress=on_progress)
    assert outcome is not None  # it is no part of a job array
    return frozenset(distinct[int(each.example)] for each in outcome.overlaps if each.is_dirty)
