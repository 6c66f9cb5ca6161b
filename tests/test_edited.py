import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from evalkit.contamination import edited, index, normalise
from evalkit.contamination.edited import Copy, Finder, copies
from evalkit.contamination.index import Item, Part
from evalkit.contamination.kernels import sketches
from evalkit.contamination.kernels.words import room
from evalkit.contamination.sketch.minhash import pack

Row = tuple[int, ...]

SIGNS = (" ", " ", " ", ", ", " — ", "; ", "\n")
FOREIGN = ("Straße", "naïve", "ΌΣΟΣ", "число", "数字", "ﬁne", "ᾷ", "x²")  # ᾷ folds to two words


def finder(examples: Sequence[str], normaliser: str = "gpt3") -> Finder:
    items = [Item("t", str(number), (Part("text", text),)) for number, text in enumerate(examples)]
    looked = index.build(items, normaliser=normaliser, ngram=1).looked
    return Finder(looked.fold, edited.build(looked.kernel.values, looked.kernel.first))


def rows(found: NDArray[np.int64]) -> list[Row]:
    return [tuple(row) for row in found.tolist()]


def edit(words: Sequence[str], rate: float, others: Sequence[str], draw: random.Random) -> list[str]:
    """Replace, delete, insert and swap words alike."""
    result, at = [], 0
    while at < len(words):
        kind = draw.choice(("replace", "delete", "insert", "swap")) if draw.random() < rate else ""
        if kind == "replace":
            result.append(draw.choice(others))
        elif kind == "insert":
            result += [draw.choice(others), words[at]]
        elif kind == "swap":
            result += [*words[at + 1 : at + 2], words[at]]
            at += 1
        elif kind != "delete":
            result.append(words[at])
        at += 1
    return result


