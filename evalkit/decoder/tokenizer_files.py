"""The tokenizer files of a checkpoint: how it splits text, and the tokens that begin and end one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers

from evalkit.decoder.files import plain
from evalkit.decoder.tokenizer_kind import kind_of
from evalkit.errors import CheckpointError

END_OF_TEXT = "<|endoftext|>"
IDS = 2**31  # more than any vocabulary has
RARE = "a \u6771\U0010fffd"  # whose last character no vocabulary holds
UNREAD = ("tokenizer.model", "tekken.json", "spiece.model")  # what only other libraries read
# A vocabulary with merges does not say how text is split first; these classes of transformers split it as GPT-2 does.
SPLIT_AS_GPT2 = ("GPT2Tokenizer", "GPT2TokenizerFast", "CodeGenTokenizer", "CodeGenTokenizerFast")
# A post-processor can only be read as part of a tokenizer; this one holds nothing else.
EMPTY: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "decoder": None,
    "model": {"type": "BPE", "vocab": {}, "merges": []},
}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a folder says of its tokenizer."""

    backend: tokenizers.Tokenizer
    start: int | None  # stands before every text
    end_of_text: int
    ends: frozenset[int]  # tokens that end an answer, beside end_of_text


def read(folder: Path) -> TokenizerFiles:
    """Read tokenizer.json, or vocab.json and merges.txt, and what the folder's other files say of special tokens.

    tokenizer.json is taken as it stands. transformers 5 makes Llama 2's anew, and then puts no space before a text that
    begins with one, nor after a special token; earlier versions, and SentencePiece, do as the file says. Raises
    CheckpointError where neither can be read, or the tokenizer is of a kind that evalkit does not know.
    """
    settings = _object(folder / "tokenizer_config.json")
    names = _special_names(settings, _object(folder / "special_tokens_map.json"))
    backend = _backend(folder, settings, end_name=names.get("eos_token"))
    if kind_of(backend) is None:
        raise CheckpointError(
            f"{folder}: the tokenizer is a {type(backend.model).__name__} of neither GPT-2's bytes nor SentencePiece's "
            "spaces, the kinds evalkit reads; use hf: before the model's name"
        )
    ends = _ends(folder)
    end_name = names["eos_token"] if "eos_token" in names else _unnamed_end(backend, ends)
    _mark_special(backend, [*names.values(), end_name])
    _keep_spaces_in_offsets(backend)
    _check_encodes(backend, folder)
    end = backend.token_to_id(end_name)
    if end is None:
        raise CheckpointError(
            f"{folder}: the tokenizer has no end-of-text token {end_name!r}; add it to the vocabulary, or name another "
            "as eos_token in tokenizer_config.json"
        )
    start = _start(backend, settings, name=names.get("bos_token", end_name), folder=folder)
    return TokenizerFiles(backend, start, end, frozenset(ends))


def _unnamed_end(backend: tokenizers.Tokenizer, ends: Sequence[int]) -> str:
    """Choose the end-of-text token where no file names it: GPT-2's, or else the first that ends an answer."""
    first: str | None = None
    if ends and backend.token_to_id(END_OF_TEXT) is None:
        first = backend.id_to_token(ends[0])
    return first or END_OF_TEXT


def _check_encodes(backend: tokenizers.Tokenizer, folder: Path) -> None:
    """Refuse a tokenizer that fails at a text, as one does whose unknown token is not in its vocabulary."""
    try:
        backend.encode(RARE, add_special_tokens=True)
    except Exception as error:  # the library raises plain Exception
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: the tokenizer cannot encode a text ({reason}); save it again") from error


