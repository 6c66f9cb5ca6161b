"""Byte-level BPE tokenizers: loaded from a checkpoint's files, or trained on a corpus."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, trainers

from evalkit.errors import CheckpointError

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text as tokens; offsets count characters of the text."""

    ids: list[int]
    offsets: list[tuple[int, int]]  # (start, end) of each token


class Tokenizer:
    """Text to token ids and back, with the two special tokens that evaluation needs."""

    def __init__(self, backend: tokenizers.Tokenizer, *, start: int | None, end_of_text: int) -> None:
        self.backend = backend
        self.start = start  # put before every context, None where the model was trained without
        self.end_of_text = end_of_text

    @property
    def size(self) -> int:
        """One more than the highest token id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode texts as they stand: no special token is added."""
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [Encoding(encoding.ids, encoding.offsets) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of token ids, special tokens left out; broken UTF-8 becomes U+FFFD."""
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """Give the bytes of a token; none for those that pad a model's vocabulary beyond the tokenizer's."""
        return self.token_bytes[token] if token < len(self.token_bytes) else b""

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes each token stands for; special tokens and ids without a token stand for none."""
        alphabet = _byte_of_character()
        added = self.backend.get_added_tokens_decoder()
        table = [b""] * self.size
        for text, token in self.backend.get_vocab(with_added_tokens=True).items():
            if token in added:
                table[token] = b"" if added[token].special else text.encode()
            elif all(character in alphabet for character in text):
                table[token] = bytes(alphabet[character] for character in text)
            else:
                raise CheckpointError(
                    f"token {token} is {text!r}, which no byte-level BPE has; evalkit reads no other kind"
                )
        return table


class TextStream:
    """Turns generated ids into text as they come, whole characters at a time."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer.bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Give the text that `token` completes; the first bytes of a character wait for the others."""
        return self._decoder.decode(self._bytes_of(token))

    def close(self) -> str:
        """Give what is left: U+FFFD where a character was not finished."""
        return self._decoder.decode(b"", final=True)


def load(folder: Path) -> Tokenizer:
    """Load a folder's tokenizer.json, or its vocab.json and merges.txt; CheckpointError where neither can be read."""
    backend = _backend(folder)
    settings = _settings(folder)
    end_name = _token_name(settings.get("eos_token")) or END_OF_TEXT
    end = backend.token_to_id(end_name)
    if end is None:
        raise CheckpointError(
            f"{folder}: the tokenizer has no end-of-text token {end_name!r}; add it to the vocabulary"
        )
    start = None
    if settings.get("add_bos_token"):
        start = backend.token_to_id(_token_name(settings.get("bos_token")) or end_name)
    return Tokenizer(backend, start=start, end_of_text=end)


def _backend(folder: Path) -> tokenizers.Tokenizer:
    """Read whichever of the two forms is there."""
    whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    try:
        if whole.exists():
            backend = tokenizers.Tokenizer.from_file(str(whole))
            backend.no_padding()
            backend.no_truncation()
            return backend
        if vocabulary.exists() and merges.exists():
            backend = tokenizers.Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            backend.add_special_tokens([END_OF_TEXT])
            return backend
    except Exception as error:  # the library raises plain Exception for a broken file
        raise CheckpointError(f"{folder}: the tokenizer cannot be read ({error}); save it again") from error
    raise CheckpointError(f"{folder}: no tokenizer found; expected tokenizer.json, or vocab.json and merges.txt")


def _settings(folder: Path) -> dict[str, Any]:  # Any: JSON
    """Read tokenizer_config.json, where there is one."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: found a {type(settings).__name__}, expected an object of settings")
    return settings


def _token_name(setting: object) -> str | None:
    """Read a special token, which is written as text or as an object with the text in `content`."""
    name = setting.get("content") if isinstance(setting, dict) else setting
    return name if isinstance(name, str) else None


def train(texts: Iterable[str], *, vocab_size: int, pattern: str) -> Tokenizer:
    """Train a byte-level BPE; merges never cross the edges of what the regular expression `pattern` matches."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence([])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(END_OF_TEXT, special=True)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    end = backend.get_vocab(with_added_tokens=True)[END_OF_TEXT]
    return Tokenizer(backend, start=end, end_of_text=end)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    end = tokenizer.backend.id_to_token(tokenizer.end_of_text)
    settings = {"add_bos_token": tokenizer.start is not None, "bos_token": end, "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _byte_of_character() -> dict[str, int]:
    """Invert GPT-2's map of bytes to printable characters (Radford 2019): bytes without a glyph go to U+0100 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + position): byte for position, byte in enumerate(others)}
