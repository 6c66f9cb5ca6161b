"""Rolling log-likelihoods: lm_eval's windows, every token predicted once, the same in any batch."""

from array import array
from pathlib import Path

import pytest
import torch

from evalkit.decoder import checkpoint, rolling
from evalkit.decoder.engine import DecoderModel, from_folder
from evalkit.decoder.rolling import Text
from evalkit.errors import UsageError, WindowError
from evalkit.records import Completion, Generate, LogLikelihood, LogProb, Rolling
from tests.decoders import make_tokenizer, save_gpt2, save_native

TEXT = "The cat sat on the mat. Größe, 東京 and 🙂 too. Q: What is 98 plus 45?\n\nA: 143\n" * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native")
    save_native(folder, window=32)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> DecoderModel:
    return from_folder(folder, name="random")


def numbered(tokens: int, *, window: int, stride: int | None = None) -> Text:
    """A text whose ids are their places, after the 0 that begins it."""
    return Text(Rolling("", window, stride), array("i", range(tokens + 1)))


def answer(model: DecoderModel, text: str, window: int, stride: int | None = None) -> LogProb:
    [found] = model.answer([Rolling(text, window, stride)])
    assert isinstance(found, LogProb)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # lm_eval 0.4.13, get_rolling_token_windows(range(1, tokens + 1), 0, 4, 1) through make_disjoint_window
        (numbered(10, window=4), [([0], [1, 2, 3, 4]), ([4], [5, 6, 7, 8]), ([6, 7, 8], [9, 10])]),
        (numbered(8, window=4), [([0], [1, 2, 3, 4]), ([4], [5, 6, 7, 8])]),
        (numbered(4, window=4), [([0], [1, 2, 3, 4])]),
        (numbered(3, window=4), [([0], [1, 2, 3])]),
        (numbered(1, window=4), [([0], [1])]),
        (numbered(2, window=1), [([0], [1]), ([1], [2])]),
        (numbered(0, window=4), []),
        # the same with a context_len of 4 - stride + 1, contexts without what is predicted
        (
            numbered(9, window=4, stride=2),
            [([0], [1, 2, 3, 4]), ([2, 3, 4], [5, 6]), ([4, 5, 6], [7, 8]), ([5, 6, 7, 8], [9])],
        ),
        (numbered(6, window=4, stride=1), [([0], [1, 2, 3, 4]), ([1, 2, 3, 4], [5]), ([2, 3, 4, 5], [6])]),
        (numbered(10, window=4, stride=4), [([0], [1, 2, 3, 4]), ([4], [5, 6, 7, 8]), ([6, 7, 8], [9, 10])]),
    ],
)
def test_windows_are_those_of_lm_eval(text: Text, expected: list[tuple[list[int], list[int]]]) -> None:
    ids = text.ids.tolist()
    found = [(ids[each.begin : each.start], ids[each.start : each.end]) for each in rolling.windows(text)]
    assert found == expected


@pytest.mark.parametrize("stride", [None, 1, 3, 7])
def test_every_token_is_predicted_once_and_no_window_is_exceeded(stride: int | None) -> None:
    for tokens in range(40):
        found = list(rolling.windows(numbered(tokens, window=7, stride=stride)))
        assert [place for each in found for place in range(each.start, each.end)] == list(range(1, tokens + 1))
        assert all(1 <= each.end - each.begin - 1 <= 7 for each in found)


