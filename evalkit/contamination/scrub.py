"""Scrub a scanned corpus of a test set, as GPT-3's training filter did (Brown 2020, Appendix C).

A document that holds N words of an example in a row, or all of a shorter example, loses them and a window of characters
around them, which splits it. Everything comes from what the scan has stored; no test set is read again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from evalkit import atomic, manifest, text
from evalkit.contamination import boilerplate, scrub_files
from evalkit.contamination.corpus import hub, shards
from evalkit.contamination.measures import Runs
from evalkit.contamination.scanned import Found, Scanned, find, read_scan
from evalkit.contamination.scrub_files import Cut
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.interfaces import OnProgress, Progress

FILE, LOCK, CORPUS, RECORDS = "scrub.json", "scrub.lock", "corpus", "records"
KIND = "scrub"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is removed; the defaults are GPT-3's (Brown 2020, Appendix C)."""

    window: int = 200  # characters before a collision, and as many after it
    shortest: int = 200  # characters of the shortest piece that is kept
    most_pieces: int = 10  # a document that falls into more is removed
    cap: int | None = boilerplate.CAP  # an n-gram in more documents is boilerplate; None where everything counts

    def __post_init__(self) -> None:
        """Raise UsageError for settings that mean nothing."""
        for name, least in (("window", 0), ("shortest", 0), ("most_pieces", 1), ("cap", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name.replace('_', '-')}: found {value}, expected {least} or more")


GPT3 = Rule()


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of documents: those read are untouched, split, emptied or removed."""

    documents: int = 0  # that the scan read
    unread: int = 0  # lines or rows that it could not read, passed on as they are
    untouched: int = 0
    split: int = 0  # cut, and left as one piece or more
    emptied: int = 0  # cut, and left without a piece that is long enough
    removed: int = 0  # left in more pieces than allowed
    pieces: int = 0  # that the split ones became
    pieces_dropped: int = 0  # too short, of split and emptied ones
    characters_removed: int = 0  # of split, emptied and removed ones
    matches: int = 0  # of N words or a whole example, boilerplate among them
    boilerplate: int = 0  # those of them that were ignored
    colliding: int = 0  # documents with any of the matches: what would be cut without the cap
    unkept: int = 0  # matches that the scan counted and did not keep, of phrases that a shard has hundreds of times


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the corpus."""

    file: str
    written: tuple[str, ...]  # below the folder `corpus`; several or none for a text that was cut
    counts: Counts


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a finished scrub leaves; scrub.json holds the same."""

    directory: Path
    rule: Rule
    ngram: dict[str, int]  # N of each task, in words
    signature: str  # of the scan
    files: tuple[FileRecord, ...]

    @property
    def totals(self) -> Counts:
        """Add up all files."""
        return Counts(*map(sum, zip(*(astuple(each.counts) for each in self.files), strict=True)))


def scrub(scan_directory: Path, out: Path, *, rule: Rule = GPT3, on_progress: OnProgress) -> Manifest:
    """Write the corpus of a finished scan without the test set, to `out`/corpus; the input is never touched.

    Each file keeps its format, its compression and its place below the folder that all share; one without a collision
    is copied. A scrub that was stopped goes on where it was. What the scan could not read is passed on and counted.
    One row group, Arrow batch, JSON array or text is in memory at a time, of other files a line; and the matches of one
    file, with a cap once those of all. Raises EvalkitError for what cannot be carried out.
    """
    scanned = read_scan(scan_directory)
    check_place(out, scanned)
    described = describe(scanned, rule)
    with claim(out, described):
        ignored = set() if rule.cap is None else find_boilerplate(scanned, rule.cap)
        total = max(1, sum(each["bytes"] for each in scanned.run["corpus"]) >> 20)
        root = Path(os.path.commonpath([path.parent for path in scanned.files]))
        done, records = 0, []
        for path in scanned.files:
            found = find(scanned, path)
            records.append(scrub_file(found, out, path.relative_to(root), rule, ignored, scanned.text_field))
            done += found.shards[0].size
            on_progress(Progress("scrubbing", min(done >> 20, total), total, path.name))
        finished = Manifest(out, rule, scanned.run["n"], scanned.run["signature"], tuple(records))
        listed = {"files": [asdict(each) for each in records], "totals": asdict(finished.totals)}
        write_json(out / FILE, {"signature": finished.signature, **described, **listed})
    return finished


def pieces(
    document: str, spans: Sequence[tuple[int, int]], *, window: int, shortest: int, most_pieces: int
) -> list[str] | None:
    """Split a document at the collisions in it, as spans of characters; None where it is to be removed.

    Each span goes with `window` characters on either side, and what windows share or touch is one gap. What is left
    between the gaps are the pieces. All that hold a character count for `most_pieces`, as the paper counts what a
    document is split into; then those shorter than `shortest` are dropped. Without a span, any document stays whole.
    """
    if not spans:
        return [document]
    left = outside(len(document), spans, window=window)
    if len(left) > most_pieces:
        return None
    return [document[begin:end] for begin, end in left if end - begin >= shortest]


def outside(length: int, spans: Sequence[tuple[int, int]], *, window: int) -> list[tuple[int, int]]:
    """List the stretches of a text that no span and no window around one covers."""
    left = []
    at = 0
    for begin, end in sorted(spans):
        if at < begin - window:
            left.append((at, begin - window))
        at = max(at, end + window)
    if at < length:
        left.append((at, length))
    return left


def check_place(out: Path, scanned: Scanned) -> None:
    """Raise UsageError where the output would lie over the corpus or inside a folder of it, DataError for the hub's."""
    place = out.resolve()
    for path in scanned.files:
        if hub.is_place(path):
            raise DataError(f"{path}: cannot be written again; download the dataset, then scan and scrub the folder")
        if place == path or place in path.parents:
            raise UsageError(f"--out {out}: holds {path} of the corpus, which is never touched; choose another --out")
    for corpus in scanned.run["settings"]["corpus"]:
        folder = Path(corpus).expanduser().resolve()
        if folder.is_dir() and folder in place.parents:
            raise UsageError(f"--out {out}: lies in the corpus {corpus}, whose next scan would read it; choose another")


def describe(scanned: Scanned, rule: Rule) -> dict[str, Any]:  # Any: JSON
    """List what decides what is removed, for scrub.json."""
    return {
        "kind": KIND,
        "settings": asdict(rule),
        "n": scanned.run["n"],
        "scan": {"directory": str(scanned.directory.resolve()), **scanned.run["identity"]},
        "corpus": [each["file"] for each in scanned.run["corpus"]],
        "versions": manifest.versions(),
    }


@contextlib.contextmanager
def claim(out: Path, described: dict[str, Any]) -> Iterator[None]:  # Any: JSON
    """Hold the folder for this scrub, made where it is missing.

    Raises StorageError where it cannot be written, another scrub holds it, or something else is in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in out.iterdir())
        strange = [name for name in present if name != LOCK and not name.startswith(f".{FILE}.")]
        if FILE not in present and strange:
            raise StorageError(f"{out}: holds {strange[0]!r} but no {FILE}, so is not a scrub; choose another --out")
        with (out / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StorageError(f"{out}: another scrub is writing there; wait for it, or stop it") from error
            if FILE not in present:
                write_json(out / FILE, described)
            elif not is_same(out / FILE, described):
                raise StorageError(f"{out}: made with other settings or of another scan; choose another --out")
            for left in out.rglob(f".*{atomic.PARTIAL}"):  # by a scrub that was killed
                left.unlink()
            yield
    except OSError as error:
        raise StorageError(atomic.explain(out, error)) from error


def is_same(path: Path, described: dict[str, Any]) -> bool:  # Any: JSON
    """Whether a scrub.json was written for the same settings, test set and files."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    decisive = ("kind", "settings", "n", "scan", "corpus")
    return isinstance(before, dict) and all(before.get(name) == described[name] for name in decisive)


def write_json(path: Path, content: dict[str, Any]) -> None:  # Any: JSON
    """Write a file of JSON whole or not at all."""
    atomic.write(path, [json.dumps(content, indent=2, ensure_ascii=False), "\n"])


def find_boilerplate(scanned: Scanned, cap: int) -> set[tuple[int, int, int]]:
    """Find the runs that are boilerplate: example, word in it and words; see `boilerplate.without_boilerplate`."""
    gathered = []
    first = 0  # number of the file's first document
    for path in scanned.files:
        found = find(scanned, path)
        gathered.append(found.matches[:, :4] + np.array([0, 0, 0, first]))
        first += sum(found.lines)
    rows = np.concatenate(gathered)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    edges = np.searchsorted(rows[:, 0], np.arange(len(scanned.words) + 1))
    ignored: set[tuple[int, int, int]] = set()
    for example in np.flatnonzero(np.diff(edges) > cap).tolist():
        _, start, length, document = rows[edges[example] : edges[example + 1]].T
        words = int(scanned.words[example])
        runs = Runs(words, (("text", words),), start, length, document)
        kept = boilerplate.without_boilerplate([runs], n=int(scanned.ngram[example]), cap=cap).runs[0]
        # The rule looks at which words of the example a run has, so equal runs are all kept or all dropped.
        dropped = set(zip(start.tolist(), length.tolist(), strict=True))
        dropped -= set(zip(kept.start.tolist(), kept.length.tolist(), strict=True))
        ignored |= {(example, *run) for run in dropped}
    return ignored


def scrub_file(
    found: Found, out: Path, place: Path, rule: Rule, ignored: set[tuple[int, int, int]], text_field: str | None
) -> FileRecord:
    """Write one file without the test set, if it is not there yet, and what became of it beside."""
    shard, matches = found.shards[0], found.matches
    is_ignored = np.array([tuple(run) in ignored for run in matches[:, :3].tolist()], np.bool_)
    spans = np.unique(matches[~is_ignored][:, 3:], axis=0)
    key = {
        "file": str(shard.path),
        "bytes": shard.size,
        "modified": shard.modified,
        "matches": sha256(matches.tobytes() + is_ignored.tobytes()).hexdigest(),
    }
    kept_at = out / RECORDS / f"{text.digest(str(place), length=24)}.json"
    before = load_record(kept_at, key, out)
    if before is not None:
        return before
    target = out / CORPUS / place
    target.parent.mkdir(parents=True, exist_ok=True)
    tally: Counter[str] = Counter()
    try:
        if len(spans):
            cuts = make_cuts(found, spans, rule, text_field=text_field, tally=tally)
            written = scrub_files.rewrite(shard, target, cuts, text_field=text_field)
        else:
            written = (target,)
            with atomic.replacing(target) as partial:
                shutil.copyfile(shard.path, partial)
    except pyarrow.ArrowException as error:
        raise DataError(f"{shard.path}: cannot be written again: {' '.join(str(error).split())}") from error
    if shards.has_changed(shard):
        raise DataError(f"{shard.path}: changed while it was scrubbed; scan again")
    counts = Counts(
        documents=found.documents,
        unread=found.unread,
        unkept=found.unkept,
        untouched=found.documents - len(np.unique(spans[:, 0])),
        matches=len(matches),
        boilerplate=int(is_ignored.sum()),
        colliding=len(np.unique(matches[:, 3])),
        **tally,
    )
    record = FileRecord(str(shard.path), tuple(str(path.relative_to(out / CORPUS)) for path in written), counts)
    kept_at.parent.mkdir(exist_ok=True)
    sizes = [path.stat().st_size for path in written]
    write_json(kept_at, {"input": key, "sizes": sizes, **asdict(record)})
    return record


def load_record(path: Path, key: dict[str, Any], out: Path) -> FileRecord | None:  # Any: JSON
    """Read back what became of a file; None where it is to be done, or done again: then what it left is removed."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        record = FileRecord(stored["file"], tuple(stored["written"]), Counts(**stored["counts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    written = [out / CORPUS / name for name in record.written]
    if stored.get("input") == key and stored.get("sizes") == [each.stat().st_size for each in written if each.exists()]:
        return record
    for each in written:
        each.unlink(missing_ok=True)
    return None


def make_cuts(
    found: Found, spans: NDArray[np.int64], rule: Rule, *, text_field: str | None, tally: Counter[str]
) -> Iterator[Cut]:
    """Cut the documents of a file at spans (S, 3) of row, begin and end, and count in `tally` what became of them."""
    rows, first = np.unique(spans[:, 0], return_index=True)
    each = np.split(spans[:, 1:], first[1:])
    read = scrub_files.read_texts(found.shards, found.lines, rows, text_field=text_field)
    for (row, raw), inside in zip(read, each, strict=True):
        document = raw.decode()
        here = in_characters(raw, inside)
        left = pieces(document, here, window=rule.window, shortest=rule.shortest, most_pieces=rule.most_pieces)
        kept = tuple(left or ())
        tally["removed" if left is None else "split" if left else "emptied"] += 1
        tally["pieces"] += len(kept)
        tally["characters_removed"] += len(document) - sum(map(len, kept))
        if left is not None:
            tally["pieces_dropped"] += len(outside(len(document), here, window=rule.window)) - len(left)
        yield Cut(row, document, kept)


def in_characters(raw: bytes, spans: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Turn spans (S, 2) of bytes of a UTF-8 text into spans of characters."""
    data = np.frombuffer(raw, np.uint8)
    edges = np.unique(spans)
    begins = [np.count_nonzero((data[a:b] & 0xC0) != 0x80) for a, b in zip([0, *edges[:-1]], edges, strict=True)]
    characters = np.cumsum(begins)[np.searchsorted(edges, spans)]
    return [(begin, end) for begin, end in characters.tolist()]
