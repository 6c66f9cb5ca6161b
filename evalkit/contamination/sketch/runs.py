"""The shingles sampled of each shard, as sorted runs in files, and all of them merged, a run or a batch in memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalkit import atomic
from evalkit.contamination.corpus.documents import Reading
from evalkit.contamination.kernels import samples
from evalkit.contamination.sketch.file import Layout
from evalkit.interfaces import OnProgress, Progress

MOST = 8  # places of one shingle that are kept, the first of them
RECORD = np.dtype([("hash", "<u8"), ("place", "<u4")])

Batch = tuple[NDArray[np.uint64], NDArray[np.uint64]]  # hashes and places


@dataclass(frozen=True, slots=True)
class ShardSample:
    """What the sample of one shard comes with, beside its runs."""

    runs: tuple[int, ...]  # bytes of each run's file
    lines: NDArray[np.uint32]  # (P,) line or row of the shard that each place belongs to
    reading: Reading


def save_run(stem: Path, number: int, hashes: NDArray[np.uint64], places: NDArray[np.uint32]) -> int:
    """Write shingles by hash and place, those of one place once and the first places of each, and give the bytes.

    A run keeps no more of them than the sketch will: a phrase that all documents have must not fill the memory.
    """
    values, order = sort(hashes)  # places were taken in their order
    run = np.empty(len(order), RECORD)
    run["hash"], run["place"] = values, places[order]
    is_new = np.append(True, (np.diff(run["hash"]) != 0) | (np.diff(run["place"]) != 0))
    path = stem.with_suffix(f".{number}.npy")
    run = run[is_new]
    np.save(path, run[_are_first(run["hash"])])
    return path.stat().st_size


def save(stem: Path, sampled: ShardSample) -> None:
    """Write what a shard's runs come with: its sample is whole; OSError where the disk refuses."""
    with atomic.replacing(stem.with_suffix(".npz")) as beside, beside.open("wb") as file:
        reading = np.array(json.dumps(asdict(sampled.reading)))
        np.savez(file, runs=np.array(sampled.runs, np.int64), lines=sampled.lines, reading=reading)


def load(stem: Path) -> ShardSample | None:
    """Read a shard's sample back, but for its runs; None where it is not whole."""
    try:
        with np.load(stem.with_suffix(".npz"), allow_pickle=False) as file:
            found = ShardSample(
                tuple(file["runs"].tolist()), file["lines"], Reading(**json.loads(str(file["reading"])))
            )
        sizes = tuple(stem.with_suffix(f".{number}.npy").stat().st_size for number in range(len(found.runs)))
        return found if sizes == found.runs else None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def merge(runs: Sequence[tuple[Path, int]], layout: Layout, on_progress: OnProgress) -> Iterator[Batch]:
    """Merge runs batch by batch of pages; of each shingle MOST places are kept."""
    cursors = [0] * len(runs)
    total = max(1, sum(path.stat().st_size for path, _ in runs) >> 20)
    for page, past_page in layout.batches:
        on_progress(Progress("merging", total * page // layout.pages, total))
        begin, past = page << (64 - layout.bits), past_page << (64 - layout.bits)  # the batch's hashes
        hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        for number, (path, first) in enumerate(runs):
            run = np.load(path, mmap_mode="r")
            end = len(run) if past == 1 << 64 else int(np.searchsorted(run["hash"], np.uint64(past)))
            part = run[cursors[number] : end]
            hashes.append(part["hash"])
            places.append(part["place"].astype(np.uint64) + np.uint64(first))
            cursors[number] = end
        values, order = sort(np.concatenate(hashes), begin, past)  # runs are in the order of places
        are_first = _are_first(values)
        yield values[are_first], np.concatenate(places)[order][are_first]
    on_progress(Progress("merging", total, total))


def sort(
    hashes: NDArray[np.uint64], begin: int = 0, past: int = 1 << 64
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Sort hashes from `begin` on and before `past`, and give where each stood; equal ones stay in order."""
    bits = (past - begin - 1).bit_length()
    named = min(bits, max(1, len(hashes).bit_length() - 1))
    ends = np.zeros((1 << named) + 1, np.int64)
    return samples.sort(hashes, np.uint64(begin), np.uint64(bits - named), ends)  # type: ignore[no-any-return]


def _are_first(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell of sorted hashes which are among the first MOST of their kind."""
    begins = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
    rank = np.arange(len(values)) - np.repeat(begins, np.diff(np.append(begins, len(values))))
    return rank < MOST
