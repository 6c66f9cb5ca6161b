"""A control: copies of examples are planted into a sample of the corpus, in memory, and the scan has to find them.

Each copy stands between two words of a document of the sample, once for each way in which copies differ from their
originals. The same words in another order are planted too, and must not be found.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalkit import stats
from evalkit.contamination import copy_kinds, edited, normalise, shard_scan
from evalkit.contamination.copy_kinds import GAP, KINDS, SHUFFLED, Kind
from evalkit.contamination.corpus import documents, shards
from evalkit.contamination.corpus.block import Block, Reading, of_strings
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.index import Index
from evalkit.contamination.kernels.matches import Texts
from evalkit.contamination.shard_scan import Hits
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.records import Cell, Estimate, Table
from evalkit.report import table as tables
from evalkit.text import generator, shuffled, words

CAPTION = "What the scan finds of copies planted in a sample of the corpus"

SPREAD = 8  # shards that the sample is taken from, more where they are small
EXCERPT = 1 << 15  # characters of a long document that a copy is planted in
VOCABULARY, SHOWN = 20_000, 2_000  # words of the sample that may replace others; characters of a document with them


@dataclass(frozen=True, slots=True)
class Planted:
    """What was found of the copies of one kind."""

    kind: str
    title: str
    copies: int
    altered: int  # copies whose text is another than the example's
    reworded: int  # copies that are other words to the normaliser
    found: int  # by the exact rule
    lost: int  # not found, although plain Python finds the run in the copy: the scan is at fault
    edited: int | None  # found as edited copies; None where these are not looked for
    substrings: int | None  # found by GPT-4's rule; None where substrings are not looked for


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What a scan found of what was planted."""

    kinds: tuple[Planted, ...]
    null: Planted  # what is found of it is a false positive
    already_there: Planted  # nothing was planted: it may be true contamination
    examples: int
    scannable: int  # examples there were to draw from
    documents: int  # of the sample
    text_bytes: int
    shards: int  # that the sample was read from
    normaliser: str

    @property
    def lost(self) -> int:
        """Copies that had to be found and were not; 0 for a scan that works."""
        return sum(each.lost for each in (*self.kinds, self.null))


@dataclass(frozen=True, slots=True)
class Original:
    """A drawn example, and where its copies are planted."""

    number: int
    text: str
    words: list[str]
    before: str  # the document up to the gap
    after: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where the copy of an example stands in its document, in bytes."""

    example: int
    begin: int
    end: int

    def touches(
        self, example: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Say which matches (M,) of the example share bytes with it."""
        touching: NDArray[np.bool_] = (example == self.example) & (begin < self.end) & (end > self.begin)
        return touching


@dataclass(frozen=True, slots=True)
class Sample:
    """Some documents of the corpus."""

    texts: list[str]
    text_bytes: int
    shards: int


def measure(
    test: Index,
    plan: Sequence[Shard],
    *,
    text_field: str | None,
    seed: int = 0,
    examples: int = 200,
    sample_bytes: int = 8 << 20,
) -> SelfTest:
    """Plant copies of `examples` scannable examples, or of all where there are fewer, and look for them.

    The same seed, test set and corpus plant the same copies. Raises UsageError for numbers below 1, DataError where the
    test set has nothing to look for or the corpus no document, StorageError where no temporary file can be written.
    """
    for name, value in (("examples", examples), ("sample bytes", sample_bytes)):
        if value < 1:
            raise UsageError(f"--self-test: found {value} {name}, expected at least 1")
    scannable = [number for number in range(len(test.items)) if test.needed(number) is not None]
    if not scannable:
        raise DataError("found no example that is long enough to be scanned for; give --ngram with a smaller number")
    sample = _sample(plan, text_field=text_field, seed=seed, sample_bytes=sample_bytes)
    chosen = islice(shuffled(len(scannable), generator("self-test", seed)), examples)
    originals = [_original(test, scannable[at], sample, seed=seed) for at in chosen]
    others = list(islice((word for text in sample.texts for word in words(text[:SHOWN])), VOCABULARY))
    return SelfTest(
        kinds=tuple(_plant(kind, originals, test, others=others, seed=seed) for kind in KINDS),
        null=_plant(SHUFFLED, originals, test, others=others, seed=seed),
        already_there=_already_there(originals, test, sample),
        examples=len(originals),
        scannable=len(scannable),
        documents=len(sample.texts),
        text_bytes=sample.text_bytes,
        shards=sample.shards,
        normaliser=test.normaliser,
    )


def table(result: SelfTest) -> Table:
    """Show what was found of each kind, in percent of the copies with Wilson's interval."""
    columns = ["copy", "copies", "altered", "other words", "found, %"]
    columns += ["as edited copies, %"] * (result.null.edited is not None)
    columns += ["by GPT-4's rule, %"] * (result.null.substrings is not None)
    rows: list[tuple[Cell, ...]] = [
        (each.title, each.copies, each.altered, each.reworded, *_shares(each)) for each in (*result.kinds, result.null)
    ]
    rows.append((result.already_there.title, result.examples, None, None, *_shares(result.already_there)))
    return Table(tuple(columns), tuple(rows), CAPTION, _notes(result))


