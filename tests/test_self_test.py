import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.contamination import copy_kinds, edited, index, normalise, self_test
from evalkit.contamination.copy_kinds import KINDS
from evalkit.contamination.corpus import shards
from evalkit.contamination.index import Index, Item, Part
from evalkit.contamination.self_test import SelfTest
from evalkit.errors import DataError, UsageError
from evalkit.records import Estimate
from evalkit.text import words

SAME_WORDS = ("verbatim", "capitals", "punctuation", "signs", "wrapped", "escaped")
HARD = "aZ09 _-'\"\n\t\x00\x1f\x85\u00a0ß\u0130ıŉſᾷﬁǅ½²٣\u0301\u2014\u2013\u201c\u2019\u2018\u202f東京😀"
VOCABULARY = [f"w{number}" for number in range(2_000)]


def prose(count: int, draw: random.Random) -> str:
    """Write words, some of them with what normalisers treat differently."""
    signs = (" ", " ", " ", ", ", " - ", "\n", "’s ", "'s ", " “x” ", ' "é" ')
    return "".join(draw.choice(VOCABULARY) + draw.choice(signs) for _ in range(count))


def made(texts: Sequence[str], normaliser: str = "gpt3") -> Index:
    return index.build(
        [Item("t", str(at), (Part("text", text),)) for at, text in enumerate(texts)], normaliser=normaliser
    )


def examples(count: int = 30, low: int = 20, high: int = 80) -> list[str]:
    draw = random.Random(1)
    return [prose(draw.randint(low, high), draw) for _ in range(count)]


