"""Jobs in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from evalkit.errors import StorageError

SECONDS_BETWEEN_LOOKS = 0.5


def run(
    work: Callable[..., None],
    jobs: Sequence[tuple[Any, ...]],  # Any: what `work` takes
    *,
    workers: int,
    on_look: Callable[[], None] = lambda: None,
) -> Iterator[int]:
    """Call `work` with each job's arguments, begun in their order, and yield the place of each that is done.

    `on_look` is called now and then. Raises what a job raises, and StorageError where a process was killed.
    """
    # Not forked: a copy of a process that runs threads, as Arrow does, may hang.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=attend, initargs=(os.getpid(),)) as pool:
            try:
                left = {pool.submit(work, *job): place for place, job in enumerate(jobs)}
                while left:
                    done, _ = wait(left, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
                    on_look()
                    for future in done:
                        future.result()
                        yield left.pop(future)
            except BaseException:
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
                raise
    except BrokenProcessPool as error:
        raise StorageError(
            "a worker process was killed, for want of memory it may be; give fewer --workers (finished shards are kept)"
        ) from error


def attend(parent: int) -> None:
    """Leave Ctrl-C to the process that started this one, and end with it, even where it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
