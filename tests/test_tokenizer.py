"""Tokenizers of every kind give transformers' tokens, offsets into the text as given, and the bytes of each token."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from evalkit.decoder import tokenizer
from evalkit.decoder.offsets import split_fused, without_gaps
from evalkit.decoder.spans import spans
from evalkit.decoder.tokenizer import TextStream, Tokenizer
from evalkit.errors import CheckpointError
from evalkit.records import LogLikelihood
from tests.tokenizer_kinds import MADE, save_kind, twin_of

KINDS = sorted(MADE)
STRIPPED = ("llama2", "mistral", "unigram", "unigram-nfkc")  # transformers strips the first space of what it decodes
ALPHABET = "Thecats MP\n\t.,é\u0301\u0323n\u0303ôö東京かが🙂👩\u200d\u00a0ﬁ①½{}<>0x1가\u1100\u1161"
AWKWARD = [
    "",
    " ",
    "\n",
    "The cat",
    " The cat ",
    "  two  spaces",
    "\n\nQ: What is 98 plus 45?",
    "cafe\u0301 naïve",
    "e\u0301\u0323 \u0323x",
    "東京 🙂🙂 👩\u200d👩",
    "{}~ ①½ﬁ",
    "\u00a0\u3000.",
    "tab\there\r\nthere",
    "<0x0A>",
    "\u0000\u0001",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    for name in KINDS:
        save_kind(name, folder / name)
    return folder


@pytest.fixture(scope="module")
def loaded(root: Path) -> dict[str, Tokenizer]:
    return {name: tokenizer.load(root / name) for name in KINDS}


@pytest.fixture(scope="module")
def twins(root: Path) -> dict:
    return {name: twin_of(root / name) for name in KINDS}


texts = st.text(ALPHABET, max_size=20) | st.text(max_size=8).filter(lambda text: "▁" not in text)


@pytest.mark.parametrize("name", KINDS)
def test_tokens_and_text_equal_transformers(loaded: dict[str, Tokenizer], twins: dict, name: str) -> None:
    ours, twin = loaded[name], twins[name]

    @settings(max_examples=60, deadline=None)
    @given(texts)
    def equal(text: str) -> None:
        [encoding] = ours.encode([text])
        assert encoding.ids == twin(text, add_special_tokens=False)["input_ids"]
        assert [*([] if ours.start is None else [ours.start]), *encoding.ids] == twin(text)["input_ids"]
        decoded = ours.decode(encoding.ids)
        assert (decoded.removeprefix(" ") if name in STRIPPED else decoded) == twin.decode(encoding.ids)

    for text in AWKWARD:
        equal.hypothesis.inner_test(text)
    equal()


@pytest.mark.parametrize("name", KINDS)
def test_a_text_is_split_at_any_character_where_its_bytes_are(loaded: dict[str, Tokenizer], name: str) -> None:
    # The bytes of all tokens are those of the text, so where a split falls follows from counting bytes.
    ours = loaded[name]

    def check(context: str, continuation: str) -> None:
        text = context + continuation
        [encoding] = ours.encode([text])
        if not context or not continuation or ours.decode(encoding.ids).removeprefix(" ") != text.removeprefix(" "):
            return  # a normalizer rewrote the text
        lengths = [len(ours.bytes_of(token)) for token in encoding.ids]
        added = sum(lengths) - len(text.encode())  # the space before a text
        ends = [sum(lengths[: place + 1]) - added for place in range(len(lengths))]
        edge = len(context.encode())
        [span] = spans(ours, [LogLikelihood(context, continuation)])
        before = span.start - (len(span.ids) - len(encoding.ids))
        assert before == sum(end <= edge for end in ends)
        assert span.boundary_merged == (edge not in ends)

    for text in AWKWARD:
        for edge in range(len(text)):
            check(text[:edge], text[edge:])
    settings(max_examples=60, deadline=None)(given(texts, texts)(check))()


@pytest.mark.parametrize("name", KINDS)
def test_every_character_lies_in_a_token(loaded: dict[str, Tokenizer], name: str) -> None:
    for text in filter(None, AWKWARD):
        [encoding] = loaded[name].encode([text])
        covered = {place for start, end in encoding.offsets for place in range(start, end)}
        assert covered == set(range(len(text))), text
        assert encoding.offsets == sorted(encoding.offsets), text


def test_a_split_inside_a_composed_character_is_through_its_token(loaded: dict[str, Tokenizer]) -> None:
    for name in ("neox", "qwen", "unigram-nfkc"):
        [span] = spans(loaded[name], [LogLikelihood("cafe", "\u0301 a")])
        assert span.boundary_merged, name


def test_offsets_keep_the_space_that_a_post_processor_trims(loaded: dict[str, Tokenizer]) -> None:
    assert '"trim_offsets":true' in MADE["gpt2"].to_str().replace(" ", "")
    assert loaded["gpt2"].encode(["The cat"])[0].offsets == [(0, 3), (3, 7)]


def test_gaps_belong_to_the_token_before_them() -> None:
    # characters 0, 3 and 5 lie in no token; the second and third token are bytes of one character
    assert without_gaps([(1, 2), (2, 3), (2, 3), (4, 5)], length=6) == [(0, 2), (2, 4), (2, 4), (4, 6)]
    assert without_gaps([], length=3) == []


def test_fused_bytes_lie_on_their_own_characters() -> None:
    pieces = [b"a", *(bytes([byte]) for byte in "é東".encode())]
    assert split_fused("aé東", pieces, [(0, 1)] + [(1, 3)] * 5) == [(0, 1)] + [(1, 2)] * 2 + [(2, 3)] * 3
    assert split_fused("aﬁ①", [b"a", b"f", b"i"], [(0, 1), (1, 3), (1, 3)]) == [(0, 1), (1, 3), (1, 3)]


@pytest.mark.parametrize("name", KINDS)
def test_a_continuation_keeps_its_first_space(loaded: dict[str, Tokenizer], name: str) -> None:
    [span] = spans(loaded[name], [LogLikelihood("The end of the", " Paris")])
    assert loaded[name].decode(span.ids[span.start :]) == " Paris"


@pytest.mark.parametrize("name", KINDS)
def test_streamed_text_equals_text_decoded_whole(loaded: dict[str, Tokenizer], name: str) -> None:
    ours = loaded[name]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, ours.size + 3), max_size=30))
    def equal(ids: list[int]) -> None:
        stream = TextStream(ours)
        assert "".join([*map(stream.push, ids), stream.close()]) == ours.decode(ids)

    equal()


def test_tokens_stand_for_their_bytes(loaded: dict[str, Tokenizer]) -> None:
    def of(name: str, text: str) -> bytes:
        return loaded[name].bytes_of(loaded[name].backend.token_to_id(text))

    assert [of("llama2", text) for text in ("<0x0A>", "<0xF0>", "▁", "▁the")] == [b"\n", b"\xf0", b" ", b" the"]
    assert [of("gemma", text) for text in ("▁▁", "<bos>", "<unk>")] == [b"  ", b"", b""]
    assert [of("unigram", text) for text in ("<0x0A>", "▁", "</s>")] == [b"\n", b" ", b""]
    assert [of("llama3", text) for text in ("Ġthe", "Ċ", "<|begin_of_text|>")] == [b" the", b"\n", b""]
    assert loaded["llama2"].bytes_of(loaded["llama2"].size) == b""


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("gpt2", None, "<|endoftext|>"),
        ("neox", None, "<|endoftext|>"),
        ("llama3", "<|begin_of_text|>", "<|end_of_text|>"),
        ("qwen", None, "<|endoftext|>"),
        ("llama2", "<s>", "</s>"),
        ("mistral", "<s>", "</s>"),
        ("gemma", "<bos>", "<eos>"),
    ],
)
def test_each_kind_has_its_start_and_its_end(
    loaded: dict[str, Tokenizer], name: str, start: str | None, end: str
) -> None:
    found = loaded[name]
    assert (found.start and found.backend.id_to_token(found.start)) == start
    assert found.backend.id_to_token(found.end_of_text) == end


def test_an_explicit_setting_decides_over_the_post_processor(tmp_path: Path) -> None:
    save_kind("llama3", tmp_path, add_bos_token=False)
    assert tokenizer.load(tmp_path).start is None
    save_kind("gpt2", tmp_path, add_bos_token=True)
    loaded = tokenizer.load(tmp_path)
    assert loaded.start == loaded.end_of_text


def test_special_tokens_map_names_the_end_where_the_settings_do_not(tmp_path: Path) -> None:
    save_kind("llama3", tmp_path, eos_token=None)
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": {"content": "<|eot_id|>"}}')
    loaded = tokenizer.load(tmp_path)
    assert loaded.backend.id_to_token(loaded.end_of_text) == "<|eot_id|>"


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        (None, None, {0}),
        (None, {"eos_token_id": 2}, {0, 2}),
        ({"eos_token_id": [0, 2]}, {"eos_token_id": 7}, {0, 2}),
        ({"temperature": 1.0}, {"text_config": {"eos_token_id": [1, 3]}}, {0, 1, 3}),
        ({"eos_token_id": None}, {"eos_token_id": None}, {0}),
    ],
)
def test_all_tokens_that_end_an_answer_are_known(
    tmp_path: Path, generation: object, config: object, expected: set[int]
) -> None:
    save_kind("llama3", tmp_path)  # its end-of-text is token 0
    for name, content in (("generation_config.json", generation), ("config.json", config)):
        if content is not None:
            (tmp_path / name).write_text(json.dumps(content))
    assert tokenizer.load(tmp_path).ends == expected


@pytest.mark.parametrize(
    ("name", "file", "ends", "expected"),
    [
        ("llama2", "config.json", 2, "</s>"),
        ("llama2", "generation_config.json", [2, 5], "</s>"),
        ("llama3", "config.json", 0, "<|end_of_text|>"),
        ("gpt2", "config.json", 5, "<|endoftext|>"),  # the vocabulary holds GPT-2's
    ],
)
@pytest.mark.parametrize("settings_there", [True, False])
def test_an_end_that_no_tokenizer_file_names_is_that_of_the_model(
    tmp_path: Path, name: str, file: str, ends: object, expected: str, settings_there: bool
) -> None:
    save_kind(name, tmp_path)
    if settings_there:
        (tmp_path / "tokenizer_config.json").write_text("{}")
    else:
        (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / file).write_text(json.dumps({"eos_token_id": ends}))
    loaded = tokenizer.load(tmp_path)
    assert loaded.backend.id_to_token(loaded.end_of_text) == expected
    assert loaded.ends == {loaded.end_of_text, *(ends if isinstance(ends, list) else [ends])}
    assert loaded.bytes_of(loaded.end_of_text) == b""


def test_an_end_that_nothing_names_is_missing(tmp_path: Path) -> None:
    save_kind("llama2", tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    for ends in (None, 10**6):
        (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": ends}))
        with pytest.raises(CheckpointError, match=r"no end-of-text token '<\|endoftext\|>'"):
            tokenizer.load(tmp_path)


@pytest.mark.parametrize("add_bos_token", [True, False, None])
def test_a_tokenizer_whose_unknown_token_is_none_is_refused(tmp_path: Path, add_bos_token: bool | None) -> None:
    save_kind("llama2", tmp_path, add_bos_token=add_bos_token)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"] |= {"vocab": {}, "merges": [], "unk_token": "<none>", "byte_fallback": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"the tokenizer cannot encode a text .*; save it again") as caught:
        tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def save_opt(folder: Path) -> None:
    """Save a vocabulary and merges alone, as OPT has them: `</s>` is token 2 and stands before every text."""
    made = Backend.from_str(MADE["gpt2"].to_str())
    state = json.loads(made.to_str())["model"]
    texts = ["<s>", "<pad>", "</s>", *(text for text in state["vocab"] if text != "<|endoftext|>")]
    (folder / "vocab.json").write_text(json.dumps({text: place for place, text in enumerate(texts)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{' '.join(pair)}\n" for pair in state["merges"]))
    names = {role: {"__type": "AddedToken", "content": "</s>"} for role in ("bos_token", "eos_token", "unk_token")}
    content = {"add_bos_token": True, "tokenizer_class": "GPT2Tokenizer", "pad_token": "<pad>", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))


def test_opt_begins_with_its_end_token(tmp_path: Path) -> None:
    from transformers import GPT2Tokenizer

    save_opt(tmp_path)
    ours, twin = tokenizer.load(tmp_path), GPT2Tokenizer.from_pretrained(tmp_path)
    assert (ours.start, ours.end_of_text, ours.size) == (2, 2, len(twin))
    for text in [*AWKWARD, "a</s>b"]:
        assert [2, *ours.encode([text])[0].ids] == twin(text)["input_ids"]
    assert ours.decode([0, 1, 2, *ours.encode(["The cat"])[0].ids]) == "<s>The cat"  # <s> is nobody's special token


def test_saved_tokenizer_loads_with_the_same_tokens(tmp_path: Path, loaded: dict[str, Tokenizer]) -> None:
    for name in KINDS:
        made = loaded[name]
        folder = tmp_path / name
        folder.mkdir()
        tokenizer.save(Tokenizer(made.backend, start=made.start, end_of_text=made.end_of_text, ends={1, 5}), folder)
        again = tokenizer.load(folder)
        assert (again.start, again.end_of_text, again.ends) == (made.start, made.end_of_text, {made.end_of_text, 1, 5})
        assert again.encode(AWKWARD) == made.encode(AWKWARD)


def test_saved_padding_and_truncation_are_not_applied(tmp_path: Path) -> None:
    made = Backend.from_str(MADE["llama2"].to_str())
    made.enable_truncation(max_length=3)
    made.enable_padding(length=9)
    save_kind("llama2", tmp_path)
    expected = tokenizer.load(tmp_path).encode(AWKWARD)
    made.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer.load(tmp_path).encode(AWKWARD) == expected


def test_broken_files_are_named_in_one_line(tmp_path: Path) -> None:
    def message() -> str:
        with pytest.raises(CheckpointError) as caught:
            tokenizer.load(tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no tokenizer found; expected tokenizer.json" in message()
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e")
    assert "in tokenizer.model alone, which evalkit does not read" in message()
    assert "hf:" in message()
    words = Backend(models.WordLevel({"a": 0, "<|endoftext|>": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    assert "is a WordLevel of neither GPT-2's bytes nor SentencePiece's spaces" in message()
    for name, changes, expected in [
        ("llama3", {"add_bos_token": "yes"}, "add_bos_token: found 'yes', expected a bool"),
        ("llama3", {"add_bos_token": True, "bos_token": "<none>"}, "no start token '<none>'"),
        ("llama3", {"eos_token": "<none>"}, "no end-of-text token '<none>'"),
    ]:
        save_kind(name, tmp_path, **changes)
        assert expected in message()
    save_kind("llama3", tmp_path)
    for name in ("generation_config.json", "special_tokens_map.json", "tokenizer_config.json"):
        for broken, expected in [("{", "cannot be read as JSON"), ("[]", "found a list"), ("[" * 100_000, "as JSON")]:
            (tmp_path / name).write_text(broken)
            assert f"{name}: " in message()
            assert expected in message()
        (tmp_path / name).write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "the tokenizer cannot be read" in message()


@pytest.mark.parametrize("ends", ["</s>", [0, "1"], True, {"id": 1}, 1.0, -5, [0, -1], [], 10**12])
def test_ends_that_are_no_ids_are_refused(tmp_path: Path, ends: object) -> None:
    save_kind("llama3", tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    with pytest.raises(CheckpointError, match=r"eos_token_id: found .*, expected a token's id or a list of ids"):
        tokenizer.load(tmp_path)


def test_several_tokens_before_a_text_are_refused(tmp_path: Path) -> None:
    from tokenizers import processors

    save_kind("llama2", tmp_path)
    made = Backend.from_str(MADE["llama2"].to_str())
    made.post_processor = processors.TemplateProcessing("<s> </s> $A", special_tokens=[("<s>", 1), ("</s>", 2)])
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="puts 2 tokens before a text, expected one at most"):
        tokenizer.load(tmp_path)


def test_a_vocabulary_of_another_split_is_refused(tmp_path: Path) -> None:
    save_opt(tmp_path)
    content = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="do not say how 'Qwen2Tokenizer' splits text"):
        tokenizer.load(tmp_path)


def test_tokenizers_alone_reads_a_tokenizer() -> None:
    blocked = ("transformers", "numpy", "torch", "safetensors", "sentencepiece")
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\nimport evalkit.decoder.tokenizer\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
