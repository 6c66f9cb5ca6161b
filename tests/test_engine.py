"""The engine's answers: the peer's numbers, and the same whatever else is in the batch."""

from pathlib import Path

import pytest
import torch

from evalkit.decoder import checkpoint
from evalkit.decoder.beam import Beams
from evalkit.decoder.engine import DecoderModel, from_folder, load
from evalkit.errors import CheckpointError, ModelMemoryError, UsageError, WindowError
from evalkit.records import (
    Completion,
    Decoding,
    Generate,
    LogLikelihood,
    LogProb,
    PerToken,
    Request,
    Response,
    Rolling,
)
from tests.decoders import make_decoder, make_tokenizer, save_gpt2, save_native

SAMPLED = Decoding(temperature=1.0)
CONTEXTS = ["The cat", "Q: What is 98 plus 45?\n\nA:", "Größe", "The mat sat on the cat and the", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native")
    save_native(folder, window=96)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> DecoderModel:
    return from_folder(folder, name="random")


def test_log_likelihoods_equal_transformers(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    model = from_folder(tmp_path, name="twin")
    pairs = [("The cat", " sat on the mat."), ("Q: What is 98 plus 45?\n\nA:", " 143"), ("", "The cat"), ("a", " b")]
    found = model.answer([LogLikelihood(*pair) for pair in pairs])
    made = make_tokenizer()
    for (context, continuation), answer in zip(pairs, found, strict=True):
        before = made.encode([context])[0].ids or [made.end_of_text]
        after = made.encode([continuation])[0].ids
        with torch.inference_mode():
            logprobs = twin(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].log_softmax(-1)
        expected = logprobs[torch.arange(len(after)), torch.tensor(after)].sum().item()
        assert isinstance(answer, LogProb)
        assert answer.total == pytest.approx(expected, abs=1e-4)
        assert answer.is_greedy == (logprobs.argmax(-1).tolist() == after)
        assert (answer.tokens, answer.bytes) == (len(after), len(continuation.encode()))


def test_greedy_answers_equal_transformers(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    model = from_folder(tmp_path, name="twin")
    made = make_tokenizer()
    found = model.answer([Generate(context, max_tokens=20) for context in CONTEXTS[:4]])
    for context, answer in zip(CONTEXTS, found, strict=False):
        ids = torch.tensor([made.encode([context])[0].ids])
        whole = twin.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, pad_token_id=0
        )
        new = whole[0, ids.shape[1] :].tolist()
        assert isinstance(answer, Completion)
        assert answer.text == made.decode(new[:-1] if new[-1] == made.end_of_text else new)
        assert answer.tokens == len(new)


def test_a_finished_row_may_wait_longer_than_the_cache_has_room(model: DecoderModel) -> None:
    # The long one is finished at once; too few are for the cache to be rewritten without it, and it has no room left.
    requests = [
        Generate("The mat sat " * 12, max_tokens=1),
        *(Generate(context, max_tokens=30) for context in "abcdef"),
    ]
    assert model.answer(requests) == [answer for request in requests for answer in model.answer([request])]


def test_vocabulary_may_be_padded_beyond_the_tokenizer(tmp_path: Path) -> None:
    save_gpt2(tmp_path, vocab_size=make_tokenizer().size + 200)
    model = from_folder(tmp_path, name="padded")
    rules = (Decoding(), Decoding(beams=3), SAMPLED)
    answers = model.answer([Generate("The cat", max_tokens=30, decoding=rule) for rule in rules])
    assert all(isinstance(answer, Completion) and answer.tokens for answer in answers)


def test_an_empty_context_counts_the_token_it_begins_with(tmp_path: Path) -> None:
    save_gpt2(tmp_path)  # has no start token, so end-of-text stands before an empty context
    assert from_folder(tmp_path, name="twin").count_tokens(["", "a"]) == [1, 1]


def test_beam_answers_equal_transformers_and_keep_better_short_ones(tmp_path: Path) -> None:
    # transformers divides by length ** penalty, so only a penalty of 0 is the same rule in both; and it forgets an
    # answer that ends while ranked below the width, which T5's beam search, ours, does not.
    twin = save_gpt2(tmp_path)
    model = from_folder(tmp_path, name="twin")
    made = make_tokenizer()
    rule = Decoding(beams=4, length_penalty=0.0)
    found = model.answer([Generate(context, max_tokens=12, decoding=rule) for context in CONTEXTS[:4]])
    ended = 0
    for context, answer in zip(CONTEXTS, found, strict=False):
        ids = torch.tensor([made.encode([context])[0].ids])
        whole = twin.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            num_beams=4,
            do_sample=False,
            length_penalty=0.0,
            early_stopping="never",
            pad_token_id=0,
        )
        assert isinstance(answer, Completion)
        if answer.finish == "end-of-text":
            ended += 1
            assert answer.tokens < 12
        else:
            assert answer.text == made.decode(whole[0, ids.shape[1] :].tolist())
    assert ended < len(found)


def test_beam_search_of_full_width_finds_the_likeliest_answer(tmp_path: Path) -> None:
    twin = save_gpt2(tmp_path)
    model = from_folder(tmp_path, name="twin")
    made = make_tokenizer()
    rule = Decoding(beams=made.size, length_penalty=0.6)
    [answer] = model.answer([Generate("The cat", max_tokens=2, decoding=rule)])
    ids = made.encode(["The cat"])[0].ids
    with torch.no_grad():
        first = twin(torch.tensor([ids])).logits[0, -1].log_softmax(-1)  # (V,)
        pairs = torch.tensor([[*ids, token] for token in range(made.size)])
        second = first[:, None] + twin(pairs).logits[:, -1].log_softmax(-1)  # (V, V)
    second[made.end_of_text] = -torch.inf
    ended = first[made.end_of_text] / ((5 + 1) / 6) ** 0.6  # Wu 2016, eq. 14
    best = second.max() / ((5 + 2) / 6) ** 0.6
    expected = divmod(int(second.argmax()), made.size)
    assert answer.text == ("" if ended > best else made.decode([t for t in expected if t != made.end_of_text]))


def test_length_penalty_prefers_longer_answers() -> None:
    beams = [
        Beams(Generate("", decoding=Decoding(beams=1, length_penalty=alpha)), make_tokenizer(), room=8)
        for alpha in (0.0, 0.6)
    ]
    short, long = (-2.0, 4), (-2.2, 12)  # log P and tokens
    assert [one.penalised(*long) > one.penalised(*short) for one in beams] == [False, True]


@pytest.mark.parametrize(
    "rule",
    [Decoding(), SAMPLED, Decoding(temperature=0.7, top_k=40), Decoding(temperature=1.0, top_p=0.9), Decoding(beams=4)],
)
def test_an_answer_does_not_depend_on_its_batch(model: DecoderModel, rule: Decoding) -> None:
    requests = [Generate(context, max_tokens=15, decoding=rule, seed=n) for n, context in enumerate(CONTEXTS)]
    together = model.answer(requests)
    assert together == [model.answer([request])[0] for request in requests]
    assert model.answer(requests[::-1]) == together[::-1]


def test_mixed_requests_come_back_in_order(model: DecoderModel) -> None:
    requests = [
        Generate("The cat", max_tokens=3),
        LogLikelihood("The", " cat"),
        Generate("A", max_tokens=2, decoding=SAMPLED),
    ]
    kinds = [type(answer) for answer in model.answer([*requests, requests[1]])]
    assert kinds == [Completion, LogProb, Completion, LogProb]
    assert model.answer([]) == []


def test_seeds_decide_sampled_answers(model: DecoderModel) -> None:
    texts = {
        model.answer([Generate("The cat", max_tokens=12, decoding=SAMPLED, seed=seed)])[0].text for seed in range(5)
    }
    assert len(texts) == 5


def test_top_k_of_one_is_greedy(model: DecoderModel) -> None:
    greedy, first = (
        model.answer([Generate(c, max_tokens=10, decoding=rule) for c in CONTEXTS])
        for rule in (Decoding(), Decoding(temperature=1.5, top_k=1))
    )
    assert greedy == first


def test_log_likelihoods_sum_over_any_split(model: DecoderModel) -> None:
    # single characters between blanks: no token crosses a split
    text = " a b c d e f"
    [whole] = model.answer([LogLikelihood("x", text)])
    parts = model.answer([LogLikelihood("x" + text[:cut], text[cut : cut + 2]) for cut in range(0, len(text), 2)])
    assert sum(part.total for part in parts) == pytest.approx(whole.total, abs=1e-4)
    assert not any(part.boundary_merged for part in parts)


def test_token_across_the_boundary_is_recorded(model: DecoderModel) -> None:
    [answer] = model.answer([LogLikelihood("The ca", "t sat")])
    assert answer.boundary_merged
    assert not model.answer([LogLikelihood("The cat", " sat")])[0].boundary_merged


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("The cat ", "sat on the mat."),  # the blank and the word are one token, " sat"
        ("The cat", " sat on the mat."),
        ("Q: What is 98 plus ", "45?"),
    ],
)
def test_a_blank_that_ends_a_context_is_scored_as_by_lm_eval(tmp_path: Path, context: str, continuation: str) -> None:
    twin = save_gpt2(tmp_path)
    made = make_tokenizer()
    # lm_eval 0.4.13, TemplateLM._encode_pair: the blank moves to the continuation, all is tokenized as one text, and
    # what goes beyond the tokens of the context is scored
    before = len(made.encode([context.rstrip()])[0].ids)
    ids = torch.tensor(made.encode([context + continuation])[0].ids)
    with torch.inference_mode():
        logprobs = twin(ids[None]).logits[0, before - 1 : -1].log_softmax(-1)
    expected = logprobs.gather(1, ids[before:, None]).sum().item()
    [answer] = from_folder(tmp_path, name="twin").answer([LogLikelihood(context, continuation)])
    assert answer.total == pytest.approx(expected, abs=1e-4)
    assert (answer.tokens, answer.bytes) == (len(ids) - before, len(continuation.encode()))
    assert answer.boundary_merged == (context != context.rstrip())


