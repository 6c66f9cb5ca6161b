"""A served model: what it is asked, what is read of its answers, and what comes of servers that fail."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.decoder.engine import DecoderModel, from_folder
from evalkit.errors import EvalkitError, ServerError, WindowError
from evalkit.models.server import ServerModel, connect
from evalkit.models.server_http import Server
from evalkit.records import Completion, Decoding, Generate, LogLikelihood, LogProb, Response, Rolling
from tests.completions_server import Answer, Served, refused, serving
from tests.decoders import make_tokenizer, save_gpt2

ASKED = LogLikelihood("The cat", " sat")
Behaviour = Callable[[str, dict[str, Any]], Answer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def served(folder: Path) -> Served:
    twin = save_gpt2(folder)
    tokenizer = make_tokenizer()
    tokenizer.start = None
    return Served(folder, twin, tokenizer)


@pytest.fixture
def model_of() -> Iterator[Callable[..., ServerModel]]:
    """Serve what a function answers, and take the model."""
    entered: list[Any] = []

    def make(behaviour: Behaviour, *, window: int | None = None, timeout: float = 10.0) -> ServerModel:
        entered.append(serving(behaviour))
        return connect(Server(entered[-1].__enter__(), timeout=timeout, pause=0.0), window=window)

    yield make
    for each in entered:
        each.__exit__(None, None, None)


def completions(served: Served, behaviour: Behaviour) -> Behaviour:
    """Answer completions in another way, all else as always."""
    return lambda path, body: (behaviour if path == "/v1/completions" else served.answer)(path, body)


def complaint(model: ServerModel, *requests: LogLikelihood | Generate | Rolling) -> str:
    with pytest.raises(EvalkitError) as caught:
        model.answer(requests)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_servers_own_words_are_shown(served: Served, model_of: Callable[..., ServerModel]) -> None:
    model = model_of(completions(served, lambda *_: refused("logprobs are\ndisabled here")))
    assert "refused with 400 (logprobs are disabled here)" in complaint(model, ASKED)


def test_the_key_is_sent_and_never_shown(
    served: Served, model_of: Callable[..., ServerModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    sent = []

    def refuse(_: str, body: dict[str, Any]) -> Answer:
        sent.append(body["key"])
        return refused("Unauthorized", status=401)

    said = complaint(model_of(completions(served, refuse)), ASKED)
    assert sent == ["Bearer secret"]
    assert "401 (Unauthorized)" in said
    assert "secret" not in said


@pytest.mark.parametrize("dropped", [(200, None), (200, b'{"choices": ['), (503, {"detail": "loading"})])
@pytest.mark.parametrize("times", [1, 3])
def test_a_dropped_connection_is_tried_again(
    served: Served, model_of: Callable[..., ServerModel], dropped: Answer, times: int
) -> None:
    left = [dropped] * times
    model = model_of(completions(served, lambda path, body: left.pop() if left else served.answer(path, body)))
    [answer] = model.answer([ASKED])
    assert isinstance(answer, LogProb)
    assert not left


@pytest.mark.parametrize("dropped", [(200, None), (200, b'{"choices": [')])
def test_a_connection_that_is_always_dropped_is_an_error(
    served: Served, model_of: Callable[..., ServerModel], dropped: Answer
) -> None:
    tried = []

    def drop(_: str, body: dict[str, Any]) -> Answer:
        tried.append(body)
        return dropped

    assert "the connection failed 4 times" in complaint(model_of(completions(served, drop)), ASKED)
    assert len(tried) == 4


def test_what_was_answered_before_a_failure_is_kept(served: Served, model_of: Callable[..., ServerModel]) -> None:
    others = threading.Event()

    def fail(path: str, body: dict[str, Any]) -> Answer:
        if "mat" not in body["prompt"]:
            return served.answer(path, body)
        others.wait(5)
        return refused("broken")

    told: list[Response] = []

    def keep(_: int, response: Response) -> None:
        told.append(response)
        if len(told) == 2:
            others.set()

    model = model_of(completions(served, fail))
    with pytest.raises(ServerError, match="broken"):
        model.answer([ASKED, LogLikelihood("The mat", " sat"), Generate("The cat", max_tokens=3)], on_response=keep)
    assert {type(response) for response in told} == {LogProb, Completion}


def test_what_is_under_way_at_a_failure_is_kept(served: Served, model_of: Callable[..., ServerModel]) -> None:
    failed = threading.Event()

    def fail(path: str, body: dict[str, Any]) -> Answer:
        if "mat" in body["prompt"]:
            failed.set()
            return refused("broken")
        failed.wait(5)
        time.sleep(0.2)  # so that the refusal is there first
        return served.answer(path, body)

    told: list[int] = []
    model = model_of(completions(served, fail))
    with pytest.raises(ServerError, match="broken"):
        model.answer([ASKED, LogLikelihood("The mat", " sat"), ASKED], on_response=lambda place, _: told.append(place))
    assert told == [0, 2]


def test_a_server_that_says_nothing_is_not_waited_for(served: Served, model_of: Callable[..., ServerModel]) -> None:
    def sleep(*_: object) -> Answer:
        time.sleep(0.5)
        return 200, {}

    assert "no answer within 0.1 seconds" in complaint(model_of(completions(served, sleep), timeout=0.1), ASKED)


def test_a_redirect_is_not_followed(served: Served, model_of: Callable[..., ServerModel]) -> None:
    assert "refused with 301" in complaint(model_of(completions(served, lambda *_: (301, {}))), ASKED)


@pytest.mark.parametrize("nonsense", ["<html>hello</html>", "", "[" * 100_000])
def test_what_is_no_json_is_told(served: Served, model_of: Callable[..., ServerModel], nonsense: str) -> None:
    assert "expected JSON" in complaint(model_of(completions(served, lambda *_: (200, nonsense))), ASKED)


@pytest.mark.parametrize("nonsense", [[], "text", 7])
def test_what_is_no_object_is_told(served: Served, model_of: Callable[..., ServerModel], nonsense: object) -> None:
    said = complaint(model_of(completions(served, lambda *_: (200, json.dumps(nonsense)))), ASKED)
    assert "expected an object" in said


@pytest.mark.parametrize("choices", [None, [], [1], [{}, {}], {}])
def test_an_answer_without_its_choice_is_told(
    served: Served, model_of: Callable[..., ServerModel], choices: object
) -> None:
    said = complaint(model_of(completions(served, lambda *_: (200, {"choices": choices}))), ASKED)
    assert "expected one" in said


def changed(served: Served, change: Callable[[dict[str, Any]], object]) -> Behaviour:
    """Let the log-probabilities of an answer be others."""

    def answer(path: str, body: dict[str, Any]) -> Answer:
        status, content = served.answer(path, body)
        told = json.loads(json.dumps(content))
        change(told["choices"][0])
        return status, told

    return completions(served, answer)


@pytest.mark.parametrize(
    "change",
    [
        lambda choice: choice.update(logprobs=None),
        lambda choice: choice.pop("logprobs"),
        lambda choice: choice.update(logprobs={"content": [{"token": " sat", "logprob": -1.0}]}),  # of chats
        lambda choice: choice["logprobs"].update(top_logprobs=None),
        lambda choice: choice["logprobs"].update(token_logprobs=[None] * 9),
        # llama.cpp ignores echo and tells of the token that it wrote alone
        lambda choice: choice["logprobs"].update(
            {key: choice["logprobs"][key][-1:] for key in ("tokens", "token_logprobs", "top_logprobs")}
        ),
        lambda choice: choice["logprobs"]["token_logprobs"].__setitem__(1, math.nan),
        lambda choice: choice["logprobs"]["token_logprobs"].__setitem__(1, "-1.5"),
    ],
)
def test_a_server_without_logprobs_of_the_prompt_is_told(
    served: Served, model_of: Callable[..., ServerModel], change: Callable[[dict[str, Any]], object]
) -> None:
    assert "returns no logprobs" in complaint(model_of(changed(served, change)), LogLikelihood("The", " cat sat"))


def test_a_log_probability_above_0_is_told(served: Served, model_of: Callable[..., ServerModel]) -> None:
    model = model_of(changed(served, lambda choice: choice["logprobs"]["token_logprobs"].__setitem__(1, 5.0)))
    assert "a log-probability of 5, expected 0 or less" in complaint(model, LogLikelihood("The", " cat sat"))


def test_no_tokens_of_a_text_are_told(served: Served, model_of: Callable[..., ServerModel]) -> None:
    model = model_of(lambda path, body: (200, {"tokens": []}) if path == "/tokenize" else served.answer(path, body))
    with pytest.raises(ServerError, match="gives no tokens for 'The cat'"):
        model.count_tokens(["The cat"])


@pytest.mark.parametrize("number", [-1, 2**31, True, 1.0, "1"])
def test_a_token_that_has_no_number_is_told(
    served: Served, model_of: Callable[..., ServerModel], number: object
) -> None:
    model = model_of(
        lambda path, body: (200, {"tokens": [number]}) if path == "/tokenize" else served.answer(path, body)
    )
    assert "as tokens of /tokenize, expected their numbers" in complaint(model, Rolling("The cat", 24))


def test_tokens_of_another_text_are_told(served: Served, model_of: Callable[..., ServerModel]) -> None:
    model = model_of(changed(served, lambda choice: choice["logprobs"]["tokens"].__setitem__(1, " dog")))
    assert "do not spell the text" in complaint(model, LogLikelihood("The", " cat sat"))


@pytest.mark.parametrize("request_", [ASKED, Generate("The cat", max_tokens=3)])
def test_an_answer_of_another_model_is_refused(
    served: Served, model_of: Callable[..., ServerModel], request_: LogLikelihood | Generate
) -> None:
    def answer(path: str, body: dict[str, Any]) -> Answer:
        status, content = served.answer(path, body)
        return status, {**json.loads(json.dumps(content)), "model": "other"}

    said = complaint(model_of(completions(served, answer)), request_)
    assert "found an answer of model 'other', expected one of 'small'" in said


def test_beam_search_is_refused(served: Served, model_of: Callable[..., ServerModel]) -> None:
    said = complaint(model_of(served.answer), Generate("The cat", decoding=Decoding(beams=4)))
    assert "beam search cannot be done by a server; load the model from its folder" in said


def test_a_smaller_window_is_kept(served: Served, model_of: Callable[..., ServerModel]) -> None:
    model = model_of(served.answer, window=8)
    with pytest.raises(WindowError, match="holds 8"):
        model.answer([LogLikelihood("The cat sat on the mat." * 2, " sat")])


def test_tokens_are_counted_by_usage_where_there_is_no_tokenize(
    served: Served, folder: Path, model_of: Callable[..., ServerModel]
) -> None:
    model = model_of(lambda path, body: (404, {}) if path == "/tokenize" else served.answer(path, body))
    expected = from_folder(folder, name="small").count_tokens(["", "The cat"])
    long = " The cat" * 64  # refused as a prompt, so its bytes are counted
    assert model.count_tokens(["", "The cat", long]) == [*expected, len(long) + 1]


def test_log_likelihoods_need_no_tokenize(served: Served, folder: Path, model_of: Callable[..., ServerModel]) -> None:
    model = model_of(lambda path, body: (404, {}) if path == "/tokenize" else served.answer(path, body))
    asked = [ASKED, LogLikelihood("", "The cat")]
    found = model.answer(asked)
    assert [each.total for each in found] == pytest.approx(
        [each.total for each in from_folder(folder, name="small").answer(asked)], abs=1e-4
    )
    assert "no /tokenize" in complaint(model, Rolling("The cat", 24))


def test_every_setting_of_a_draw_is_sent(served: Served, model_of: Callable[..., ServerModel]) -> None:
    sent: list[dict[str, Any]] = []

    def record(path: str, body: dict[str, Any]) -> Answer:
        sent.append(body)
        return served.answer(path, body)

    rule = Decoding(temperature=0.5, top_p=0.9, top_k=7)
    model_of(completions(served, record)).answer([Generate("The", ("", "\n"), 5, rule, 2**31 + 3), Generate("The")])
    drawn, greedy = sorted(sent, key=lambda body: -body["temperature"])
    keys = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop", "max_tokens", "model")
    assert [drawn[key] for key in keys] == [0.5, 0.9, 7, 0.0, 1.0, 3, ["\n"], 5, "small"]
    assert [greedy[key] for key in keys[:6]] == [0.0, 1.0, -1, 0.0, 1.0, 0]


@pytest.mark.parametrize(
    ("told", "finish"),
    [
        ({"finish_reason": "length"}, "max-tokens"),
        ({"finish_reason": "stop", "stop_reason": None}, "end-of-text"),  # vLLM
        ({"finish_reason": "stop", "stop_reason": "\n"}, "stop"),
        ({"finish_reason": "stop", "matched_stop": 50256}, "end-of-text"),  # SGLang
        ({"finish_reason": "stop", "matched_stop": "\n"}, "stop"),
        ({"finish_reason": "stop"}, "stop"),  # llama.cpp tells neither
    ],
)
def test_why_an_answer_ended_is_read_from_what_servers_tell(
    served: Served, model_of: Callable[..., ServerModel], told: dict[str, object], finish: str
) -> None:
    answer = {"choices": [{"text": " yes"} | told], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}
    [found] = model_of(completions(served, lambda *_: (200, answer))).answer([Generate("The cat", ("\n",), 9)])
    assert found == Completion(" yes", 3, finish)


@pytest.mark.parametrize("reason", [None, "abort", "content_filter"])
def test_an_answer_that_was_given_up_is_told(
    served: Served, model_of: Callable[..., ServerModel], reason: str | None
) -> None:
    answer = {"choices": [{"text": " yes", "finish_reason": reason}]}
    said = complaint(model_of(completions(served, lambda *_: (200, answer))), Generate("The cat"))
    assert "expected an answer" in said


def llama(served: Served, *, starts: bool) -> Behaviour:
    """What llama.cpp's server answers: pieces of a text, and one token with its log-probability under a bias."""
    made = served.tokenizer

    def answer(path: str, body: dict[str, Any]) -> Answer:
        if path == "/v1/models":
            return 200, {"data": [{"id": "small.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 64}}]}
        if path == "/tokenize":
            ids = made.backend.encode(body["content"], add_special_tokens=False).ids
            ids = [made.end_of_text, *ids] if starts and body["add_special"] else ids
            return 200, {"tokens": list(map(piece, ids)) if body.get("with_pieces") else ids}
        assert path == "/completion"
        assert (body["n_predict"], body["n_probs"], body["temperature"]) == (1, 1, 0.0)
        with torch.inference_mode():
            logits = served.twin(torch.tensor([body["prompt"]])).logits[0, -1]
        logprobs = logits.log_softmax(-1)
        biased = logits.clone()
        for token, bias in body["logit_bias"]:
            biased[token] += bias
        token, best = int(biased.argmax()), int(logits.argmax())
        top = {"id": best, "logprob": logprobs[best].item()}
        told = {"id": token, "logprob": logprobs[token].item(), "top_logprobs": [top]}
        return 200, {"content": "", "completion_probabilities": [told]}

    def piece(number: int) -> dict[str, object]:
        spelled = made.bytes_of(number)
        try:
            return {"id": number, "piece": spelled.decode()}
        except UnicodeDecodeError:
            return {"id": number, "piece": list(spelled)}

    return answer


def test_llama_cpp_is_asked_token_by_token(served: Served, folder: Path, model_of: Callable[..., ServerModel]) -> None:
    asked = [
        ASKED,
        LogLikelihood("Th", "e cat sat"),
        LogLikelihood("Größe, 東", "京 and 🙂"),
        LogLikelihood("", "The cat"),
        Rolling("The cat sat on the mat." * 3, 20),
    ]
    decoder: DecoderModel = from_folder(folder, name="small")
    found = model_of(llama(served, starts=False)).answer(asked)
    for answer, expected in zip(found, decoder.answer(asked), strict=True):
        assert isinstance(answer, LogProb)
        assert isinstance(expected, LogProb)
        assert answer.total == pytest.approx(expected.total, abs=1e-4)
        assert (answer.tokens, answer.bytes, answer.is_greedy, answer.boundary_merged) == (
            *(expected.tokens, expected.bytes, expected.is_greedy, expected.boundary_merged),
        )


def test_llama_cpp_may_put_a_token_before_a_text(served: Served, model_of: Callable[..., ServerModel]) -> None:
    plain, started = (model_of(llama(served, starts=starts)) for starts in (False, True))
    asked = [LogLikelihood("", "The cat")]  # end-of-text stands before it in both
    assert plain.answer(asked) == started.answer(asked)
    assert (plain.count_tokens(["The cat"]), started.count_tokens(["The cat"])) == ([2], [3])
