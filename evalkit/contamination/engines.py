"""Where the shards of a scan are worked on: in this process, in others of this machine, or as tasks of a Ray cluster.

All of them do the same work on the same shards, and leave the same files.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination import processes, shard_scan
from evalkit.contamination.corpus.documents import Reading
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.looked import Looked, look_for
from evalkit.errors import EvalkitError, StorageError, UsageError

BOARD = "board.npy"
BOARD_COLUMNS = 3  # bytes of the file, documents and matches so far
SECONDS_TO_ANSWER = 10  # for a cluster

Board: TypeAlias = NDArray[np.int64]  # (jobs, BOARD_COLUMNS) how far each job is


@dataclass(frozen=True, slots=True)
class Job:
    """A shard to be scanned, and where its result goes."""

    number: int  # its row of the board
    shard: Shard
    path: Path  # absolute: Ray's tasks have a working directory of their own


@dataclass(frozen=True, slots=True)
class Bench:
    """What all jobs of a scan share."""

    folder: Path  # absolute, for files that processes share; every node of a cluster has to see it
    looked: Looked
    text_field: str | None
    on_look: Callable[[Board], None]  # called now and then while jobs are going on


def here(jobs: Sequence[Job], bench: Bench) -> Iterator[Job]:
    """Scan in this process, one shard after the other, and yield each when its result is on the disk."""
    board = np.zeros((len(jobs), BOARD_COLUMNS), np.int64)
    for job in jobs:
        work(job, bench.looked, board, text_field=bench.text_field, on_look=bench.on_look)
        bench.on_look(board)
        yield job


def apart(jobs: Sequence[Job], bench: Bench, *, workers: int) -> Iterator[Job]:
    """Scan in worker processes. Raises StorageError where one of them was killed."""
    board, stamp = share(bench, jobs)
    order = largest_first(jobs)
    given = [(job, bench.folder, stamp, bench.text_field) for job in order]
    for place in processes.run(work_apart, given, workers=workers, on_look=partial(bench.on_look, board)):
        yield order[place]


def cluster(jobs: Sequence[Job], bench: Bench, *, workers: int | None) -> Iterator[Job]:
    """Scan as Ray tasks on a cluster that is running, `workers` at a time or as many as it has CPUs for.

    Raises UsageError where Ray or the cluster is missing, StorageError where tasks die or their files do not arrive.
    """
    ray = connect()
    board, stamp = share(bench, jobs)
    task = ray.remote(num_cpus=1)(work_apart)
    waiting = list(reversed(largest_first(jobs)))
    at_once = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    left: dict[Any, Job] = {}  # Any: Ray's references
    try:
        while waiting or left:
            while waiting and len(left) < at_once:
                job = waiting.pop()
                left[task.remote(job, bench.folder, stamp, bench.text_field)] = job
            done, _ = ray.wait(list(left), timeout=processes.SECONDS_BETWEEN_LOOKS)
            bench.on_look(board)
            # All at once, before one raises: Ray may end this process where a finished task is cancelled.
            for job, reference in [(left.pop(reference), reference) for reference in done]:
                ray.get(reference)
                yield job
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, EvalkitError):
            raise error.cause from error
        raise StorageError(explain(error)) from error
    except ray.exceptions.RayError as error:
        raise StorageError(explain(error)) from error
    finally:
        for reference in left:
            ray.cancel(reference, force=True)


def explain(error: Exception) -> str:
    """Say in one line why a task failed, and what to do."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (
        f"a Ray task failed: {lines[-1].strip()}; every node needs evalkit, and the corpus and --out under the same "
        "names (finished shards are kept)"
    )


def connect() -> Any:  # Any: the module, which is an extra
    """Join the Ray cluster that RAY_ADDRESS names, or the one of this machine. Raises UsageError."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray: Ray is not installed; pip install 'evalkit[distributed]'") from error
    if ray.is_initialized():
        return ray
    try:
        host, colon, port = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://").rpartition(":")
        if colon and port.isdecimal():
            # Ray itself tries for minutes.
            socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--engine ray: found no cluster ({reason}); start one with `ray start --head`, or name one by RAY_ADDRESS"
        ) from error
    return ray


def largest_first(jobs: Sequence[Job]) -> list[Job]:
    """Order jobs so that no worker is left with a large one at the end."""
    return sorted(jobs, key=lambda job: -job.shard.bytes)


def share(bench: Bench, jobs: Sequence[Job]) -> tuple[Board, int]:
    """Put the index and the board into files that other processes map; the stamp tells them from those of before."""
    bench.looked.save(bench.folder)
    # Written out, not left sparse: a mapped page that a full disk has no room for kills the process.
    np.save(bench.folder / BOARD, np.zeros((len(jobs), BOARD_COLUMNS), np.int64))
    return np.load(bench.folder / BOARD, mmap_mode="r"), time.time_ns()


def work_apart(job: Job, folder: Path, stamp: int, text_field: str | None) -> None:
    """Scan one shard in another process."""
    looked, board = shared_files(folder, stamp)
    work(job, looked, board, text_field=text_field, on_look=None)


@lru_cache(maxsize=1)
def shared_files(folder: Path, stamp: int) -> tuple[Looked, Board]:
    """Map the index and the board, once a process and scan."""
    del stamp
    return look_for(folder), np.load(folder / BOARD, mmap_mode="r+")


def work(
    job: Job, looked: Looked, board: Board, *, text_field: str | None, on_look: Callable[[Board], None] | None
) -> None:
    """Scan one shard, write its result, and keep the board up to date on the way."""
    shown = time.monotonic()

    def tell(reading: Reading, matches: int) -> None:
        nonlocal shown
        board[job.number] = reading.position, reading.documents, matches
        if on_look is not None and time.monotonic() - shown > processes.SECONDS_BETWEEN_LOOKS:
            shown = time.monotonic()
            on_look(board)

    result = shard_scan.scan(job.shard, looked, text_field=text_field, on_block=tell)
    shard_scan.save(job.path, result)
    board[job.number] = job.shard.bytes, result.reading.documents, len(result.hits.found)
