"""Turn the raw completions of one example into the answer that is scored, step by step.

    regex               what a regular expression finds; group_select says which of its finds, from 0 or the end,
                        and fallback what stands for none
    multi_choice_regex  as regex, else the letter of a choice whose text or letter the completion holds
    regex_pos           the tags of a list of ('word', 'tag')
    format_span         the named entities of a text, `per: Ann $ loc: Oslo`
    map                 the value that a text stands for
    remove_whitespace, lowercase, uppercase
    take_first, take_first_k, majority_vote

The functions, their settings and what they do are lm_eval's, with three differences: a value that is not text becomes
text; a step after take_first sees the one answer, where lm_eval goes through its characters; and where group_select
asks for more finds than there are, nothing was found, where lm_eval fails.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TypeAlias

from evalkit import signatures
from evalkit.errors import TaskError
from evalkit.records import Completion, Filter
from evalkit.registry import suggest

Fields: TypeAlias = Mapping[str, object]
Step: TypeAlias = Callable[[Sequence[Completion], Fields], list[Completion]]

FUNCTION = "function"  # the key that names a step's function
INVALID = "[invalid]"
ANSWER = r"#### (\-?[0-9\.\,]+)"  # of GSM8K
TAGGED = re.compile(r"\('([^']*)', '([^']*)'\)")
ENTITY = re.compile(r"\b(PER|LOC|ORG|DATE):\s*([^$]+)")
ENTITY_LABELS = {
    "person": "PER",
    "location": "LOC",
    "organization": "ORG",
    "counties": "LOC",
    "places": "LOC",
    "people": "PER",
    "persons": "PER",
    "company": "ORG",
    "country": "LOC",
    "continent": "LOC",
    "time": "DATE",
    "date": "DATE",
    "per": "PER",
    "loc": "LOC",
    "org": "ORG",
}
NEEDS_CODE = {"custom": "its function is Python code of the task"}


def apply(each: Filter, completions: Sequence[Completion], fields: Fields) -> tuple[Completion, ...]:
    """Carry out a filter's steps on the completions of the example with these fields. Raises TaskError."""
    answers = list(completions)
    for settings in each.steps:
        make, own = _function(settings)
        answers = make(**own)(answers, fields)
    return tuple(answers)


def check(each: Filter) -> None:
    """Raise TaskError where a step's function or a setting of it is not known, or of another type."""
    for settings in each.steps:
        try:
            make, own = _function(settings)
            signatures.check(make, own, word="setting", owner=f"function {settings[FUNCTION]!r}")
            make(**own)  # which compiles what it is given
        except TaskError as error:
            raise TaskError(f"filter {each.name!r}: {error}") from error


def left(each: Filter, *, answers: int) -> int:
    """Count what a filter leaves of so many answers an example. Raises TaskError where a step needs more of them."""
    for settings in each.steps:
        match settings[FUNCTION]:
            case "take_first" | "majority_vote":
                answers = min(answers, 1)
            case "take_first_k":
                wanted = settings["k"]
                assert isinstance(wanted, int)  # as `check` holds it to be
                if wanted > answers:
                    raise TaskError(
                        f"filter {each.name!r}: function 'take_first_k': found {answers} answers an example, expected "
                        f"{wanted} or more; raise the task's 'repeats'"
                    )
                answers = wanted
    return answers


def regex(*, regex_pattern: str = ANSWER, group_select: int = 0, fallback: str = INVALID) -> Step:
    """Find an expression: the first of its groups that is not empty, else the fallback."""
    pattern = _compiled(regex_pattern, of="regex_pattern")

    def found(text: str) -> str:
        groups = _find(pattern, text, group_select)
        return groups[0].strip() if groups else fallback

    return _each(found)


def multi_choice_regex(
    *,
    regex_pattern: str = ANSWER,
    group_select: int = 0,
    fallback: str = INVALID,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    regexes_to_ignore: list[str] | None = None,
) -> Step:
    """Find the letter of a choice, such as `(B)`: by an expression, by the text of a choice, or by `: B`.

    The choices are those of the field `choices`; what is to be ignored is taken out of them and of the text.
    """
    pattern = _compiled(regex_pattern, of="regex_pattern")
    ignored = [_compiled(each, of="regexes_to_ignore") for each in regexes_to_ignore or ()]

    def reduced(text: str) -> str:
        for each in ignored:
            text = each.sub("", text)
        if ignore_case:
            text = text.lower()
        return text.translate(_punctuation()) if ignore_punctuation else text

    def found(pattern: re.Pattern[str], text: str, meanings: Mapping[str, str]) -> str:
        groups = _find(pattern, text, group_select)
        return meanings.get(groups[0].strip(), groups[0].strip()) if groups else ""

    def step(answers: Sequence[Completion], fields: Fields) -> list[Completion]:
        texts = [reduced(text.strip()) for text in _choices(fields)]
        letters = [chr(ord("A") + place) for place in range(len(texts))]
        answer_of = dict(zip(texts, (f"({letter})" for letter in letters), strict=True))
        answer_to = {letter: f"({letter})" for letter in letters}
        # The longest first: a choice may begin as another one does.
        by_text = re.compile("|".join(sorted(map(re.escape, texts), key=len, reverse=True)))
        by_letter = re.compile(rf":[\s]*({'|'.join(map(re.escape, letters))})")

        def change(text: str) -> str:
            return (
                found(pattern, text, {})
                or found(by_text, reduced(text), answer_of)
                or found(by_letter, text, answer_to)
                or fallback
            )

        return _each(change)(answers, fields)

    return step


