import subprocess
import sys
from itertools import islice

import pytest

from evalkit.records import Decoding
from evalkit.text import digest, generator, shuffled, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The CAT's mat.", ["the", "cat", "s", "mat"]),
        ("snake_case\tand\u00a0more", ["snake", "case", "and", "more"]),
        ("Straße 12½", ["strasse", "12½"]),
        ("\n -- \n", []),
    ],
)
def test_words_fold_case_and_split_at_all_else(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_words_are_what_the_definition_says_for_every_character() -> None:
    every = "".join(chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000)
    folded = every.casefold()
    assert words(every) == "".join(sign if sign.isalnum() else " " for sign in folded).split()


def test_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})


def test_digest_tells_values_and_their_grouping_apart() -> None:
    values = [("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",), (None,), (Decoding(),), (Decoding(beams=4),)]
    assert len({digest(*value) for value in values}) == len(values)


def test_digest_is_known_and_as_long_as_asked() -> None:
    # printf '["a",1]' | sha256sum
    assert digest("a", 1, length=12) == "135f17a475a6"


def test_digest_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(TypeError):
        digest({1, 2})
    with pytest.raises(ValueError):
        digest(float("nan"))


def test_generator_is_the_same_in_another_process() -> None:
    code = "from evalkit.text import generator; print(generator(0, 'task', 'id').getrandbits(64))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == generator(0, "task", "id").getrandbits(64)


def test_generator_differs_where_any_part_does() -> None:
    parts = [(0, "t", "a"), (1, "t", "a"), (0, "u", "a"), (0, "t", "b"), ("0", "t", "a")]
    assert len({generator(*each).getrandbits(64) for each in parts}) == len(parts)


def test_shuffled_is_a_permutation() -> None:
    assert sorted(shuffled(100, generator("p"))) == list(range(100))


def test_shuffled_begins_alike_whatever_is_taken() -> None:
    assert list(islice(shuffled(1000, generator("p")), 5)) == list(shuffled(1000, generator("p")))[:5]


def test_shuffled_is_uniform() -> None:
    counts: dict[tuple[int, ...], int] = {}
    draws = generator("uniform")
    for _ in range(6000):
        order = tuple(shuffled(3, draws))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    # Chi-square with 5 degrees of freedom exceeds 20.5 once in a thousand.
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 20.5