def test_white_space_that_is_a_token_of_its_own_stays_in_the_context(model: DecoderModel) -> None:
    [answer] = model.answer([LogLikelihood("A:\n", "143")])
    assert answer.tokens == len(make_tokenizer().encode(["143"])[0].ids)
    assert not answer.boundary_merged


def test_a_context_that_is_all_part_of_the_first_token_is_scored_with_it(model: DecoderModel) -> None:
    [whole] = model.answer([LogLikelihood("", " sat")])
    for context, continuation in ((" ", "sat"), (" s", "at")):
        [answer] = model.answer([LogLikelihood(context, continuation)])
        assert answer.total == pytest.approx(whole.total, abs=1e-5)
        assert (answer.tokens, answer.boundary_merged) == (whole.tokens, True)


def test_empty_context_is_the_start_token_alone(tmp_path: Path) -> None:
    decoder = save_native(tmp_path, window=96)
    made = make_tokenizer()
    token = made.encode(["The"])[0].ids[0]
    with torch.inference_mode():
        logits = decoder.logits(decoder(torch.tensor([[made.end_of_text]])))[0, 0]
    [answer] = from_folder(tmp_path, name="random").answer([LogLikelihood("", "The")])
    assert answer.total == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-5)
    assert (answer.tokens, answer.bytes, answer.boundary_merged) == (1, 3, False)


