"""The lines of samples_<task>_*.jsonl: a run's samples as lm-evaluation-harness 0.4 logs them, one for each filter.

Requests are built again from the task, as a run keeps the answers alone.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from evalkit import filters, metric_spec, request
from evalkit.errors import DataError
from evalkit.metrics import lm_eval_names
from evalkit.records import Completion, Generate, LogLikelihood, Prompt, Request, Response, Sample, Task, TokenScores

Json = dict[str, Any]  # Any: JSON nests

NO_FILTER = "none"
OUTPUT_TYPES = {
    "generate": "generate_until",
    "choice": "multiple_choice",
    "partial": "multiple_choice",
    "loglikelihood": "loglikelihood",
    "rolling": "loglikelihood_rolling",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a task, under lm_eval's name."""

    spec: str  # as the task file has it
    name: str
    filter: str


@dataclass(slots=True)
class Summary:
    """What results.json says of a task, gathered while its samples are written."""

    task: Task
    is_numbered: bool  # whether the ids of all of its examples are numbers
    metrics: tuple[Metric, ...] = ()
    numbers: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)  # of each metric
    scored: int = 0
    unfit: int = 0  # samples that do not fit the window at zero shots, which are not logged
    hash: Any = field(default_factory=sha256)  # of all samples; Any: its type has no name


def log(summary: Summary, samples: Iterable[Sample], *, run: Path) -> Iterator[str]:
    """Yield the lines of a task's samples, and fill its summary on the way."""
    for sample in samples:
        if sample.prompt is None:
            summary.unfit += 1
            continue
        if not summary.scored:
            summary.task = replace(summary.task, metrics=tuple(sample.statistics))
            summary.metrics = _metrics(summary.task, sample)
        for name, numbers in sample.statistics.items():
            summary.numbers.setdefault(name, []).append(numbers)
        summary.scored += 1
        for line in _lines(sample, summary, run=run):
            summary.hash.update((line["doc_hash"] + line["prompt_hash"] + line["target_hash"]).encode())
            yield json.dumps(line, ensure_ascii=False, default=str) + "\n"


def _metrics(each: Task, sample: Sample) -> tuple[Metric, ...]:
    """Name metrics as lm_eval does where it has them; those that would share a name keep the task file's."""
    found = [Metric(spec, *_logged(spec, each)) for spec in sample.statistics]
    shared = Counter((metric.name, metric.filter) for metric in found)
    return tuple(
        metric
        if shared[metric.name, metric.filter] == 1
        else replace(metric, name=metric.spec.partition("@")[0].replace(",", ";"))
        for metric in found
    )


def _logged(text: str, each: Task) -> tuple[str, str]:
    """Give lm_eval's name of a metric and of its filter."""
    spec = metric_spec.parse(text)
    settings = {key: value for key, value in spec.settings.items() if key != "delimiter"}
    known = lm_eval_names.PARTIAL if each.kind == "partial" else lm_eval_names.KNOWN[OUTPUT_TYPES[each.kind]]
    name = next((name for name, (ours, own, _) in known.items() if (ours, own) == (spec.name, settings)), spec.name)
    return name, spec.filter or NO_FILTER


