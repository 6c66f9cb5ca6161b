"""The samples of runs as readers browse them, read from their files one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evalkit import stored
from evalkit.records import Sample, Split
from evalkit.report import direction
from evalkit.report.content import ShownSample
from evalkit.report.runs import Run


@dataclass(frozen=True, slots=True)
class Samples:
    """All samples of runs; each pass reads them again, so that they need no memory."""

    runs: Sequence[Run]
    splits: Mapping[str, Split]  # of the tasks that were scanned

    def __iter__(self) -> Iterator[ShownSample]:
        """Yield the samples of one run after the other, in their order."""
        dirty = {task: dict.fromkeys(split.dirty, True) for task, split in self.splits.items()}
        for task, split in self.splits.items():
            dirty[task] |= dict.fromkeys(split.clean, False)
        for run in self.runs:
            for sample in stored.samples(run.directory):
                yield ShownSample(
                    sample=sample,
                    model=run.name,
                    is_right=is_right(sample),
                    is_dirty=dirty.get(sample.task, {}).get(sample.example.id),
                )


def is_right(sample: Sample) -> bool | None:
    """Tell whether the first metric of one number an example calls it right; None where it is neither.

    Of a metric whose lower scores are better, or neither, no number says so: 1 may be one word, or the worst.
    """
    scores = [
        values[0]
        for spec, values in sample.statistics.items()
        if len(values) == 1 and direction.of(spec) == direction.HIGHER
    ]
    return bool(scores[0]) if sample.prompt is not None and scores and scores[0] in {0.0, 1.0} else None
