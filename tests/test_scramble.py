import json
from pathlib import Path

import pytest

from evalkit import dataset, scramble, task
from evalkit.errors import DataError, TaskError


@pytest.fixture
def words(tmp_path: Path) -> str:
    path = tmp_path / "corpus.txt"
    path.write_text(
        "river " * 5 + "Candle candle, candle; garden garden ab at lengthiestwords notebook pilots stones\n"
    )
    return str(path)


def scrambles(kind: str, words: str, *, split: str = "test") -> dict[str, str]:
    made = scramble.examples(kind=kind, words=words, split=split)
    return {str(each.fields["word"]): str(each.fields["scrambled"]) for each in made}


def both(kind: str, words: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for split in ("test", "pool"):
        try:
            found |= scrambles(kind, words, split=split)
        except DataError:
            continue
    return found


def test_words_are_those_of_5_to_14_letters_by_frequency(words: str) -> None:
    # "Candle" has a capital and does not count; "candle" stands twice.
    assert [*both("reversed-words", words)] == [
        word
        for split in (False, True)
        for word in ("river", "candle", "garden", "notebook", "pilots", "stones")
        if scramble.is_pool(word) == split
    ]


def test_reversed_words_are_backwards(words: str) -> None:
    assert both("reversed-words", words)["notebook"] == "koobeton"


def test_cycled_letters_are_a_rotation(words: str) -> None:
    for word, scrambled in both("cycle-letters", words).items():
        assert scrambled != word
        assert scrambled in word + word


@pytest.mark.parametrize(("kind", "kept"), [("anagrams-1", 1), ("anagrams-2", 2)])
def test_anagrams_keep_the_ends(words: str, kind: str, kept: int) -> None:
    for word, scrambled in both(kind, words).items():
        assert sorted(scrambled) == sorted(word)
        assert (scrambled[:kept], scrambled[-kept:]) == (word[:kept], word[-kept:])
        assert scrambled != word


def test_insertions_stand_between_all_letters(words: str) -> None:
    for word, scrambled in both("random-insertion", words).items():
        assert scrambled[::2] == word
        assert set(scrambled[1::2]) <= set(scramble.INSERTED)


def test_a_scramble_does_not_depend_on_the_other_words(tmp_path: Path, words: str) -> None:
    alone = tmp_path / "alone.txt"
    alone.write_text("notebook")
    assert both("cycle-letters", str(alone))["notebook"] == both("cycle-letters", words)["notebook"]


def test_words_of_a_tokenizer_are_in_its_order(tmp_path: Path) -> None:
    vocabulary = {"Ġstones": 7, "Ġriver": 3, "inner": 1, "Ġab": 2, "ĠPilots": 4, "Ġgarden": 9}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": vocabulary}}))
    found = both("reversed-words", str(path))
    assert set(found) == {"river", "stones", "garden"}


def test_a_corpus_given_as_data_is_where_words_come_from(words: str) -> None:
    [each] = task.load("scramble/reversed-words")
    other = dataset.with_data(each, words)
    assert other.source.settings == {"kind": "reversed-words", "words": words}


def test_released_files_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "reversed_words.jsonl"
    path.write_text(json.dumps({"context": "\ntaefed =", "completion": " defeat"}) + "\n")
    [each] = task.load("scramble/reversed-words")
    other = dataset.with_data(each, str(path))
    [example] = dataset.load(other.source, task=other)
    assert (example.question, example.targets) == ("\ntaefed =", (" defeat",))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "cycle-leters"}, "did you mean 'cycle-letters'?"),
        ({"kind": "anagrams-1", "split": "dev"}, "unknown split 'dev'"),
        ({"kind": "anagrams-1", "n": 0}, "expected 1 or more"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(TaskError, match=said.replace("?", r"\?")):
        scramble.examples(**settings)  # type: ignore[arg-type]


def test_a_text_without_words_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text("1 2 3 a bc def")
    with pytest.raises(DataError, match="found no words of 5 to 14 lower-case letters"):
        scramble.examples(kind="anagrams-1", words=str(path))


def test_words_that_stay_as_they_are_do_not_count_among_n(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("level " * 9 + "civic " * 9 + "river candle garden notebook pilots stones")
    changed = ("candle", "garden", "notebook", "pilots", "river", "stones")
    kept = [word for word in changed if not scramble.is_pool(word)]
    made = scramble.examples(kind="reversed-words", words=str(path), n=len(kept))
    assert [each.fields["word"] for each in made] == kept


def test_a_text_of_palindromes_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("level civic radar refer rotor kayak madam")
    with pytest.raises(DataError, match=r"words.txt: found no words .* that reversed-words changes"):
        scramble.examples(kind="reversed-words", words=str(path))
