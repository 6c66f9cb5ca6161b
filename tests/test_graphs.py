"""Decode steps in buffers that stay in place: the numbers and texts of steps that are launched anew, on every device.

A recording is stood in for by a tape, which does a step's operations again without running any of its Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evalkit.decoder import checkpoint
from evalkit.decoder.cache import KVCache
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.engine import DecoderModel
from evalkit.decoder.families import FAMILIES
from evalkit.decoder.graphs import UNRECORDED, Step, Steps, steps_of
from evalkit.decoder.model import Decoder
from evalkit.decoder.static_cache import Shape, doubled, rounded, shape_for
from evalkit.errors import CheckpointError
from evalkit.records import Decoding, Generate, Request
from tests.decoders import make_decoder, save_native
from tests.family_cases import CASES
from tests.taped import tape
from tests.test_session import Small, assert_same, mixed_requests

PROMPTS = (3, 20, 9, 31)
TOKENS = 8  # steps
PLACES = [4, 0, 2, 5]  # of six rows
SAMPLED = Decoding(temperature=1.0)


def random_decoder(config: DecoderConfig) -> Decoder:
    decoder = Decoder(config).initialise(seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return decoder.requires_grad_(False).eval()


@pytest.fixture(
    scope="module",
    params=[("evalkit", "banded"), *((kind, variant) for kind, variants in CASES.items() for variant in variants)],
    ids="-".join,
)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    kind, variant = request.param
    if kind == "evalkit":
        return make_decoder(band=8, window=64)
    from transformers import AutoConfig

    settings = AutoConfig.for_model(kind, **CASES[kind][variant]).to_dict()
    return random_decoder(FAMILIES[kind].config(settings))


def prefilled(decoder: Decoder, *, prefix: int) -> tuple[KVCache, torch.Tensor]:
    """Rows of unequal lengths after a shared prefix of so many tokens, and the hidden states of their ends."""
    generator = torch.Generator().manual_seed(2)

    def room(rows: int, capacity: int, before: KVCache | None) -> KVCache:
        return KVCache(
            decoder.config, rows=rows, capacity=capacity, device=torch.device("cpu"), dtype=torch.float32, prefix=before
        )

    before = None
    if prefix:
        before = room(1, prefix, None)
        decoder(torch.randint(0, 300, (1, prefix), generator=generator), cache=before)
        before.set_lengths([prefix])
    cache = room(len(PROMPTS), max(PROMPTS) + TOKENS, before)
    tokens = torch.randint(0, 300, (len(PROMPTS), max(PROMPTS)), generator=generator)
    hidden = decoder(tokens, cache=cache, wanted=torch.tensor(PROMPTS)[:, None] - 1)[:, 0]
    cache.set_lengths(list(PROMPTS))
    return cache, hidden


def stepped(decoder: Decoder, cache: KVCache, hidden: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Grow rows greedily, launched anew: the logits of every step, and all tokens (TOKENS, B)."""
    logits, tokens = [], []
    for _ in range(TOKENS):
        logits.append(decoder.logits(hidden))
        tokens.append(logits[-1].argmax(dim=1))
        hidden = decoder(tokens[-1][:, None], cache=cache)[:, -1]
        cache.advance()
    return logits, torch.stack(tokens)


def begun(decoder: Decoder, shape: Shape, cache: KVCache, hidden: torch.Tensor, places: Sequence[int]) -> Step:
    store = torch.full((shape.numbers(decoder.config),), torch.nan)  # what memory may hold
    step = Step(decoder, shape, store=store)
    step.begin(cache.prefix)
    step.load(list(places), cache, hidden, rows=list(range(len(places))))
    return step


@torch.inference_mode()
@pytest.mark.parametrize("prefix", [0, 17])
def test_static_steps_equal_steps_launched_anew(decoder: Decoder, prefix: int) -> None:
    cache, hidden = prefilled(decoder, prefix=prefix)
    step = begun(decoder, shape_for(rows=6, capacity=max(PROMPTS) + TOKENS, prefix=prefix), cache, hidden, PLACES)
    expected, tokens = stepped(decoder, cache, hidden)
    for each, chosen in zip(expected, tokens, strict=True):
        found = step.score()
        torch.testing.assert_close(found[PLACES], each, atol=1e-4 * each.abs().max().item(), rtol=0)
        step.work(64, is_greedy=True)
        assert step.tokens[PLACES].tolist() == chosen.tolist()
        assert step.hidden.isfinite().all()  # of rows without an answer, too


