"""Prompts that lie end to end: the numbers of prompts that are padded."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from evalkit.decoder import packed, varlen
from evalkit.decoder.attention import Scores, attend, attend_in_rows, attend_packed, ready_kernels
from evalkit.decoder.cache import KVCache
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families import FAMILIES
from evalkit.decoder.model import Decoder
from tests.decoders import make_decoder
from tests.family_cases import CASES

LENGTHS = (30, 3, 17, 1)
WANTED = ((29,), (2, 0), (), (0,))  # positions of each prompt


def config_of(kind: str, variant: str) -> DecoderConfig:
    from transformers import AutoConfig

    return FAMILIES[kind].config(AutoConfig.for_model(kind, **CASES[kind][variant]).to_dict())


@pytest.fixture(scope="module", params=["evalkit", "gpt_neo-banded", "gpt_neox-parallel", "qwen3-banded", "opt-350m"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    if request.param == "evalkit":
        return make_decoder(band=8, window=64)
    decoder = Decoder(config_of(*request.param.split("-"))).initialise(seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return decoder.requires_grad_(False).eval()


def room(decoder: Decoder) -> KVCache:
    return KVCache(decoder.config, rows=len(LENGTHS), capacity=40, device=torch.device("cpu"), dtype=torch.float32)


def prompts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 300, (length,), generator=generator) for length in LENGTHS]


@torch.inference_mode()
def test_packed_prompts_have_the_hidden_states_keys_and_values_of_padded_ones(decoder: Decoder) -> None:
    padded, laid = room(decoder), room(decoder)
    states = decoder(pad_sequence(prompts(), batch_first=True), cache=padded)
    expected = [states[row, place] for row, places in enumerate(WANTED) for place in places]
    found = packed.prefill(decoder, prompts(), WANTED, cache=laid)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed.prefill(decoder, prompts(), WANTED, cache=None), found)
    for one, other in zip((*laid.keys, *laid.values), (*padded.keys, *padded.values), strict=True):
        for row, length in enumerate(LENGTHS):
            torch.testing.assert_close(one[row, :, :length], other[row, :, :length], atol=1e-4, rtol=1e-4)
            assert not one[row, :, length:].any()


@torch.inference_mode()
def test_prompts_of_which_nothing_is_wanted_fill_the_cache(decoder: Decoder) -> None:
    cache = room(decoder)
    assert len(packed.prefill(decoder, prompts(), [()] * len(LENGTHS), cache=cache)) == 0
    assert all(keys[:, :, 0].any() for keys in cache.keys)


@pytest.mark.parametrize("band", [None, 1, 7, 16, 100])
@pytest.mark.parametrize("groups", [4, 2])
def test_sequences_end_to_end_see_themselves_alone(band: int | None, groups: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    total = sum(LENGTHS)
    query = torch.randn(total, 4, 8, generator=generator)
    key, value = torch.randn(2, total, groups, 8, generator=generator)
    starts = torch.tensor([0, 30, 33, 50, 51], dtype=torch.int32)
    found = attend_packed(query, key, value, starts=starts, longest=30, band=band, scale=0.3)
    place = torch.arange(total)
    owner = torch.bucketize(place, starts[1:-1].long(), right=True)
    seen = (owner[:, None] == owner) & (place <= place[:, None]) & (place > place[:, None] - (band or total))
    wide = (x.repeat_interleave(4 // groups, dim=1).transpose(0, 1) for x in (key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(0, 1), *wide, attn_mask=seen, scale=0.3
    ).transpose(0, 1)
    torch.testing.assert_close(found, expected)


def test_rows_within_a_band_equal_rows_end_to_end() -> None:
    query, key, value = torch.randn(3, 2, 4, 33, 8, generator=torch.Generator().manual_seed(0))
    found = attend_in_rows(query, key, value, band=5, scale=0.3)
    torch.testing.assert_close(found, attend(query, key, value, band=5, scores=Scores(0.3)))


def test_torchs_kernel_takes_what_it_is_given() -> None:
    query, key, value = torch.empty(3, 41, 4, 64, device="meta", dtype=torch.bfloat16)
    starts = torch.empty(3, device="meta", dtype=torch.int32)
    for band in (None, 7):
        mixed = varlen.attend(query, key, value, starts=starts, longest=30, band=band, scale=0.3)
        assert mixed.shape == query.shape


def test_a_kernel_that_is_not_there_is_found_out_by_a_trial() -> None:
    assert not varlen.is_right(torch.device("cpu"), torch.bfloat16, 64)


@pytest.mark.parametrize("is_allowed", [True, False])
def test_kernels_that_are_planned_for_every_shape_are_left_out_for_a_time(is_allowed: bool) -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(is_allowed)
    try:
        with ready_kernels():
            meanwhile = torch.backends.cuda.cudnn_sdp_enabled()
        assert (meanwhile, torch.backends.cuda.cudnn_sdp_enabled()) == (False, is_allowed)
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def test_a_cpu_pads() -> None:
    assert not packed.pays(make_decoder(), LENGTHS)
