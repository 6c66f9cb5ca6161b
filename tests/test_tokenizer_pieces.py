"""What many texts have is tokenized once, and gives the tokens that whole texts have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from evalkit.decoder import tokenizer
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.tokenizer_kind import divides_after_words
from evalkit.decoder.tokenizer_pieces import Pieces
from tests.tokenizer_kinds import MADE, save_kind

KINDS = sorted(MADE)
DIVIDED = ("gpt2", "llama3", "neox", "qwen")
PARTS = (
    "The cat",
    " sat",
    "mat\n",
    "98",
    " ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "'s",
    "e\u0301",
    "\u0301",
    "東",
    ".",
    "?\n",
    "A:",
)
FOUND = (*PARTS, "<|endoftext|>", "</s>", "  ", "\x1c")
long_texts = st.lists(st.sampled_from(FOUND), max_size=40).map("".join)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("kinds")
    for name in KINDS:
        save_kind(name, folder / name)
    return {name: tokenizer.load(folder / name) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_tokens_of_pieces_are_those_of_whole_texts(loaded: dict[str, Tokenizer], name: str) -> None:
    ours = loaded[name]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(long_texts, max_size=3), long_texts, long_texts)
    def equal(several: list[str], context: str, continuation: str) -> None:
        assert ours.ids(several) == [encoding.ids for encoding in ours.encode(several)]
        [whole] = ours.encode([context + continuation])
        [found] = ours.continued([(context, continuation)])
        before = sum(end <= len(context) for _, end in whole.offsets)
        is_merged = any(start < len(context) < end for start, end in whole.offsets)
        assert (found.ids, found.before, found.is_merged) == (whole.ids, before, is_merged)

    equal()


def test_texts_are_cut_only_where_no_token_can_cross(loaded: dict[str, Tokenizer]) -> None:
    assert [name for name in KINDS if divides_after_words(loaded[name].backend)] == sorted(DIVIDED)
    crossing = (
        AddedToken("the end"),
        AddedToken("end", rstrip=True),
        AddedToken(" end", single_word=True),
    )
    for token in crossing:
        backend = Backend.from_str(MADE["gpt2"].to_str())
        backend.add_tokens([token])
        assert not divides_after_words(backend)


class Counted:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, backend: Backend) -> None:
        self.texts: list[str] = []
        self._backend = backend

    def encode_batch(self, texts: list[str], **given: bool) -> list:
        self.texts += texts
        return self._backend.encode_batch(texts, **given)


@pytest.mark.parametrize(("most", "times"), [(1000, 1), (1, 2)])
def test_a_piece_is_tokenized_once_while_it_is_remembered(most: int, times: int) -> None:
    counted = Counted(MADE["gpt2"])
    pieces = Pieces(counted, divides=True, most=most)
    expected = [MADE["gpt2"].encode(text).ids for text in ("The cat\n\nA: 98", "The cat\n\nA: 45")]
    assert pieces.ids(["The cat\n\nA: 98", "The cat\n\nA: 45"]) == expected
    assert pieces.ids(["The cat\n\nA: 45"]) == expected[1:]
    assert counted.texts.count("The cat") == times
