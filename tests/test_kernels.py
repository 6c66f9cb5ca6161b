"""The kernels against plain Python: words, JSON lines, and matches."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalkit.contamination import index, normalise
from evalkit.contamination.kernels import json_lines, matches, octets, words
from evalkit.errors import DataError
from tests import reference_scan
from tests.test_measures import random_corpus, shared_runs

QUICK = settings(max_examples=300, deadline=None)
FIELD = np.frombuffer(b"text", np.uint8)

# What normalisers and UTF-8 make hard: folds that grow, marks, quotes, dashes, blanks of all kinds, four-byte signs.
HARD = "aZ09 _-'\n\t\x00\x1f\x85\u00a0ß\u0130\u0149ﬁŉǅ½²٣\u0301\u2003\u2014\u201c\u2019\u202f\u2030\u3002東京😀\ufffd"
TEXTS = st.text(st.sampled_from(HARD) | st.characters(exclude_categories=["Cs"]), max_size=120)
# The kernels look at 64 bytes as a whole: runs of all lengths, so that everything falls on every border.
RUNS = st.lists(
    st.tuples(st.sampled_from(["a", "Bc", " ", "x ", "— ", "“", "é", "東京", "😀", "ª½"]), st.integers(1, 70)).map(
        lambda run: run[0] * run[1]
    ),
    max_size=12,
).map("".join)


def padded(raw: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(raw + bytes(octets.PADDING), np.uint8).copy()  # writable, as the scan has them


def split(text: str, normaliser: str, *, limit: int | None = None) -> list[str]:
    raw = text.encode()
    data, fold = padded(raw), index.kernel_fold(normaliser)
    room = words.room(len(raw) + 2 + (limit or 0), 3 * len(raw) + 2 * octets.PADDING)
    at, found = 0, []
    while True:
        count, past = words.split(data, at, len(raw), fold, room, limit or len(raw) + 1)
        for i in range(count):
            folded, length = room.folded[i], room.length[i]
            form = room.form[folded : folded + length].tobytes() if folded >= 0 else None
            found.append((form or raw[room.begin[i] : room.end[i]].lower()).decode())
        if past >= len(raw):
            return found
        assert limit is not None
        assert count >= limit
        at = past


@pytest.mark.parametrize("normaliser", normalise.NORMALISERS)
@given(text=TEXTS | RUNS)
@QUICK
def test_words_are_the_normalisers(normaliser: str, text: str) -> None:
    assert split(text, normaliser) == normalise.find(normaliser).words(text)


@pytest.mark.parametrize("normaliser", normalise.NORMALISERS)
@given(text=TEXTS | RUNS, limit=st.integers(1, 40))
@QUICK
def test_words_of_a_text_in_pieces_are_those_of_all_of_it(normaliser: str, text: str, limit: int) -> None:
    assert split(text, normaliser, limit=limit) == normalise.find(normaliser).words(text)


@given(
    text=TEXTS | RUNS,
    broken=st.none() | st.tuples(st.integers(0, 800), st.binary(min_size=1, max_size=4)),
    skipped=st.integers(0, 9),
    cut=st.integers(0, 3),
)
@QUICK
def test_utf8_is_what_python_decodes(text: str, broken: tuple[int, bytes] | None, skipped: int, cut: int) -> None:
    raw = bytearray(b"\xff" * skipped + text.encode())
    if broken is not None:
        at = skipped + broken[0] % max(1, len(raw) - skipped)
        raw[at : at + len(broken[1])] = broken[1]
    end = max(skipped, len(raw) - cut)
    try:
        raw[skipped:end].decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert octets.is_utf8(padded(bytes(raw)), skipped, end) == expected


@pytest.mark.parametrize("lead", [*range(0x80, 0x100)])
def test_no_pair_of_bytes_is_utf8_that_python_refuses(lead: int) -> None:
    for second in range(0x100):
        for rest in (b"", b"\x80", b"\x80\x80", b"\xbf\xbf"):
            raw = b"." * 62 + bytes([lead, second]) + rest
            assert octets.is_utf8(padded(raw), 0, len(raw)) == (raw.decode(errors="replace").encode() == raw)


def test_every_character_folds_as_its_normaliser_says() -> None:
    for normaliser in normalise.NORMALISERS.values():
        for block in range(0, 0x20000, 0x800):
            text = " ".join(chr(code) for code in range(block, block + 0x800) if not 0xD800 <= code < 0xE000)
            assert split(text, normaliser.name) == normaliser.words(text)


def test_dashes_and_quotes_are_separators_as_the_quick_way_takes_them() -> None:
    assert (normalise.table("gpt3").single[0x2000:0x2030] == normalise.SEPARATOR).all()


def test_lm_eval_words_are_the_janitors() -> None:
    # lm_eval 0.4.13, janitor.py: lower-case ASCII, delete string.punctuation, split at whitespace
    assert normalise.find("lm-eval").words("Don't stop -- “É”!") == ["dont", "stop", "“É”"]


def read(raw: bytes) -> tuple[dict[int, str], dict[int, bytes], int]:
    data = padded(raw)
    lines = json_lines.count_lines(data, 0, len(raw))
    taken = json_lines.Taken(
        np.zeros(len(raw) + 2 * octets.PADDING, np.uint8),
        np.zeros(lines + 1, np.int64),
        np.zeros(lines, np.int64),
        np.zeros((lines, 3), np.int64),
    )
    texts, unclear, seen = json_lines.read(data, 0, len(raw), FIELD, taken)
    edges = taken.offsets.tolist()
    found = {int(taken.lines[i]): taken.out[edges[i] : edges[i + 1]].tobytes().decode() for i in range(texts)}
    return found, {line: raw[begin:end] for line, begin, end in taken.unclear[:unclear].tolist()}, seen


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.sampled_from(HARD + '"\\{}[],:')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.dictionaries(st.text(st.sampled_from('tex"\\'), max_size=5), JSON, max_size=3)
LINES = st.builds(
    lambda row, text, ascii: json.dumps({**row, "text": text}, ensure_ascii=ascii).encode(),
    ROWS,
    st.text(st.sampled_from(HARD + '"\\/{}\u2028'), max_size=60) | RUNS,
    st.booleans(),
)


@given(
    lines=st.lists(LINES | st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=6),
    end=st.booleans(),
)
@QUICK
def test_json_lines_give_what_json_gives(lines: list[bytes], end: bool) -> None:
    raw = b"\n".join(lines) + (b"\n" if end and lines else b"")
    found, unclear, seen = read(raw)
    expected = raw.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert seen == len(expected)
    for number, line in enumerate(expected):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        text = row.get("text") if isinstance(row, dict) else None
        if number in found:
            assert text is None or found[number] == text  # what stands beside the text is not checked to the letter
        elif number in unclear:
            assert unclear[number] == line
        else:
            assert not line.strip(b" \t\r")


def test_a_plain_line_is_never_left_to_python() -> None:
    line = json.dumps({"id": [1, {"a": "}"}], "text": 'é "quoted" \\ \u2019 😀\n', "n": 1.5}).encode()
    assert read(line) == ({0: 'é "quoted" \\ \u2019 😀\n'}, {}, 1)


def test_half_of_a_surrogate_pair_is_no_character() -> None:
    assert read(rb'{"text": "a\ud83d b\ude00\ud83d\ude00"}')[0] == {0: "a\ufffd b\ufffd😀"}


VOCABULARY = [
    "a",
    "the",
    "Cat",
    "é",
    "ß",
    "x1",
    "don’t",
    "東京。",
    "longer-word",
    "verylongwordindeedyes",
    "İx",
    "42",
    "“the",
]
BREAKS = [" ", "  ", "\n", ", ", ". ", "—", " “", "'", " -- "]
SPEECH = st.lists(st.tuples(st.sampled_from(VOCABULARY), st.sampled_from(BREAKS)).map("".join), max_size=24).map(
    "".join
)


def scan(test: index.Index, documents: list[str], *, room: int = 600) -> list[list[int]]:
    raw = [document.encode() for document in documents]
    texts = matches.Texts(padded(b"".join(raw)), np.cumsum([0, *map(len, raw)], dtype=np.int64))
    times, longest = np.zeros((len(test.items), 2), np.int64), np.zeros(len(test.items), np.int64)
    found = matches.Found(np.zeros((1, matches.FIELDS), np.int64), times, longest)
    looked = test.looked
    _, rows, count = matches.scan(texts, looked.fold, looked.kernel, words.room(room, 64), found, 0)
    return sorted(rows[:count].tolist())


@pytest.mark.parametrize("normaliser", normalise.NORMALISERS)
@given(data=st.data(), ngram=st.sampled_from([None, 1, 2, 3, 8, 13]), kept=st.sampled_from([2, 8, 13]))
@QUICK
def test_matches_are_those_of_the_reference(normaliser: str, data: st.DataObject, ngram: int | None, kept: int) -> None:
    questions = data.draw(st.lists(SPEECH, min_size=1, max_size=4))
    items = [index.Item("t", str(i), (index.Part("question", text),)) for i, text in enumerate(questions)]
    test = index.build(items, normaliser=normaliser, ngram=ngram, kept=kept)
    copies = st.sampled_from(questions).flatmap(
        lambda text: st.integers(0, len(text)).map(lambda at: text[at:].upper())
    )
    documents = data.draw(st.lists(st.lists(SPEECH | copies, max_size=3).map(" ".join), max_size=5))
    found = scan(test, documents)
    known = normalise.find(normaliser)
    examples = [known.words(text) for text in questions]
    assert [tuple(row[:4]) for row in found] == reference_scan.scan(examples, test.least, documents, known)
    for example, word, count, document, begin, end, _ in found:
        assert known.words(documents[document].encode()[begin:end].decode()) == examples[example][word : word + count]


def test_an_index_that_no_cache_holds_finds_the_same() -> None:
    question = " ".join(f"word{i}" for i in range(30))
    test = index.build([index.Item("t", "0", (index.Part("question", question),))])
    documents = [question[at:] + " x" * at for at in range(0, 200, 7)]
    expected = scan(test, documents)
    size = 2 * matches.NEAR
    # Every bit is set, so every n-gram is looked up in the table.
    kernel = test.looked.kernel._replace(bitmap=np.full(size, octets.ALL), shift=np.uint64(64 - size.bit_length() - 5))
    assert scan(replace(test, looked=replace(test.looked, kernel=kernel)), documents) == expected


@pytest.mark.parametrize("kept", [8, 13])
def test_a_document_of_many_pieces_has_the_matches_of_one(kept: int) -> None:
    draws = random.Random(5)
    question = " ".join(draws.choices(["a", "b", "c", "d’e"], k=40))
    test = index.build([index.Item("t", "0", (index.Part("question", question),))], ngram=kept, kept=kept)
    # ᾷ is two words, of which the first one belongs to x
    pieces = [draws.choice(["a b c", question, question[5:], "d’e", "x y", "東京。", "xᾷ " * 40]) for _ in range(600)]
    document = " ".join(pieces)
    documents = ["x " * at + document for at in range(20)]
    assert scan(test, documents, room=400) == scan(test, documents, room=1 << 16)


def test_of_very_many_matches_the_first_and_the_longest_are_kept() -> None:
    question = " ".join(f"word{i}" for i in range(30))
    test = index.build([index.Item("t", "0", (index.Part("question", question),))])
    part = " ".join(question.split()[:13])
    found = scan(test, [part] * (matches.MOST + 50) + [question] + [question] * 3)
    assert len(found) == matches.MOST + 1
    assert max(row[2] for row in found) == 30


@pytest.mark.parametrize("seed", range(30))
def test_spans_are_followed_past_words_that_differ(seed: int) -> None:
    example, documents = random_corpus(seed)
    spelt = [" ".join(f"word{word}" for word in words) for words in (example, *documents)]
    test = index.build([index.Item("t", "0", (index.Part("question", spelt[0]),))])
    found = np.array(scan(test, spelt[1:], room=40), np.int64).reshape(-1, matches.FIELDS)
    followed = found[:, 2:3] + (found[:, 6:] >> 16 * np.arange(matches.SKIPS) & 0xFFFF)
    runs = shared_runs(example, documents if len(example) >= index.SHORTEST else [], least=8)
    reach = np.zeros((0, matches.SKIPS), np.int64) if runs.reach is None else runs.reach
    expected = np.column_stack([runs.start, runs.length, runs.document, reach])
    assert sorted(np.column_stack([found[:, 1:4], followed]).tolist()) == sorted(expected.tolist())


def test_short_matches_take_no_place_of_those_that_make_dirty() -> None:
    question = " ".join(f"word{i}" for i in range(30))
    test = index.build([index.Item("t", "0", (index.Part("question", question),))])
    short, long = (" ".join(question.split()[:count]) for count in (10, 13))
    found = scan(test, [short] * (matches.MOST + 50) + [long] * 9)
    assert [row[2] for row in found].count(13) == 9
    assert len(found) == matches.MOST + 9


def test_a_test_set_of_short_examples_alone_is_refused() -> None:
    with pytest.raises(DataError, match="all 1 examples are shorter than 8 words"):
        index.build([index.Item("t", "0", (index.Part("question", "one two three"),))]).refuse_nothing()


@pytest.mark.parametrize(
    ("lengths", "n"),
    [([20] * 100, 13), ([5] * 100, 8), ([10] * 100, 10), ([9] * 5 + [30] * 95, 13), ([9] * 6 + [30] * 94, 9)],
)
def test_n_is_the_fifth_percentile_within_8_and_13(lengths: list[int], n: int) -> None:
    # Brown 2020, Appendix C; the place is int(count * 5 / 100) of the sorted lengths, as overlapy 0.0.1 takes it
    assert index.choose_n(lengths) == n