class Reference:
    """What the kernel has to find, in plain Python: lists of words, dictionaries, and a table of subsequences."""

    def __init__(self, examples: Sequence[Sequence[str]]) -> None:
        self.pieces: list[tuple[int, int, Sequence[str]]] = []  # example, first word in it, words
        for number, words in enumerate(examples):
            count = -(-len(words) // 128) if len(words) >= 8 else 0
            edges = [len(words) * i // count for i in range(count + 1)] if count else []
            self.pieces += [(number, a, words[a:b]) for a, b in pairwise(edges)]
        often = Counter(word for words in examples for word in words)
        placed = [
            {tuple(words[at : at + 3]): at for at in range(len(words) - 3, -1, -1)} for _, _, words in self.pieces
        ]
        spread = Counter(shingle for shingles in placed for shingle in shingles)
        self.looked_up: dict[tuple[str, ...], list[tuple[int, int, int]]] = {}
        self.needed: list[int] = []
        for piece, shingles in enumerate(placed):
            rarest = sorted(
                shingles, key=lambda s: (spread[s], float(often[s[0]]) * often[s[1]] * often[s[2]], shingles[s])
            )[:32]
            self.needed.append(max(2, len(rarest) // 10 + 1))
            for shingle in rarest:
                weight = 1 if spread[shingle] > 3 else 2
                self.looked_up.setdefault(shingle, []).append((piece, shingles[shingle], weight))

    def scan(self, words: Sequence[str]) -> list[Row]:
        """Find the copies in one document: example, first word, words, first word of the document, aligned."""
        found = []
        seen: dict[int, tuple[int, int]] = {}  # piece -> (what its shingles count, where the last stood)
        quiet: dict[int, int] = {}
        for i in range(len(words) - 2):
            for piece, j, weight in self.looked_up.get(tuple(words[i : i + 3]), ()):
                example, first, wanted = self.pieces[piece]
                if i < quiet.get(piece, 0):
                    continue
                count, last = seen.get(piece, (0, i))
                count = weight + (count if i - last <= len(wanted) else 0)
                seen[piece] = count, i
                if count < self.needed[piece]:
                    continue
                del seen[piece]
                quiet[piece] = i + len(wanted) // 8
                slack = len(wanted) // 8 + 2
                left, right = max(0, i - j - slack), i - j + len(wanted) + slack
                pairs = align(wanted, words[left:right])
                different = len({wanted[at] for at, _ in pairs})
                if len(pairs) < math.ceil(len(wanted) / 2) + 3 or 2 * different < len(set(wanted)):
                    continue
                quiet[piece] = left + pairs[-1][1] + 1
                found.append((example, first, len(wanted), left + pairs[0][1], left + pairs[-1][1] + 1, len(pairs)))
        return sorted(found)


def align(wanted: Sequence[str], words: Sequence[str]) -> list[tuple[int, int]]:
    """Pair words in their order, as many as can be."""
    longest = [[0] * (len(wanted) + 1) for _ in range(len(words) + 1)]
    for t, word in enumerate(words):
        for j, other in enumerate(wanted):
            longest[t + 1][j + 1] = longest[t][j] + 1 if word == other else max(longest[t][j + 1], longest[t + 1][j])
    pairs = []
    t, j = len(words), len(wanted)
    while t and j:
        if longest[t][j] == longest[t][j - 1]:
            j -= 1
        elif longest[t - 1][j] > longest[t - 1][j - 1]:
            t -= 1
        else:
            t, j = t - 1, j - 1
            pairs.append((j, t))
    return pairs[::-1]


def made(seed: int, words: int, documents: int) -> tuple[list[str], list[str]]:
    """Make examples, and documents that hold some of them edited, of few words so that much is alike."""
    draw = random.Random(seed)
    vocabulary = [*FOREIGN, *(f"w{draw.randrange(10**6)}" for _ in range(draw.choice((12, 60, 400))))]

    def text(chosen: Sequence[str]) -> str:
        return "".join(word.title() * (draw.random() < 0.1) or word + draw.choice(SIGNS) for word in chosen)

    examples = [draw.choices(vocabulary, k=draw.choice((2, 8, 9, 14, 40, 127, 128, 129, 300))) for _ in range(25)]
    texts = []
    for _ in range(documents):
        parts: list[str] = []
        while len(parts) < words:
            parts += draw.choices(vocabulary, k=draw.randrange(30))
            parts += edit(draw.choice(examples), draw.choice((0, 0.1, 0.3, 0.5)), vocabulary, draw)
        texts.append(text(parts))
    return [text(example) for example in examples], [*texts, "", "!", "w"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("normaliser", ["gpt3", "lm-eval"])
def test_the_kernel_finds_what_plain_python_finds(seed: int, normaliser: str) -> None:
    examples, documents = made(seed, 300, 9)
    split = normalise.find(normaliser).words
    reference = Reference([split(text) for text in examples])
    expected = [(document, *row) for document, text in enumerate(documents) for row in reference.scan(split(text))]
    found = finder(examples, normaliser).scan(pack(documents))
    shown = []
    for example, first, words, document, begin, end, word, aligned in rows(found):
        between = len(split(documents[document].encode()[begin:end].decode()))
        shown.append((document, example, first, words, word, word + between, aligned))
    assert len(expected) > 10
    # Both words of ᾷ have its bytes, so a border between them is not seen in bytes.
    if "ᾷ" in "".join(documents):
        expected, shown = ([row[:5] + row[6:] for row in each] for each in (expected, shown))
    assert sorted(shown) == sorted(expected)


def test_long_documents_are_read_in_stretches_to_the_same_end() -> None:
    examples, documents = made(1, 9_000, 2)
    whole, cut = finder(examples), finder(examples)
    cut.words = room(16 * sketches.MARGIN, form=1 << 14)  # stretches of 1,280 words, the shortest there are
    expected = rows(whole.scan(pack(documents)))
    assert rows(cut.scan(pack(documents))) == expected
    assert len(cut.words.begin) == 16 * sketches.MARGIN
    assert len(expected) > 50


def test_block_borders_and_order_have_no_influence() -> None:
    examples, documents = made(2, 200, 9)
    expected = rows(finder(examples).scan(pack(documents)))
    used = finder(examples)
    for order in (range(len(documents)), reversed(range(len(documents)))):
        found = [
            (*row[:3], document, *row[4:]) for document in order for row in rows(used.scan(pack([documents[document]])))
        ]
        assert sorted(found) == sorted(expected)


def test_room_grows_with_what_is_found() -> None:
    examples, documents = made(3, 200, 9)
    expected = rows(finder(examples).scan(pack(documents)))
    small = finder(examples)
    small.found, small.words = np.zeros((1, sketches.FIELDS), np.int64), room(8, form=8)
    assert rows(small.scan(pack(documents))) == expected


def test_examples_too_short_to_tell_are_left_out() -> None:
    seven = "one two three four five six seven"
    assert rows(finder([seven, f"{seven} eight"]).scan(pack([f"{seven} nine"]))) == [(1, 0, 8, 0, 0, 33, 0, 7)]


def test_nothing_to_look_for_finds_nothing() -> None:
    assert rows(finder(["one two three"]).scan(pack(["one two three", ""]))) == []


def test_a_list_of_one_word_is_no_copy_of_another() -> None:
    example = "unk unk castle unk unk river unk unk battle unk unk crown unk unk siege unk"
    document = "unk unk song unk unk drum unk unk stage unk unk record unk unk band unk unk unk unk"
    assert rows(finder([example]).scan(pack([document]))) == []
    assert len(finder([example]).scan(pack([example]))) == 1


def test_a_copy_shows_where_it_is_and_how_much_of_it() -> None:
    example = "the committee met on the 4th of March to hear 17 witnesses from northern villages"  # 15 words
    document = "We read: “The committee met on the 9th of March, to hear 25 witnesses from northern villages.” Indeed."
    (copy,) = copies(finder([example]).scan(pack(["", document])), [15])
    assert copy == Copy(example=0, document=1, begin=copy.begin, end=copy.end, share=13 / 15)
    shown = document.encode()[copy.begin : copy.end].decode()
    assert shown == "The committee met on the 9th of March, to hear 25 witnesses from northern villages"


def test_pieces_of_a_long_example_add_up() -> None:
    words = [f"w{number}" for number in range(400)]  # four pieces of 100 words
    document = " ".join(["x", *words[:100], *["y"] * 300, *words[200:300], "z", *words[200:260]])
    (copy,) = copies(finder([" ".join(words)]).scan(pack([document])), [400])
    assert copy.share == 0.5
    assert document.encode()[copy.begin : copy.end].decode().split()[:2] == ["w0", "w1"]


def test_edited_copies_are_found_and_clean_examples_are_not() -> None:
    draw = random.Random(7)
    chances = [1 / (rank + 3) for rank in range(5_000)]
    vocabulary = [f"w{rank}" for rank in range(5_000)]

    def write(count: int) -> list[str]:
        return draw.choices(vocabulary, chances, k=count)

    planted, clean = ([write(draw.randint(16, 200)) for _ in range(300)] for _ in range(2))
    used = finder([" ".join(words) for words in (*planted, *clean)])
    flagged: set[int] = set()
    for rate, least in ((0.0, 1.0), (0.1, 0.99), (0.2, 0.9)):
        documents = [" ".join([*write(200), *edit(words, rate, vocabulary, draw), *write(200)]) for words in planted]
        found = rows(used.scan(pack(documents)))
        assert len({row[0] for row in found if row[0] == row[3]}) >= least * len(planted)
        flagged |= {row[0] for row in found if row[0] >= len(planted)}
    assert len(flagged) <= 0.01 * len(clean)