@pytest.mark.parametrize("stride", [None, 1, 5, 16])
def test_totals_equal_a_plain_loop_over_transformers(tmp_path: Path, stride: int | None) -> None:
    twin = save_gpt2(tmp_path)
    made = make_tokenizer()
    ids = [made.end_of_text, *made.encode([TEXT])[0].ids]  # no start token, so end-of-text begins the text
    window, new = 24, stride or 24
    expected, is_greedy, done = 0.0, True, 0
    while done < len(ids) - 1:
        count = min(window if done == 0 else new, len(ids) - 1 - done)
        done += count
        read = torch.tensor([ids[max(0, done - window) : done]])
        with torch.inference_mode():
            logprobs = twin(read).logits[0, -count:].log_softmax(-1)
        wanted = torch.tensor(ids[done - count + 1 : done + 1])
        expected += logprobs.gather(1, wanted[:, None]).double().sum().item()
        is_greedy &= bool((logprobs.argmax(-1) == wanted).all())
    found = answer(from_folder(tmp_path, name="twin"), TEXT, window, stride)
    assert found.total == pytest.approx(expected, abs=1e-3)
    assert (found.tokens, found.bytes) == (len(ids) - 1, len(TEXT.encode()))
    assert (found.is_greedy, found.boundary_merged) == (is_greedy, False)


def test_a_text_within_a_window_is_a_continuation_of_nothing(model: DecoderModel) -> None:
    text = "The cat sat on the mat."
    tokens = model.count_tokens([text])[0] - 1
    [whole] = model.answer([LogLikelihood("", text)])
    for window in (tokens, tokens + 1, model.window):
        assert answer(model, text, window).total == pytest.approx(whole.total, abs=1e-4)


def test_one_token_is_predicted_from_the_start_token(model: DecoderModel) -> None:
    [whole] = model.answer([LogLikelihood("", "The")])
    assert answer(model, "The", 1).total == pytest.approx(whole.total, abs=1e-5)


def test_an_empty_text_has_no_tokens(model: DecoderModel) -> None:
    assert answer(model, "", 8) == LogProb(total=0.0, tokens=0, bytes=0, is_greedy=True, boundary_merged=False)


def test_longer_context_changes_what_a_window_predicts(model: DecoderModel) -> None:
    assert answer(model, TEXT, 16, 4).total != pytest.approx(answer(model, TEXT, 16).total, abs=1e-2)


@pytest.mark.parametrize("token_budget", [1, 40, 100, 5000])
def test_totals_do_not_depend_on_the_batch(folder: Path, model: DecoderModel, token_budget: int) -> None:
    loaded = checkpoint.load(folder, device="cpu", dtype=torch.float32)
    other = DecoderModel(loaded, name="other", token_budget=token_budget)
    requests = [
        Rolling(TEXT[begin:], window, stride)
        for begin, window, stride in [(0, 32, None), (100, 32, 8), (150, 9, None), (200, 9, 2)]
    ]
    for together, request in zip(other.answer(requests), requests, strict=True):
        alone = answer(model, request.text, request.window, request.stride)
        assert together.total == pytest.approx(alone.total, abs=1e-4)


def test_rolling_requests_come_back_in_order_among_others(model: DecoderModel) -> None:
    requests = [Rolling(TEXT, 16), Generate("The", max_tokens=2), LogLikelihood("The", " cat"), Rolling("The cat", 16)]
    first, completion, continuation, last, again = model.answer([*requests, requests[0]])
    assert [first.bytes, continuation.bytes, last.bytes] == [len(TEXT.encode()), 4, 7]
    assert isinstance(completion, Completion)
    assert again == first


@pytest.mark.parametrize(
    ("window", "stride", "error", "expected"),
    [
        (
            33,
            None,
            WindowError,
            "windows of 33 tokens are asked for, the window of random holds 32; ask for 32 at most",
        ),
        (0, None, UsageError, "found a rolling window of 0 tokens, expected at least 1"),
        (8, 0, UsageError, "found a stride of 0 tokens, expected 1 to the window's 8"),
        (8, 9, UsageError, "found a stride of 9 tokens, expected 1 to the window's 8"),
    ],
)
def test_windows_and_strides_that_cannot_be_are_refused(
    model: DecoderModel, window: int, stride: int | None, error: type[Exception], expected: str
) -> None:
    with pytest.raises(error) as caught:
        answer(model, TEXT, window, stride)
    assert str(caught.value) == expected
