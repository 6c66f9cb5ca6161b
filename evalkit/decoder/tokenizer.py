"""Tokenizers of GPT-2's and SentencePiece's kind: loaded from a checkpoint's files, or trained on a corpus."""

from __future__ import annotations

import codecs
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from evalkit.decoder import tokenizer_files, tokenizer_kind
from evalkit.decoder.offsets import Offsets, is_untouched, split_fused, without_gaps
from evalkit.decoder.token_bytes import bytes_of_tokens
from evalkit.decoder.tokenizer_files import END_OF_TEXT
from evalkit.decoder.tokenizer_pieces import TEXTS_AT_ONCE, Pieces, last_word_end


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text as tokens; offsets count characters of the text."""

    ids: list[int]
    offsets: Offsets  # (start, end) of each token


@dataclass(frozen=True, slots=True)
class Continued:
    """A context and what continues it as the tokens of one text."""

    ids: list[int]
    before: int  # tokens that end within the context
    is_merged: bool  # the token after those begins within the context too


class Tokenizer:
    """Text to token ids and back, with the special tokens that evaluation needs."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        start: int | None,
        end_of_text: int,
        ends: AbstractSet[int] = frozenset(),
    ) -> None:
        self.backend = backend
        self.start = start  # put before every context, None where the model was trained without
        self.end_of_text = end_of_text  # put before an empty context where there is no start token
        self.ends = frozenset(ends) | {end_of_text}  # each of them ends an answer
        self._losing_steps = tokenizer_kind.losing_steps(backend)
        self._fuses_unknown = tokenizer_kind.fuses_unknown(backend)
        self._divides = tokenizer_kind.divides_after_words(backend)
        self._pieces = Pieces(backend, divides=self._divides)

    @cached_property
    def size(self) -> int:
        """One more than the highest token id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode texts as they stand: no special token is added. See `offsets` for what lies where."""
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        if not self._losing_steps and not self._fuses_unknown:
            return [Encoding(encoding.ids, encoding.offsets) for encoding in encodings]
        return [
            Encoding(ids := encoding.ids, self._mend(text, ids, encoding.offsets))
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Give the tokens of texts, those that `encode` finds; what many texts have is tokenized once."""
        return self._pieces.ids(texts)

    def continued(self, pairs: Sequence[tuple[str, str]]) -> list[Continued]:
        """Tokenize contexts with what continues each, as one text; what many contexts have is tokenized once."""
        begins = range(0, len(pairs), TEXTS_AT_ONCE)
        return [each for begin in begins for each in self._continued(pairs[begin : begin + TEXTS_AT_ONCE])]

    def _continued(self, pairs: Sequence[tuple[str, str]]) -> list[Continued]:
        cuts = [last_word_end(context, continuation) if self._divides else 0 for context, continuation in pairs]
        heads = self.ids([context[:cut] for (context, _), cut in zip(pairs, cuts, strict=True)])
        tails = self.encode([context[cut:] + rest for (context, rest), cut in zip(pairs, cuts, strict=True)])
        found = []
        for (context, _), cut, head, tail in zip(pairs, cuts, heads, tails, strict=True):
            edge = len(context) - cut
            within = bisect_right(tail.offsets, edge, key=lambda offsets: offsets[1])
            is_merged = within < len(tail.ids) and tail.offsets[within][0] < edge
            found.append(Continued(head + tail.ids, len(head) + within, is_merged))
        return found

    def _mend(self, text: str, ids: Sequence[int], offsets: Offsets) -> Offsets:
        """Let each character lie in a token, and each byte on its own character."""
        if self._fuses_unknown:
            offsets = split_fused(text, list(map(self.bytes_of, ids)), offsets)
        return offsets if is_untouched(text, self._losing_steps) else without_gaps(offsets, length=len(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of token ids, special tokens left out; broken UTF-8 becomes U+FFFD.

        It is the text of a continuation: a space that begins its first token stays.
        """
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """Give the bytes of a token; none for those that pad a model's vocabulary beyond the tokenizer's."""
        return self.token_bytes[token] if token < len(self.token_bytes) else b""

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes each token stands for; special tokens and ids without a token stand for none."""
        return bytes_of_tokens(self.backend)


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
    """Load the tokenizer of a checkpoint folder; CheckpointError where it cannot be read."""
    found = tokenizer_files.read(folder)
    return Tokenizer(found.backend, start=found.start, end_of_text=found.end_of_text, ends=found.ends)


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
    backend.decoder = decoders.ByteLevel()  # other libraries need it to turn ids into text
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
    """Write tokenizer.json and tokenizer_config.json, and generation_config.json where several tokens end an answer."""
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    end = tokenizer.backend.id_to_token(tokenizer.end_of_text)
    start = end if tokenizer.start is None else tokenizer.backend.id_to_token(tokenizer.start)
    settings = {"add_bos_token": tokenizer.start is not None, "bos_token": start, "eos_token": end}
    _write(settings, folder / "tokenizer_config.json")
    if len(tokenizer.ends) > 1:
        _write({"eos_token_id": sorted(tokenizer.ends)}, folder / "generation_config.json")


def _write(settings: Mapping[str, object], path: Path) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
