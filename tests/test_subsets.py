import math
import random

import pytest

from evalkit.contamination.subsets import GainPoint, gain_curve, llama2_subsets, shows_contamination

# Touvron 2023 (Llama 2), Table 51: examples, score in percent and Z_n of clean, not clean, not dirty, dirty.
TABLE_51 = {
    "HellaSwag 70B": ((7391, 2651, 9194, 848), (80.0, 89.5, 81.6, 92.2), 82.5, (-5.73, 9.56, -2.27, 7.42)),
    "HellaSwag 7B": ((7391, 2651, 9194, 848), (70.5, 81.3, 72.4, 83.7), 73.3, (-5.46, 9.17, -2.06, 6.84)),
    "MMLU-Humanities 70B": ((3996, 709, 4185, 520), (62.2, 82.7, 62.7, 85.8), 65.3, (-4.08, 9.71, -3.50, 9.80)),
    "MMLU-Humanities 7B": ((3996, 709, 4185, 520), (40.8, 54.9, 41.1, 56.9), 42.9, (-2.75, 6.50, -2.25, 6.49)),
    "MMLU-Overall 70B": ((11862, 2180, 12506, 1536), (68.0, 73.5, 67.7, 78.2), 68.9, (-2.00, 4.64, -2.75, 7.87)),
}


def as_published(name: str) -> tuple[list[float], list[float]]:
    """Write examples, right and wrong, with the published numbers and scores of the four subsets."""
    (clean, not_clean, _, dirty), means, _, _ = TABLE_51[name]
    right_dirty = round(dirty * means[3] / 100)
    right_between = round(not_clean * means[1] / 100) - right_dirty
    values, scores = [], []
    for n, right, value in (
        (clean, round(clean * means[0] / 100), 0.0),
        (not_clean - dirty, right_between, 0.5),
        (dirty, right_dirty, 0.9),
    ):
        values += [value] * n
        scores += [1.0] * right + [0.0] * (n - right)
    return values, scores


@pytest.mark.parametrize("name", TABLE_51)
def test_z_is_that_of_llama2s_table(name: str) -> None:
    sizes, means, expected, published = TABLE_51[name]
    found = llama2_subsets(*as_published(name))
    assert tuple(each.n for each in found) == sizes
    for each, mean, z in zip(found, means, published, strict=True):
        # Not dirty is the one mean that is not put in but follows; 0.1 is what the rounding of two means allows.
        assert 100 * (each.mean or 0) == pytest.approx(mean, abs=0.1 if each.name != "not dirty" else 0.3)
        assert 100 * each.expected == pytest.approx(expected, abs=0.12)
        # Means are rounded to 0.05 points, which is this much of Z_n; mu_n differs by 0.1 between the table's rows.
        sigma = 100 * math.sqrt(each.expected * (1 - each.expected) / each.n)
        assert each.z == pytest.approx(z, abs=0.15 / sigma)


@pytest.mark.parametrize("name", [each for each in TABLE_51 if "Overall" not in each])
def test_llama2s_table_draws_with_replacement(name: str) -> None:
    # The deviations of a subset and its complement from the mean of all, times their sizes, cancel. So Z_n * sqrt(n)
    # cancels where sigma_n is sigma / sqrt(n); without replacement, Z_n itself would, and published Z_n does not.
    (clean, not_clean, not_dirty, dirty), _, _, z = TABLE_51[name]
    assert math.sqrt(clean) * -z[0] == pytest.approx(math.sqrt(not_clean) * z[1], rel=0.02)
    assert math.sqrt(not_dirty) * -z[2] == pytest.approx(math.sqrt(dirty) * z[3], rel=0.02)
    assert -z[0] != pytest.approx(z[1], rel=0.1)


