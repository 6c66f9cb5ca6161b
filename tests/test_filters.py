from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from evalkit import filters
from evalkit.errors import TaskError
from evalkit.records import Completion, Filter

AWKWARD = (
    "",
    " ",
    "#### 1,234.5",
    "#### -7 and #### 8.",
    "The answer is 12.\nThe answer is -3,000",
    "  Answer: (B)  ",
    "(a) or (C)\n(D)",
    ": B",
    ":\n  c",
    "Guilty of Romance",
    "guilty of romance!",
    "it's guilty",
    "ÉTÉ – été",
    "İstanbul",
    "[('Ann', 'NOUN'), ('runs', 'VERB')]",
    "('a','b') ('it''s', 'X')",
    "PER: Ann, none $$ Location: Oslo, Rome $$ time: noon$$",
    "person: Bo\ndate : None\norg:ACME",
    "$$$ per: $ x",
    "\t\u00a0yes\n",
)
FIELDS: Mapping[str, object] = {"choices": ["Guilty", " Guilty of Romance", "it's", "(c) Oslo."]}
STEPS: tuple[Mapping[str, object], ...] = (
    {"function": "regex"},
    {"function": "regex", "regex_pattern": r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1},
    {"function": "regex", "regex_pattern": r"[Gg]uilty", "fallback": " none "},
    {"function": "regex", "regex_pattern": r"(?i)(x?)(y?)answer", "fallback": "none"},
    {"function": "regex_pos"},
    {"function": "regex_pos", "fallback": ["X", "Y"], "regex_pattern": "unread", "group_select": 2},
    {"function": "remove_whitespace"},
    {"function": "multi_choice_regex", "regex_pattern": r"\(([A-D])\)"},
    {"function": "multi_choice_regex", "regex_pattern": "(x)(y)", "ignore_case": True, "ignore_punctuation": True},
    {"function": "multi_choice_regex", "regexes_to_ignore": ["ty", " of.*"], "group_select": 0, "fallback": "?"},
    {"function": "multi_choice_regex", "regex_pattern": r"([a-z]?)\(", "ignore_case": True},
    {"function": "lowercase"},
    {"function": "uppercase"},
    {"function": "map", "mapping_dict": {" ": "blank", "": "nothing", ": B": 2}, "default_value": -1},
    {"function": "map"},
    {"function": "format_span"},
)


def applied(steps: Sequence[Mapping[str, object]], texts: Sequence[str]) -> list[str]:
    completions = [Completion(text, 1, "stop") for text in texts]
    return [each.text for each in filters.apply(Filter("made", tuple(steps)), completions, FIELDS)]


def theirs(steps: Sequence[Mapping[str, object]], texts: Sequence[str]) -> Any:  # Any: of lm_eval
    importlib.import_module("lm_eval.filters")
    registry = importlib.import_module("lm_eval.api.registry")
    answers: Any = [list(texts)]
    for step in steps:
        own = {key: value for key, value in step.items() if key != "function"}
        answers = list(registry.get_filter(step["function"])(**own).apply(answers, [FIELDS]))
    return answers[0]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_step_gives_what_lm_eval_gives(step: Mapping[str, object]) -> None:
    assert applied([step], AWKWARD) == [str(answer) for answer in theirs([step], AWKWARD)]


@pytest.mark.parametrize(
    "texts", [("a", "b", "b", "a", "c"), ("a",), ("#### 1", "x", "#### 2", "#### 1", "y")], ids=str
)
def test_a_vote_gives_what_lm_eval_gives(texts: Sequence[str]) -> None:
    steps = [{"function": "regex"}, {"function": "majority_vote"}, {"function": "take_first"}]
    assert applied(steps, texts) == [theirs(steps, texts)]


def test_a_vote_over_the_first_k_gives_what_lm_eval_gives() -> None:
    steps = [{"function": "take_first_k", "k": 2}, {"function": "majority_vote"}]
    assert applied(steps, ["a", "b", "b"]) == theirs(steps, ["a", "b", "b"]) == ["a"]


def test_every_filter_of_lm_eval_is_known_or_refused_with_a_reason() -> None:
    importlib.import_module("lm_eval.filters")
    registered = importlib.import_module("lm_eval.api.registry").filter_registry
    assert set(registered) == {*filters.FUNCTIONS, *filters.NEEDS_CODE}


def test_a_step_after_take_first_sees_the_one_answer() -> None:
    # lm_eval would map each character of it.
    steps = [{"function": "take_first"}, {"function": "map", "mapping_dict": {"yes": 1}}]
    assert applied(steps, ["yes", "no"]) == ["1"]


def test_a_find_that_there_is_not_is_the_fallback() -> None:
    # lm_eval ends with an IndexError.
    assert applied([{"function": "regex", "group_select": 1}], ["#### 5"]) == ["[invalid]"]


def test_a_filter_keeps_what_else_is_known_of_a_completion() -> None:
    [made] = filters.apply(Filter("f", ({"function": "lowercase"},)), [Completion("A", 7, "max-tokens")], {})
    assert made == Completion("a", 7, "max-tokens")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"function": "regexp"}, "filter 'f': unknown function 'regexp'; did you mean 'regex'?"),
        ({"function": "regex", "pattern": "a"}, "filter 'f': unknown setting 'pattern'; did you mean 'regex_pattern'?"),
        ({"function": "regex", "regex_pattern": "("}, "expected a regular expression"),
        ({"function": "regex", "group_select": "1"}, "setting 'group_select': found '1', expected a whole number"),
        ({"function": "take_first_k"}, "missing setting 'k', which function 'take_first_k' needs"),
        ({"function": "take_first_k", "k": 0}, "filter 'f': setting 'k': found 0, expected 1 or more"),
        ({"function": "custom"}, "function 'custom' cannot be carried out: its function is Python code of the task"),
        ({"functions": "regex"}, "key 'function': found nothing, expected the name of a function"),
    ],
)
def test_a_wrong_step_is_refused_in_one_line(step: Mapping[str, object], message: str) -> None:
    with pytest.raises(TaskError) as caught:
        filters.check(Filter("f", (step,)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_few_answers_for_k_are_refused() -> None:
    steps = ({"function": "lowercase"}, {"function": "take_first_k", "k": 3}, {"function": "take_first_k", "k": 4})
    assert filters.left(Filter("f", steps[:2]), answers=5) == 3
    with pytest.raises(TaskError, match=r"filter 'f': .*found 3 answers an example, expected 4 or more"):
        filters.left(Filter("f", steps), answers=5)


def test_choices_by_letter_need_the_field_choices() -> None:
    with pytest.raises(TaskError, match="found no list in the example's field 'choices'"):
        filters.apply(Filter("f", ({"function": "multi_choice_regex"},)), [Completion("a", 1, "stop")], {"q": 1})
