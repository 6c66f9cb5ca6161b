"""What a scan leaves for people: a line for every example, a table of tasks, and the matches that weigh most."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from evalkit import text
from evalkit.contamination import boilerplate, normalise, substrings
from evalkit.contamination.edited import IS_COPY
from evalkit.contamination.findings import Findings
from evalkit.contamination.index import SHORTEST, Index
from evalkit.contamination.kernels.matches import MOST
from evalkit.contamination.sketch import minhash
from evalkit.records import Overlap, Table
from evalkit.report import table as tables
from evalkit.report.table import clean
from evalkit.signature import DIGITS, version

COUNTS = ("task", "N", "examples", "too short", "dirty", "not boilerplate", "clean", "clean, %")
EDITED = "copies"  # edited or not
SUBSTRINGS = "50 characters"
EXTREMES = ("longest match", "documents")
SIMILAR = 0.8  # Jaccard similarity of near-duplicates
EVIDENCE = 50  # matches shown
WORDS_SHOWN = 60


def overlap_lines(overlaps: Iterable[Overlap], test: Index) -> Iterator[str]:
    """Write a line of JSON for each example."""
    for overlap in overlaps:
        fields = {
            "task": overlap.task,
            "example_id": overlap.example,
            "words": overlap.words,
            "n": test.ngram[overlap.task],
            "scannable": overlap.is_dirty is not None,
            "dirty": overlap.is_dirty,
            "coverage": overlap.value,
            "longest": overlap.longest,
            "documents": overlap.documents,
            "parts": list(overlap.parts),
            "edited": overlap.edited,
            "substrings": overlap.substrings,
        }
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def read_overlaps(path: Path) -> tuple[Overlap, ...]:
    """Read back what `overlap_lines` wrote; ValueError or KeyError where it is something else."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return tuple(
        Overlap(
            task=row["task"],
            example=row["example_id"],
            words=row["words"],
            value=row["coverage"],
            is_dirty=row["dirty"],
            longest=row["longest"],
            documents=row["documents"],
            parts=tuple(row["parts"]),
            edited=row["edited"],
            substrings=row["substrings"],
        )
        for row in rows
    )