def test_stop_string_ends_an_answer_and_is_left_out(model: DecoderModel) -> None:
    [free] = model.answer([Generate("The cat", max_tokens=30, decoding=SAMPLED, seed=1)])
    stop = free.text[4:6]
    [stopped] = model.answer([Generate("The cat", max_tokens=30, decoding=SAMPLED, seed=1, stop=(stop, "never here"))])
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish == "stop"


def test_answer_ends_with_the_window(model: DecoderModel) -> None:
    context = " a" * 40
    room = model.window - model.count_tokens([context])[0]
    for beams in (1, 4):
        [answer] = model.answer([Generate(context, max_tokens=1000, decoding=Decoding(beams=beams))])
        assert answer.finish in ("window", "end-of-text")
        assert answer.tokens <= room
    [sampled] = model.answer([Generate(context, max_tokens=room, decoding=SAMPLED, seed=3)])
    assert sampled.finish in ("max-tokens", "end-of-text")


def test_prompt_beyond_the_window_is_refused(model: DecoderModel) -> None:
    with pytest.raises(WindowError, match=r"needs \d+ tokens, the window of random holds 96"):
        model.answer([Generate(" a" * 200)])
    with pytest.raises(WindowError):
        model.answer([LogLikelihood(" a" * 60, " b" * 60)])


