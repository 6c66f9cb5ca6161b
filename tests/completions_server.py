"""A server of the completions API as vLLM speaks it, on a small GPT-2, with failures on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from evalkit.decoder.engine import from_folder
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.records import Decoding, Generate

MODEL = "small"
LISTED = {
    "id": MODEL,
    "object": "model",
    "created": 1763700000,
    "owned_by": "vllm",
    "root": "/models/small",
    "parent": None,
    "max_model_len": 64,
    "permission": [{"id": "modelperm-1", "object": "model_permission", "created": 1763700000}],
}

Answer = tuple[int, object]  # status and JSON; text is sent as it is, bytes are cut short, None is a dropped connection


def refused(message: str, *, status: int = 400) -> Answer:
    """What vLLM says of a request that it does not carry out."""
    return status, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


class Served:
    """What the server answers; log-probabilities are the twin's of transformers, texts the decoder's."""

    def __init__(self, folder: Path, twin: Any, tokenizer: Tokenizer, *, has_tokenize: bool = True) -> None:
        self.writer = from_folder(folder, name="writer")
        self.twin = twin
        self.tokenizer = tokenizer
        self.has_tokenize = has_tokenize
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        with self.lock:
            self.asked.append((path, body))
            if path == "/v1/models":
                return 200, {"object": "list", "data": [LISTED]}
            if path == "/tokenize" and self.has_tokenize:
                ids = self.ids(body["prompt"])
                return 200, {"count": len(ids), "max_model_len": 64, "tokens": ids, "token_strs": None}
            if path == "/v1/completions":
                return self.complete(body)
            return 404, {"detail": "Not Found"}

    def ids(self, prompt: str | list[int]) -> list[int]:
        """Tokenize as transformers does: special tokens are read in a text, a start token is added."""
        if isinstance(prompt, list):
            return prompt
        start = [] if self.tokenizer.start is None else [self.tokenizer.start]
        return [*start, *self.tokenizer.backend.encode(prompt, add_special_tokens=False).ids]

    def token(self, number: int) -> str:
        if number == self.tokenizer.end_of_text:
            return "<|endoftext|>"
        return self.tokenizer.bytes_of(number).decode(errors="replace")

    def complete(self, body: dict[str, Any]) -> Answer:
        ids = self.ids(body["prompt"])
        if not ids:
            return refused("The decoder prompt cannot be empty")
        if len(ids) + body["max_tokens"] > 64:
            return refused(f"This model's maximum context length is 64 tokens. However, you requested {len(ids)}")
        if body.get("echo"):
            return 200, self.echo(ids, body)
        rule = Decoding(temperature=body["temperature"], top_p=body.get("top_p"))
        stop = tuple(body.get("stop", ()))
        request = Generate(body["prompt"], stop, body["max_tokens"], rule, body.get("seed", 0))
        [written] = self.writer.answer([request])
        named = next((each for each in stop if written.finish == "stop"), None)
        choice = {
            "index": 0,
            "text": written.text,
            "logprobs": None,
            "finish_reason": "stop" if written.finish in {"stop", "end-of-text"} else "length",
            "stop_reason": named,
            "prompt_logprobs": None,
        }
        return 200, self.answered([choice], prompt=len(ids), completion=written.tokens)

    def echo(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        assert (body["max_tokens"], body["logprobs"]) == (1, 1)
        with torch.inference_mode():
            logprobs = self.twin(torch.tensor([ids])).logits[0].double().log_softmax(-1)  # (T, V)
        ids = [*ids, int(logprobs[-1].argmax())]
        tokens = [self.token(each) for each in ids]
        offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]  # with the names of special tokens
        tops = logprobs.max(dim=-1)
        told = {
            "text_offset": offsets,
            "token_logprobs": [None, *(logprobs[at, each].item() for at, each in enumerate(ids[1:]))],
            "tokens": tokens,
            "top_logprobs": [
                None,
                *(
                    {self.token(int(best)): value.item(), self.token(each): logprobs[at, each].item()}
                    for at, (each, best, value) in enumerate(zip(ids[1:], tops.indices, tops.values, strict=True))
                ),
            ],
        }
        text = body["prompt"] if isinstance(body["prompt"], str) else "".join(tokens[:-1])
        choice = {"index": 0, "text": text + tokens[-1], "logprobs": told, "finish_reason": "length"}
        return self.answered([choice | {"stop_reason": None}], prompt=len(ids) - 1, completion=1)

    def answered(self, choices: list[dict[str, Any]], *, prompt: int, completion: int) -> dict[str, Any]:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1763700000,
            "model": MODEL,
            "choices": choices,
            "usage": usage,
        }


@contextmanager
def serving(
    answer: Callable[[str, dict[str, Any]], Answer], *, refusing: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Serve on a free port of this machine, with the headers `refusing` in each refusal; give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.respond({})

        def do_POST(self) -> None:
            self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def respond(self, body: dict[str, Any]) -> None:
            body = body | ({"key": key} if (key := self.headers.get("Authorization")) else {})
            status, content = answer(self.path, body)
            if content is None:
                self.connection.close()
                return
            sent = json.dumps(content).encode()
            if isinstance(content, str | bytes):
                sent = content.encode() if isinstance(content, str) else content
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            for header, value in (refusing or {}).items() if status >= 400 else ():
                self.send_header(header, value)
            if status in {301, 307}:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(sent) + isinstance(content, bytes)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            """Keep test output clean."""

        def finish(self) -> None:
            with suppress(OSError, ValueError):  # the connection was dropped on purpose
                super().finish()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
