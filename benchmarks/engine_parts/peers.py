"""The sides of the engine's benchmark: one checkpoint in evalkit, in transformers and in lm_eval's hf back end."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from engine_parts.workloads import Workload
from evalkit.decoder import tokenizer as tokenizers
from evalkit.decoder.engine import DecoderModel, from_folder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.records import Completion, Generate, LogLikelihood, LogProb, Response

logging.disable(logging.WARNING)
transformers.utils.logging.disable_progress_bar()

CLOSE = 1e-3  # of log-likelihoods in float32
UNUSED = 0.01  # of their size that the embeddings of tokens keep which the tokenizer has not

DIFFERENT: list[str] = []  # what was found of sides that gave different scores, whose times mean nothing

# A score as every side gives it: a log-likelihood in nats, or generated text.
Score = float | str


@dataclass(frozen=True, slots=True)
class Shape:
    """A GPT-2 to build."""

    name: str
    layers: int
    width: int
    heads: int
    vocabulary: int
    window: int = 2048


@dataclass(frozen=True, slots=True)
class Twins:
    """The same weights on both sides."""

    ours: DecoderModel
    peer: Any  # GPT2LMHeadModel, which is untyped
    folder: Path
    tokenizer: Tokenizer
    dtype: torch.dtype


def make(shape: Shape, folder: Path, *, tokenizer: Tokenizer, device: torch.device, dtype: torch.dtype) -> Twins:
    """Make a random GPT-2 in a folder, biases and norms random too, and load it on both sides."""
    torch.manual_seed(0)
    end = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.window,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        **end,
    )
    with torch.device(device):
        made = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
        made.transformer.wte.weight[tokenizer.size :] *= UNUSED  # so that what is generated is text
    peer = made.to(dtype).eval()
    peer.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    ours = from_folder(folder, name=shape.name, device=str(device), dtype=str(dtype).removeprefix("torch."))
    return Twins(ours, peer, folder, tokenizer, dtype)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer so that transformers takes tokenizer.json as it stands."""
    tokenizers.save(tokenizer, folder)
    path = folder / "tokenizer_config.json"
    settings = {**json.loads(path.read_text()), "tokenizer_class": "PreTrainedTokenizerFast"}
    end = settings["eos_token"]
    path.write_text(json.dumps(settings | {"pad_token": end, "clean_up_tokenization_spaces": False}))


def scores(responses: Sequence[Response]) -> list[Score]:
    """Give the scores of our answers."""
    return [_score(response) for response in responses]


def _score(response: Response) -> Score:
    if isinstance(response, LogProb):
        return response.total
    assert isinstance(response, Completion)
    return response.text


def why_no_lm_eval() -> str | None:
    """Say why lm_eval's loop cannot be measured here, if it cannot."""
    if importlib.util.find_spec("lm_eval") is None:
        return "lm_eval is not installed"
    try:
        import lm_eval.models.huggingface  # noqa: F401
    except ImportError as error:
        return f"lm_eval cannot be imported ({error})"
    return None


def lm_eval_side(twins: Twins, workload: Workload, *, batch: int) -> Callable[[], list[Score]]:
    """Give what answers the requests through lm_eval's own loop."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = transformers.AutoTokenizer.from_pretrained(twins.folder)
    model = HFLM(pretrained=twins.peer, tokenizer=tokenizer, batch_size=batch)
    instances = []
    for place, request in enumerate(workload.requests):
        if isinstance(request, LogLikelihood):
            kind, arguments = "loglikelihood", (request.context, request.continuation)
        else:
            assert isinstance(request, Generate)
            rules = {"until": list(request.stop), "max_gen_toks": request.max_tokens, "do_sample": False}
            kind, arguments = "generate_until", (request.context, rules)
        instances.append(Instance(request_type=kind, doc={}, arguments=arguments, idx=place))

    def answer() -> list[Score]:
        if instances[0].request_type == "generate_until":
            return list(model.generate_until(instances, disable_tqdm=True))
        return [total for total, _ in model.loglikelihood(instances, disable_tqdm=True)]

    return answer


def generate_side(twins: Twins, texts: Sequence[str], *, new: int, is_static: bool) -> Callable[[], list[Score]]:
    """Give what continues texts of equally many tokens by transformers' generate, greedily and to the full length."""
    ids = torch.tensor([encoding.ids for encoding in twins.tokenizer.encode(texts)], device=twins.peer.device)
    rules: dict[str, Any] = {"cache_implementation": "static"} if is_static else {}

    def answer() -> list[Score]:
        with torch.inference_mode():
            made = twins.peer.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=twins.tokenizer.end_of_text,
                **rules,
            )
        return [twins.tokenizer.decode(row) for row in made[:, ids.shape[1] :].tolist()]

    return answer


def compare(ours: Sequence[Score], theirs: Sequence[Score], *, each: int) -> tuple[float, int, int]:
    """Give the largest difference of log-likelihoods, and how many choices or texts are equal, of how many."""
    if isinstance(ours[0], str):
        return 0.0, sum(one == other for one, other in zip(ours, theirs, strict=True)), len(ours)
    pairs = list(zip(map(float, ours), map(float, theirs), strict=True))
    examples = [pairs[begin : begin + each] for begin in range(0, len(pairs), each)]
    equal = sum(
        max(range(each), key=lambda at: example[at][0]) == max(range(each), key=lambda at: example[at][1])
        for example in examples
    )
    return max(abs(one - other) for one, other in pairs), equal, len(examples)


def checked(ours: Sequence[Score], theirs: Sequence[Score], *, each: int, dtype: torch.dtype = torch.float32) -> str:
    """Say how equal two sides are; scores in float32 that are not equal are kept in DIFFERENT."""
    furthest, equal, count = compare(ours, theirs, each=each)
    kind = "texts" if isinstance(ours[0], str) else "choices"
    line = f"{equal} of {count} {kind} equal"
    if kind == "choices":
        line += f", log-likelihoods within {furthest:.1e}"
    if dtype != torch.float32:
        line += f", in {str(dtype).removeprefix('torch.')}"
    elif equal < count or furthest > CLOSE:
        line += f": the sides DIFFER; expected all, within {CLOSE:.0e}"
        DIFFERENT.append(line)
    return line
