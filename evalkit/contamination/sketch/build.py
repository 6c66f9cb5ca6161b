"""A stored sketch of a corpus, which future test sets are looked up in without reading the corpus again.

Of the five-word shingles of every document those are kept whose hash is below 1 / scale of all hashes: FracMinHash
(Irber and others 2022), whose share of an example's sampled shingles found estimates the example's containment. Each is
kept with its place, a stretch of STRETCH shingles of one document, since in a large corpus the shingles of any English
sentence stand somewhere, but not together.

At a scale of 4 each MB of English has 0.2 to 0.25 MB of sketch, at 8 and 16 a half and a quarter of that, which do for
examples of 64 and 128 words. MinHash of windows takes 2.8 MB and finds fewer of short ones, and more of long ones of
which a fifth was edited (benchmarks/corpus_sketch.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from evalkit import atomic, text
from evalkit.contamination import normalise, processes
from evalkit.contamination.corpus.account import Account
from evalkit.contamination.corpus.documents import Reading, blocks
from evalkit.contamination.corpus.shards import Shard, has_changed
from evalkit.contamination.index import kernel_fold
from evalkit.contamination.kernels import samples
from evalkit.contamination.kernels.octets import PADDING
from evalkit.contamination.kernels.words import BASE, room
from evalkit.contamination.sketch import file as sketch_file
from evalkit.contamination.sketch import runs as sketch_runs
from evalkit.contamination.sketch.file import AGAIN, SketchFile
from evalkit.contamination.sketch.runs import ShardSample
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.interfaces import OnProgress, Progress, ignore

STRETCH = 256  # shingles of a document that make a place
ROOM = 1 << 16  # words held at first
AT_ONCE = 1 << 22  # shingles of a shard in memory


@dataclass(frozen=True, slots=True)
class Scheme:
    """What decides a sketch; a test set is looked up by the scheme of the sketch."""

    shingle: int = 5  # words
    scale: int = 4  # a power of two: one in so many shingles is kept
    seed: int = 1  # of the choice
    normaliser: str = "gpt3"

    def __post_init__(self) -> None:
        """Raise UsageError for what is out of range."""
        normalise.find(self.normaliser)
        if self.scale not in [1 << bits for bits in range(17)]:
            raise UsageError(f"--scale: found {self.scale}, expected a power of two from 1 to 65536")
        if not 1 <= self.shingle <= 32:
            raise UsageError(f"--shingle: found {self.shingle}, expected 1 to 32")
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"a sketch's seed: found {self.seed}, expected 0 to {(1 << 63) - 1}")

    @property
    def tag(self) -> str:
        """Name the scheme, such as `fracminhash.1/shingle5/scale4/seed1/gpt3.1/unicode15.0`."""
        words = normalise.find(self.normaliser).tag
        return f"fracminhash.1/shingle{self.shingle}/scale{self.scale}/seed{self.seed}/{words}"

    @property
    def sampling(self) -> samples.Sampling:
        """Give the scheme as the kernels take it."""
        return samples.Sampling(
            shingle=self.shingle,
            power=np.uint64(pow(int(BASE), self.shingle, 1 << 64)),
            seed=np.uint64(int(text.digest("corpus sketch", self.seed), 16)),
            skipped=np.uint64(self.scale.bit_length() - 1),
            stretch=STRETCH,
        )


@dataclass(frozen=True, slots=True)
class Built:
    """A finished sketch."""

    path: Path
    size: int  # bytes
    shingles: int  # kept, those of each place counted
    read: Account

    def lines(self) -> Iterator[str]:
        """Say what was read, what was not, and what the sketch takes."""
        megabytes = self.read.text_bytes / 1e6
        yield f"{self.read.documents:,} documents with {megabytes:,.1f} MB of text, {self.shingles:,} shingles kept"
        yield from self.read.unread()
        yield f"sketch: {self.path} ({self.size / 1e6:,.1f} MB, {kilobytes(self.size, self.read.text_bytes)})"


@dataclass(frozen=True, slots=True)
class Sampled:
    """The samples of all shards."""

    runs: list[tuple[Path, int]]  # each with the first place of its shard
    count: int  # places
    shards: list[dict[str, str | int]]  # file, its bytes, and the shard's first place and line
    read: Account


def build(
    plan: Sequence[Shard],
    out: Path,
    *,
    scheme: Scheme,
    text_field: str | None = None,
    workers: int | None = None,
    left_out: Sequence[Path] = (),
    on_progress: OnProgress = ignore,
) -> Built:
    """Sketch a corpus, as shards.plan lists it, into the file `out`, which also tells what shards.left_out lists.

    A build that was stopped goes on where it was. The bytes of the sketch depend on the corpus and the scheme alone.
    Raises DataError where nothing could be read, StorageError where `out` exists or cannot be written; single lines
    that cannot be read are counted.
    """
    sample(plan, out, scheme=scheme, text_field=text_field, workers=workers, on_progress=on_progress)
    stems = {shard: _stem(shard, out, scheme, text_field) for shard in plan}
    # A sketch beside its corpus: what a stopped build left is none of it.
    beside = tuple(path for path in left_out if _parts(out).resolve() not in path.resolve().parents)
    try:
        built = _merge(stems, out, scheme=scheme, left_out=beside, on_progress=on_progress)
        _remove(_parts(out))
    except OSError as error:
        raise StorageError(atomic.explain(out, error)) from error
    return built


def sample(
    plan: Sequence[Shard],
    out: Path,
    *,
    scheme: Scheme,
    text_field: str | None = None,
    workers: int | None = None,
    on_progress: OnProgress = ignore,
) -> None:
    """Take the samples of shards that are not there yet, beside `out`, for `build` to merge.

    So a job array can share a corpus: each job samples its part of the plan, and one `build` of all follows.
    Raises UsageError for `workers` out of range, StorageError where `out` exists or the disk refuses.
    """
    if workers is not None and not 1 <= workers <= 1000:
        raise UsageError(f"--workers: found {workers}, expected 1 to 1000")
    if out.exists():
        raise StorageError(f"{out}: there is such a file already; remove it, or choose another --out")
    jobs = [(shard, _stem(shard, out, scheme, text_field)) for shard in plan]
    total = max(1, sum(shard.bytes for shard in plan) >> 20)
    try:
        _parts(out).mkdir(parents=True, exist_ok=True)
        left = [(shard, stem) for shard, stem in jobs if not _is_sampled(stem)]
        done = sum(shard.bytes for shard in plan) - sum(shard.bytes for shard, _ in left)
        on_progress(Progress("sketching", min(done >> 20, total), total))
        for shard in _run(left, scheme, text_field, workers):
            done += shard.bytes
            on_progress(Progress("sketching", min(done >> 20, total), total, shard.path.name))
    except OSError as error:
        raise StorageError(atomic.explain(out, error)) from error


def _is_sampled(stem: Path) -> bool:
    """Whether a shard's sample is there, of all of the shard: what kept some of it from being read may have passed."""
    found = sketch_runs.load(stem)
    return found is not None and found.reading.failure is None


