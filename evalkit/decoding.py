"""Which rules for picking tokens can be carried out."""

from __future__ import annotations

from evalkit.records import Decoding

MOST = {"top_k": 2**31 - 1, "beams": 1024}
LARGEST_TEMPERATURE = 1000.0
LARGEST_PENALTY = 10.0  # either way; a power of the length, which floats must be able to hold


def complaint(rule: Decoding) -> tuple[str, str] | None:
    """Name the first field that is wrong, and say what was found and expected; None where the rule will do."""
    if not 0 <= rule.temperature <= LARGEST_TEMPERATURE:
        return "temperature", f"found {rule.temperature}, expected 0 to {LARGEST_TEMPERATURE:g}"
    if rule.top_p is not None and not 0 < rule.top_p <= 1:
        return "top_p", f"found {rule.top_p}, expected above 0 and up to 1"
    for field, most in MOST.items():
        value = getattr(rule, field)
        if value is not None and not 1 <= value <= most:
            return field, f"found {value}, expected 1 to {most:,}"
    if not -LARGEST_PENALTY <= rule.length_penalty <= LARGEST_PENALTY:
        return "length_penalty", f"found {rule.length_penalty}, expected {-LARGEST_PENALTY:g} to {LARGEST_PENALTY:g}"
    if rule.beams > 1 and rule.temperature > 0:
        return "beams", f"found {rule.beams}, but beam search draws nothing; expected temperature 0 with it"
    return None