@torch.inference_mode()
def test_rows_that_move_between_shapes_grow_on_as_before(decoder: Decoder) -> None:
    cache, hidden = prefilled(decoder, prefix=17)
    step = begun(decoder, Shape(6, 48, 64), cache, hidden, PLACES)
    kept = cache.prefix
    lengths = list(PROMPTS)
    _, tokens = stepped(decoder, cache, hidden)
    for number, chosen in enumerate(tokens):
        if number in (3, 6):
            rows, states = step.cache.export(PLACES, lengths, prefix=kept), step.hidden[PLACES].clone()
            step = begun(decoder, Shape(6, 64 + 16 * number, 64), rows, states, PLACES)
        step.work(step.shape.capacity, is_greedy=True)
        lengths = [length + 1 for length in lengths]
        assert step.tokens[PLACES].tolist() == chosen.tolist()


@torch.inference_mode()
def test_a_step_waits_for_no_number_and_mixes_no_devices(decoder: Decoder) -> None:
    device = torch.device("meta")  # which has no numbers, and refuses tensors of other devices
    alike = Decoder(decoder.config, device=device).requires_grad_(False)
    shape = Shape(6, 64, 64)
    step = Step(alike, shape, store=torch.zeros(shape.numbers(decoder.config), device=device))
    step.begin(None)
    step.work(64, is_greedy=True)
    assert (step.hidden.device, step.score().shape) == (device, (6, decoder.config.vocab_size))


@torch.inference_mode()
def test_a_recorded_step_depends_on_its_buffers_alone(decoder: Decoder) -> None:
    cache, hidden = prefilled(decoder, prefix=17)
    step = begun(decoder, Shape(6, 48, 64), cache, hidden, PLACES)
    _, tokens = stepped(decoder, cache, hidden)
    steps = [lambda: step.work(48, is_greedy=True)] * UNRECORDED
    for number, chosen in enumerate(tokens):
        if number == UNRECORDED:
            steps += [tape(steps[0])] * (TOKENS - UNRECORDED)
        steps[number]()
        assert step.tokens[PLACES].tolist() == chosen.tolist()


@torch.inference_mode()
def test_a_row_that_is_taken_again_holds_nothing_of_the_one_before() -> None:
    decoder = make_decoder(band=8, window=64)
    cache, hidden = prefilled(decoder, prefix=0)
    step = begun(decoder, Shape(4, 64, 0), cache, hidden, range(4))
    for _ in range(40):  # beyond the columns that are read
        step.work(48, is_greedy=True)
    for own in step.cache._own:
        for each in own:
            each[1] = torch.nan
    _, tokens = stepped(decoder, *prefilled(decoder, prefix=0))
    for keys in cache.keys:
        keys[0, :, PROMPTS[0] :] = torch.nan  # where no token was put
    step.load([1], cache, hidden, rows=[0])
    for chosen in tokens:
        step.work(64, is_greedy=True)
        assert step.tokens[1] == chosen[0]


@pytest.mark.parametrize(
    ("count", "least", "expected"),
    [(1, 1, 1), (3, 1, 3), (5, 1, 6), (7, 1, 8), (64, 64, 64), (65, 64, 128), (129, 64, 192), (200, 64, 256)],
)
def test_few_shapes_serve_all_counts(count: int, least: int, expected: int) -> None:
    assert rounded(count, least=least) == expected
    assert doubled(count, least=least) >= expected


def test_layers_with_a_band_hold_no_more_than_it_reaches() -> None:
    shape = Shape(4, 512, 128)
    assert [shape.ring(band) for band in (None, 5, 256, 4096)] == [512, 16, 256, 640]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    save_native(folder, window=256, band=16)
    return folder


def plain(folder: Path, *, budget: int | None = None) -> DecoderModel:
    return DecoderModel(checkpoint.load(folder), name="plain", token_budget=budget)