def _run(
    left: Sequence[tuple[Shard, Path]], scheme: Scheme, text_field: str | None, workers: int | None
) -> Iterator[Shard]:
    """Sample shards here or in worker processes, and yield each when its sample is on the disk."""
    count = min(workers or os.cpu_count() or 1, len(left))
    if count <= 1:
        for shard, stem in left:
            sample_shard(shard, stem, scheme, text_field)
            yield shard
        return
    # The largest first, so that no worker is left with a large one at the end.
    order = sorted(left, key=lambda job: -job[0].bytes)
    for place in processes.run(sample_shard, [(*job, scheme, text_field) for job in order], workers=count):
        yield order[place][0]


def sample_shard(shard: Shard, stem: Path, scheme: Scheme, text_field: str | None) -> None:
    """Sample one shard into sorted runs `stem`.0.npy, ... and, when all are there, `stem`.npz."""
    fold, sampling, words, reading = kernel_fold(scheme.normaliser), scheme.sampling, room(ROOM, 3 * ROOM), Reading()
    hashes, places = np.zeros(AT_ONCE, np.uint64), np.zeros(AT_ONCE, np.uint32)
    lines = [np.zeros(0, np.uint32)]
    runs: list[int] = []
    count = place = 0
    for block in blocks(shard, reading, text_field=text_field):
        done, documents = 0, len(block.numbers)
        stretches = np.zeros(documents, np.int64)
        while done < documents:
            taken = samples.Taken(hashes, places, stretches)
            done, count, place, missing = samples.sample(block.texts, done, fold, sampling, words, taken, count, place)
            if missing:
                size = max(2 * missing, 2 * len(words.begin))
                words = room(size, max(2 * missing, len(words.form)) + PADDING)
            elif done < documents and count:
                runs.append(sketch_runs.save_run(stem, len(runs), hashes[:count], places[:count]))
                count = 0
            elif done < documents:
                hashes, places = np.zeros(2 * len(hashes), np.uint64), np.zeros(2 * len(hashes), np.uint32)
        lines.append(np.repeat(block.numbers, stretches).astype(np.uint32))
    if has_changed(shard):
        reading.failure = reading.failure or "the file changed while it was read; build the sketch again"
    if count:
        runs.append(sketch_runs.save_run(stem, len(runs), hashes[:count], places[:count]))
    sketch_runs.save(stem, ShardSample(tuple(runs), np.concatenate(lines), reading))