def write(path: Path, documents: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    return path


def corpus(folder: Path) -> Path:
    draw = random.Random(2)
    return write(folder / "corpus.jsonl", [prose(draw.randint(1, 300), draw) for _ in range(50)])


def measure(test: Index, place: Path, *, asked: int = 200, seed: int = 0, is_edited: bool = False) -> SelfTest:
    kernel = test.looked.kernel
    if is_edited:
        sketches = edited.build(kernel.values, kernel.first)
        test = replace(test, looked=replace(test.looked, sketches=sketches))
    return self_test.measure(test, shards.plan([str(place)]), text_field=None, seed=seed, examples=asked)


def found(result: SelfTest) -> dict[str, int]:
    return {each.kind: each.found for each in result.kinds}


def test_copies_with_the_same_words_are_all_found_and_shuffled_ones_are_not(tmp_path: Path) -> None:
    result = measure(made(examples()), corpus(tmp_path))
    assert {kind: count for kind, count in found(result).items() if kind in SAME_WORDS} == dict.fromkeys(SAME_WORDS, 30)
    assert (result.null.found, result.already_there.found, result.lost) == (0, 0, 0)
    assert {each.reworded for each in result.kinds if each.kind in SAME_WORDS} == {0}


def test_every_rewriting_but_the_verbatim_ones_changes_the_text(tmp_path: Path) -> None:
    result = measure(made(examples()), corpus(tmp_path))
    assert {each.kind for each in result.kinds if each.altered == 30} == {each.name for each in KINDS} - {
        "verbatim",
        "escaped",
    }


def test_the_harness_normaliser_loses_hyphens_and_says_that_words_differ(tmp_path: Path) -> None:
    result = measure(made(examples(low=12, high=20), "lm-eval"), corpus(tmp_path))
    kinds = {each.kind: each for each in result.kinds}
    assert kinds["punctuation"].found <= 30 - kinds["punctuation"].reworded + 5
    assert kinds["punctuation"].reworded > 25
    assert (kinds["verbatim"].found, kinds["wrapped"].found, kinds["escaped"].found, result.lost) == (30, 30, 30, 0)


def test_edited_copies_are_found_where_runs_are_broken(tmp_path: Path) -> None:
    result = measure(made(examples(low=20, high=30)), corpus(tmp_path), is_edited=True)
    replaced = {each.kind: each for each in result.kinds}["replaced-20"]
    assert replaced.found < 20
    assert replaced.edited == 30
    assert result.null.edited == 0


def test_edited_copies_are_not_looked_for_unasked(tmp_path: Path) -> None:
    assert {each.edited for each in measure(made(examples(9)), corpus(tmp_path)).kinds} == {None}


def test_what_the_sample_holds_is_named_and_is_no_false_positive(tmp_path: Path) -> None:
    texts = examples(10)
    path = write(tmp_path / "corpus.jsonl", ["some words", f"so: {texts[3]}", texts[7].upper(), texts[2][:20]])
    result = measure(made(texts), path, is_edited=True)
    assert (result.already_there.found, result.already_there.edited, result.null.found) == (2, 2, 0)


def test_a_scan_that_finds_nothing_is_called_out(tmp_path: Path) -> None:
    test = made(examples(10))
    blind = test.looked.kernel._replace(bitmap=np.zeros_like(test.looked.kernel.bitmap))
    result = measure(replace(test, looked=replace(test.looked, kernel=blind)), corpus(tmp_path))
    assert result.lost >= 6 * 10  # and those whose replaced words leave a run
    assert any(note.startswith(f"LOST: {result.lost} of the copies") for note in self_test.table(result).notes)


def test_shuffled_words_that_come_out_in_order_are_found_and_explained(tmp_path: Path) -> None:
    result = measure(made(["so " * 20]), corpus(tmp_path))
    assert (result.null.found, result.null.reworded, result.lost) == (1, 0, 0)
    assert any(note.startswith("Shuffled copies are found") for note in self_test.table(result).notes)


def test_the_same_seed_plants_the_same_copies(tmp_path: Path) -> None:
    test, place = made(examples(low=20, high=30)), corpus(tmp_path)
    assert measure(test, place, asked=9) == measure(test, place, asked=9)


def test_fewer_examples_than_asked_are_all_taken(tmp_path: Path) -> None:
    test = made(["too short", *examples(5)])
    result = measure(test, corpus(tmp_path))
    assert (result.examples, result.scannable, result.null.copies) == (5, 5, 5)


def test_only_as_many_examples_as_asked_are_taken(tmp_path: Path) -> None:
    assert measure(made(examples(9)), corpus(tmp_path), asked=2).null.copies == 2


@pytest.mark.parametrize(
    "documents", [[""], ["word"], ["?"], [" "], ["", "a", "a b"], ["東京"], ["\U0001f600" * 9_000], ["ab " * 90_000]]
)
def test_any_document_can_hold_a_copy(tmp_path: Path, documents: list[str]) -> None:
    result = measure(made(examples(6)), write(tmp_path / "corpus.jsonl", documents), is_edited=True)
    assert {kind: count for kind, count in found(result).items() if kind in SAME_WORDS} == dict.fromkeys(SAME_WORDS, 6)


def test_examples_of_eight_words_are_found_as_a_whole(tmp_path: Path) -> None:
    texts = [" ".join(VOCABULARY[at : at + 8]) for at in range(0, 160, 8)]
    result = measure(made(texts), corpus(tmp_path), is_edited=True)
    assert (found(result)["verbatim"], found(result)["replaced-5"], result.lost) == (20, 0, 0)


def test_an_example_that_the_corpus_is_full_of_is_still_found(tmp_path: Path) -> None:
    # Of one example a scan keeps 256 matches, and these documents have it 100 times each.
    text = "to be or not to be that is the question"
    result = measure(made([*examples(8), text]), write(tmp_path / "corpus.jsonl", [f"{text}. x " * 100] * 3))
    assert (found(result)["verbatim"], result.already_there.found, result.lost) == (9, 1, 0)


def test_hard_characters_survive_the_escapes(tmp_path: Path) -> None:
    text = 'one \\ "two" \x00 \x1f three 東京 四 é😀e 𝟙 five\u2028six \ud800 seven eight \x7f nine'
    assert found(measure(made([text]), corpus(tmp_path)))["escaped"] == 1


def test_the_corpus_is_left_as_it_was(tmp_path: Path) -> None:
    place = corpus(tmp_path)
    before = place.read_bytes()
    measure(made(examples(3)), place)
    assert (place.read_bytes(), [path.name for path in tmp_path.iterdir()]) == (before, ["corpus.jsonl"])


def test_a_sample_of_many_small_files_ends_where_it_has_enough(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"{number} " * 50)  # 100 or 150 bytes
    plan = shards.plan([str(tmp_path)])
    result = self_test.measure(made(examples(3)), plan, text_field=None, sample_bytes=2_000)
    assert result.text_bytes in range(2_000, 2_150)
    assert result.documents == result.shards < 20


def test_a_long_document_gives_what_there_is_room_for(tmp_path: Path) -> None:
    plan = shards.plan([str(write(tmp_path / "corpus.jsonl", ["é" * 1_000, "b"]))])
    result = self_test.measure(made(examples(3)), plan, text_field=None, sample_bytes=101)
    assert (result.text_bytes, result.documents, found(result)["verbatim"]) == (101, 1, 3)


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no documents in the corpus, expected at least one"):
        measure(made(examples(3)), write(tmp_path / "corpus.jsonl", []))


def test_a_corpus_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    place = tmp_path / "corpus.jsonl"
    place.write_text('{"text": "x\n')
    with pytest.raises(DataError, match=r"\(.*corpus\.jsonl: broken JSON\), .*; check --corpus and --text-field"):
        measure(made(examples(3)), place)


def test_a_test_set_with_nothing_to_look_for_is_refused(tmp_path: Path) -> None:
    test = replace(made(examples(2)), least=(None, None))
    with pytest.raises(DataError, match="found no example that is long enough"):
        measure(test, corpus(tmp_path))


def test_no_examples_asked_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found 0 examples, expected at least 1"):
        measure(made(examples(2)), corpus(tmp_path), asked=0)


def test_the_table_shows_shares_with_intervals(tmp_path: Path) -> None:
    shown = self_test.table(measure(made(examples()), corpus(tmp_path), is_edited=True))
    assert shown.columns == ("copy", "copies", "altered", "other words", "found, %", "as edited copies, %")
    verbatim = Estimate(value=100.0, low=88.649, high=100.0, n=30)  # Wilson's lower bound: 30 / (30 + 1.96²)
    assert shown.rows[0][:4] == ("verbatim", 30, 0, 0)
    assert isinstance(estimate := shown.rows[0][4], Estimate)
    assert replace(estimate, low=round(estimate.low, 3)) == verbatim
    assert [row[0] for row in shown.rows[-2:]] == ["words shuffled: no copy", "nothing planted: already there"]


@given(text=st.text(st.sampled_from(HARD) | st.characters(exclude_categories=["Cs"]), max_size=80))
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("kind", [each for each in KINDS if each.name in SAME_WORDS], ids=lambda each: each.name)
def test_rewriting_keeps_the_words_of_gpt3(kind: copy_kinds.Kind, text: str) -> None:
    assert words(copy_kinds.write(text, kind, draws=random.Random(text), others=[])) == words(text)


@pytest.mark.parametrize(("rate", "count"), [(0.05, 1), (0.1, 1), (0.2, 2)])
def test_a_share_of_the_words_is_replaced(rate: float, count: int) -> None:
    text = "one, two three - four five six seven eight nine"  # 9 words: 0.45, 0.9 and 1.8 of them
    kind = copy_kinds.Kind("replaced", "", rate=rate)
    copy = copy_kinds.write(text, kind, draws=random.Random(0), others=["one", "two"])
    assert sum(one != other for one, other in zip(words(copy), words(text), strict=True)) == count


def test_shuffled_words_are_the_same_ones() -> None:
    text = "one two three four five six, seven-eight"
    copy = copy_kinds.write(text, copy_kinds.SHUFFLED, draws=random.Random(0), others=[])
    assert copy.split() != words(text)
    assert sorted(copy.split()) == sorted(words(text))


def test_the_normaliser_of_the_index_judges(tmp_path: Path) -> None:
    assert {measure(made(examples(2), name), corpus(tmp_path)).normaliser for name in normalise.NORMALISERS} == {
        "gpt3",
        "lm-eval",
    }
