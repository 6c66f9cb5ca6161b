import pytest

from evalkit import signatures
from evalkit.errors import TaskError


def examples(*, split: str, count: int = 5, words: tuple[str, ...] = ()) -> None:
    """Stand for a generator of examples."""


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"split": "a", "cuont": 1}, "unknown key 'pool.cuont'; did you mean 'pool.count'?"),
        ({"split": "a", "generater": 1}, "unknown key 'pool.generater'; did you mean 'pool.generator'?"),
        ({"count": 1}, "missing key 'pool.split', which generator 'words' needs"),
        ({"split": 1}, "key 'pool.split': found 1, expected text; put it in quotes"),
        ({"split": None}, "key 'pool.split': found nothing, expected text"),
        ({"split": "a", "count": 1.5}, "key 'pool.count': found 1.5, expected a whole number"),
        ({"split": "a", "count": True}, "key 'pool.count': found true, expected a whole number"),
        ({"split": "a", "words": {"a": 1}}, "key 'pool.words': found a mapping, expected a list"),
        ({"split": "a", "words": ("a", [])}, "key 'pool.words[1]': found a list, expected text"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(TaskError) as error:
        signatures.check(examples, settings, word="key", owner="generator 'words'", prefix="pool.", also=("generator",))
    assert str(error.value) == complaint


def test_settings_that_fit_pass() -> None:
    signatures.check(examples, {"split": "test", "words": ("a", "b")}, word="key", owner="generator 'words'")
