import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalkit.contamination import substrings
from evalkit.contamination.index import Item, Part
from evalkit.contamination.kernels.substrings import Substrings, room
from evalkit.contamination.sketch.minhash import pack
from evalkit.contamination.substrings import Finder

Row = tuple[int, ...]

# Marks that no letter is, digits of other scripts, letters of two, three and four bytes, and signs among them.
HARD = "aaabbA09 _-'\n\t\x00ßﬁ²½٣\u0301\u093e\u2014\u201c\u3002é東京😀𝟙𐐷\ufffd"
SIGNS = (" ", "", ", ", "\u2014", "\u0301", "😀", "_" * 70, "\n\n")
HANDS = [f"w{number:02}" for number in range(30)]


def items(texts: Sequence[str]) -> list[Item]:
    return [Item("t", str(number), (Part("text", text),)) for number, text in enumerate(texts)]


def rows(found: NDArray[np.int64]) -> list[Row]:
    return [tuple(row) for row in found.tolist()]


def scan(examples: Sequence[str], documents: Sequence[str]) -> list[Row]:
    return rows(Finder(substrings.build(items(examples))).scan(pack(documents)))


def reference(examples: Sequence[str], documents: Sequence[str]) -> list[Row]:
    """What the kernel has to find, in plain Python."""
    found = []
    for document, text in enumerate(documents):
        places = [place for place, character in enumerate(text) if character.isalnum()]
        kept = "".join(text[place] for place in places)
        for example, item in enumerate(items(examples)):
            for which, drawn in enumerate(substrings.draw(item, seed=0)):
                at = kept.find(drawn)
                if at >= 0:
                    begin, last = places[at], places[at + len(drawn) - 1]
                    edges = (len(text[:begin].encode()), len(text[: last + 1].encode()))
                    found.append((example, which, document, *edges))
    return sorted(found, key=lambda row: (row[2], row[3], row[0], row[1]))


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Draw examples of few characters, so that much is alike, and documents that hold them with other signs."""
    letters = st.text(st.sampled_from(HARD) | st.characters(exclude_categories=["Cs"]), max_size=8)
    pieces = st.lists(st.sampled_from(["ab", "a", *HANDS]) | letters, max_size=60)
    examples = ["".join(each) for each in draw(st.lists(pieces, min_size=1, max_size=8))]
    choice = random.Random(draw(st.integers(0, 1 << 32)))
    documents = []
    for _ in range(draw(st.integers(0, 5))):
        text = draw(letters)
        for _ in range(choice.randrange(4)):
            copied = choice.choice(examples)
            begin, end = (choice.choice((0, 0, 1, 2, 9)) for _ in range(2))
            sign = choice.choice(SIGNS)
            text += "".join(each + sign * (choice.random() < 0.2) for each in copied[begin : len(copied) - end])
            text += choice.choice((draw(letters), "", "a"))
        documents.append(text)
    return examples, documents


@given(corpus=corpora(), stretch=st.integers(4, 300))
@settings(max_examples=120, deadline=None)
def test_the_kernel_finds_what_plain_python_finds(corpus: tuple[list[str], list[str]], stretch: int) -> None:
    examples, documents = corpus
    expected = reference(examples, documents)
    finder = Finder(substrings.build(items(examples)))
    assert rows(finder.scan(pack(documents))) == expected
    finder.kept = room(finder.index.longest + stretch)  # documents are read in many stretches
    assert rows(finder.scan(pack(documents))) == expected


def test_every_character_is_kept_as_python_says() -> None:
    codes = [code for code in range(0x32000) if not 0xD800 <= code < 0xE000]
    documents = ["".join(map(chr, codes[at : at + 50])) for at in range(0, len(codes), 50)]
    examples = ["".join(filter(str.isalnum, text)) for text in documents]
    found = {(example, document) for example, _, document, _, _ in scan(examples, documents)}
    assert {number for number, text in enumerate(examples) if text and (number, number) not in found} == set()
    assert len(found) > 2_000


@pytest.mark.parametrize("length", range(1, 120))
def test_all_lengths_are_found_at_all_places(length: int) -> None:
    draw = random.Random(length)
    example = "".join(draw.choices("abcdefghé7", k=length))
    documents = ["x" * before + example[: length // 2] + " — " + example[length // 2 :] + "y" for before in range(20)]
    assert {row[2] for row in scan([example], documents)} == set(range(20))


def test_case_is_kept() -> None:
    assert scan(["Some Words"], ["some words"]) == []


def test_spaces_and_signs_are_not() -> None:
    assert scan(["1 + 2 = 3: yes."], ["“12”, 3 y-e-s!"]) == [(0, 0, 0, 3, 17)]


def test_parts_are_joined_in_their_order() -> None:
    item = Item("t", "0", (Part("question", "Is it so? "), Part("answer", "yes")))
    assert substrings.draw(item, seed=0) == ("Isitsoyes",)


def test_fifty_characters_are_taken_as_they_are_and_more_give_different_places() -> None:
    fifty = "".join(f"{number:02}" for number in range(25))
    assert substrings.draw(items([fifty])[0], seed=0) == (fifty,)
    assert sorted(substrings.draw(items([fifty + "a"])[0], seed=0)) == [fifty, fifty[1:] + "a"]
    drawn = substrings.draw(items([fifty * 10])[0], seed=0)
    assert [len(each) for each in drawn] == [50, 50, 50]


def test_a_draw_depends_on_seed_task_and_id_alone() -> None:
    long = "".join(f"{number:03}" for number in range(400))
    others = items(["one", "two", long])
    index, alone = substrings.build(others, seed=3), substrings.build(others[2:], seed=3)
    assert index.text[index.edges[2] :].tobytes() == alone.text.tobytes()
    assert substrings.draw(others[2], seed=3) != substrings.draw(others[2], seed=4)
    assert substrings.draw(others[2], seed=3) != substrings.draw(Item("u", "2", others[2].parts), seed=3)


def test_the_first_place_in_each_document_is_given() -> None:
    assert scan(["abab"], ["xababab abab", "no", "ab ab"]) == [(0, 0, 0, 1, 5), (0, 0, 2, 0, 5)]


def test_what_runs_over_two_documents_is_not_found() -> None:
    assert scan(["one two"], ["one", " two", "", "one t"]) == []


def test_examples_without_letters_and_digits_cannot_be_looked_for() -> None:
    index = substrings.build(items(["?!", "yes", "", "\u0301"]))
    assert substrings.is_scannable(index).tolist() == [False, True, False, False]
    assert rows(Finder(index).scan(pack(["yes"]))) == [(1, 0, 0, 0, 3)]


@pytest.mark.parametrize("examples", [[], ["", "?"]])
def test_nothing_to_look_for_finds_nothing(examples: list[str]) -> None:
    assert scan(examples, ["some text", ""]) == []


def test_arrays_that_were_saved_find_the_same(tmp_path: Path) -> None:
    examples, documents = ["some words", "x" * 70, ""], ["Some words, some words", "y" + "x" * 80]
    index = substrings.build(items(examples))
    read: dict[str, Any] = {}  # Any: an array, or a number
    for name, value in index._asdict().items():
        np.save(tmp_path / f"{name}.npy", value)
        array = np.asarray(np.load(tmp_path / f"{name}.npy", mmap_mode="c"))
        read[name] = array if array.ndim else array[()] if array.dtype == np.uint64 else array.item()
    expected = rows(Finder(index).scan(pack(documents)))
    assert rows(Finder(Substrings(**read)).scan(pack(documents))) == expected
    assert len(expected) == 1 + 3


def test_room_grows_with_what_is_found() -> None:
    examples = [str(number) for number in range(10)]
    finder = Finder(substrings.build(items(examples)))
    finder.rows = finder.rows[:1].copy()
    documents = ["0123456789"] * 30
    assert rows(finder.scan(pack(documents))) == reference(examples, documents)