def _lines(sample: Sample, summary: Summary, *, run: Path) -> Iterator[Json]:
    """Make a sample's lines, one for each filter."""
    example, made = sample.example, summary.task
    assert sample.prompt is not None
    asked = [each for kind in request.build(made, example, sample.prompt, seed=sample.seed).values() for each in kind]
    if len(asked) != len(sample.responses):
        raise DataError(
            f"{run}: {sample.task} asks {len(asked)} requests of example {example.id!r}, and the run has "
            f"{len(sample.responses)} answers; the task has changed, run the run's command again"
        )
    calls = _calls(list(zip(asked, sample.responses, strict=True)))
    doc, target = dict(example.fields), _target(sample, made)
    arguments = {
        f"gen_args_{number}": {f"arg_{place}": value for place, value in enumerate(_arguments(each, sample.prompt))}
        for number, (each, _) in enumerate(calls)
    }
    first = _arguments(calls[0][0], sample.prompt)[0] if calls else ""
    hashes = {
        "doc_hash": _hash(json.dumps(doc, indent=2, default=str, ensure_ascii=False)),
        "prompt_hash": _hash(str(first)),
        "target_hash": _hash(target),
    }
    for name in dict.fromkeys(metric.filter for metric in summary.metrics):
        here = [metric for metric in summary.metrics if metric.filter == name]
        values = {metric.name: _value(sample.statistics[metric.spec]) for metric in here}
        yield {
            # lm_eval numbers documents; names stay, so that a scan knows its examples again.
            "doc_id": int(example.id) if summary.is_numbered else example.id,
            "doc": doc,
            "target": target,
            "arguments": arguments,
            "resps": [[_answer(each, call) for each in responses] for call, responses in calls],
            "filtered_resps": [_filtered(call, responses, name, sample, made) for call, responses in calls],
            "filter": name,
            "metrics": list(values),
            **hashes,
            **values,
        }


def _calls(asked: Sequence[tuple[Request, Response]]) -> list[tuple[Request, list[Response]]]:
    """Put the generations of one example together, which are one request of lm_eval with several answers."""
    calls: list[tuple[Request, list[Response]]] = []
    for each, response in asked:
        if isinstance(each, Generate) and calls and isinstance(calls[-1][0], Generate):
            calls[-1][1].append(response)
        else:
            calls.append((each, [response]))
    return calls


def _arguments(each: Request, built: Prompt) -> tuple[object, ...]:
    if isinstance(each, LogLikelihood):
        # White space that ends a verbatim context stands there in lm_eval, which moves it when it tokenizes.
        blanks = built.context[len(each.context) :]
        if blanks and built.context == each.context + blanks and each.continuation.startswith(blanks):
            return built.context, each.continuation.removeprefix(blanks)
        return each.context, each.continuation
    if not isinstance(each, Generate):
        return (each.text,)
    rule = each.decoding
    given: Json = {
        "until": list(each.stop),
        "max_gen_toks": each.max_tokens,
        "do_sample": rule.temperature > 0,
        "temperature": rule.temperature,
    }
    more = {"top_k": rule.top_k, "top_p": rule.top_p, "num_beams": rule.beams if rule.beams > 1 else None}
    return each.context, given | {name: value for name, value in more.items() if value is not None}


def _answer(response: Response, call: Request) -> object:
    """Write an answer as lm_eval does, numbers as texts."""
    if isinstance(response, Completion):
        return response.text
    if isinstance(response, TokenScores):
        return str(math.fsum(response.logprobs))
    return [str(response.total), str(response.is_greedy)] if isinstance(call, LogLikelihood) else str(response.total)


def _filtered(call: Request, responses: Sequence[Response], name: str, sample: Sample, made: Task) -> object:
    """Give what a filter leaves of the answers to one request: one answer, or a list where it leaves several."""
    completions = [each for each in responses if isinstance(each, Completion)]
    if not completions:
        return _answer(responses[0], call)
    chosen = next((each for each in made.filters if each.name == name), None)
    if chosen is not None:
        completions = list(filters.apply(chosen, completions, sample.example.fields))
    return completions[0].text if len(completions) == 1 else [each.text for each in completions]


def _target(sample: Sample, made: Task) -> str:
    """Give the place of the right choice, or the text that is right; of several a list."""
    example = sample.example
    if made.kind == "partial":
        return (example.ending or "").strip()
    if made.kind == "choice":
        places = [place for place, choice in enumerate(example.choices) if choice in example.targets]
        return str(places[0] if len(places) == 1 else places)
    return example.targets[0] if len(example.targets) == 1 else str(list(example.targets))


def _value(numbers: tuple[float, ...]) -> float | list[float]:
    return numbers[0] if len(numbers) == 1 else list(numbers)


def _hash(content: str) -> str:
    return sha256(content.encode("utf-8", "backslashreplace")).hexdigest()