def test_subsets_of_four_examples_are_as_counted_by_hand() -> None:
    clean, not_clean, not_dirty, dirty = llama2_subsets([0.0, 0.2, 0.79, 0.8], [0.0, 1.0, 0.0, 1.0])
    assert [each.n for each in (clean, not_clean, not_dirty, dirty)] == [1, 3, 3, 1]
    assert (clean.mean, dirty.mean) == (0.0, 1.0)
    assert not_clean.contamination == pytest.approx((0.2 + 0.79 + 0.8) / 3)
    # Deviation of all: 1/2. Clean: (0 - 1/2) / (1/2 / 1) = -1; not clean: (2/3 - 1/2) / (1/2 / sqrt 3) = sqrt(3) / 3.
    assert (clean.z, not_clean.z) == (pytest.approx(-1.0), pytest.approx(math.sqrt(3) / 3))
    # Without replacement the variance shrinks by (4 - 1) / 3 = 1 and (4 - 3) / 3.
    assert (clean.z_exact, not_clean.z_exact) == (pytest.approx(-1.0), pytest.approx(1.0))


def test_exact_z_is_that_of_all_samples_without_replacement() -> None:
    from itertools import combinations

    scores = [0.1, 0.4, 0.4, 0.9, 1.0]
    means = [sum(each) / 2 for each in combinations(scores, 2)]
    mu = sum(means) / len(means)
    sigma = math.sqrt(sum((each - mu) ** 2 for each in means) / len(means))
    dirty = llama2_subsets([0, 0, 0, 1, 1], scores)[3]
    assert dirty.z_exact == pytest.approx((0.95 - mu) / sigma)


def test_an_empty_subset_has_no_z_and_its_complement_no_exact_one() -> None:
    clean, not_clean, _, dirty = llama2_subsets([0.0, 0.1], [0.0, 1.0])
    assert (not_clean.n, not_clean.mean, not_clean.z, dirty.z) == (0, None, None, None)
    assert (clean.z, clean.z_exact) == (0.0, None)


def test_equal_scores_have_no_z() -> None:
    assert all(each.z is None for each in llama2_subsets([0.0, 1.0], [0.3, 0.3]))


@pytest.mark.parametrize("name", [each for each in TABLE_51 if "Overall" not in each])
def test_llama2_finds_evidence_where_it_says_so(name: str) -> None:
    assert shows_contamination(llama2_subsets(*as_published(name)))


def test_higher_scores_of_clean_examples_are_no_evidence() -> None:
    values, scores = as_published("HellaSwag 70B")
    assert not shows_contamination(llama2_subsets(values, [1 - score for score in scores]))
    assert not shows_contamination(llama2_subsets([0.0] * 10, [0.0] * 5 + [1.0] * 5))


def test_gain_curve_is_as_counted_by_hand() -> None:
    points = gain_curve([0.0, 1.0, 0.5, 0.5], [0.0, 1.0, 1.0, 0.5])
    # All score 0.625; those below 0.5 score 0; those below 1.0 score 0.5.
    assert points == (GainPoint(0.0, 1.0, None), GainPoint(0.5, 0.75, 0.625), GainPoint(1.0, 0.25, 0.125))


@pytest.mark.parametrize("seed", range(10))
def test_gain_curve_equals_its_definition(seed: int) -> None:
    draw = random.Random(f"gain {seed}")
    values = [draw.randrange(5) / 4 for _ in range(30)]
    scores = [draw.random() for _ in range(30)]
    points = gain_curve(values, scores)
    assert [point.threshold for point in points] == sorted(set(values))
    for point in points:
        clean = [score for value, score in zip(values, scores, strict=True) if value < point.threshold]
        assert point.share == pytest.approx(1 - len(clean) / 30)
        if clean:
            assert point.gain == pytest.approx(sum(scores) / 30 - sum(clean) / len(clean))
        else:
            assert point.gain is None


@pytest.mark.parametrize(("values", "scores"), [([], []), ([0.1], [])])
def test_values_and_scores_go_together(values: list[float], scores: list[float]) -> None:
    with pytest.raises(ValueError, match="one of each"):
        gain_curve(values, scores)
