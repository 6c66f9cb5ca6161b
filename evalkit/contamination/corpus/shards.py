"""The corpus as a list of shards: pieces of files that are read independently and in any order.

Plain files of lines are cut at byte positions, each shard taking the lines that begin in its range; zstd files of lines
are cut between frames, parquet files between row groups, datasets of the hub where they are cut already. What is
compressed otherwise is one shard a file. The plan depends on what is to be read alone.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

from evalkit.contamination.corpus import hub, zstd_frames
from evalkit.errors import DataError
from evalkit.registry import suggest

Form: TypeAlias = Literal["lines", "text-lines", "array", "text", "parquet", "arrow", "hub"]
Compression: TypeAlias = Literal["gzip", "zstd", "bz2"]

SHARD_BYTES = 64 << 20  # of a file of lines, compressed or not

FORMS: dict[str, Form] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "lines",  # or an array, which its first byte tells
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of one file, or of one dataset of the hub."""

    path: Path  # or the name of a dataset, which begins with hub:
    form: Form
    compression: Compression | None
    begin: int  # first byte, row group, or shard of a dataset
    end: int  # the one after the last
    size: int  # of the file, in bytes, when the plan was made; of a dataset 0 where the hub does not tell
    modified: int  # time of the last change, in ns; 0 likewise
    of: int  # shards that the file or the dataset was cut into
    bytes: int  # to be read for it, as they lie on the disk; 0 where the hub does not tell

    @property
    def is_file(self) -> bool:
        """Whether the path leads to a file."""
        return self.form != "hub"


def plan(places: Sequence[str], *, text_lines: bool = False, shard_bytes: int | None = None) -> tuple[Shard, ...]:
    """List the shards of files, folders, globs and datasets of the hub (`hub:OWNER/NAME:CONFIG@SPLIT`).

    A file that several of them name is read once. With `text_lines`, each line of a text file is a document, else the
    file is one. Raises DataError where there is nothing to read.
    """
    files: dict[Path | str, None] = {}
    for place in places:
        files.update(dict.fromkeys([place] if hub.is_place(place) else [path.resolve() for path in _files(place)]))
    if not files:
        raise DataError(f"found no corpus, expected files such as {', '.join(FORMS)}")
    # Two places may lead to one dataset.
    shards: dict[Shard, None] = {}
    for file in files:
        found = (
            _of_hub(file)
            if isinstance(file, str)
            else _of_file(file, shard_bytes or SHARD_BYTES, text_lines=text_lines)
        )
        shards.update(dict.fromkeys(found))
    return tuple(shards)


def left_out(places: Sequence[str]) -> tuple[Path, ...]:
    """List what folders and globs hold beside the corpus: files of other kinds, links to nowhere or to folders.

    A folder that a glob matches is among them where it holds files that no place names.
    """
    on_disk = [place for place in places if not hub.is_place(place)]
    found: dict[Path, None] = {}
    for place in on_disk:
        found.update(dict.fromkeys(path for path in _below(place) if not _is_corpus(path)))
    folders = [folder for place in on_disk for folder in _folders(place)]
    read = (
        {path.resolve() for place in on_disk for path in (Path(place).expanduser(), *_below(place))}
        if folders
        else set()
    )
    for folder in folders:
        if any(_is_corpus(path) and path.resolve() not in read for path in _below(str(folder))):
            found[folder] = None
    return tuple(found)


def kind(path: Path) -> tuple[Form, Compression | None] | None:
    """Tell by a file's name how it is read; None where it is no corpus."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    form = FORMS.get((Path(path.stem).suffix if compression else path.suffix).lower())
    return (form, compression) if form else None


def has_changed(shard: Shard) -> bool:
    """Whether the file is another one than when the plan was made; of a dataset, reading it tells."""
    if not shard.is_file:
        return False
    try:
        status = shard.path.stat()
    except OSError:
        return True
    return (status.st_size, status.st_mtime_ns) != (shard.size, shard.modified)


def _files(place: str) -> list[Path]:
    path = Path(place).expanduser()
    found = [each for each in _below(place) if _is_corpus(each)]
    if path.is_dir():
        if not found:
            raise DataError(f"{place}: found no corpus files in this folder, expected {_known()}")
        return found
    if path.is_file():
        if kind(path) is None:
            raise DataError(f"{place}: found a file ending in {path.suffix!r}, expected {_known()}")
        return [path]
    if found:
        return found
    if matching := _below(place):
        raise DataError(f"{place}: found {matching[0].name} and nothing that is a corpus, expected {_known()}")
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = suggest(path.name, beside) if beside else ""
    what = "no file matches" if glob.has_magic(place) else "no such file"
    raise DataError(f"{place}: {what}; {hint if hint.startswith('did') else 'give a file, a folder or a glob'}")


def _below(place: str) -> list[Path]:
    """List what a folder holds at any depth, or a glob matches, but for folders."""
    path = Path(place).expanduser()
    found = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    return sorted(each for each in found if each.is_symlink() or not each.is_dir())


def _folders(place: str) -> list[Path]:
    """List the folders that a glob matches, which are not entered for it."""
    path = Path(place).expanduser()
    if path.is_dir():
        return []
    found = map(Path, glob.glob(str(path), recursive=True))
    return sorted(each for each in found if each.is_dir() and not each.is_symlink())


def _is_corpus(path: Path) -> bool:
    return path.is_file() and kind(path) is not None


def _known() -> str:
    return f"{', '.join(FORMS)}, plain or with {', '.join(COMPRESSIONS)}"


def _of_file(path: Path, shard_bytes: int, *, text_lines: bool) -> list[Shard]:
    found = kind(path)
    assert found is not None
    form, compression = found
    status = path.stat()
    size = status.st_size
    if form == "text" and text_lines:
        form = "text-lines"
    if compression is None and path.suffix.lower() == ".json" and _begins_array(path):
        form = "array"
    if form == "parquet":
        groups = _row_groups(path)
        pieces = [(number, number + 1, length) for number, length in enumerate(groups)]
    else:
        edges = _edges(path, size, shard_bytes, compression) if form in ("lines", "text-lines") else [0, size]
        pieces = [(begin, end, end - begin) for begin, end in pairwise(edges)]
    return [
        Shard(path, form, compression, begin, end, size, status.st_mtime_ns, len(pieces), length)
        for begin, end, length in pieces
    ]


def _edges(path: Path, size: int, shard_bytes: int, compression: Compression | None) -> list[int]:
    """List the bytes at which a file of lines is cut, its first and its end among them."""
    if compression == "zstd":
        return [0, *zstd_frames.cuts(path, piece=shard_bytes), size]
    count = max(1, -(-size // shard_bytes)) if compression is None else 1
    return [size * i // count for i in range(count + 1)]


def _begins_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _row_groups(path: Path) -> list[int]:
    """List the bytes of each row group, compressed."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            return [sum(group.column(i).total_compressed_size for i in range(group.num_columns)) for group in groups]
    except (pyarrow.ArrowException, OSError):
        return [path.stat().st_size]  # which is counted as not read when it is its turn


def _of_hub(place: str) -> Iterable[Shard]:
    found = hub.find(place)
    count = len(found.shard_bytes)
    return [
        Shard(Path(found.name), "hub", None, i, i + 1, found.size, found.modified, count, length)
        for i, length in enumerate(found.shard_bytes)
    ]