def _backend(folder: Path, settings: Mapping[str, Any], *, end_name: str | None) -> tokenizers.Tokenizer:
    """Read whichever of the two forms is there."""
    whole, vocabulary, merges = (plain(folder / name) for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    try:
        if whole.exists():
            backend = tokenizers.Tokenizer.from_file(str(whole))
            backend.no_padding()
            backend.no_truncation()
            return backend
        if vocabulary.exists() and merges.exists():
            _check_split(folder, settings)
            backend = tokenizers.Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
            prefix = settings.get("add_prefix_space") is True
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
            backend.add_special_tokens([] if end_name is None else [end_name])
            return backend
    except CheckpointError:
        raise
    except Exception as error:  # the library raises plain Exception for a broken file
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: the tokenizer cannot be read ({reason}); save it again") from error
    unread = [name for name in UNREAD if (folder / name).exists()]
    if unread:
        raise CheckpointError(
            f"{folder}: the tokenizer is in {unread[0]} alone, which evalkit does not read; load and save it with "
            "transformers' AutoTokenizer, which writes tokenizer.json, or use hf: before the model's name"
        )
    raise CheckpointError(f"{folder}: no tokenizer found; expected tokenizer.json, or vocab.json and merges.txt")


def _check_split(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a vocabulary with merges of a class that splits text in a way of its own."""
    named = settings.get("tokenizer_class")
    if named is not None and named not in SPLIT_AS_GPT2:
        raise CheckpointError(
            f"{folder}: vocab.json and merges.txt do not say how {named!r:.60} splits text; load and save it "
            "with transformers' AutoTokenizer, which writes tokenizer.json"
        )


def _special_names(*sources: Mapping[str, Any]) -> dict[str, str]:
    """Collect the special tokens by their role; what the first source says counts.

    A token is written as its text or as an object with the text in `content`.
    """
    found = {}
    for role in ("bos_token", "eos_token", "unk_token", "pad_token"):
        for source in sources:
            setting = source.get(role)
            name = setting.get("content") if isinstance(setting, dict) else setting
            if isinstance(name, str) and name:
                found[role] = name
                break
    return found


def _mark_special(backend: tokenizers.Tokenizer, names: Iterable[str]) -> None:
    """Let tokens of the vocabulary that the settings name be special, as transformers does."""
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = [name for name in dict.fromkeys(names) if name not in added and backend.token_to_id(name) is not None]
    backend.add_special_tokens(missing)


def _keep_spaces_in_offsets(backend: tokenizers.Tokenizer) -> None:
    """Undo `trim_offsets` of a post-processor, which leaves the space before a word out of its token's offsets."""
    processor = backend.post_processor
    state = "null" if processor is None else processor.__getstate__().decode()
    if '"trim_offsets":true' in state:
        kept = json.loads(state.replace('"trim_offsets":true', '"trim_offsets":false'))
        backend.post_processor = tokenizers.Tokenizer.from_str(
            json.dumps(EMPTY | {"post_processor": kept})
        ).post_processor


def _start(backend: tokenizers.Tokenizer, settings: Mapping[str, Any], *, name: str, folder: Path) -> int | None:
    """Find the token that stands before every text.

    `add_bos_token` decides where it is set; else what the tokenizer's own post-processor puts in front.
    """
    said = settings.get("add_bos_token")
    if said is None:
        return _put_in_front(backend, folder)
    if not isinstance(said, bool):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: add_bos_token: found {said!r:.60}, expected a bool")
    if not said:
        return None
    start: int | None = backend.token_to_id(name)
    if start is None:
        raise CheckpointError(f"{folder}: the tokenizer has no start token {name!r}; add it to the vocabulary")
    return start


def _put_in_front(backend: tokenizers.Tokenizer, folder: Path) -> int | None:
    """Look at what the post-processor puts before a short text."""
    encoding = backend.encode("a", add_special_tokens=True)
    front: list[int] = []
    for token, is_special in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
        if not is_special:
            break
        front.append(token)
    if len(front) > 1:
        raise CheckpointError(
            f"{folder}: the tokenizer puts {len(front)} tokens before a text, expected one at most; "
            "use hf: before the model's name"
        )
    return front[0] if front else None


def _ends(folder: Path) -> tuple[int, ...]:
    """Read which tokens end an answer: `eos_token_id` of generation_config.json, else of config.json."""
    for path in (folder / "generation_config.json", folder / "config.json"):
        settings = _object(path)
        found = settings.get("eos_token_id")
        nested = settings.get("text_config")  # of a model that reads images too
        if found is None and isinstance(nested, dict):
            found = nested.get("eos_token_id")
        if found is None:
            continue
        ends = found if isinstance(found, list) else [found]
        if not ends or not all(type(token) is int and 0 <= token < IDS for token in ends):
            raise CheckpointError(f"{path}: eos_token_id: found {found!r:.60}, expected a token's id or a list of ids")
        return tuple(ends)
    return ()


def _object(path: Path) -> dict[str, Any]:  # Any: JSON
    """Read a JSON object; an empty one where there is no such file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(plain(path).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: found a {type(content).__name__}, expected an object of settings")
    return content