def _shares(planted: Planted) -> Iterator[Estimate]:
    for count in (planted.found, planted.edited, planted.substrings):
        if count is not None:
            yield tables.percent(stats.wilson(count, n=planted.copies))


def _notes(result: SelfTest) -> tuple[str, ...]:
    notes = [
        f"{tables.count(result.examples, 'example')} of {result.scannable:,} that can be scanned for, planted once for "
        f"each row, in memory, in the first documents of {tables.count(result.shards, 'shard')}: "
        f"{result.documents:,} with {result.text_bytes / 1e6:,.1f} MB of text.",
        "Found: N words in a row of the example, or all of a shorter one, where its copy stands. Altered: copies that "
        f"are not the example to the letter. Other words: other ones to the normaliser {result.normaliser}.",
        "Shuffled words are no copy: what is found of them is a false positive. What is already there may be true "
        "contamination, and counts neither way.",
    ]
    if result.lost:
        notes.append(
            f"LOST: {result.lost:,} of the copies have N words in a row of the example, or all of a shorter one, and "
            "were not found. Do not trust a scan of this corpus; please report it."
        )
    if result.null.found:
        notes.append(
            "Shuffled copies are found of examples that repeat a word so often that N words stay as they were."
        )
    if result.normaliser == "lm-eval":
        notes.append(
            "lm-eval deletes ASCII punctuation, keeps other signs and folds the case of ASCII alone: with hyphens, "
            "quotes and dashes of another form, or other capitals, a copy has other words and may be missed."
        )
    return tuple(notes)


