"""Every plug-in by name, on one page; a plug-in's module is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

GENERATORS = {
    "arithmetic": "evalkit.arithmetic:examples",
    "scramble": "evalkit.scramble:examples",
}
METRICS = {
    "accuracy": "evalkit.metrics.choice:Accuracy",
    "bits_per_byte": "evalkit.metrics.rolling:BitsPerByte",
    "bleu": "evalkit.metrics.translation:Bleu",
    "brier_score": "evalkit.metrics.classification:BrierScore",
    "byte_perplexity": "evalkit.metrics.rolling:byte_perplexity",
    "chrf": "evalkit.metrics.translation:Chrf",
    "exact_match": "evalkit.metrics.exact:ExactMatch",
    "f1": "evalkit.metrics.token_f1:TokenF1",
    "f1_classes": "evalkit.metrics.classification:F1OfClasses",
    "greedy_match": "evalkit.metrics.target:GreedyMatch",
    "mcc": "evalkit.metrics.classification:MatthewsCorrelation",
    "multi_bleu": "evalkit.metrics.multi_bleu:MultiBleu",
    "partial_accuracy": "evalkit.metrics.choice:PartialAccuracy",
    "target_perplexity": "evalkit.metrics.target:TargetPerplexity",
    "ter": "evalkit.metrics.translation:Ter",
    "token_perplexity": "evalkit.metrics.rolling:token_perplexity",
    "told_apart": "evalkit.metrics.told_apart:ToldApart",
    "word_perplexity": "evalkit.metrics.rolling:word_perplexity",
    "words": "evalkit.metrics.length:Words",
}
MODELS = {
    "nano": "evalkit.nano:load",
}
RECIPES = {
    "nano": "evalkit.nano.recipe:training",
}


def resolve(plugins: dict[str, str], name: str) -> Any:  # Any: each table has a type of its own
    """Import the plug-in that `name` stands for; KeyError where the table lacks it."""
    module, _, attribute = plugins[name].partition(":")
    return getattr(import_module(module), attribute)


def suggest(name: str, known: Iterable[str]) -> str:
    """End an error message: the closest known name, or all of them."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}"
