import random
from itertools import combinations

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH, MinHashLSHEnsemble

from evalkit import fewshot
from evalkit.contamination.sketch import minhash
from evalkit.contamination.sketch.minhash import Scheme, groups, jaccard, pack, pairs, sign, to_datasketch
from evalkit.errors import DataError
from evalkit.records import Task
from evalkit.text import words
from tests.conftest import item

VOCABULARY = [*(f"w{number}" for number in range(80)), "Straße", "naïve", "数字"]


def texts(seed: int, count: int) -> list[str]:
    """Make texts of which some are others with words replaced."""
    draw = random.Random(seed)
    made: list[list[str]] = []
    for _ in range(count):
        chosen = list(draw.choice(made)) if made and draw.random() < 0.5 else draw.choices(VOCABULARY, k=60)
        for _ in range(draw.randrange(8)):
            chosen[draw.randrange(len(chosen))] = draw.choice(VOCABULARY)
        made.append(chosen)
    return [" ".join(chosen) for chosen in made]


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[at : at + size]) for at in range(max(1, len(found) - size + 1))} if found else set()


def share(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(shingle=5, hashes=64, seed=9)])
def test_signatures_and_estimates_are_those_of_datasketch(scheme: Scheme) -> None:
    given = texts(1, 12)
    spelled = minhash.spell(pack(given), scheme.normaliser)
    theirs = []
    for values in np.split(spelled.values, np.cumsum(spelled.counts)[:-1]):
        one = MinHash(num_perm=scheme.hashes, seed=scheme.seed, hashfunc=int)
        one.update_batch(minhash.shingle_hashes(values, scheme).tolist())
        theirs.append(one)
    signatures = sign(pack(given), scheme, window=100, step=50)
    assert np.array_equal(signatures.values, [one.hashvalues for one in theirs])
    ours, estimates = to_datasketch(signatures), jaccard(signatures, signatures)
    for i, j in combinations(range(len(given)), 2):
        assert ours[i].jaccard(theirs[j]) == theirs[i].jaccard(theirs[j]) == estimates[i, j]


def test_datasketch_goes_on_with_our_signatures() -> None:
    scheme = Scheme()
    one, both = to_datasketch(sign(pack(["a b c d", "a b c d e"]), scheme, window=9, step=5))
    spelled = minhash.spell(pack(["c d e"]), scheme.normaliser)
    one.update(int(minhash.shingle_hashes(spelled.values, scheme)[0]))
    assert one == both


def test_estimates_are_near_the_truth() -> None:
    given = texts(2, 20)
    signatures = sign(pack(given), Scheme(hashes=512), window=100, step=50)
    estimates = jaccard(signatures, signatures)
    for i, j in combinations(range(len(given)), 2):
        # four standard errors of 512 hashes, at most 0.022 each
        assert estimates[i, j] == pytest.approx(share(shingles(given[i], 3), shingles(given[j], 3)), abs=0.09)


def test_datasketch_indexes_take_our_windows() -> None:
    examples = [" ".join(f"e{number}w{at}" for at in range(40)) for number in range(5)]
    document = " ".join(f"x{at}" for at in range(50)) + " " + examples[3] + " end."
    known = sign(pack(examples), Scheme(), window=40, step=20)
    asked = to_datasketch(sign(pack([document]), Scheme(), window=40, step=20))
    looked_up = MinHashLSH(threshold=0.3, num_perm=128)
    ensemble = MinHashLSHEnsemble(threshold=0.4, num_perm=128, num_part=2)
    for number, one in enumerate(to_datasketch(known)):
        looked_up.insert(number, one)
    ensemble.index((number, one, int(known.shingles[number])) for number, one in enumerate(to_datasketch(known)))
    assert {found for one in asked for found in looked_up.query(one)} == {3}
    assert 3 in {found for one in asked for found in ensemble.query(one, 38)}


