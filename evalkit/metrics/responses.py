"""What a metric is given, checked: likelihoods, or the one completion of an example."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.records import Completion, LogProb, Response


def likelihoods(responses: Sequence[Response], *, metric: str) -> list[LogProb]:
    """Return the responses; TypeError where one is a completion."""
    answers = [each for each in responses if isinstance(each, LogProb)]
    if len(answers) != len(responses):
        raise TypeError(f"{metric} scores likelihoods, found a completion among the responses")
    return answers


def likelihood(responses: Sequence[Response], *, metric: str) -> LogProb:
    """Return the only response; ValueError where there are more or none, TypeError where it is a completion."""
    (answer,) = likelihoods(responses, metric=metric)
    return answer


def completion(responses: Sequence[Response], *, metric: str) -> str:
    """Return the text of the only response; ValueError where there are more, TypeError where it is a likelihood."""
    (answer,) = responses
    if not isinstance(answer, Completion):
        raise TypeError(f"{metric} scores completions, found {type(answer).__name__}")
    return answer.text
