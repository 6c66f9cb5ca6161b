"""The published comparison: Table C.1 of Brown et al. 2020, "Language Models are Few-Shot Learners" (GPT-3 175B).

`table_c1.csv` holds its 42 rows as printed in arXiv:2005.14165v4, copied from transcripts that agree in every cell.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

TABLE_C1 = Path(__file__).with_name("table_c1.csv")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of Table C.1; scores, in percent or BLEU, are printed with one decimal."""

    name: str
    partition: str  # of the dataset: dev or test
    metric: str  # acc, f1 or bleu-sb (sacreBLEU)
    n: int  # words of the n-grams that made examples dirty
    all: float
    total: int
    dirty: float | None  # None where no example is dirty
    dirty_count: int
    clean: float
    clean_count: int
    clean_percent: int  # as printed, rounded
    relative_percent: int  # as printed, rounded


def load() -> tuple[PublishedRow, ...]:
    """Read the rows in the paper's order, from the dirtiest dataset to the cleanest."""
    with TABLE_C1.open(encoding="utf-8", newline="") as lines:
        return tuple(
            PublishedRow(
                name=row["name"],
                partition=row["split"],
                metric=row["metric"],
                n=int(row["N"]),
                all=float(row["all"]),
                total=int(row["total"]),
                dirty=None if row["dirty_score"] == "-" else float(row["dirty_score"]),
                dirty_count=int(row["dirty"]),
                clean=float(row["clean_score"]),
                clean_count=int(row["clean"]),
                clean_percent=int(row["clean_pct"]),
                relative_percent=int(row["rel_diff_pct"]),
            )
            for row in csv.DictReader(lines)
        )
