"""The decoder against the published counts, plain masked attention and itself."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from evalkit.decoder import linear, memory, model
from evalkit.decoder.activation import activate
from evalkit.decoder.attention import Scores, attend, attend_in_band
from evalkit.decoder.cache import KVCache
from evalkit.decoder.config import GPT3_SHAPES, Activation, DecoderConfig
from evalkit.decoder.model import Decoder
from evalkit.errors import CheckpointError
from tests.decoders import make_decoder, prefill

# Brown 2020, Table D.1, in millions; the paper prints four digits at most.
PUBLISHED = {
    "125M": 125,
    "350M": 356,
    "760M": 760,
    "1.3B": 1320,
    "2.7B": 2650,
    "6.7B": 6660,
    "13B": 12850,
    "175B": 174600,
}


@pytest.mark.parametrize("name", GPT3_SHAPES)
def test_gpt3_sizes_have_the_published_parameter_counts(name: str) -> None:
    decoder = Decoder(DecoderConfig.gpt3(name), device="meta")
    count = sum(parameter.numel() for parameter in decoder.parameters())
    # All rows agree within 0.4 %: the paper rounds 1,315.7M up to 1,320M.
    assert count / 1e6 == pytest.approx(PUBLISHED[name], rel=0.004)


def test_gpt3_layers_alternate_dense_and_banded() -> None:
    assert DecoderConfig.gpt3("125M", band=128).bands == (None, 128) * 6


def test_unknown_gpt3_size_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"no GPT-3 size '20B'; the sizes are 125M"):
        DecoderConfig.gpt3("20B")


@pytest.mark.parametrize(("tokens", "band"), [(1, 4), (4, 4), (5, 4), (8, 4), (31, 4), (33, 16), (7, 100)])
def test_banded_attention_equals_a_dense_mask(tokens: int, band: int) -> None:
    query, key, value = torch.randn(3, 2, 3, tokens, 8, generator=torch.Generator().manual_seed(tokens))
    place = torch.arange(tokens)
    mask = (place[:, None] >= place) & (place[:, None] - place < band)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(query, key, value, band=band, scores=Scores()), expected)
    torch.testing.assert_close(attend_in_band(query, key, value, band=band, scale=None), expected)


def test_cached_steps_equal_one_forward_in_a_batch_of_unequal_lengths() -> None:
    decoder = make_decoder(band=8, window=64)
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(0, 300, (length,), generator=generator).tolist() for length in (3, 20, 9, 33)]
    known = (3, 17, 9, 25)  # tokens that are prefilled; the others follow one at a time, where there are any
    cache, hidden = prefill(decoder, [ids[:count] for ids, count in zip(rows, known, strict=True)], capacity=64)
    found = [[vector] for vector in hidden]
    for step in range(8):
        tokens = torch.tensor([[ids[min(count + step, len(ids) - 1)]] for ids, count in zip(rows, known, strict=True)])
        hidden = decoder(tokens, cache=cache)[:, -1]
        cache.advance()
        for row, (ids, count) in enumerate(zip(rows, known, strict=True)):
            if count + step < len(ids):
                found[row].append(hidden[row])
    for ids, count, states in zip(rows, known, found, strict=True):
        alone = decoder(torch.tensor([ids]))[0, count - 1 :]
        torch.testing.assert_close(torch.stack(states), alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 4, 30])  # few are computed alone, many from all positions
@pytest.mark.parametrize("layers", [3, 4])  # the last layer is dense, or banded
def test_wanted_positions_equal_those_of_all_positions(count: int, layers: int) -> None:
    decoder = make_decoder(layers=layers, band=8, window=64)
    generator = torch.Generator().manual_seed(count)
    tokens = torch.randint(0, 300, (3, 40), generator=generator)
    wanted = torch.stack([torch.randperm(40, generator=generator)[:count] for _ in range(3)])
    expected = torch.stack([states[places] for states, places in zip(decoder(tokens), wanted, strict=True)])
    torch.testing.assert_close(decoder(tokens, wanted=wanted), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, linear.FEW_ROWS, linear.FEW_ROWS + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_give_the_plain_product(rows: int, dtype: torch.dtype) -> None:
    layer = linear.Linear(768, 768, dtype=dtype).requires_grad_(False)
    x = torch.randn(rows, 1, 768, generator=torch.Generator().manual_seed(rows)).to(dtype)
    expected = layer(x)
    layer.packed = linear.pack(layer.weight)
    has_half = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert (layer.packed is not None) == (torch.backends.mkldnn.is_available() and (dtype.itemsize == 4 or has_half))
    close = 1e-5 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(layer(x), expected, atol=close, rtol=close)


def test_weights_that_are_read_as_fast_are_not_packed() -> None:
    assert linear.pack(torch.zeros(128, 512)) is None
    assert linear.pack(torch.zeros(1024, 1024, dtype=torch.float16)) is None
    assert linear.pack(torch.zeros(1024, 1024, device="meta")) is None


@pytest.mark.parametrize("has_room", [True, False])
def test_weights_are_packed_only_where_memory_has_room(monkeypatch: pytest.MonkeyPatch, has_room: bool) -> None:
    monkeypatch.setattr(linear, "LEAST_PACKED", 1)
    monkeypatch.setattr(model, "has_room", lambda size: size > 0 and has_room)
    decoder = make_decoder()
    decoder.pack()
    packed = [module.packed for module in decoder.modules() if isinstance(module, linear.Linear)]
    assert all((each is not None) == (has_room and torch.backends.mkldnn.is_available()) for each in packed)


@pytest.mark.parametrize(
    ("limit", "room"),
    [
        (None, 500),  # half of what the machine has left
        ("max", 500),
        (700, 250),  # half of what the container's limit leaves beside 300 that are used, of which 100 make room
    ],
)
def test_copies_may_take_half_of_the_memory_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | str | None, room: int
) -> None:
    files = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   1000 kB\n"}
    if limit is not None:
        text = f"{1024 * limit}\n" if isinstance(limit, int) else limit
        stat = f"file 1\ninactive_file {1024 * 100}\n"
        folder = "sys/fs/cgroup"
        files |= {f"{folder}/memory.current": f"{1024 * 300}\n", f"{folder}/memory.max": text}
        files |= {f"{folder}/memory.stat": stat}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / name[1:])
    assert memory.has_room(1024 * room - 1)
    assert not memory.has_room(1024 * room + 1)


def test_where_the_memory_left_is_not_told_copies_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / name[1:])
    assert memory.has_room(2**60)


@pytest.mark.parametrize("shape", [(3,), (2, 5, 7), (3, 2**17)])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_activation_equals_the_definition(shape: tuple[int, ...], activation: Activation) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 4
    approximate = "tanh" if activation == "gelu_tanh" else "none"
    expected = F.gelu(x.double(), approximate=approximate).float()
    kept = activate(x.clone().requires_grad_(), activation)  # with a gradient nothing is overwritten
    close = 1e-6 if activation == "gelu_tanh" else 2e-6  # erf is torch's own, and off by 1.1e-6 on some CPUs
    torch.testing.assert_close(activate(x, activation), expected, atol=close, rtol=1e-6)
    torch.testing.assert_close(kept, expected, atol=close, rtol=1e-6)


def test_activation_survives_extreme_numbers() -> None:
    x = torch.tensor([-1e30, -100.0, 0.0, 100.0, 1e30])
    assert activate(x, "gelu_tanh").tolist() == [0, 0, 0, 100, pytest.approx(1e30)]


def test_sequence_that_begins_later_has_later_positions() -> None:
    decoder = make_decoder(window=64)
    tokens = torch.tensor([[5, 6, 7], [5, 6, 7]])
    hidden = decoder(tokens, start=torch.tensor([0, 40]))
    torch.testing.assert_close(hidden[:1], decoder(tokens[:1]))
    assert not torch.allclose(hidden[0], hidden[1])


def test_selected_rows_keep_their_content() -> None:
    decoder = make_decoder()
    cache, _ = prefill(decoder, [[1, 2, 3], [4, 5], [6]], capacity=8)
    before = [key.clone() for key in cache.keys]
    cache.select(torch.tensor([2, 0, 0]))
    assert cache.lengths.tolist() == [1, 3, 3]
    assert (cache.shortest, cache.longest) == (1, 3)
    assert all(torch.equal(new, old[[2, 0, 0]]) for new, old in zip(cache.keys, before, strict=True))


def test_residual_projections_start_smaller() -> None:
    config = DecoderConfig.gpt3("125M", vocab_size=64, window=32)
    block = Decoder(config).initialise(seed=0).blocks[0]
    # Radford 2019: 0.02 / sqrt(2 x 12 layers)
    assert block.attention_out.weight.std().item() == pytest.approx(0.02 / 24**0.5, rel=0.02)
    assert block.qkv.weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_cache_takes_the_memory_its_shape_says() -> None:
    config = make_decoder().config
    cache = KVCache(config, rows=3, capacity=10, device=torch.device("cpu"), dtype=torch.float32)
    assert cache.keys[0].shape == (3, config.heads, 10, config.head_size)
