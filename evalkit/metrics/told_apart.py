"""Whether a detector tells the completion from what a person wrote, by the probabilities of the model that wrote it.

The completion and the example's first target are scored alone, without the prompt, by one of the zero-shot detectors;
the model is asked for the scores of their tokens once the completion is there. White space around both does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from evalkit.articles.detectors.scores import DETECTORS, DetectorName
from evalkit.metrics import aggregation
from evalkit.metrics.responses import completion
from evalkit.records import Estimate, Example, PerToken, Request, RequestKind, Response, TokenScores


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldApart:
    """1 where the completion is more machine-like than the target, 0 where it is less, 0.5 for ties.

    The score is their mean, the share of pairs told apart: 50 % where the detector cannot tell. Where either text has
    no score, as one of fewer than two tokens, nothing is told, which counts as a tie does.
    """

    by: DetectorName = "log-likelihood"

    is_proportion: ClassVar[bool] = True
    needs: ClassVar[tuple[RequestKind, ...]] = ("generate",)
    again: ClassVar[tuple[type[Request], ...]] = (PerToken,)

    @property
    def name(self) -> str:
        """Name the detector."""
        return f"told apart by {self.by}"

    def complaint(self, example: Example) -> str | None:
        """Refuse an example without a text to compare with."""
        if example.targets and example.targets[0].strip():
            return None
        return "found no text that a person wrote, expected one as the target, which completions are told apart from"

    def follow_ups(self, example: Example, responses: Sequence[Response], *, window: int) -> tuple[Request, ...]:
        """Ask for the tokens of the target and of the completion, in windows that overlap by half."""
        texts = (example.targets[0], completion(responses, metric=self.name))
        return tuple(PerToken(text.strip(), window, max(1, window // 2)) for text in texts)

    def statistics(self, example: Example, responses: Sequence[Response]) -> tuple[float, ...]:  # noqa: ARG002
        """Compare the detector's scores of target and completion, whose responses come last, in this order."""
        target, written = (DETECTORS[self.by](each) for each in responses[-2:] if isinstance(each, TokenScores))
        if target is None or written is None:
            return (0.5,)
        return ((written > target) + (written == target) / 2,)

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Estimate the share with Wilson's interval."""
        return aggregation.proportion(statistics, clusters=clusters)