def near_duplicates(test: Index) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Find the groups of examples of a task that are nearly the same text: task and ids."""
    groups = []
    for task in test.ngram:
        here = [item for item in test.items if item.task == task]
        texts = [" ".join(part.text for part in item.parts) for item in here]
        found = minhash.groups(texts, SIMILAR, scheme=minhash.Scheme(normaliser=test.normaliser))
        groups += [(task, tuple(here[at].id for at in group)) for group in found]
    return tuple(groups)


def group_lines(groups: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """Write a line of JSON for each group of near-duplicates."""
    for task, names in groups:
        yield json.dumps({"task": task, "examples": names}, ensure_ascii=False) + "\n"


def build(
    overlaps: Sequence[Overlap], findings: Findings, test: Index, *, groups: Sequence[tuple[str, tuple[str, ...]]]
) -> Table:
    """Count clean and dirty examples by task; `groups` are the near-duplicates among them."""
    common = _without_boilerplate(findings, test)
    looked_for: dict[str, Callable[[Overlap], bool]] = {}
    if findings.edited is not None:
        looked_for[EDITED] = _is_copy
    if findings.substrings is not None:
        looked_for[SUBSTRINGS] = _has_substring
    rows = []
    for task, n in test.ngram.items():
        here = [overlap for overlap in overlaps if overlap.task == task]
        dirty = sum(overlap.is_dirty is True for overlap in here)
        clean_ones = sum(overlap.is_dirty is False for overlap in here)
        scanned = dirty + clean_ones
        share = 100 * clean_ones / scanned if scanned else None
        longest = max(overlap.longest for overlap in here)
        documents = max(overlap.documents for overlap in here)
        counts = (clean(task), n, len(here), len(here) - scanned, dirty, common[task], clean_ones, share)
        also = [sum(is_found(overlap) for overlap in here) for is_found in looked_for.values()]
        rows.append((*counts, *also, longest, documents))
    caption = "Test examples that the corpus contains"
    notes = _notes(overlaps, findings, test, groups=groups)
    columns = (*COUNTS, *looked_for, *EXTREMES)
    return Table(columns, tuple(rows), caption, tuple(clean(note) for note in notes))


def _is_copy(overlap: Overlap) -> bool:
    return overlap.edited is not None and overlap.edited >= IS_COPY


def _has_substring(overlap: Overlap) -> bool:
    return bool(overlap.substrings)


def _without_boilerplate(findings: Findings, test: Index) -> Counter[str]:
    """Count by task the examples that are dirty when boilerplate is left out."""
    counts: Counter[str] = Counter()
    for number in np.flatnonzero(np.diff(findings.first)).tolist():
        needed, task = test.needed(number), test.items[number].task
        if needed is not None:
            left = boilerplate.without_boilerplate([findings.runs(number, test)], n=test.ngram[task]).runs[0]
            counts[task] += bool((left.length >= needed).any())
    return counts


def _notes(
    overlaps: Sequence[Overlap], findings: Findings, test: Index, *, groups: Sequence[tuple[str, tuple[str, ...]]]
) -> Iterator[str]:
    yield (
        f"An example is dirty where N of its words in a row stand in a document, or all of an example of {SHORTEST} to "
        "N - 1 words (Brown 2020, Appendix C). Shorter ones cannot be told and count as neither clean nor dirty."
    )
    yield (
        f"Not boilerplate: dirty too when spans of words that more than {boilerplate.CAP} documents hold are left out, "
        "as for cleaning a corpus. Longest match in words, and most documents that hold one example."
    )
    if findings.edited is not None:
        beside = sum(_is_copy(overlap) and overlap.is_dirty is False for overlap in overlaps)
        yield (
            f"{EDITED.capitalize()}: half of the example's words or more stand in one document in their order, as they "
            f"are or edited; {beside:,} of them are clean by the rule of N words."
        )
    if findings.substrings is not None:
        beside = sum(_has_substring(overlap) and overlap.is_dirty is False for overlap in overlaps)
        yield (
            "50 characters: one of three substrings of 50 letters and digits, or all of a shorter example, stands in a "
            f"document (OpenAI 2023, GPT-4, Appendix C); {beside:,} of them are clean by the rule of N words."
        )
    if groups:
        inside = sum(len(names) for _, names in groups)
        yield (
            f"{inside:,} examples are near-duplicates of others, in {tables.count(len(groups), 'group')}: "
            f"{100 * SIMILAR:.0f} % of their three-word shingles are the same (near-duplicates.jsonl)."
        )
    yield f"{findings.read.documents:,} documents with {findings.read.text_bytes / 1e6:,.1f} MB of text were read."
    cut = int((findings.times.sum(axis=1) > np.diff(findings.first)).sum())
    if cut:
        yield (
            f"{cut:,} examples have more matches than are kept ({MOST} in a part of the corpus or fewer, and longer "
            "ones): verdicts and longest matches are exact; counts of documents, coverage and boilerplate are bounds."
        )
    if findings.is_cut:
        yield "Some examples have more copies than are kept: the shares of long ones may be too low."
    yield from findings.read.unread()
    yield signature(findings, test)


def signature(findings: Findings, test: Index) -> str:
    """Say in one line what the verdicts depend on: equal lines, equal verdicts."""
    sizes = sorted(set(test.ngram.values()))
    read = findings.read
    corpus = text.digest(sorted({path.name for path, _, _ in findings.files}), read.documents, read.text_bytes)
    parts = [
        "scan",
        f"normaliser:{normalise.find(test.normaliser).tag}",
        f"n:{','.join(map(str, sizes))}",
        f"test:{test.digest[:DIGITS]}",
        f"corpus:{corpus[:DIGITS]}",
        f"documents:{read.documents}",
        f"evalkit:{version()}",
    ]
    if findings.edited is not None:
        parts.insert(-1, "edited")
    if test.looked.substrings is not None:
        parts.insert(-1, f"substrings:{substrings.digest(test.looked.substrings)[:DIGITS]}")
    return "|".join(parts)


def evidence(findings: Findings, test: Index) -> Table:
    """List the longest matches, one of each example, as the words that example and document share."""
    rows = []
    order = sorted(
        (number for number in range(len(test.items)) if findings.first[number] < findings.first[number + 1]),
        key=lambda number: -int(findings.found[findings.first[number] : findings.first[number + 1], 2].max()),
    )
    for number in order[:EVIDENCE]:
        match = findings.longest(number, test)
        words = test.words(number)[match.word : match.word + match.words]
        shown = " ".join(words[:WORDS_SHOWN]) + (" …" if len(words) > WORDS_SHOWN else "")
        parts = ", ".join(match.parts)
        rows.append((clean(match.task), clean(match.example), match.words, parts, clean(match.document), clean(shown)))
    columns = ("task", "example", "words", "part", "document", "shared words")
    return Table(columns, tuple(rows), "The longest match of each example, the longest first")
