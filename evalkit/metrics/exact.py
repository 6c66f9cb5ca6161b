"""Exact match: the completion is one of the targets.

The rule of Brown 2020, section 3.9.1: a model "must generate the correct answer exactly". White space around either is
put aside, unless `strip=false`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from evalkit.errors import TaskError
from evalkit.metrics import aggregation
from evalkit.metrics.responses import completion
from evalkit.records import Estimate, Example, RequestKind, Response

PUNCTUATION = str.maketrans("", "", string.punctuation)  # of ASCII
DIGITS = str.maketrans("", "", string.digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMatch:
    """1 where the completion equals a target, 0 elsewhere; the score is the proportion of ones.

    What is to be ignored is taken out of completion and targets in lm_eval's order: what each regular expression
    matches, case, punctuation, digits; white space around the rest last. With `strip=false` the score is lm_eval's,
    but for Turkish capital I with a dot under `ignore_case`, which lm_eval cuts short.
    """

    ignore_case: bool = False
    ignore_punctuation: bool = False
    ignore_numbers: bool = False
    regexes_to_ignore: tuple[str, ...] = ()
    strip: bool = True

    name: ClassVar[str] = "exact match"
    is_proportion: ClassVar[bool] = True
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)

    def __post_init__(self) -> None:
        for pattern in self.regexes_to_ignore:
            try:
                re.compile(pattern)
            except re.error as error:
                raise TaskError(
                    f"setting 'regexes_to_ignore': found {pattern!r}, expected a regular expression: {error}"
                ) from error

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:
        """Compare the one completion of an example with its targets."""
        answer = self._compared(completion(responses, metric=self.name))
        return (float(any(answer == self._compared(target) for target in example.targets)),)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the proportion with Wilson's interval."""
        return aggregation.proportion(statistics, clusters=clusters)

    def _compared(self, text: str) -> str:
        for pattern in self.regexes_to_ignore:
            text = re.sub(pattern, "", text)
        if self.ignore_case:
            text = text.lower()
        if self.ignore_punctuation:
            text = text.translate(PUNCTUATION)
        if self.ignore_numbers:
            text = text.translate(DIGITS)
        return text.strip() if self.strip else text
