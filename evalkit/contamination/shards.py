"""The corpus as a list of shards: pieces of files that are read independently and in any order.

Plain files of lines are cut at byte positions, each shard taking the lines that begin in its range; parquet files are
cut at row groups; what is compressed is one shard a file. The plan depends on the files alone.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from evalkit.errors import DataError
from evalkit.registry import suggest

Form: TypeAlias = Literal["lines", "array", "text", "parquet", "arrow"]
Compression: TypeAlias = Literal["gzip", "zstd", "bz2"]

SHARD_BYTES = 64 << 20  # of a plain file of lines

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
    """A piece of one file."""

    path: Path
    form: Form
    compression: Compression | None
    begin: int  # first byte, or row group
    end: int  # byte after the last, or row group; the whole of a compressed file
    size: int  # of the file, in bytes, when the plan was made
    modified: int  # time of the last change, in ns

    @property
    def is_whole(self) -> bool:
        """Whether the shard is all of its file."""
        return self.begin == 0 and self.end == self.size


def plan(places: Sequence[str], *, shard_bytes: int = SHARD_BYTES) -> tuple[Shard, ...]:
    """List the shards of files, folders and globs; DataError where there is nothing to read.

    A file that several of them name is read once.
    """
    files = dict.fromkeys(path.resolve() for place in places for path in _files(place))
    if not files:
        raise DataError(f"found no corpus, expected files such as {', '.join(FORMS)}")
    return tuple(shard for path in files for shard in _shards(path, shard_bytes))


def kind(path: Path) -> tuple[Form, Compression | None] | None:
    """Tell by a file's name how it is read; None where it is no corpus."""
    compression = COMPRESSIONS.get(path.suffix)
    form = FORMS.get(Path(path.stem).suffix if compression else path.suffix)
    return (form, compression) if form else None


def _files(place: str) -> list[Path]:
    path = Path(place).expanduser()
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.is_file() and kind(each))
        if not found:
            raise DataError(f"{place}: found no corpus files in this folder, expected {_known()}")
        return found
    if path.is_file():
        if kind(path) is None:
            raise DataError(f"{place}: found a file ending in {path.suffix!r}, expected {_known()}")
        return [path]
    matching = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    found = [each for each in matching if each.is_file() and kind(each)]
    if found:
        return found
    if matching:
        raise DataError(f"{place}: found {matching[0].name} and nothing that is a corpus, expected {_known()}")
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = suggest(path.name, beside) if beside else ""
    raise DataError(f"{place}: no such file; {hint if hint.startswith('did') else 'give a file, a folder or a glob'}")


def _known() -> str:
    return f"{', '.join(FORMS)}, plain or with {', '.join(COMPRESSIONS)}"


def _shards(path: Path, shard_bytes: int) -> list[Shard]:
    found = kind(path)
    assert found is not None
    form, compression = found
    status = path.stat()
    size = status.st_size
    if compression is None and path.suffix == ".json" and _begins_array(path):
        form = "array"
    if form == "parquet":
        ends = [(group, group + 1) for group in range(_row_groups(path))]
    elif form == "lines" and compression is None:
        count = max(1, -(-size // shard_bytes))
        ends = [(size * i // count, size * (i + 1) // count) for i in range(count)]
    else:
        ends = [(0, size)]
    return [Shard(path, form, compression, begin, end, size, status.st_mtime_ns) for begin, end in ends]


def _begins_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _row_groups(path: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.ParquetFile(path).metadata.num_row_groups)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as parquet ({reason}); download or write it again") from error
