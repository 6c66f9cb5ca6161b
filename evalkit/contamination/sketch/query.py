"""Ask a corpus sketch which examples the corpus probably contains, word by word or edited.

Of the example's shingles that the sketch would hold, those are counted that stand in the corpus, and those that stand
together: in one document, in places that follow each other and hold little more than the example. An example is
probably contained where a quarter of them stand together, and LEAST. Of a copy of which 20 % of the words were changed
a third is left (0.8 to the power of 5). The corpus is gone, so no words are compared; a scan does that.

At a scale of 4, copies with 10 % of the words edited are told in 99 % of cases from 64 words on, in 90 % of 32 to 63,
65 % of 24 to 31 and 41 % of 16 to 23; with 20 %, in 74 % from 64 words on. Of 2,400 clean examples one was told of in
100 MB (benchmarks/corpus_sketch.py). The table states recall for the test set that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalkit import atomic, manifest, text
from evalkit.contamination.index import SHORTEST, Item
from evalkit.contamination.kernels import samples
from evalkit.contamination.sketch import build as corpus_sketch
from evalkit.contamination.sketch import minhash
from evalkit.contamination.sketch.build import STRETCH
from evalkit.contamination.sketch.file import SketchFile
from evalkit.contamination.sketch.runs import MOST
from evalkit.errors import StorageError, UsageError
from evalkit.records import Cell, Estimate, Table
from evalkit.report import files
from evalkit.report.content import Page
from evalkit.report.table import clean, percent
from evalkit.signature import DIGITS, version
from evalkit.stats import wilson

SHARE = 0.25  # of the sampled shingles, which stand together where an example is probably contained
LEAST = 3  # sampled shingles, without which an example cannot be asked for
LONGER = 1.5  # times the example's words: how far apart shingles may stand together, to the next place
EDITED = 0.1  # of the words: what recall is stated for, beside verbatim copies
DRAWS = 20  # of edits, of each example
EVIDENCE = 50  # examples shown
COLUMNS = ("task", "examples", "too short", "contained", "contained, %", "recall, verbatim, %", "recall, edited, %")
FILE, KIND = "run.json", "ask"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sketch says of one example."""

    task: str
    example: str  # id
    words: int
    sampled: int  # of its different shingles
    corpus: Estimate | None  # share of its shingles that the corpus has, anywhere; None where none was sampled
    together: Estimate | None  # share that one document has together
    is_contained: bool | None  # probably; None where too few shingles were sampled to tell
    document: str | None  # which has most of them together, if LEAST, such as `pile/00.jsonl.zst:1207`


