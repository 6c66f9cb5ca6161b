"""What was read of a whole corpus and what was not, added up from its shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.contamination.corpus.block import PLACES, Reading
from evalkit.contamination.corpus.shards import Shard
from evalkit.errors import DataError

FIRST_FAILURES = 3  # told one by one


@dataclass(slots=True)
class Account:
    """Shards are added in the order of the plan."""

    lines: int = 0  # or rows, or files
    documents: int = 0
    text_bytes: int = 0
    trouble: dict[str, int] = field(default_factory=dict)  # what kept a line from being read -> how often
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the first places of each
    failures: tuple[tuple[str, str], ...] = ()  # file, and why the rest of it, or a part, could not be read
    failures_before: dict[str, int] = field(default_factory=dict)  # of each file: failures before its last shard
    left_out: tuple[Path, ...] = ()  # files among the corpus that are none of it
    _lines: dict[Path, int] = field(default_factory=dict)  # of each file so far

    def lines_of(self, path: Path) -> int:
        """Count the lines or rows of a file that were added so far."""
        return self._lines.get(path, 0)

    def add(self, shard: Shard, reading: Reading) -> None:
        """Add what was read of the next shard."""
        before = self.lines_of(shard.path)
        for what, count in reading.trouble.items():
            self.trouble[what] = self.trouble.get(what, 0) + count
            named = tuple(f"{shard.path}:{before + line + 1}" for line in reading.places[what])
            self.places[what] = (*self.places.get(what, ()), *named)[:PLACES]
        self.failures_before[str(shard.path)] = len(self.failures)
        if reading.failure:
            self.failures = (*self.failures, (str(shard.path), reading.failure))
        self.lines += reading.lines
        self.documents += reading.documents
        self.text_bytes += reading.text_bytes
        self._lines[shard.path] = before + reading.lines

    def unread(self) -> Iterator[str]:
        """Say what was not read, a sentence for each kind."""
        for what, count in self.trouble.items():
            named = "line or row" if count == 1 else "lines or rows"
            yield f"Not read: {count:,} {named} with {what}, the first at {', '.join(self.places[what][:3])}."
        for number, (file, reason) in enumerate(self.failures[:FIRST_FAILURES]):
            if number < self.failures_before.get(file, 0):
                yield f"Not read: a part of {file} ({reason}); line numbers after it are too low."
            else:
                yield f"Not read: the rest of {file} ({reason})."
        if more := len(self.failures[FIRST_FAILURES:]):
            named = "file or part of one" if more == 1 else "files or parts of them"
            yield f"Not read: {more:,} more {named} that broke off."
        folders = {path: None for path in self.left_out if path.is_dir()}
        if folders:
            named = "folder" if len(folders) == 1 else "folders"
            yield (
                f"Not read: {len(folders):,} {named} that a glob matches or a link leads to, the first "
                f"{next(iter(folders))}; give such a folder by its name."
            )
        files = [path for path in self.left_out if path not in folders]
        if files:
            named = "file" if len(files) == 1 else "files"
            yield f"Not read: {len(files):,} {named} of another kind, the first {files[0]}."

    def refuse_nothing(self) -> None:
        """Raise DataError where no document was read: a test set is not clean because nobody looked."""
        if self.documents:
            return
        reasons = [f"{places[0]}: {what}" for what, places in self.places.items()]
        reasons += [f"{file}: {reason}" for file, reason in self.failures]
        because = f" ({reasons[0]})" if reasons else ""
        raise DataError(
            f"found no documents in the corpus{because}, expected at least one; check --corpus and --text-field"
        )

    def refuse_gaps(self) -> None:
        """Raise DataError where anything of the corpus was not read."""
        for what, places in self.places.items():
            raise DataError(
                f"{places[0]}: {what}, found {self.trouble[what]:,} times; mend the file or leave out --strict"
            )
        for file, reason in self.failures:
            raise DataError(f"{file}: {reason}; mend the file or leave out --strict")
