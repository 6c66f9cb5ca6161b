"""The CPU's own kernels against the same sums in float64, one query at a time."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evalkit.decoder import fused
from evalkit.decoder.attention import Scores, attend
from evalkit.decoder.kernels import attention, compiled, gelu


def expected(query: Tensor, own: tuple[Tensor, Tensor], last: Tensor, band: int | None, scale: float) -> Tensor:
    """Attend in float64 with each query's own keys written out."""
    made = torch.zeros(query.shape, dtype=torch.float64)
    fold = query.shape[1] // own[0].shape[1]
    for row, head, at in torch.cartesian_prod(*map(torch.arange, query.shape[:3])).tolist():
        end = int(last[row % len(last), at]) + 1
        seen = slice(0 if band is None else max(0, end - band), end)
        keys, values = (each[row, head // fold, seen].double() for each in own)
        made[row, head, at] = (keys @ query[row, head, at].double() * scale).softmax(0) @ values
    return made


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [4, 20, 64, 256])
@pytest.mark.parametrize("queries", [1, 23, 24, 50])
def test_every_query_sees_the_keys_up_to_its_own(size: int, queries: int) -> None:
    query, key, value = (drawn(2, 2, queries, size, seed=at) for at in range(3))
    last = torch.arange(queries)[None]
    found = fused.attend(query, (key, value), last=last, band=None, scale=0.9 / math.sqrt(size))
    torch.testing.assert_close(
        found.double(), expected(query, (key, value), last, None, 0.9 / math.sqrt(size)), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("band", [None, 1, 7, 200])
def test_rows_of_their_own_lengths_within_a_band_and_grouped_heads(band: int | None) -> None:
    query, key, value = drawn(3, 6, 30, 8), drawn(3, 2, 310, 8, seed=1), drawn(3, 2, 310, 8, seed=2)
    last = torch.tensor([[5], [140], [279]]) + torch.arange(30)
    found = fused.attend(query, (key, value), last=last, band=band, scale=None)
    whole = expected(query, (key, value), last, band, 1 / math.sqrt(8))
    torch.testing.assert_close(found.double(), whole, atol=2e-6, rtol=0)


@pytest.mark.parametrize("shared_keys", [1, 130, 300])
def test_keys_that_rows_share_come_before_their_own(shared_keys: int) -> None:
    query, key, value = drawn(3, 4, 26, 12), drawn(3, 2, 26, 12, seed=1), drawn(3, 2, 26, 12, seed=2)
    shared = drawn(1, 2, shared_keys, 12, seed=3), drawn(1, 2, shared_keys, 12, seed=4)
    last = torch.arange(26)[None]
    found = fused.attend(query, (key, value), last=last, band=None, scale=None, shared=shared)
    own = tuple(
        torch.cat([one.expand(3, -1, -1, -1), other], dim=2) for one, other in zip(shared, (key, value), strict=True)
    )
    whole = expected(query, (own[0], own[1]), last + shared_keys, None, 1 / math.sqrt(12))
    torch.testing.assert_close(found.double(), whole, atol=2e-6, rtol=0)


def test_tensors_are_read_where_they_lie() -> None:
    together = drawn(2, 40, 3 * 4 * 16)
    query, key, value = (each.transpose(1, 2) for each in together.view(2, 40, 12, 16).split(4, dim=2))
    last = torch.arange(40)[None]
    found = fused.attend(query, (key, value), last=last, band=None, scale=None)
    whole = fused.attend(query.contiguous(), (key.contiguous(), value.contiguous()), last=last, band=None, scale=None)
    assert torch.equal(found, whole)
    assert not torch.equal(found, F.scaled_dot_product_attention(query, key, value))  # which is not causal


def test_scores_far_apart_neither_overflow_nor_vanish() -> None:
    query, key, value = 100 * drawn(1, 1, 30, 8), 100 * drawn(1, 1, 30, 8, seed=1), drawn(1, 1, 30, 8, seed=2)
    last = torch.arange(30)[None]
    found = fused.attend(query, (key, value), last=last, band=None, scale=None)
    torch.testing.assert_close(
        found.double(), expected(query, (key, value), last, None, 1 / math.sqrt(8)), atol=1e-3, rtol=0
    )


def test_a_key_that_is_not_a_number_reaches_those_who_see_it_and_no_others() -> None:
    query, key, value = (drawn(1, 1, 40, 8, seed=at) for at in range(3))
    key[0, 0, 20, 3] = torch.nan
    found = fused.attend(query, (key, value), last=torch.arange(40)[None], band=None, scale=None)
    assert found.isnan().any(dim=3)[0, 0].tolist() == [at >= 20 for at in range(40)]


@pytest.mark.parametrize("lanes", [4, 16])
def test_vectors_of_other_machines_give_the_same(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (drawn(2, 2, 70, 12, seed=at) for at in range(3))
    last = torch.arange(70)[None]
    own = fused.attend(query, (key, value), last=last, band=30, scale=None)
    other = compiled.Kernel(attention.write(12, lanes=lanes), "attend")
    monkeypatch.setattr(attention, "compiled", lambda _size: other)
    found = fused.attend(query, (key, value), last=last, band=30, scale=None)
    torch.testing.assert_close(found, own, atol=1e-6, rtol=0)


def test_threads_of_our_own_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (drawn(2, 4, 100, 16, seed=at) for at in range(3))
    last = torch.arange(100)[None]
    own = fused.attend(query, (key, value), last=last, band=None, scale=None)
    monkeypatch.setattr(
        compiled, "_runner", lambda: lambda function, given, _: compiled._run_beside(function, given, 3)
    )
    assert torch.equal(fused.attend(query, (key, value), last=last, band=None, scale=None), own)


def test_attention_takes_the_kernel_only_for_much_work_that_needs_no_gradient() -> None:
    much = drawn(4, 4, 256, 8)
    assert fused.fits(much, 256)
    assert not fused.fits(much[:, :, :4], 256)
    assert not fused.fits(much[:1, :1], 256)
    assert not fused.fits(much.bfloat16(), 256)
    assert not fused.fits(drawn(4, 4, 256, 6), 256)
    assert not fused.fits(much.clone().requires_grad_(), 256)


def test_a_gradient_goes_through_attention_of_much_work() -> None:
    query = drawn(4, 4, 256, 8).requires_grad_()
    mixed = attend(query, query.detach(), query.detach(), band=None, scores=Scores())
    mixed.sum().backward()
    assert query.grad is not None


def special(count: int) -> Tensor:
    """Give numbers of all sizes, and those that are none."""
    odd = [0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, -5.0, -14.0, -30.0, torch.inf, torch.nan]
    return torch.cat([torch.tensor(odd), 6 * drawn(count - len(odd))])


@pytest.mark.parametrize("count", [16, 2**13, 2**13 + 16])
def test_gelu_is_torch_s_own(count: int) -> None:
    x = special(count)
    gelu.compiled(is_half=False).run([x.data_ptr(), count])
    truth = F.gelu(special(count).double(), approximate="tanh").float()
    torch.testing.assert_close(x, truth, atol=1e-6, rtol=1e-6, equal_nan=True)


def test_gelu_in_bfloat16_is_the_nearest_number() -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)  # all that there are
    x = every.repeat(fused.LEAST_WORK // len(every))
    wide = x.double()
    truth = wide * (2 * math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)).sigmoid()  # exact in the tails as well
    truth[x == -torch.inf] = 0.0  # its limit, where 0 times infinity is not a number
    assert fused.gelu(x)
    torch.testing.assert_close(x.isnan(), truth.isnan())
    is_number = truth.isfinite()
    spacing = torch.exp2(truth.frexp().exponent - 8.0)[is_number]  # of numbers of 8 bits there
    assert ((x.double() - truth)[is_number].abs() <= 0.501 * spacing + 3e-36).all()


@pytest.mark.parametrize(
    "make",
    [lambda: drawn(2**9, 2**10)[:, ::2], lambda: drawn(2**18 + 4), lambda: drawn(2**18).half(), lambda: drawn(40)],
)
def test_gelu_leaves_alone_what_the_kernel_does_not_fit(make: Callable[[], Tensor]) -> None:
    x = make()
    before = x.clone()
    assert not fused.gelu(x)
    assert torch.equal(x, before)
