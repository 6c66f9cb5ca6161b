"""The distributions that sampling draws from."""

import pytest
import torch

from evalkit.decoder.sampling import distribution, pick
from evalkit.records import Decoding

LOGITS = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()[None]  # probabilities in plain sight


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Decoding(temperature=1.0), [0.1, 0.2, 0.3, 0.4]),
        (Decoding(temperature=0.5), [1 / 30, 4 / 30, 9 / 30, 16 / 30]),  # p ** 2, normalised
        (Decoding(temperature=1.0, top_k=2), [0, 0, 3 / 7, 4 / 7]),
        (Decoding(temperature=1.0, top_p=0.7), [0, 0, 3 / 7, 4 / 7]),  # 0.4 + 0.3 reaches 0.7
        (Decoding(temperature=1.0, top_p=0.71), [0, 2 / 9, 3 / 9, 4 / 9]),
        (Decoding(temperature=1.0, top_p=0.01), [0, 0, 0, 1]),
        (Decoding(temperature=1.0, top_k=3, top_p=0.5), [0, 0, 3 / 7, 4 / 7]),  # of 2/9 3/9 4/9: 4/9 is below 0.5
        (Decoding(temperature=1.0, top_k=100), [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_distribution_after_temperature_top_k_and_top_p(rule: Decoding, expected: list[float]) -> None:
    found = distribution(LOGITS, [rule])
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), atol=1e-6, rtol=0)


def test_drawn_tokens_follow_the_distribution() -> None:
    numbers = [(n + 0.5) / 1000 for n in range(1000)]
    drawn = pick(LOGITS.expand(1000, -1), [Decoding(temperature=1.0)] * 1000, numbers)
    assert drawn.bincount(minlength=4).tolist() == [100, 200, 300, 400]


def test_rows_keep_their_own_rules() -> None:
    rules = [
        Decoding(),
        Decoding(temperature=1.0),
        Decoding(temperature=2.0, top_k=1),
        Decoding(temperature=1.0, top_k=2),
    ]
    assert pick(LOGITS.expand(4, -1), rules, [0.0] * 4).tolist() == [3, 0, 3, 2]


def test_largest_number_picks_a_token_that_can_be_drawn() -> None:
    rule = Decoding(temperature=1.0, top_k=2)
    assert pick(LOGITS.flip(1), [rule], [1 - 2**-53]).item() == 1
