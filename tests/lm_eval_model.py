"""A model of transformers as lm_eval sees models: its own tokenization of requests, its own windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tokenizers import Tokenizer, decoders
from transformers import GPT2LMHeadModel

END_OF_TEXT = "<|endoftext|>"


class Model(TemplateLM):
    """Greedy, on the CPU, one request at a time."""

    def __init__(self, folder: Path, *, window: int) -> None:
        super().__init__()
        self.model = GPT2LMHeadModel.from_pretrained(folder).eval()
        self.backend_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.backend_tokenizer.decoder = decoders.ByteLevel()
        self.window = window

    @property
    def eot_token_id(self) -> int:
        return int(self.backend_tokenizer.token_to_id(END_OF_TEXT))

    def tok_encode(self, string: str, *_: Any, **__: Any) -> list[int]:
        return list(self.backend_tokenizer.encode(string, add_special_tokens=False).ids)

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        return [self.score(context, continuation) for _, context, continuation in requests]

    def score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        ids = torch.tensor([(context + continuation)[-(self.window + 1) :]])
        with torch.no_grad():
            logs = self.model(ids[:, :-1]).logits[0, -len(continuation) :].log_softmax(-1)
        wanted = ids[0, -len(continuation) :]
        total = logs.gather(1, wanted[:, None]).sum()
        return float(total), bool((logs.argmax(-1) == wanted).all())

    def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
        totals = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.window,
                context_len=1,
            )
            totals.append(sum(self.score(*make_disjoint_window(each))[0] for each in windows))
        return totals

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        texts = []
        for request in requests:
            context, given = request.args
            settings = normalize_gen_kwargs(given)
            stop = handle_stop_sequences(list(settings["until"]), END_OF_TEXT)
            ids = self.tok_encode(context)
            written: list[int] = []
            while len(written) < settings["max_gen_toks"] and len(ids) + len(written) < self.window:
                with torch.no_grad():
                    written.append(int(self.model(torch.tensor([ids + written])).logits[0, -1].argmax()))
                text = self.backend_tokenizer.decode(written, skip_special_tokens=False)
                if any(each in text for each in stop):
                    break
            text = self.backend_tokenizer.decode(written, skip_special_tokens=False)
            texts.append(postprocess_generated_text(text, stop, None))
        return texts
