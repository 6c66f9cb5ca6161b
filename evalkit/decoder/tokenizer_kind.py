"""What a tokenizer does to a text on its way to tokens, read from the steps of the `tokenizers` library."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import tokenizers
from tokenizers import models

SPACE = "▁"  # U+2581, how SentencePiece writes a space
# Llama 3 and Qwen 2 differ in how many digits are one word.
LLAMA = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
LLAMA_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Regular expressions that split a text into words. Each matches all of it, finds no letter or digit with white space
# behind it in one word, and looks neither back nor farther ahead than the next character.
WORDS = frozenset(
    {
        # GPT-2 (Radford 2019), as OpenAI and as tiktoken write it
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        # evalkit's own recipes
        r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        LLAMA + r"\p{N}{1,3}" + LLAMA_REST,
        LLAMA + r"\p{N}" + LLAMA_REST,
    }
)
WORD_END = re.compile(r"[A-Za-z0-9]\s")

Kind = Literal["byte-level", "sentencepiece"]


def kind_of(backend: tokenizers.Tokenizer) -> Kind | None:
    """Tell how tokens are spelt: GPT-2's printable bytes, or SentencePiece's text; None where it is neither."""
    around = [*steps(backend.normalizer), *steps(backend.pre_tokenizer), *steps(backend.decoder)]
    if any(step["type"] == "ByteLevel" for step in around):
        return "byte-level"
    return "sentencepiece" if any(SPACE in map(str, _leaves(step)) for step in around) else None


def falls_back_to_bytes(backend: tokenizers.Tokenizer) -> bool:
    """Whether what no token holds is written as tokens <0x00> to <0xFF>."""
    decodes = any(step["type"] == "ByteFallback" for step in steps(backend.decoder))
    return decodes or bool(getattr(backend.model, "byte_fallback", False))


def fuses_unknown(backend: tokenizers.Tokenizer) -> bool:
    """Whether the bytes of several unknown characters may share one pair of offsets, as Unigram's do."""
    return isinstance(backend.model, models.Unigram) and falls_back_to_bytes(backend)


def losing_steps(backend: tokenizers.Tokenizer) -> frozenset[str]:
    """Name the normalizer's steps after which a character of the text may lie in no token, such as NFC."""
    keeping = ("Prepend", "Replace", "ByteLevel", "Lowercase")
    found = steps(backend.normalizer)
    return frozenset(step["type"] for step in found if step["type"] not in keeping or step.get("content") == "")


def divides_after_words(backend: tokenizers.Tokenizer) -> bool:
    """Whether any text has the tokens of its parts, where it is cut after an ASCII letter or digit, before white space.

    False where that is not certain.
    """
    added = backend.get_added_tokens_decoder().values()
    is_crossed = any(token.rstrip or token.single_word or WORD_END.search(token.content) for token in added)
    is_kept = all(step["type"] == "NFC" for step in steps(backend.normalizer))
    splits = [_splits_words(step) for step in steps(backend.pre_tokenizer)]
    is_split = None not in splits and any(splits)
    return isinstance(backend.model, models.BPE) and is_kept and is_split and not is_crossed


def _splits_words(step: dict[str, Any]) -> bool | None:
    """Whether a pre-tokenizer's step cuts a text after words; None where it may do anything else."""
    if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
        return bool(step["use_regex"])
    if step["type"] == "Split" and (step["behavior"], step["invert"]) == ("Isolated", False):
        return True if step["pattern"].get("Regex") in WORDS else None
    return None


def steps(component: Any) -> list[dict[str, Any]]:  # Any: tokenizers is untyped, and its state JSON
    """Give the steps of a normalizer, pre-tokenizer, post-processor or decoder in order; none where there is none."""
    return [] if component is None else _flat(json.loads(component.__getstate__()))


def _flat(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Resolve sequences of steps."""
    if state["type"] != "Sequence":
        return [state]
    (parts,) = (value for value in state.values() if isinstance(value, list))
    return [step for part in parts for step in _flat(part)]


def _leaves(value: Any) -> list[Any]:
    """Give all plain values of nested settings."""
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    return [value]
