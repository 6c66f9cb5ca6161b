"""What transformers makes of a checkpoint, and whether its parts fit each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors

from evalkit.decoder.device import reported_memory
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.weights import Weights
from evalkit.errors import CheckpointError, EvalkitError

POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length")
HASHED = ("config.json", "generation_config.json", "*token*", "vocab*", "merges.txt", "*.model")
# Masks, angles and places, which follow from the configuration; and heads, which a tied model takes from its embedding.
LEFT_OVER = re.compile(
    r"(.*\.)?(attn|attention|self_attn)\.(masked_)?bias|(.*\.)?(rotary_emb\.inv_freq|position_ids)"
    r"|(lm_head|embed_out)\.weight|version"
)
LONGEST_REASON = 200  # characters of transformers' own words


def had(name: str, get: Callable[[], Any]) -> Any:  # Any: what transformers loads
    """Load a part of a checkpoint; CheckpointError, of one line, where transformers cannot."""
    try:
        with reported_memory():
            return get()
    except EvalkitError:
        raise
    except Exception as error:  # what transformers raises has no class in common
        if "trust_remote_code" in str(error):
            raise CheckpointError(
                f"hf:{name}: needs code of its own, which evalkit does not run; serve it and use server:URL"
            ) from error
        raise CheckpointError(f"hf:{name}: {_complaint(error)}") from error


def _complaint(error: Exception) -> str:
    """Say in one line what transformers found, without its advice to run what a pickle holds."""
    text = " ".join(str(error).split())
    if "weights_only" in text:
        asked = re.search(r"GLOBAL (\S+)", text)
        what = f"asks for {asked[1]:.80}, which is no tensor and may run code" if asked else "holds more than tensors"
        return f"its pickle {what}; convert it to safetensors"
    if kind := re.match(r"Unrecognized configuration class <class '[\w.]*?(\w+)'> for this kind", text):
        return f"{kind[1]} belongs to no causal language model; expected one that continues a text"
    if len(text) > LONGEST_REASON:
        cut = text[:LONGEST_REASON]
        sentences, stop, _ = cut.rpartition(". ")
        text = sentences if stop else f"{cut.rpartition(' ')[0]} ..."
    return f"transformers cannot load it ({text.rstrip('.: ') or type(error).__name__})"


def positions(config: Any) -> int | None:  # Any: a configuration of transformers
    """Read how many positions a model has; None where its configuration names no limit."""
    text = config.get_text_config()
    found = (getattr(text, setting, None) for setting in POSITIONS)
    return next((value for value in found if isinstance(value, int) and value > 1), None)


def tokenizer_of(
    made: Any,  # Any: a tokenizer of transformers
    *,
    is_started: bool | None,
    ends: frozenset[int],
    name: str,
) -> Tokenizer:
    """Take what a fast tokenizer of transformers rests on, and find the token that stands before a text.

    As in the decoder, `add_bos_token` of tokenizer_config.json decides on it; where that is silent, the tokenizer does.
    """
    if not getattr(made, "is_fast", False):
        raise CheckpointError(
            f"hf:{name}: {type(made).__name__} is a slow tokenizer, which tells no offsets; expected one with "
            "tokenizer.json: convert it, or serve the model and use server:URL"
        )
    end = made.eos_token_id
    if end is None and ends:
        end = min(ends)
    if end is None:
        raise CheckpointError(f"hf:{name}: neither tokenizer nor configuration names an end-of-text token; add one")
    start = None
    if is_started:
        start = end if made.bos_token_id is None else made.bos_token_id
    elif is_started is None:
        plain = made("a", add_special_tokens=False)["input_ids"]
        whole = made("a")["input_ids"]
        front = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), len(whole))
        if not plain or front > 1:
            raise CheckpointError(
                f"hf:{name}: the tokenizer makes {whole} of 'a', expected one token before a text at most; "
                "serve the model and use server:URL"
            )
        start = whole[0] if front else None
    backend = made.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    # No special token is asked of it again; and GPT-2's kind would leave spaces out of the tokens' offsets.
    backend.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    return Tokenizer(backend, start=start, end_of_text=end, ends=ends)


def ends_of(model: Any) -> frozenset[int]:  # Any: a model of transformers
    """Read which tokens end an answer, from generation_config.json where that names any, else from config.json."""
    for settings in (getattr(model, "generation_config", None), model.config.get_text_config()):
        found = getattr(settings, "eos_token_id", None)
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()


def check_weights(
    model: Any,  # Any: a model of transformers
    found: Any,  # Any: what it tells of loading it
    tokenizer: Tokenizer,
    *,
    folder: Path,
    name: str,
) -> None:
    """Raise CheckpointError where weights do not fit, are not finite, or are too few for tokenizer and ends."""
    if missing := sorted(found["missing_keys"]):
        saved = (getattr(model.config, "architectures", None) or [type(model).__name__])[0]
        advice = "save the model again"
        if saved != type(model).__name__:
            advice = f"it was saved as {saved}, which is no causal language model"
        raise CheckpointError(f"{name}: {_count(missing)} missing, such as {missing[0]}; {advice}")
    if mismatched := sorted(found["mismatched_keys"]):
        tensor, stored, asked = mismatched[0]
        raise CheckpointError(
            f"{name}: tensor {tensor} has shape {tuple(stored)}, config.json asks for {tuple(asked)}; "
            "correct the settings or save the model again"
        )
    if unknown := sorted(tensor for tensor in found["unexpected_keys"] if not LEFT_OVER.fullmatch(tensor)):
        raise CheckpointError(
            f"{name}: {_count(unknown)} unknown, such as {unknown[0]}; expected those that config.json asks for alone: "
            "correct its settings, or save the model again"
        )
    if not getattr(model.config, "quantization_config", None):
        _check_stored(folder, {buffer for buffer, _ in model.named_buffers()}, name=name)
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.size > rows:
        raise CheckpointError(
            f"{name}: the tokenizer has {tokenizer.size} tokens but the model only {rows}; "
            "use the tokenizer the model was trained with"
        )
    if beyond := [token for token in sorted(tokenizer.ends) if not 0 <= token < rows]:
        raise CheckpointError(
            f"{name}: eos_token_id: found {beyond[0]}, expected 0 to {rows - 1}, the model's tokens; "
            "correct generation_config.json, or config.json where that one has none"
        )
    for tensor, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise CheckpointError(
                f"{name}: tensor {tensor} holds numbers that are not finite in "
                f"{str(parameter.dtype).removeprefix('torch.')}; save the model again, or try --dtype float32"
            )


def _count(tensors: Sequence[str]) -> str:
    return "1 tensor is" if len(tensors) == 1 else f"{len(tensors)} tensors are"


def _check_stored(folder: Path, buffers: Container[str], *, name: str) -> None:
    """Raise CheckpointError where weights are stored as whole numbers, which transformers takes for real ones."""
    try:
        weights = Weights(folder)
    except CheckpointError:  # files of other names, which transformers alone reads
        return
    weights.close()
    for tensor, stored in weights.stored.items():
        if not (stored.dtype.is_floating_point or tensor in buffers or LEFT_OVER.fullmatch(tensor)):
            raise CheckpointError(
                f"{name}: tensor {tensor} has dtype {str(stored.dtype).removeprefix('torch.')}, expected numbers with "
                "a fraction such as float32; save the model again"
            )


def folder_digest(folder: Path) -> Any:  # Any: hashlib names no public class
    """Hash the configuration, weights and tokenizer files that transformers reads."""
    weights = ("*.safetensors",) if any(folder.glob("*.safetensors")) else ("*.bin",)
    files = {path for pattern in (*HASHED, *weights) for path in folder.glob(pattern) if path.is_file()}
    whole = sha256(b"transformers\n")  # the decoder's answers to the same files are others, in the last digits
    for path in sorted(files):
        with path.open("rb") as file:
            whole.update(f"{path.name}:{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole
