"""Metrics of lm_eval's task files as evalkit writes them, so that scores come out equal.

Every metric that a task file without Python code uses is known, and those of lm_eval's registry that can be computed
there. lm_eval passes over settings that its metric does not take; those that its own files have are passed over here
too, any other is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from evalkit.errors import TaskError
from evalkit.metric_spec import Spec, format
from evalkit.registry import suggest

PASSED_OVER = {
    "acc": ("weight_by_size",),
    "acc_norm": ("weight_by_size",),
    "f1": ("average",),  # of lm_eval's own f1, which is that of class 1 whatever it says
}
EXACT_MATCH = ("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore")
OWN_KEYS = ("metric", "aggregation", "higher_is_better", "hf_evaluate")
MEANS = ("mean", "nanmean")
# By output type: lm_eval's name, ours, our settings, and the aggregations that give our score.
KNOWN: dict[str, dict[str, tuple[str, Mapping[str, object], tuple[str, ...]]]] = {
    "multiple_choice": {
        "acc": ("accuracy", {"by": "sum"}, MEANS),
        "acc_norm": ("accuracy", {"by": "character"}, MEANS),
        "acc_bytes": ("accuracy", {"by": "byte"}, MEANS),
        "acc_mutual_info": ("accuracy", {"by": "unconditional"}, MEANS),
        "f1": ("f1_classes", {}, ("f1",)),
        "mcc": ("mcc", {}, ("matthews_corrcoef",)),
        "brier_score": ("brier_score", {}, ("brier_score",)),
    },
    "generate_until": {
        "exact_match": ("exact_match", {"strip": False}, MEANS),
        "bleu": ("bleu", {}, ("bleu",)),
        "chrf": ("chrf", {}, ("chrf",)),
        "chrf++": ("chrf", {"word_order": 2}, ("chrf++",)),
        "ter": ("ter", {}, ("ter",)),
    },
    "loglikelihood": {
        "acc": ("greedy_match", {}, MEANS),
        "perplexity": ("target_perplexity", {}, ("perplexity",)),
    },
    "loglikelihood_rolling": {
        "word_perplexity": ("word_perplexity", {}, ("weighted_perplexity",)),
        "byte_perplexity": ("byte_perplexity", {}, ("weighted_perplexity",)),
        "bits_per_byte": ("bits_per_byte", {}, ("bits_per_byte",)),
    },
}
# The evaluate library's metrics, of one answer at a time: whether it is the right one.
EVALUATE = {"accuracy": {}, "f1": {"average": "micro"}}
DEFAULTS = {
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
}
# Where lm_eval's doc_to_text gives a number, the choices end the question.
PARTIAL = {"acc": ("partial_accuracy", {"by": "sum"}, MEANS)}


def specs(*, output_type: str, delimiter: str = " ", is_partial: bool = False) -> list[str]:
    """Write the metrics of a task file that has no `metric_list`."""
    return [
        each
        for name in DEFAULTS[output_type]
        if not is_partial or name in PARTIAL
        for each in spec_of({"metric": name}, output_type=output_type, delimiter=delimiter, is_partial=is_partial)
    ]


def spec_of(
    entry: Mapping[str, object], *, output_type: str, delimiter: str = " ", is_partial: bool = False
) -> list[str]:
    """Write one entry of a `metric_list` as evalkit's metrics.

    `delimiter` is the task's `target_delimiter`, which evalkit's choices begin with and lm_eval does not count;
    `is_partial` says that the choices end the question. Raises TaskError for what is not known.
    """
    metric = entry.get("metric")
    if not isinstance(metric, str):
        raise TaskError(f"key 'metric_list': found {metric!r}, expected a metric's name under 'metric'")
    given = {key: value for key, value in entry.items() if key not in OWN_KEYS}
    if entry.get("hf_evaluate") is True:
        return [_of_evaluate(metric, given, output_type=output_type)]
    known = PARTIAL if is_partial else KNOWN[output_type]
    if metric not in known:
        kind = f"{output_type}, choices within the question" if is_partial else output_type
        raise TaskError(f"metric {metric!r} is not known for output type {kind}; {suggest(metric, known)}")
    name, settings, aggregations = known[metric]
    if entry.get("aggregation", aggregations[0]) not in aggregations:
        raise TaskError(
            f"metric {metric!r}: found the aggregation {entry['aggregation']!r}, expected {' or '.join(aggregations)}"
        )
    taken = EXACT_MATCH if metric == "exact_match" else ()
    for key in given:
        if key not in (*taken, *PASSED_OVER.get(metric, ())):
            raise TaskError(f"metric {metric!r}: unknown setting {key!r}; {suggest(key, (*OWN_KEYS, *taken))}")
    settings = {**settings, **{key: given[key] for key in taken if given.get(key) not in (None, False)}}
    if settings.get("by") in {"byte", "character"} and delimiter != " ":
        settings["delimiter"] = delimiter
    return [format(Spec(name, MappingProxyType(settings), None))]


def _of_evaluate(metric: str, given: Mapping[str, object], *, output_type: str) -> str:
    """Write a metric of the evaluate library, which lm_eval computes for each answer alone and averages."""
    if output_type != "generate_until" or metric not in EVALUATE or given != EVALUATE[metric]:
        raise TaskError(
            f"metric {metric!r} of the evaluate library with the settings {dict(given)} is not known; "
            f"known: {', '.join(EVALUATE)} (f1 with average: micro) of generated text"
        )
    return format(Spec("exact_match", MappingProxyType({"strip": False}), None))
