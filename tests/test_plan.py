import random

from evalkit import plan
from evalkit.plan import Ask
from evalkit.records import Generate, Rolling


def ask(name: str, *, tokens: int, prefix: tuple[str, ...] = ()) -> Ask:
    return Ask(key=name, request=Generate(name), tokens=tokens, prefix=prefix)


def some_asks(*, seed: int, prefixes: int) -> list[Ask]:
    draws = random.Random(seed)
    return [
        ask(f"k{number}", tokens=draws.randint(10, 200), prefix=(f"p{draws.randrange(prefixes)}",))
        for number in range(300)
    ]


def test_no_batch_is_over_budget() -> None:
    for batch in plan.batches(some_asks(seed=0, prefixes=300), token_budget=1000):
        assert max(each.tokens for each in batch) * len(batch) <= 1000


def test_every_request_is_planned_once() -> None:
    asks = some_asks(seed=1, prefixes=5)
    planned = [each.key for batch in plan.batches(asks + asks[:50], token_budget=1000) for each in batch]
    assert sorted(planned) == sorted(each.key for each in asks)


def test_the_plan_does_not_depend_on_the_order_asked() -> None:
    asks = some_asks(seed=2, prefixes=20)
    shuffled = asks[:]
    random.Random(3).shuffle(shuffled)
    assert plan.batches(asks, token_budget=1000) == plan.batches(shuffled, token_budget=1000)


def test_requests_without_a_common_prefix_go_by_length() -> None:
    asks = [ask(f"k{tokens}", tokens=tokens, prefix=(f"p{tokens}",)) for tokens in (5, 30, 20)]
    assert [[each.tokens for each in batch] for batch in plan.batches(asks, token_budget=40)] == [[30], [20, 5]]


def test_requests_of_one_prefix_stay_together() -> None:
    asks = [ask("a1", tokens=9, prefix=("a",)), ask("b", tokens=8, prefix=("b",)), ask("a2", tokens=7, prefix=("a",))]
    [batch] = plan.batches(asks, token_budget=100)
    assert [each.key for each in batch] == ["a1", "a2", "b"]


def test_a_request_beyond_the_budget_goes_alone() -> None:
    assert [len(batch) for batch in plan.batches([ask("a", tokens=99), ask("b", tokens=3)], token_budget=10)] == [1, 1]


def test_nothing_asked_is_nothing_planned() -> None:
    assert plan.batches([], token_budget=10) == ()


def test_a_long_text_goes_alone_and_short_ones_together() -> None:
    asks = [
        Ask(key=name, request=Rolling(name, window=1024), tokens=tokens, prefix=())
        for name, tokens in (("book", 300_000), ("page", 400), ("note", 90), ("article", 9_000))
    ]
    planned = plan.batches(asks, token_budget=16_384)
    assert [[each.key for each in batch] for batch in planned] == [["book"], ["article"], ["page", "note"]]