def test_empty_continuation_is_refused(model: DecoderModel) -> None:
    for context in ("The cat", "The cat ", ""):
        with pytest.raises(UsageError, match="has no tokens"):
            model.answer([LogLikelihood(context, "")])


def test_stream_gives_the_text_of_the_answer(model: DecoderModel) -> None:
    for stop, tokens in (((), 40), (("t", " the"), 40), ((), 0)):
        request = Generate("Größe", max_tokens=tokens, decoding=SAMPLED, seed=2, stop=stop)
        assert "".join(model.stream(request)) == model.answer([request])[0].text


def test_a_stream_leaves_the_mode_of_its_reader_alone(model: DecoderModel) -> None:
    news = model.stream(Generate("Größe", max_tokens=40, decoding=SAMPLED, seed=2))
    assert next(news)
    assert not torch.is_inference_mode_enabled()


def test_smaller_window_is_kept_to(folder: Path) -> None:
    model = from_folder(folder, name="random", window=20)
    [answer] = model.answer([Generate("The cat", max_tokens=100, decoding=SAMPLED)])
    assert answer.tokens <= 20 - model.count_tokens(["The cat"])[0]
    with pytest.raises(UsageError, match="window 97: random has 96 positions"):
        from_folder(folder, name="random", window=97)


def test_unknown_device_dtype_and_model_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--device: found 'tpu9'"):
        from_folder(folder, name="random", device="tpu9")
    with pytest.raises(UsageError, match="dtype 'int3' is not known"):
        from_folder(folder, name="random", dtype="int3")
    with pytest.raises(CheckpointError, match="is a file"):
        load(str(folder / "config.json"))


def overflowing(dtype: torch.dtype) -> DecoderModel:
    """A model with finite weights whose activations, but in a wider dtype, become infinite."""
    made = make_decoder(window=96).to(dtype)
    large = 1e4 if dtype == torch.float16 else 1e30
    with torch.no_grad():
        for block in made.blocks:
            block.mlp_in.weight.mul_(large)
            block.mlp_out.weight.mul_(large)
    return DecoderModel(checkpoint.Checkpoint(made, make_tokenizer(), "made"), name="large")


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        (torch.float16, "in float16, expected numbers; try --dtype float32 or bfloat16"),
        (torch.bfloat16, "in bfloat16, expected numbers; try --dtype float32"),
        (torch.float32, "in float32, expected numbers; the checkpoint's weights are too large or broken"),
    ],
)
@pytest.mark.parametrize(
    "request_",
    [
        LogLikelihood("The cat", " sat"),
        Rolling("The cat sat on the mat.", window=8),
        PerToken("The cat sat on the mat.", window=8, stride=4),
        Generate("The cat", max_tokens=4),
        Generate("The cat", max_tokens=4, decoding=Decoding(temperature=1.0, top_p=0.9)),
        Generate("The cat", max_tokens=4, decoding=Decoding(beams=3)),
    ],
    ids=["loglikelihood", "rolling", "per-token", "greedy", "sampled", "beams"],
)
def test_numbers_that_are_not_finite_are_no_answer(dtype: torch.dtype, advice: str, request_: Request) -> None:
    told: list[Response] = []
    with pytest.raises(CheckpointError) as caught:
        overflowing(dtype).answer([request_], on_response=lambda _place, response: told.append(response))
    assert str(caught.value) == f"large: found log-probabilities that are not finite {advice}"
    assert told == []


def test_streaming_ends_where_numbers_are_not_finite() -> None:
    with pytest.raises(CheckpointError, match="large: found log-probabilities that are not finite in float16"):
        list(overflowing(torch.float16).stream(Generate("The cat", max_tokens=4)))


def test_memory_error_of_the_device_is_reported_as_ours(model: DecoderModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried to allocate"
        )

    monkeypatch.setattr(model._decoder, "forward", exhausted)
    with pytest.raises(ModelMemoryError, match="too little memory"):
        model.answer([LogLikelihood("a", " b")])