@dataclass(frozen=True, slots=True)
class Asked:
    """The answers for a test set."""

    answers: tuple[Answer, ...]
    table: Table
    signature: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The shingles of a test set that are looked up; S of them, from E examples."""

    words: NDArray[np.int64]  # (E,) of each example
    first: NDArray[np.int64]  # (E + 1,) the first shingle of each example
    word: NDArray[np.int64]  # (S,) where each begins in its example
    hashes: NDArray[np.uint64]  # (S,) as the sketch has them; different in one example


def ask(path: Path, items: Sequence[Item], *, share: float = SHARE) -> Asked:
    """Look examples up in a sketch. Raises DataError where it is damaged or of a scheme that is unknown here."""
    if not 0 < share <= 1:
        raise UsageError(f"--share: found {share:g}, expected more than 0 and at most 1")
    sketch = SketchFile(path)
    sample = take(items, corpus_sketch.read_scheme(sketch))
    distinct, kind = np.unique(sample.hashes, return_inverse=True)
    number, place = sketch.find(distinct)
    edges = np.searchsorted(number, np.arange(len(distinct) + 1))
    answers = []
    for example, item in enumerate(items):
        kinds = kind[sample.first[example] : sample.first[example + 1]]
        found = [place[edges[each] : edges[each + 1]] for each in kinds]
        answers.append(_answer(item, int(sample.words[example]), found, sketch, share))
    signature = _signature(sketch, items, share)
    return Asked(tuple(answers), _table(answers, sample, sketch, share, signature), signature)


def take(items: Sequence[Item], scheme: corpus_sketch.Scheme) -> Sample:
    """Sample the shingles of examples, of whose parts one follows the other."""
    spelled = minhash.spell(
        minhash.pack([" ".join(part.text for part in item.parts) for item in items]), scheme.normaliser
    )
    first = np.append(0, np.cumsum(spelled.counts))
    hashes = minhash.shingles(spelled.values, scheme.shingle)
    sampling = scheme.sampling
    samples.mix_all(hashes, sampling.seed)
    example = np.repeat(np.arange(len(items)), spelled.counts)[: len(hashes)]
    begin = np.arange(len(hashes))
    is_taken = begin + scheme.shingle <= first[example + 1]
    if sampling.skipped:
        is_taken &= hashes >> (np.uint64(64) - sampling.skipped) == 0
    at = np.flatnonzero(is_taken)
    at = at[np.lexsort((at, hashes[at], example[at]))]
    is_new = np.append(True, (np.diff(hashes[at]) != 0) | (np.diff(example[at]) != 0))[: len(at)]
    at = at[is_new]
    return Sample(
        words=spelled.counts,
        first=np.searchsorted(example[at], np.arange(len(items) + 1)),
        word=at - first[example[at]],
        hashes=hashes[at] << sampling.skipped,
    )


def default(sketch: Path, asked: Asked) -> Path:
    """Name a directory that only the same questions to the same sketch lead to."""
    tasks = "+".join(dict.fromkeys(answer.task.partition("/")[0] for answer in asked.answers))[:60]
    return Path("reports") / f"ask-{tasks}-{text.digest(asked.signature, str(sketch.resolve()), length=8)}"


def write(asked: Asked, directory: Path, *, sketch: Path) -> None:
    """Write answers.jsonl, a line an example, and the table in every form.

    Raises StorageError where that fails, or where the directory holds something else.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and _kind(directory / FILE) != KIND:
            raise StorageError(f"{directory}: holds something else than answers of a sketch; choose another --out")
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    described = {"kind": KIND, "signature": asked.signature, "sketch": str(sketch), "versions": manifest.versions()}
    atomic.write(directory / FILE, [json.dumps(described, indent=2, ensure_ascii=False), "\n"])
    atomic.write(directory / "answers.jsonl", _lines(asked.answers))
    page = Page("Test examples in a corpus sketch", (asked.table,), contamination=(_evidence(asked.answers),))
    files.write(directory, page)


def _lines(answers: Sequence[Answer]) -> Iterator[str]:
    """Write a line of JSON for each example."""
    for answer in answers:
        fields = {
            "task": answer.task,
            "example_id": answer.example,
            "words": answer.words,
            "sampled": answer.sampled,
            "contained": answer.is_contained,
            "together": None if answer.together is None else asdict(answer.together),
            "anywhere": None if answer.corpus is None else asdict(answer.corpus),
            "document": answer.document,
        }
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def _kind(path: Path) -> object:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("kind") if isinstance(found, dict) else None


def _answer(item: Item, words: int, found: Sequence[NDArray[np.int64]], sketch: SketchFile, share: float) -> Answer:
    """Judge one example by the places of each of its sampled shingles."""
    sampled = len(found)
    if not sampled:
        return Answer(item.task, item.id, words, 0, None, None, None, None)
    most, place = _together(found, words, sketch)
    is_contained = None
    if sampled >= LEAST and words >= SHORTEST:
        is_contained = most >= LEAST and most / sampled >= share
    return Answer(
        task=item.task,
        example=item.id,
        words=words,
        sampled=sampled,
        corpus=wilson(sum(len(places) > 0 for places in found), n=sampled),
        together=wilson(most, n=sampled),
        is_contained=is_contained,
        document=sketch.name(place) if place is not None and most >= LEAST else None,
    )


def _together(found: Sequence[NDArray[np.int64]], words: int, sketch: SketchFile) -> tuple[int, int | None]:
    """Count the shingles that most stand together, in a row of places of one document, and give the first place."""
    span = 1 + int(LONGER * words) // STRETCH
    shingle = np.repeat(np.arange(len(found)), [len(places) for places in found])
    places = np.concatenate(found)
    order = np.argsort(places, kind="stable")
    pairs = list(zip(places[order].tolist(), shingle[order].tolist(), strict=True))
    held: dict[int, int] = {}  # shingles between the two ends -> how often
    most, best, left = 0, None, 0
    for place, each in pairs:
        held[each] = held.get(each, 0) + 1
        while (begin := pairs[left][0]) != place and (place - begin > span or not sketch.is_one(begin, place)):
            out = pairs[left][1]
            held[out] -= 1
            if not held[out]:
                del held[out]
            left += 1
        if len(held) > most:
            most, best = len(held), pairs[left][0]
    return most, best