def static(
    folder: Path,
    *,
    recorder: Callable[[], Callable[[Callable[[], None]], Callable[[], None]]] | None = None,
    most: int | None = None,
    budget: int | None = None,
) -> tuple[DecoderModel, Steps]:
    loaded = checkpoint.load(folder)
    loaded.decoder.steps = Steps(loaded.decoder, recorder=recorder, most=most)
    return DecoderModel(loaded, name="static", token_budget=budget), loaded.decoder.steps


def long_requests(count: int, *, rule: Decoding | None = None) -> list[Request]:
    """Answers that begin with prompts of unequal lengths and end at unequal ones."""
    return [
        Generate(
            f"{number} the cat sat " * (1 + number % 7),
            max_tokens=1 + number * 7 % 40,
            stop=("t",) if number % 3 else (),
            decoding=rule or Decoding(),
            seed=number,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("budget", [None, 100])
def test_answers_are_those_of_steps_launched_anew(folder: Path, budget: int | None) -> None:
    model, steps = static(folder, recorder=lambda: tape, budget=budget)
    requests = [*mixed_requests(40), *long_requests(20)]
    assert_same(model.answer(requests), plain(folder, budget=budget).answer(requests))
    assert steps.recorded
    assert steps.refusal is None


@pytest.mark.parametrize("rule", [Decoding(), SAMPLED, Decoding(temperature=0.7, top_k=5), Decoding(beams=3)])
def test_every_rule_picks_the_same_tokens(folder: Path, rule: Decoding) -> None:
    model, _ = static(folder, recorder=lambda: tape)
    requests = long_requests(25, rule=rule)
    assert model.answer(requests) == plain(folder).answer(requests)


def test_a_second_call_replays_what_the_first_recorded(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: tape)
    requests = [Generate("The cat", max_tokens=20)]
    first, recorded = model.answer(requests), steps.recorded
    assert recorded == 1
    assert model.answer(requests) == first
    assert steps.recorded == recorded


def refuse(work: Callable[[], None]) -> Callable[[], None]:
    raise RuntimeError("operation not permitted when stream is capturing\nand more")


def test_what_cannot_be_recorded_is_done_unrecorded_and_remembered(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: refuse)
    requests = long_requests(20)
    expected = plain(folder).answer(requests)
    assert model.answer(requests) == expected
    assert steps.refusal == "operation not permitted when stream is capturing"
    assert steps_of(model._decoder) is None
    assert model.answer(requests) == expected


def test_a_recording_that_does_something_else_is_not_used(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: lambda work: lambda: None)  # noqa: ARG005
    requests = long_requests(20)
    assert model.answer(requests) == plain(folder).answer(requests)
    assert steps.refusal == "a recorded step gave other numbers"


def right_once(work: Callable[[], None]) -> Callable[[], None]:
    left = [work]
    return lambda: left.pop()() if left else None


def test_a_recording_that_is_right_once_is_not_used(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: right_once)
    requests = long_requests(20)
    assert model.answer(requests) == plain(folder).answer(requests)
    assert steps.refusal == "a recorded step gave other numbers"


def overwrite(work: Callable[[], None]) -> Callable[[], None]:
    """Record a step that takes everything for the same token, keys and values included."""
    step = work.func.__self__  # type: ignore[attr-defined]  # a partial of Step.work
    return lambda: (step.tokens.zero_(), step.move(step.shape.capacity))[1]


def test_a_bad_recording_leaves_no_keys_and_values(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: overwrite)
    requests = long_requests(20)
    assert model.answer(requests) == plain(folder).answer(requests)
    assert steps.refusal == "a recorded step gave other numbers"


def test_the_memory_of_steps_that_nobody_takes_any_more_is_given_back(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: refuse)
    model.answer(long_requests(20))
    assert steps._store is None


def refuse_twice(work: Callable[[], None]) -> Callable[[], None]:
    try:
        return refuse(work)
    finally:
        raise RuntimeError("operation failed due to a previous error during capture")


def test_the_first_of_the_errors_of_a_recording_is_told(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: refuse_twice)
    model.answer(long_requests(20))
    assert steps.refusal == "operation not permitted when stream is capturing"


def exhaust(work: Callable[[], None]) -> Callable[[], None]:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_recording_that_the_memory_has_no_room_for_refuses_no_others(folder: Path) -> None:
    tried: list[None] = []

    def counted(work: Callable[[], None]) -> Callable[[], None]:
        tried.append(None)
        return exhaust(work)

    model, steps = static(folder, recorder=lambda: counted)
    requests = [Generate("The cat", max_tokens=20)]
    expected = plain(folder).answer(requests)
    assert [model.answer(requests) for _ in range(3)] == [expected] * 3
    assert steps_of(model._decoder) is steps
    assert len(tried) == 1  # with one store


def test_few_recordings_are_held(folder: Path) -> None:
    loaded = checkpoint.load(folder)
    loaded.decoder.steps = steps = Steps(loaded.decoder, recorder=lambda: tape, most_recorded=2)
    model = DecoderModel(loaded, name="static")
    requests = [Generate("The cat", max_tokens=200)]  # steps of three kinds: they read 64, 128 and 256 columns
    expected = plain(folder).answer(requests)
    assert [model.answer(requests) for _ in range(2)] == [expected] * 2
    assert steps.recorded == 2
    assert steps.refusal is None


def test_rows_have_one_user_at_a_time() -> None:
    steps, shape = Steps(make_decoder()), Shape(2, 64, 0)

    class User:
        pass

    one, other = User(), User()
    taken = steps.take(shape, one)
    assert taken is not None
    assert steps.take(shape, other) is None
    steps.leave(one)
    assert steps.take(shape, other) is taken
    del other
    assert steps.take(shape, one) is taken


def test_answers_beyond_the_memory_grow_the_plain_way(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: tape, most=100)
    requests = long_requests(20)
    assert model.answer(requests) == plain(folder).answer(requests)
    assert not steps.recorded


def test_memory_that_runs_out_in_a_step_changes_nothing_but_the_batches(folder: Path) -> None:
    loaded = checkpoint.load(folder)
    decoder = Small(loaded.decoder.config).eval().requires_grad_(False)
    decoder.load_state_dict(loaded.decoder.state_dict())
    decoder.most, Small.refused = 35, []
    decoder.steps = Steps(decoder, recorder=lambda: tape)
    model = DecoderModel(replace(loaded, decoder=decoder), name="small", token_budget=16384)
    requests = [Generate("The cat", max_tokens=30, decoding=SAMPLED, seed=seed) for seed in range(60)]
    assert model.answer(requests) == plain(folder).answer(requests)
    assert Small.refused


def test_a_stream_that_waits_keeps_its_rows_while_others_are_answered(folder: Path) -> None:
    model, _ = static(folder, recorder=lambda: tape)
    request, others = Generate("The cat", max_tokens=40), long_requests(10)
    expected = plain(folder).answer([request, *others])
    stream = model.stream(request)
    text = next(stream)
    assert model.answer(others) == expected[1:]
    assert text + "".join(stream) == expected[0].text


def test_a_stream_that_is_given_up_leaves_its_rows_to_others(folder: Path) -> None:
    model, steps = static(folder, recorder=lambda: tape)
    stream = model.stream(Generate("The cat", max_tokens=40))
    next(stream)
    stream.close()
    del stream
    model.answer([Generate("The cat", max_tokens=10)])
    assert steps.recorded


def test_rows_are_laid_closer_together_once_most_answers_are_whole(folder: Path) -> None:
    model, steps = static(folder)
    requests: list[Request] = [Generate(f"{word} cat", max_tokens=2) for word in "abcdefg"]
    requests.append(Generate("The cat", max_tokens=90))
    assert model.answer(requests) == plain(folder).answer(requests)
    assert {shape.rows for shape in steps._steps} == {8, 1}


def test_numbers_that_are_not_finite_are_refused(folder: Path) -> None:
    model, _ = static(folder)
    with torch.no_grad():
        model._decoder.tokens.mul_(1e30)
    with pytest.raises(CheckpointError, match="not finite"):
        model.answer([Generate("The cat", max_tokens=5)])


def test_a_cpu_launches_steps_anew() -> None:
    assert steps_of(make_decoder()) is None
