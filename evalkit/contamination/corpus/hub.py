"""Datasets of the Hugging Face hub, or of a folder laid out like one, streamed as a corpus.

A place is `hub:NAME`, where NAME is an id such as allenai/c4 or a folder, with `:CONFIG`, `@SPLIT` (default train) and
after it `@REVISION` where they are wanted: `hub:allenai/c4:en@validation`. No code of a dataset is ever run.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalkit import hub_place
from evalkit.errors import DataError
from evalkit.hub_place import HubPlace

HUB_FILES = "hf://"
FORM = f"{hub_place.FORM}, or a folder for OWNER/NAME"
ROWS = 1024  # of a table
SECONDS = 30  # to wait for the hub's first answer


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as it was found."""

    name: str  # a place that leads to the same rows again: an id comes with the hash of its revision
    size: int  # of the split's files, in bytes; 0 where that is not known
    modified: int  # when one of them was changed last, in ns; 0 on the hub, whose revision tells
    shard_bytes: tuple[int, ...]  # of each shard's files, in bytes


def is_place(place: str | Path) -> bool:
    """Whether a place of a corpus is a dataset of the hub."""
    return str(place).startswith(hub_place.PREFIX)


def find(place: str) -> Dataset:
    """Find a dataset, with the commit that its revision is now, and count its shards; nothing of it is downloaded.

    Raises DataError where there is no such dataset, config or split, or no network.
    """
    asked = _parse(place)
    if not _is_folder(asked):
        asked = replace(asked, revision=_commit(asked))
    elif asked.revision:
        raise DataError(f"{place}: found a revision of a folder, which has none; leave out @{asked.revision}")
    loaded = _load(asked)
    if not loaded.shards:
        raise DataError(f"{place}: found no rows, expected at least one")
    return Dataset(str(asked), loaded.size, loaded.modified, loaded.shard_bytes)


def tables(name: str, index: int, *, dataset: tuple[int, int, int]) -> Iterator[Any]:  # Any: pyarrow is untyped
    """Yield the rows of one shard of a found dataset as Arrow tables.

    `dataset` is its size, time of change and number of shards as it was found. Raises OSError for content that cannot
    be read, DataError where the hub breaks off, so that what is missing is read by the next scan.
    """
    place = _parse(name)
    with _quietly():
        loaded = _load_once(place, *dataset)
        rows = loaded.rows.shard(num_shards=loaded.shards, index=index).with_format("arrow").iter(batch_size=ROWS)
    while True:
        try:
            with _quietly():
                table = next(rows, None)
        except Exception as error:  # the libraries beneath raise dozens of kinds, none with a common base
            if _is_folder(place) or _is_content(error):
                raise OSError(_reason(error)) from error
            raise DataError(
                f"{name}: the hub broke off ({_reason(error)}); run the same command again, finished shards are kept"
            ) from error
        if table is None:
            break
        yield table
    if _is_folder(place) and loaded.found != _load(place).found:
        raise OSError("the files changed during the scan; scan again")


@dataclass(frozen=True, slots=True)
class _Loaded:
    rows: Any  # a datasets.IterableDataset, which is untyped
    size: int
    modified: int
    shard_bytes: tuple[int, ...]

    @property
    def shards(self) -> int:
        return len(self.shard_bytes)

    @property
    def found(self) -> tuple[int, int, int]:
        return self.size, self.modified, self.shards


@lru_cache(maxsize=4)
def _load_once(place: HubPlace, size: int, modified: int, shards: int) -> _Loaded:
    """Load a dataset once a process. Raises OSError where it is another one than when it was found."""
    loaded = _load(place)
    if loaded.found != (size, modified, shards):
        raise OSError(f"the dataset changed: found {loaded.shards} shards, expected {shards} as planned; scan again")
    return loaded


def _parse(place: str) -> HubPlace:
    found = hub_place.parse(place)
    if found is None:
        raise DataError(f"{place}: found a place that cannot be understood, expected {FORM}")
    folder = Path(found.name).expanduser()
    if folder.is_dir():
        found = replace(found, name=str(folder.resolve()))
    elif not found.is_id:
        raise DataError(f"{place}: found no folder {found.name}, expected {FORM}")
    return replace(found, split=found.split or "train")


def _is_folder(place: HubPlace) -> bool:
    return Path(place.name).is_dir()


def _commit(place: HubPlace) -> str:
    """Ask the hub for the hash of a revision."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        with _quietly():
            return str(HfApi().dataset_info(place.name, revision=place.revision, timeout=SECONDS).sha)
    except RevisionNotFoundError as error:
        raise DataError(f"{place}: the hub has no revision {place.revision!r} of {place.name}") from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"{place}: no folder here, and the hub has no dataset {place.name!r} that you may read; check the name, or "
            "log in with `hf auth login` for a private one"
        ) from error
    except Exception as error:  # the libraries beneath raise dozens of kinds, none with a common base
        raise DataError(
            f"{place}: no folder here, and the hub cannot be asked for {place.name!r} ({_reason(error)}); check the "
            "network, or give files"
        ) from error


def _load(place: HubPlace) -> _Loaded:
    import datasets

    try:
        with _quietly():
            # No code of a dataset is ever run: trust_remote_code keeps its default, False.
            builder = datasets.load_dataset_builder(place.name, place.config, revision=place.revision)
            if getattr(builder.config, "batch_size", ROWS) is None:
                builder.config.batch_size = ROWS  # else parquet comes in whole row groups, whatever memory they take
            rows = builder.as_streaming_dataset(split=place.split)
            count = int(rows.num_shards)
            files = list((builder.config.data_files or {}).get(place.split, ()))
            sizes, modified = _measure(files)
    except Exception as error:  # the libraries beneath raise dozens of kinds, none with a common base
        raise DataError(f"{place}: cannot be loaded ({_reason(error)}); expected {FORM}") from error
    total = sum(sizes)
    each = tuple(sizes) if len(sizes) == count else (total // max(1, count),) * count
    return _Loaded(rows, total, modified, each)


def _measure(files: Sequence[str]) -> tuple[list[int], int]:
    """Give the bytes of files, in a folder or on the hub, and when one of them was changed last; 0 if on the hub."""
    from huggingface_hub import HfFileSystem

    if not all(each.startswith(HUB_FILES) for each in files):
        local = [Path(each).stat() for each in files if Path(each).is_file()]
        return [each.st_size for each in local], max((each.st_mtime_ns for each in local), default=0)
    # A request for each folder, not for each file.
    folders = dict.fromkeys(each.removeprefix(HUB_FILES).rpartition("/")[0] for each in files)
    hub: Any = HfFileSystem()  # Any: typed as if it gave names alone
    listed = {each["name"]: int(each["size"] or 0) for folder in folders for each in hub.ls(folder, detail=True)}
    return [listed.get(each.removeprefix(HUB_FILES), 0) for each in files], 0


def _is_content(error: Exception) -> bool:
    """Whether an error is about what stands in a file, not about getting it."""
    import pyarrow
    from datasets.exceptions import DatasetGenerationError

    kinds = (ValueError, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, pyarrow.ArrowException)
    return isinstance(error, (*kinds, DatasetGenerationError))


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return reason.rstrip(".") if len(reason) <= 300 else f"{reason[:300]}..."


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep bars and retries of the libraries off the screen: what they raise in the end says it all."""
    import datasets

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    had_bars = not datasets.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars:
            datasets.enable_progress_bars()