def _table(answers: Sequence[Answer], sample: Sample, sketch: SketchFile, share: float, signature: str) -> Table:
    """Count by task what is probably contained."""
    verbatim, edited = (_recall(sample, rate, share, sketch.header["scheme"]["shingle"]) for rate in (0.0, EDITED))
    rows: list[tuple[Cell, ...]] = []
    for task in dict.fromkeys(answer.task for answer in answers):
        here = [number for number, answer in enumerate(answers) if answer.task == task]
        verdicts = [answers[number].is_contained for number in here]
        contained, asked = verdicts.count(True), len(here) - verdicts.count(None)
        rate = percent(wilson(contained, n=asked)) if asked else None
        recalls = [float(100 * each[here].mean()) for each in (verbatim, edited)]
        rows.append((clean(task), len(here), verdicts.count(None), contained, rate, *recalls))
    notes = [clean(note) for note in (*_notes(sketch, share), signature)]
    return Table(COLUMNS, tuple(rows), "Test examples that a corpus probably contains, by its sketch", tuple(notes))


def _recall(sample: Sample, rate: float, share: float, shingle: int) -> NDArray[np.float64]:
    """Say how likely a copy of each example (E,) would be found, were so many of its words replaced at random."""
    draw = np.random.default_rng(0)
    found = np.zeros(len(sample.words))
    for example, words in enumerate(sample.words.tolist()):
        at = sample.word[sample.first[example] : sample.first[example + 1]]
        if len(at) >= LEAST and words >= SHORTEST:
            changed = np.cumsum(draw.random((DRAWS, words + 1)) < rate, axis=1) if rate else np.zeros((1, words + 1))
            left = (changed[:, at] == changed[:, at + shingle]).sum(axis=1)
            found[example] = ((left >= LEAST) & (left / len(at) >= share)).mean()
    return found


def _notes(sketch: SketchFile, share: float) -> Iterator[str]:
    header = sketch.header
    scheme = header["scheme"]
    yield (
        f"Contained: {share:.0%} or more of an example's sampled shingles, and at least {LEAST}, stand together in one "
        f"document. Of {scheme['shingle']}-word shingles one in {scheme['scale']} is sampled; an example with fewer "
        f"than {LEAST} of them, or of fewer than {SHORTEST} words, is too short to be asked for and counts as neither."
    )
    yield (
        "No words were compared: what is contained should be scanned for. Recall: the share of all examples that would "
        f"be found, were they copied word by word, or with {EDITED:.0%} of the words replaced. Of a shingle that more "
        f"than {MOST} places have, the first {MOST} are known, which may hide a copy of common phrases."
    )
    size = len(sketch)
    yield (
        f"The corpus: {header['documents']:,} documents with {header['text_bytes'] / 1e6:,.1f} MB of text, in a sketch "
        f"of {size / 1e6:,.1f} MB, {corpus_sketch.kilobytes(size, header['text_bytes'])}."
    )
    yield from corpus_sketch.say_unread(sketch)


def _signature(sketch: SketchFile, items: Sequence[Item], share: float) -> str:
    """Say in one line what the answers depend on."""
    header = sketch.header
    test = text.digest([[item.task, item.id, [[part.name, part.text] for part in item.parts]] for item in items])
    names = sorted({Path(each["file"]).name for each in header["shards"]})
    corpus = text.digest(names, header["documents"], header["text_bytes"])
    parts = [
        KIND,
        header["tag"],
        f"share:{share:.4g}",
        f"test:{test[:DIGITS]}",
        f"corpus:{corpus[:DIGITS]}",
        f"documents:{header['documents']}",
        f"evalkit:{version()}",
    ]
    return "|".join(parts)


def _evidence(answers: Sequence[Answer]) -> Table:
    """List the examples of which most is contained, and where."""
    found = [(each, each.together, each.corpus) for each in answers if each.is_contained]
    rows = [
        (
            clean(each.task),
            clean(each.example),
            each.words,
            percent(together),
            percent(corpus),
            clean(each.document or ""),
        )
        for each, together, corpus in found
        if together and corpus
    ]
    rows.sort(key=lambda row: -row[3].value)
    columns = ("task", "example", "words", "together, %", "anywhere, %", "document")
    return Table(columns, tuple(rows[:EVIDENCE]), "The examples of which most is contained")
