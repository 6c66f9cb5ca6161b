"""Every family: random checkpoints that transformers saves have the same logits in our decoder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from evalkit.decoder import checkpoint
from evalkit.decoder.engine import from_folder
from evalkit.decoder.families import FAMILIES, native
from evalkit.decoder.model import Decoder
from evalkit.records import LogLikelihood
from tests.decoders import make_tokenizer, prefill, save_twin
from tests.family_cases import CASES

TOLERANCE = 1e-5  # of the largest logit; a wrong GELU moves it by 1e-4

LENGTHS = (4, 30, 17)


@dataclass(frozen=True)
class Twin:
    """A random model of transformers and what was loaded from the folder that it was saved to."""

    folder: Path
    model: Any
    decoder: Decoder


def make_twin(folder: Path, model_type: str, settings: dict[str, Any]) -> Twin:
    from transformers import AutoConfig

    model = save_twin(folder, AutoConfig.for_model(model_type, **settings))
    return Twin(folder, model, checkpoint.load(folder).decoder)


@pytest.fixture(
    scope="module",
    params=[(model_type, variant) for model_type, variants in CASES.items() for variant in variants],
    ids="-".join,
)
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    model_type, variant = request.param
    folder = tmp_path_factory.mktemp("twin")
    yield make_twin(folder, model_type, CASES[model_type][variant])
    shutil.rmtree(folder)


def draw(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 300, (length,), generator=generator).tolist() for length in lengths]


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE * expected.abs().max().item(), rtol=0)


def test_every_family_has_cases() -> None:
    assert CASES.keys() == FAMILIES.keys() - {native.MODEL_TYPE}


@torch.inference_mode()
def test_logits_equal_transformers(twin: Twin) -> None:
    tokens = torch.tensor(draw(40, 40))
    assert_near(twin.decoder.logits(twin.decoder(tokens)), twin.model(tokens).logits)


@torch.inference_mode()
@pytest.mark.parametrize("positions", [[39], [3, 11, 12, 39], list(range(1, 40))], ids=["last", "few", "most"])
def test_logits_of_wanted_positions_equal_transformers(twin: Twin, positions: list[int]) -> None:
    tokens, wanted = torch.tensor(draw(40, 40)), torch.tensor([positions] * 2)
    assert_near(twin.decoder.logits(twin.decoder(tokens, wanted=wanted)), twin.model(tokens).logits[:, positions])


@torch.inference_mode()
def test_cached_logits_equal_transformers_alone_and_in_an_unequal_batch(twin: Twin) -> None:
    rows = draw(*LENGTHS)
    expected = [twin.model(torch.tensor([ids])).logits[0] for ids in rows]
    for batch in [*([each] for each in range(len(rows))), range(len(rows))]:
        cache, hidden = prefill(twin.decoder, [rows[each][:-2] for each in batch], capacity=40)
        steps = [twin.decoder.logits(hidden)]
        for offset in (-2, -1):
            hidden = twin.decoder(torch.tensor([[rows[each][offset]] for each in batch]), cache=cache)[:, -1]
            cache.advance()
            steps.append(twin.decoder.logits(hidden))
        for row, each in enumerate(batch):
            assert_near(torch.stack([step[row] for step in steps]), expected[each][-3:])


@torch.inference_mode()
def test_cached_logits_of_several_tokens_at_once_equal_transformers(twin: Twin) -> None:
    rows, more = draw(*LENGTHS), torch.tensor(draw(7, 7, 7))
    cache, _ = prefill(twin.decoder, rows, capacity=40)
    found = twin.decoder.logits(twin.decoder(more, cache=cache))
    for row, ids in enumerate(rows):
        assert_near(found[row], twin.model(torch.tensor([ids + more[row].tolist()])).logits[0, -7:])


def test_scores_of_requests_that_share_their_beginnings_equal_transformers(twin: Twin) -> None:
    shared = "The cat sat on the mat. Q: What is 98 plus 45?"
    contexts = [shared, f"{shared}\n\nA: 143 and on", "Q: What is", "The cat sat on"]
    requests = [LogLikelihood(each, after) for each in contexts for after in (" 143", " the naïve cat", " the mat")]
    made = make_tokenizer()
    for request, answer in zip(requests, from_folder(twin.folder, name="twin").answer(requests), strict=True):
        before, after = (encoding.ids for encoding in made.encode([request.context, request.continuation]))
        with torch.inference_mode():
            logits = twin.model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(after)[:, None]).sum().item()
        assert answer.total == pytest.approx(expected, abs=TOLERANCE * len(after) * logits.abs().max().item())


@torch.inference_mode()
def test_bfloat16_is_as_near_the_truth_as_transformers(twin: Twin) -> None:
    from transformers import AutoModelForCausalLM

    tokens = torch.tensor(draw(40, 40))
    truth = twin.model(tokens).logits
    theirs = AutoModelForCausalLM.from_pretrained(twin.folder, dtype=torch.bfloat16).eval()(tokens).logits
    decoder = checkpoint.load(twin.folder, dtype=torch.bfloat16).decoder
    decoder.pack()  # as the engine does
    ours = decoder.logits(decoder(tokens))
    assert (ours - truth).abs().mean() <= 1.5 * (theirs.float() - truth).abs().mean()


@torch.inference_mode()
@pytest.mark.parametrize("model_type", CASES)
def test_sharded_checkpoint_gives_the_same_logits(tmp_path: Path, model_type: str) -> None:
    from transformers import AutoConfig

    model = save_twin(
        tmp_path, AutoConfig.for_model(model_type, **next(iter(CASES[model_type].values()))), shard_size="20KB"
    )
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    tokens = torch.tensor(draw(20))
    decoder = checkpoint.load(tmp_path).decoder
    assert_near(decoder.logits(decoder(tokens)), model(tokens).logits)


def test_opt_without_the_name_of_the_model_before_its_decoder_loads(tmp_path: Path) -> None:
    # some published files' names begin with `decoder.`
    twin = make_twin(tmp_path, "opt", CASES["opt"]["350m"])
    tensors = {name.removeprefix("model."): t for name, t in load_file(tmp_path / checkpoint.WEIGHTS).items()}
    save_file(tensors, tmp_path / checkpoint.WEIGHTS)
    found = checkpoint.load(tmp_path).decoder.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in twin.decoder.state_dict().items())


MASKS = [
    ("gpt_neo", "transformer.h.0.attn.attention.bias"),
    ("gptj", "transformer.h.0.attn.masked_bias"),
    ("gpt_neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"),
    ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
]


@pytest.mark.parametrize(("model_type", "name"), MASKS)
def test_what_old_versions_saved_beside_the_weights_is_ignored(tmp_path: Path, model_type: str, name: str) -> None:
    make_twin(tmp_path, model_type, next(iter(CASES[model_type].values())))
    tensors = load_file(tmp_path / checkpoint.WEIGHTS)
    save_file(tensors | {name: torch.ones(4)}, tmp_path / checkpoint.WEIGHTS)
    checkpoint.load(tmp_path)
