"""What a comparison of scores on all, clean and dirty examples finds of one task under one metric."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.contamination.demonstrations import Demonstrations
from evalkit.contamination.gain import Curves
from evalkit.records import Comparison
from evalkit.report.figures.dose import Dose


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, and what is shown beside it."""

    comparison: Comparison
    demonstrations: Demonstrations | None  # None where none was shown, or the scan did not look for them
    lacks_pool: bool  # whether demonstrations were shown that the scan did not look for
    curves: Curves | None  # None where no scored example could be scanned
    dose: Dose | None  # None where all scored examples overlap alike
    measure: str  # of overlap
