"""Turn a prompt into what a model is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit import filters, metric_spec
from evalkit.errors import DataError, TaskError, UsageError
from evalkit.interfaces import AsksAgain, ChecksExamples, LanguageModel, LimitedModel
from evalkit.prompt import answers, continuation, kinds
from evalkit.records import Example, Generate, LogLikelihood, Prompt, Request, RequestKind, Response, Rolling, Task
from evalkit.text import generator

BESIDE: Mapping[RequestKind, frozenset[RequestKind]] = {  # what can be asked where prompts are laid out for a kind
    "generate": frozenset({"generate", "loglikelihood"}),
    "choice": frozenset({"choice", "unconditional"}),
    "partial": frozenset({"partial"}),
    "loglikelihood": frozenset({"generate", "loglikelihood"}),
    "rolling": frozenset({"rolling"}),
}


def build(task: Task, example: Example, prompt: Prompt, *, seed: int) -> Mapping[RequestKind, tuple[Request, ...]]:
    """Build the requests of one example, of every kind that the task's metrics need.

    Likelihoods are in the order of the choices; where there are none, that of the first target is asked for. A
    generation that draws has a seed of its own, which depends on the seed, the task's name and the example's id alone;
    one that does not has 0, so that equal prompts are one request.
    """
    return {kind: tuple(_requests(kind, task, example, prompt, seed=seed)) for kind in kinds(task.metrics)}


def follow_ups(name: str, example: Example, responses: Sequence[Response], *, window: int) -> tuple[Request, ...]:
    """Build the further requests of one example that a metric has once the first responses are there."""
    metric = metric_spec.load(name)
    return metric.follow_ups(example, responses, window=window) if isinstance(metric, AsksAgain) else ()


def text(asked: Request) -> str:
    """Join all text of a request."""
    if isinstance(asked, LogLikelihood):
        return asked.context + asked.continuation
    return asked.context if isinstance(asked, Generate) else asked.text


def unanswerable(task: Task, model: LanguageModel) -> tuple[str, ...]:
    """List the metrics of a task whose further requests a model refuses; UsageError where they are all it has."""
    refused = model.unanswered if isinstance(model, LimitedModel) else ()
    loaded = {name: metric_spec.load(name) for name in task.metrics}
    found = tuple(
        name for name, each in loaded.items() if isinstance(each, AsksAgain) and set(each.again) & set(refused)
    )
    if found and len(found) == len(task.metrics):
        raise UsageError(
            f"{task.name}: found no metric but {', '.join(found)}, which {model.name} cannot be scored by, as it does "
            "not tell what is asked again; run the task with a model that evalkit runs itself"
        )
    return found


def check(task: Task, examples: Sequence[Example]) -> None:
    """Raise TaskError where a metric cannot score what the task asks for, DataError where it cannot for an example."""
    _check_metrics(task)
    for name in task.metrics:
        metric = metric_spec.load(name)
        if isinstance(metric, ChecksExamples):
            for example in examples:
                if complaint := metric.complaint(example):
                    raise DataError(f"{_place(task, example)}: {complaint}")
    for example in examples:
        if not all(_scored(task, example)):
            raise DataError(
                f"{_place(task, example)}: found an empty answer whose likelihood is asked for, expected some text; "
                "fill it in, or leave the row out"
            )


def _place(task: Task, example: Example) -> str:
    return f"{task.name}: {example.place or f'example {example.id!r}'}"


def _scored(task: Task, example: Example) -> Sequence[str]:
    """List the texts of an example whose likelihood is asked for."""
    match task.kind:
        case "choice":
            return answers(task, example)
        case "partial":
            return (example.ending or "",)
        case "loglikelihood":
            return example.targets[:1]
    return ()


def _check_metrics(task: Task) -> None:
    for each in task.filters:
        filters.left(each, answers=task.repeats)
    for name in task.metrics:
        _check_repeats(task, name)
        for kind in metric_spec.load(name).needs:
            if kind not in BESIDE[task.kind]:
                raise TaskError(
                    f"{task.name}: metric {name!r} scores requests of kind {kind!r}, found a task of kind "
                    f"{task.kind!r}; change one of the two"
                )


def _check_repeats(task: Task, name: str) -> None:
    """Raise TaskError where a metric would be given several completions."""
    wanted = metric_spec.parse(name).filter
    left = [filters.left(each, answers=task.repeats) for each in task.filters if each.name == wanted]
    number = left[0] if left else task.repeats
    if number > 1 and "generate" in metric_spec.load(name).needs:
        raise TaskError(
            f"{task.name}: metric {name!r} scores one completion, found {number} an example; name a filter after an @ "
            "that has the step take_first or majority_vote"
        )


def _requests(kind: RequestKind, task: Task, example: Example, prompt: Prompt, *, seed: int) -> list[Request]:
    context = prompt.context
    match kind:
        case "generate":
            rule = task.decoding
            return [
                Generate(context, task.stop, task.max_tokens, rule, _seed(task, example, seed, repeat))
                for repeat in range(task.repeats)
            ]
        case "unconditional":
            return [LogLikelihood(task.answer_context, answer) for answer in answers(task, example)]
        case "partial":
            return [_likelihood(context + choice, example.ending or "") for choice in answers(task, example)]
        case "rolling":
            return [Rolling(example.targets[0], prompt.window)]
        case "loglikelihood":
            return [_likelihood(context, continuation(task, example, example.targets[0]))]
    return [_likelihood(context, answer) for answer in answers(task, example)]


def _likelihood(context: str, continuation: str) -> LogLikelihood:
    """Ask with the white space that ends a verbatim context moved to the continuation, as lm_eval tokenizes it."""
    kept = context.rstrip()
    return LogLikelihood(kept, context[len(kept) :] + continuation)


def _seed(task: Task, example: Example, seed: int, repeat: int) -> int:
    if task.decoding.temperature == 0:
        return 0
    parts = (seed, task.name, example.id, *([repeat] if repeat else []))
    return generator("request", *parts).getrandbits(63)  # what a signed 64-bit integer holds