def kilobytes(size: int, text_bytes: int) -> str:
    """Say what a sketch takes, such as `190 KB for each MB of text`."""
    return f"{1e3 * size / max(1, text_bytes):,.0f} KB for each MB of text"


def read_scheme(sketch: SketchFile) -> Scheme:
    """Give a sketch's scheme; DataError where this version of evalkit does not sample by it."""
    found = sketch.header["tag"]
    try:
        scheme = Scheme(**sketch.header["scheme"])
    except (TypeError, UsageError):
        raise DataError(f"{sketch.path}: found a sketch of {found}, which is unknown here; {AGAIN}") from None
    if found != scheme.tag:
        raise DataError(f"{sketch.path}: found a sketch of {found}, expected {scheme.tag}; {AGAIN}")
    return scheme


def say_unread(sketch: SketchFile) -> Iterator[str]:
    """Say what of the corpus a sketch does not have, as its build did."""
    header = sketch.header
    return Account(
        trouble=header["trouble"],
        places=header["unread"],
        failures=tuple((file, reason) for file, reason in header["failures"]),
        failures_before=header["failures_before"],
        left_out=tuple(map(Path, header["left_out"])),
    ).unread()


def _parts(out: Path) -> Path:
    """Name the folder that a sketch is made in."""
    return out.with_name(f"{out.name}.parts")


def _stem(shard: Shard, out: Path, scheme: Scheme, text_field: str | None) -> Path:
    """Name a shard's sample, but for the suffix: another version of the corpus, another name."""
    seen = [str(shard.path), shard.form, shard.begin, shard.end, shard.of, shard.size, shard.modified]
    return _parts(out) / text.digest(seen, scheme.tag, text_field, length=24)


def _merge(
    stems: Mapping[Shard, Path], out: Path, *, scheme: Scheme, left_out: tuple[Path, ...], on_progress: OnProgress
) -> Built:
    """Merge the samples of all shards into the file."""
    sampled = _add_up(stems)
    read = sampled.read
    read.left_out = left_out
    layout = sketch_file.lay_out(sum(len(np.load(path, mmap_mode="r")) for path, _ in sampled.runs), sampled.count)
    header = {
        "scheme": asdict(scheme),
        "tag": scheme.tag,
        "shards": sampled.shards,
        "documents": read.documents,
        "text_bytes": read.text_bytes,
        "trouble": read.trouble,
        "unread": read.places,
        "failures": read.failures,
        "failures_before": read.failures_before,
        "left_out": [str(path) for path in left_out],
    }
    kept = sketch_file.write(
        out,
        layout,
        folder=_parts(out),
        batches=sketch_runs.merge(sampled.runs, layout, on_progress),
        lines=(each.lines for stem in stems.values() if (each := sketch_runs.load(stem))),
        header=header,
    )
    return Built(out, out.stat().st_size, kept, read)


def _add_up(stems: Mapping[Shard, Path]) -> Sampled:
    """Add up the samples of all shards. Raises DataError where no document was read, StorageError for a missing one."""
    read, count = Account(), 0
    runs: list[tuple[Path, int]] = []
    known: list[dict[str, str | int]] = []
    for shard, stem in stems.items():
        each = sketch_runs.load(stem)
        if each is None:
            raise StorageError(f"{stem}: the sample of a shard is missing or damaged; run the same command again")
        lines = read.lines_of(shard.path)
        known.append({"file": str(shard.path), "bytes": shard.size, "place": count, "line": lines})
        runs += [(stem.with_suffix(f".{number}.npy"), count) for number in range(len(each.runs))]
        read.add(shard, each.reading)
        count += len(each.lines)
    read.refuse_nothing()
    return Sampled(runs, count, known, read)


def _remove(folder: Path) -> None:
    """Remove what was merged, and what a stopped build of another version of the corpus left."""
    for path in (*folder.glob("*.npy"), *folder.glob("*.npz"), *folder.glob("*.partial")):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