def regex_pos(
    *,
    regex_pattern: str = "",  # noqa: ARG001 - lm_eval takes both settings and reads neither
    group_select: int = 0,  # noqa: ARG001
    fallback: list[str] | None = None,
) -> Step:
    """List the tags of all ('word', 'tag') in a text."""
    return _each(lambda text: str([tag for _, tag in TAGGED.findall(text)] or fallback or ["invalid"]))


def format_span() -> Step:
    """Write the named entities of a text in one form, `per: ann $ loc: oslo`."""

    def spans(text: str) -> str:
        text = text.lower()
        for word, label in ENTITY_LABELS.items():
            text = re.sub(rf"\b{word}\s*:", f"{label}:", text)
        text = text.replace("$$", "$").rstrip("$").replace("\n", "$").strip()
        return " $ ".join(
            f"{label.lower()}: {entity.strip()}"
            for label, entities in ENTITY.findall(text)
            for entity in entities.split(",")
            if entity.strip().lower() != "none"
        )

    return _each(spans)


def map_values(*, mapping_dict: dict[object, object] | None = None, default_value: object = None) -> Step:
    """Look up what a text stands for, else the default."""
    meanings = mapping_dict or {}
    return _each(lambda text: str(meanings.get(text, default_value)))


def remove_whitespace() -> Step:
    """Take away white space around a text."""
    return _each(str.strip)


def lowercase() -> Step:
    """Write a text in small letters."""
    return _each(str.lower)


def uppercase() -> Step:
    """Write a text in capitals."""
    return _each(str.upper)


def take_first() -> Step:
    """Take the first answer alone."""
    return lambda answers, _: list(answers[:1])


def take_first_k(*, k: int) -> Step:
    """Take the first k answers, of which `left` has seen that there are so many; TaskError for a k below 1."""
    if k < 1:
        raise TaskError(f"setting 'k': found {k}, expected 1 or more")
    return lambda answers, _: list(answers[:k])


def majority_vote() -> Step:
    """Take the commonest answer, of equally common ones the first."""

    def step(answers: Sequence[Completion], _: Fields) -> list[Completion]:
        counts = Counter(answer.text for answer in answers)
        return [max(answers, key=lambda answer: counts[answer.text])] if answers else []

    return step


FUNCTIONS: Mapping[str, Callable[..., Step]] = {
    "format_span": format_span,
    "lowercase": lowercase,
    "majority_vote": majority_vote,
    "map": map_values,
    "multi_choice_regex": multi_choice_regex,
    "regex": regex,
    "regex_pos": regex_pos,
    "remove_whitespace": remove_whitespace,
    "take_first": take_first,
    "take_first_k": take_first_k,
    "uppercase": uppercase,
}


def _function(settings: Mapping[str, object]) -> tuple[Callable[..., Step], dict[str, object]]:
    """Return a step's function and the settings it is given."""
    name = settings.get(FUNCTION)
    if not isinstance(name, str):
        raise TaskError(f"key '{FUNCTION}': found {signatures.found(name)}, expected the name of a function")
    if name in NEEDS_CODE:
        raise TaskError(f"function {name!r} cannot be carried out: {NEEDS_CODE[name]}; score with other filters")
    if name not in FUNCTIONS:
        raise TaskError(f"unknown function {name!r}; {suggest(name, FUNCTIONS)}")
    return FUNCTIONS[name], {key: value for key, value in settings.items() if key != FUNCTION}


def _each(change: Callable[[str], str]) -> Step:
    """Make a step that changes the text of every answer."""
    return lambda answers, _: [replace(answer, text=change(answer.text)) for answer in answers]


def _find(pattern: re.Pattern[str], text: str, place: int) -> tuple[str, ...]:
    """Return the groups of one of a pattern's finds, those that are not empty; none where there is no such find."""
    finds = pattern.findall(text)
    if not -len(finds) <= place < len(finds):
        return ()
    find = finds[place]
    return tuple(group for group in find if group) if isinstance(find, tuple) else (find,)


def _choices(fields: Fields) -> list[str]:
    choices = fields.get("choices")
    if not isinstance(choices, list | tuple):
        raise TaskError(
            "filter function 'multi_choice_regex': found no list in the example's field 'choices', which it reads; "
            f"fields found: {', '.join(sorted(fields)) or 'none'}"
        )
    return [str(choice) for choice in choices]


@cache
def _compiled(pattern: str, *, of: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise TaskError(f"setting {of!r}: found {pattern!r}, expected a regular expression: {error}") from error


@cache
def _punctuation() -> Mapping[int, None]:
    marks = (place for place in range(sys.maxunicode) if unicodedata.category(chr(place)).startswith("P"))
    return dict.fromkeys(marks)
