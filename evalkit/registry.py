"""Every plug-in by name, on one page; a plug-in's module is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

GENERATORS = {
    "arithmetic": "evalkit.arithmetic:examples",
}
METRICS = {
    "accuracy": "evalkit.metrics.choice:Accuracy",
    "accuracy_of_sums": "evalkit.metrics.choice:AccuracyOfSums",
    "exact_match": "evalkit.metrics.exact:ExactMatch",
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
