"""Whether the better of two scores is the higher or the lower one."""

from __future__ import annotations

from typing import Literal, TypeAlias

from evalkit import metric_spec

Direction: TypeAlias = Literal["higher", "lower"]

HIGHER: Direction = "higher"
LOWER: Direction = "lower"
DIRECTIONS: dict[str, Direction | None] = {  # of registry.METRICS; None where neither is better
    "accuracy": HIGHER,
    "bits_per_byte": LOWER,
    "bleu": HIGHER,
    "brier_score": LOWER,
    "byte_perplexity": LOWER,
    "chrf": HIGHER,
    "exact_match": HIGHER,
    "f1": HIGHER,
    "f1_classes": HIGHER,
    "greedy_match": HIGHER,
    "mcc": HIGHER,
    "multi_bleu": HIGHER,
    "partial_accuracy": HIGHER,
    "target_perplexity": LOWER,
    "ter": LOWER,
    "token_perplexity": LOWER,
    "told_apart": None,
    "word_perplexity": LOWER,
    "words": None,
}


def of(spec: str) -> Direction | None:
    """Tell which scores of a metric, as task files write it, are better; None where none are, or it is not known."""
    return DIRECTIONS.get(metric_spec.parse(spec).name)
