"""The bytes that each token of a vocabulary stands for."""

from __future__ import annotations

import re
from collections.abc import Callable

import tokenizers

from evalkit.decoder.tokenizer_kind import SPACE, falls_back_to_bytes, kind_of

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def bytes_of_tokens(backend: tokenizers.Tokenizer) -> list[bytes]:
    """Give the bytes of every id; special tokens and ids without a token stand for none."""
    is_byte_level = kind_of(backend) == "byte-level"
    spell = _byte_level() if is_byte_level else _sentencepiece(with_bytes=falls_back_to_bytes(backend))
    vocabulary = backend.get_vocab(with_added_tokens=True)
    table = [b""] * (max(vocabulary.values(), default=-1) + 1)
    added = backend.get_added_tokens_decoder()
    for text, token in vocabulary.items():
        if token not in added:
            table[token] = spell(text)
        elif not added[token].special:
            # What was added to a byte-level vocabulary is plain text; SentencePiece has runs of "▁" among it.
            table[token] = text.encode() if is_byte_level else spell(text)
    return table


def _byte_level() -> Callable[[str], bytes]:
    """Spell tokens of GPT-2's kind, a printable character a byte; one with any other character is plain text."""
    alphabet = _byte_of_character()

    def spell(text: str) -> bytes:
        try:
            return bytes([alphabet[character] for character in text])
        except KeyError:
            return text.encode()

    return spell


def _sentencepiece(*, with_bytes: bool) -> Callable[[str], bytes]:
    """Spell tokens of SentencePiece's kind: "▁" is a space and, with byte fallback, <0x0A> is a line feed."""

    def spell(text: str) -> bytes:
        if with_bytes and (byte := BYTE_TOKEN.fullmatch(text)):
            return bytes.fromhex(byte[1])
        return text.replace(SPACE, " ").encode()

    return spell


def _byte_of_character() -> dict[str, int]:
    """Invert GPT-2's map of bytes to printable characters (Radford 2019): bytes without a glyph go to U+0100 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + position): byte for position, byte in enumerate(others)}
