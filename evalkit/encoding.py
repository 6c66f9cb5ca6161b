"""Records as JSON: one form, the same for equal records, with the keys of an object in the order written here."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from evalkit.records import (
    Completion,
    Decoding,
    Example,
    Generate,
    LogLikelihood,
    LogProb,
    PerToken,
    Prompt,
    Request,
    Response,
    Sample,
    TokenScores,
)

Json = dict[str, Any]  # Any: JSON nests

KINDS: dict[str, type[Response]] = {"completion": Completion, "logprob": LogProb, "tokens": TokenScores}

TYPES: dict[str, type] = {  # of the fields of responses
    "text": str,
    "tokens": int,
    "finish": str,
    "total": float,
    "bytes": int,
    "is_greedy": bool,
    "boundary_merged": bool,
}
LISTS: dict[str, type] = {  # a value for each token
    "texts": str,
    "logprobs": float,
    "ranks": int,
    "entropies": float,
    "variances": float,  # which earlier versions did not store: their answers are refused
}

ALWAYS = ("id", "fields", "targets", "choices", "cluster")  # of an example; digests of earlier versions rest on these


def request_key(request: Request) -> str:
    """Hex digest of everything a request asks: two that differ in any field never share one."""
    if isinstance(request, Generate):
        content: list[object] = [
            "generate",
            request.context,
            request.stop,
            request.max_tokens,
            decoding_fields(request.decoding),
            request.seed,
        ]
    elif isinstance(request, LogLikelihood):
        content = ["loglikelihood", request.context, request.continuation]
    else:
        kind = "per-token" if isinstance(request, PerToken) else "rolling"
        content = [kind, request.text, request.window, request.stride]
    return sha256(json.dumps(content).encode()).hexdigest()


def decoding_fields(rule: Decoding) -> Json:
    """List the fields of a decoding rule, as requests have them."""
    return {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}


def encode_response(response: Response) -> str:
    """Write a response as JSON text."""
    return json.dumps(response_fields(response))


def decode_response(text: str) -> Response:
    """Read what `encode_response` wrote; ValueError, KeyError or TypeError where it did not."""
    return _response(json.loads(text))


def response_fields(response: Response) -> Json:
    """List the fields of a response, its kind first."""
    kind = next(kind for kind, each in KINDS.items() if isinstance(response, each))
    return {"kind": kind} | {field.name: getattr(response, field.name) for field in dataclasses.fields(response)}


def examples_digest(examples: Iterable[Example]) -> str:
    """Hex digest of examples and their order, 16 digits."""
    state = sha256()
    for example in examples:
        # Values of other types come from data files, dates for one, and count as they print.
        state.update(json.dumps(example_fields(example), sort_keys=True, default=str).encode() + b"\n")
    return state.hexdigest()[:16]


def example_fields(example: Example) -> Json:
    """List the fields of an example; of those that a plain one lacks, the ones that it has."""
    fields = {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}
    fields["fields"] = dict(example.fields)
    return {name: value for name, value in fields.items() if value is not None or name in ALWAYS}


def encode_sample(sample: Sample) -> str:
    """Write a sample as one line of JSON, for people too: text is not escaped."""
    prompt = sample.prompt
    fields = {
        "task": sample.task,
        "shots": sample.shots,
        "seed": sample.seed,
        "example": example_fields(sample.example),
        "prompt": None
        if prompt is None
        else {
            "context": prompt.context,
            "demonstrations": prompt.demonstrations,
            "shots_asked": prompt.shots_asked,
            "tokens": prompt.tokens,
            "window": prompt.window,
        },
        "responses": [response_fields(response) for response in sample.responses],
        "statistics": dict(sample.statistics),
    }
    return json.dumps(fields, ensure_ascii=False, default=str)


def decode_sample(line: str) -> Sample:
    """Read what `encode_sample` wrote; ValueError, KeyError or TypeError where it did not."""
    fields: Mapping[str, Any] = json.loads(line)  # Any: JSON
    example, prompt = fields["example"], fields["prompt"]
    return Sample(
        task=fields["task"],
        shots=fields["shots"],
        example=Example(
            **example | {name: _texts(example[name]) for name in ("targets", "choices")},
        ),
        prompt=None if prompt is None else Prompt(**prompt | {"demonstrations": _texts(prompt["demonstrations"])}),
        responses=tuple(_response(response) for response in fields["responses"]),
        statistics={metric: _numbers(values) for metric, values in fields["statistics"].items()},
        seed=fields.get("seed", 0),  # samples of earlier versions have none
    )


def _texts(values: Any) -> tuple[str, ...]:  # Any: JSON
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"found {values!r}, expected a list of texts")
    return tuple(values)


def _numbers(values: Any) -> tuple[float, ...]:  # Any: JSON
    is_given = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    if not is_given or any(math.isnan(value) for value in values):
        raise TypeError(f"found {values!r}, expected a list of numbers")
    return tuple(values)


def _response(fields: Json) -> Response:
    if fields["kind"] == "tokens":
        return _token_scores(fields)
    response = KINDS[fields["kind"]](**{name: value for name, value in fields.items() if name != "kind"})
    for name, kind in TYPES.items():
        if not isinstance(getattr(response, name, kind()), kind):
            raise TypeError(f"{name}: found {getattr(response, name)!r}, expected {kind.__name__}")
    return response


def _token_scores(fields: Json) -> TokenScores:
    for name, kind in LISTS.items():
        if not isinstance(fields[name], list) or not all(isinstance(value, kind) for value in fields[name]):
            raise TypeError(f"{name}: expected a list of {kind.__name__}")
    if len({len(fields[name]) for name in LISTS}) > 1:
        raise ValueError(f"{', '.join(LISTS)}: found lists of different lengths, expected one value a token in each")
    return TokenScores(**{name: tuple(fields[name]) for name in LISTS})