def _sample(plan: Sequence[Shard], *, text_field: str | None, seed: int, sample_bytes: int) -> Sample:
    """Read the first documents of shards drawn from all over the plan; of a long document, what there is room for."""
    texts: list[str] = []
    total, used, failures = 0, 0, []
    share = -(-sample_bytes // max(1, min(SPREAD, len(plan))))
    for number in shuffled(len(plan), generator("self-test shards", seed)):
        if total >= sample_bytes:
            break
        reading, left = Reading(), share
        for block in documents.blocks(plan[number], reading, text_field=text_field):
            for begin, end in pairwise(block.texts.offsets.tolist()):
                size = min(end - begin, left)
                texts.append(block.texts.data[begin : begin + size].tobytes().decode(errors="ignore"))
                left -= size
                if not left:
                    break
            if not left:
                break
        total, used = total + share - left, used + 1
        failures += [f"{plan[number].path}: {what}" for what in (reading.failure, *reading.trouble) if what]
    if not texts:
        because = f" ({failures[0]})" if failures else ""
        raise DataError(
            f"found no documents in the corpus{because}, expected at least one; check --corpus and --text-field"
        )
    return Sample(texts, total, used)


def _original(test: Index, number: int, sample: Sample, *, seed: int) -> Original:
    """Choose the document and the gap between two of its words for the copies of one example."""
    item = test.items[number]
    draws = generator("self-test place", seed, item.task, item.id)
    host = draws.choice(sample.texts)
    if len(host) > EXCERPT:
        begin = draws.randrange(len(host) - EXCERPT)
        host = host[begin : begin + EXCERPT]
    gap = GAP.search(host, draws.randrange(len(host) + 1)) or GAP.search(host)
    at = gap.start() if gap else len(host)  # beside the only word
    # A lone surrogate is a question mark to the index too.
    text = "\n".join(part.text for part in item.parts).encode("utf-8", "replace").decode()
    return Original(number, text, normalise.find(test.normaliser).words(text), host[:at], host[at:])


def _plant(kind: Kind, originals: Sequence[Original], test: Index, *, others: Sequence[str], seed: int) -> Planted:
    """Plant a copy of each original, and look for it where it stands."""
    copies = []
    for original in originals:
        item = test.items[original.number]
        draws = generator("self-test copy", seed, item.task, item.id, kind.name)
        copies.append(copy_kinds.write(original.text, kind, draws=draws, others=others))
    lengths = np.diff(test.looked.kernel.first).tolist()
    found: dict[str, set[int]] = {"exact": set(), "edited": set(), "substrings": set()}
    with _blocks(kind, originals, copies) as blocks:
        for block in _apart(blocks):
            at = int(block.numbers[0])
            begin = len(originals[at].before.encode()) + 1
            span = Span(originals[at].number, begin, begin + len(copies[at].encode()))
            needed = test.needed(span.example) or 0
            for rule in _found(shard_scan.search([block], test.looked), span, needed=needed, lengths=lengths):
                found[rule].add(at)
    split = normalise.find(test.normaliser).words
    rewritten = [split(copy) for copy in copies]
    is_due = [
        _share_run(each.words, other, test.needed(each.number) or 0)
        for each, other in zip(originals, rewritten, strict=True)
    ]
    return Planted(
        kind=kind.name,
        title=kind.title,
        copies=len(copies),
        altered=sum(copy != each.text for each, copy in zip(originals, copies, strict=True)),
        reworded=sum(each.words != other for each, other in zip(originals, rewritten, strict=True)),
        found=len(found["exact"]),
        lost=sum(due and at not in found["exact"] for at, due in enumerate(is_due)),
        edited=None if test.looked.sketches is None else len(found["edited"]),
        substrings=None if test.looked.substrings is None else len(found["substrings"]),
    )


def _share_run(one: Sequence[str], other: Sequence[str], length: int) -> bool:
    """Whether two lists of words have this many in a row in common."""
    runs = {tuple(one[i : i + length]) for i in range(len(one) - length + 1)}
    return any(tuple(other[i : i + length]) in runs for i in range(len(other) - length + 1))


def _found(hits: Hits, span: Span, *, needed: int, lengths: Sequence[int]) -> Iterator[str]:
    """Name the rules by which a copy is found where it stands: exact, edited, substrings."""
    rows = hits.found[hits.found[:, 2] >= needed]
    if span.touches(rows[:, 0], rows[:, 4], rows[:, 5]).any():
        yield "exact"
    if hits.edited is not None:
        rows = hits.edited[span.touches(hits.edited[:, 0], hits.edited[:, 4], hits.edited[:, 5])]
        if _edited(rows, lengths):
            yield "edited"
    if hits.substrings is not None:
        rows = hits.substrings
        if span.touches(rows[:, 0], rows[:, 3], rows[:, 4]).any():
            yield "substrings"


def _apart(blocks: Iterator[Block]) -> Iterator[Block]:
    """Take every document for itself: of one example, a scan keeps but some of the matches that others have."""
    for block in blocks:
        data, offsets = block.texts
        for i in range(len(block.numbers)):
            yield Block(Texts(data, offsets[i : i + 2]), block.numbers[i : i + 1])


@contextmanager
def _blocks(kind: Kind, originals: Sequence[Original], copies: Sequence[str]) -> Iterator[Iterator[Block]]:
    """Give the documents with their copies, numbered as the originals are; StorageError where the disk refuses."""
    planted = list(zip(originals, copies, strict=True))
    if not kind.is_escaped:
        texts = [f"{each.before} {copy} {each.after}" for each, copy in planted]
        yield iter([of_strings(texts, range(len(texts)))])
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "planted.jsonl"
            with path.open("w", encoding="ascii") as file:
                for each, copy in planted:
                    before, after = json.dumps(f"{each.before} ")[:-1], json.dumps(f" {each.after}")[1:]
                    file.write(f'{{"text": {before}{_escape(copy)}{after}}}\n')
            (shard,) = shards.plan([str(path)], shard_bytes=path.stat().st_size)
            yield documents.blocks(shard, Reading(), text_field="text")
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"the temporary folder: cannot write: {reason}; free space, or name one by TMPDIR"
        ) from error


def _escape(text: str) -> str:
    """Write every character as JSON may: two escapes of four digits for one beyond the first 65,536."""
    units = np.frombuffer(text.encode("utf-16-le"), "<u2").tolist()
    return "".join(f"\\u{unit:04x}" for unit in units)


def _edited(rows: NDArray[np.int64], lengths: Sequence[int]) -> list[edited.Copy]:
    """Put the pieces of copies together, and choose what has enough of its example."""
    return [copy for copy in edited.copies(rows, lengths) if copy.share >= edited.IS_COPY]


def _already_there(originals: Sequence[Original], test: Index, sample: Sample) -> Planted:
    """Count the drawn examples that the sample has as it is."""
    drawn = np.array([each.number for each in originals])
    hits = shard_scan.search([of_strings(sample.texts, range(len(sample.texts)))], test.looked)
    lengths = np.diff(test.looked.kernel.first).tolist()
    needed = np.array([test.needed(number) or 0 for number in range(len(test.items))])
    exact = hits.found[hits.found[:, 2] >= needed[hits.found[:, 0]], 0]
    copied = None if hits.edited is None else [copy.example for copy in _edited(hits.edited, lengths)]
    contained = None if hits.substrings is None else hits.substrings[:, 0]
    return Planted(
        kind="already-there",
        title="nothing planted: already there",
        copies=len(drawn),
        altered=0,
        reworded=0,
        found=len(np.intersect1d(exact, drawn)),
        lost=0,
        edited=None if copied is None else len(np.intersect1d(copied, drawn)),
        substrings=None if contained is None else len(np.intersect1d(contained, drawn)),
    )