def test_windows_cover_their_documents() -> None:
    given = ["", "Ein Wort", "Ärger, überall Ärger!", " ".join(VOCABULARY)]
    found = sign(pack(given), Scheme(), window=20, step=10)
    spans = [
        given[document].encode()[begin:end].decode()
        for document, begin, end in zip(found.document, found.begin, found.end, strict=True)
    ]
    # 83 words: windows at 0, 10, ... 70, where the last has the 13 that are left
    assert spans == ["Ärger, überall Ärger", *(" ".join(VOCABULARY[at : at + 20]) for at in range(0, 80, 10))]
    assert found.shingles.tolist() == [1, *[18] * 7, 11]


def test_windows_that_would_skip_shingles_are_refused() -> None:
    with pytest.raises(ValueError, match="found step 19 and window 20"):
        sign(pack(["a"]), Scheme(), window=20, step=19)


def test_signatures_of_different_schemes_do_not_compare() -> None:
    one, other = (sign(pack(["a b c d e"]), scheme, window=9, step=5) for scheme in (Scheme(), Scheme(seed=2)))
    with pytest.raises(DataError, match=r"found .*/seed2/gpt3.* expected .*/seed1/gpt3"):
        jaccard(one, other)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_groups_are_what_all_pairs_give(threshold: float) -> None:
    given = [*texts(3, 60), "one two", "One, two!", "", " ", "one"]
    found = [shingles(text, 3) for text in given]
    groups_of = [{number} for number in range(len(given))]
    for i, j in combinations(range(len(given)), 2):
        if found[i] and found[j] and share(found[i], found[j]) >= threshold:
            joined = groups_of[i] | groups_of[j]
            for member in joined:
                groups_of[member] = joined
    expected = sorted({tuple(sorted(group)) for group in groups_of if len(group) > 1})
    assert len(expected) > 3
    assert groups(given, threshold) == [list(group) for group in expected]


def test_nothing_has_no_groups() -> None:
    assert groups([], 0.5) == groups(["a b c"], 0.5) == []
    assert pairs([], ["a b c"], 0.5) == pairs(["a b c"], [], 0.5) == pairs(["", "!"], ["", "?"], 0.5) == []


def test_many_equal_texts_are_one_group_at_once() -> None:
    given = ["one text that is here time and again", "another one of other words"] * 3000
    # compared pair by pair these would take minutes
    assert groups(given, 0.8) == [list(range(0, 6000, 2)), list(range(1, 6000, 2))]


@pytest.mark.parametrize("threshold", [0, 1.1, -1])
def test_thresholds_that_cannot_be_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="found threshold"):
        groups(["a", "b"], threshold)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_pairs_between_two_sets_are_what_all_pairs_give(threshold: float) -> None:
    given = [*texts(4, 80), "one two", "", "one"]
    one, other = [*given[:40], "One, two!", given[70]], given[40:]
    found = [[shingles(text, 3) for text in side] for side in (one, other)]
    expected = [
        (i, j)
        for i, left in enumerate(found[0])
        for j, right in enumerate(found[1])
        if left and right and share(left, right) >= threshold
    ]
    assert len(expected) > 5
    assert pairs(one, other, threshold) == expected


def test_pairs_are_those_that_demonstrations_are_kept_apart_by(quiz: Task) -> None:
    draws = random.Random(6)
    given = [draws.sample(range(2000), k=draws.randrange(12, 40)) for _ in range(60)]
    for chosen in given[:60]:
        given.append([number if draws.random() > 0.1 else draws.randrange(2000) for number in chosen])
    draws.shuffle(given)
    spelled = [" ".join(f"word{number}" for number in chosen) for chosen in given]
    examples = [item(number, text=text) for number, text in enumerate(spelled)]
    pool = fewshot.prepare(examples[:80], task=quiz)
    assert pool.common == {"question", "answer"}  # the template's
    kept_apart = []
    for place, example in enumerate(examples[80:]):
        drawn = {each.id for each in fewshot.draw(pool, example, shots=80, seed=0)}
        kept_apart += [(place, number) for number in range(80) if f"id{number}" not in drawn]
    assert len(kept_apart) > 10
    assert pairs(spelled[80:], spelled[:80], fewshot.NEAR, scheme=Scheme(shingle=1)) == kept_apart
