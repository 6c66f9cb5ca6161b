"""Turn documents into examples as lm_eval renders them, character by character.

lm_eval's prompt is description + demonstrations + question, where a demonstration is its text, the target delimiter,
its answer and the delimiter of demonstrations, and nothing follows the description. A document therefore becomes an
example whose question is all that stands before the answer. What the answer begins with depends on what asks for it:

    a demonstration        targets begin with the target delimiter; with a prefix of answers, with a space where needed
    multiple_choice        choices and targets begin with the target delimiter
    loglikelihood          targets stand as they are, the delimiter is not added
    generate_until         targets stand as they are, which is what completions are compared with
    loglikelihood_rolling  the target is the whole text

Where doc_to_text gives a number, the choices are questions and what follows each is the ending (partial evaluation).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias

from jinja2 import StrictUndefined

from evalkit import templates
from evalkit.errors import DataError, TaskError
from evalkit.lm_eval import code
from evalkit.records import Example

Document: TypeAlias = Mapping[str, object]
# A column's name or a template, a value that all documents share, or a function of the document.
Reading: TypeAlias = str | int | list[object] | dict[str, object] | Callable[[Document], Any] | None

MARKUP = re.compile(r"\{[{%#]")
MARKED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")
TRIMMING = re.compile(r"\{[{%#]-|-[}%#]\}")


@dataclass(frozen=True, slots=True)
class Form:
    """How the documents of one source become examples."""

    shown: str  # what messages begin with
    output_type: str
    is_demonstration: bool
    has_numbered_text: bool  # doc_to_text gives the place of a choice
    has_choices: bool  # the task itself has choices, which makes a number of a text of digits
    doc_to_text: Reading
    doc_to_target: Reading
    doc_to_choice: Reading
    target_delimiter: str
    gen_prefix: str | None
    description: str


def form(settings: Mapping[str, object]) -> Form:
    """Read the form from a source's settings, and import the functions that it names."""

    def reading(key: str) -> Any:  # Any: checked where the task file was read
        value = settings.get(key)
        return code.resolve(value) if code.is_function(value) else value

    names = Form.__dataclass_fields__
    return Form(**{name: reading(name) for name in names})


def example(made: Form, document: Document, *, name: str, fields: Mapping[str, object], place: str) -> Example:
    """Render one document; `name` becomes the example's id and `fields` its fields.

    Raises TaskError and DataError, which begin with what `made` is shown as and `place`.
    """
    place = f"{made.shown}: {place}"
    rendered = _example(made, document, name=name, fields=fields, place=place)
    texts = (rendered.question, rendered.ending, rendered.description, *rendered.targets, *rendered.choices)
    for text in texts:
        if text is not None and SURROGATE.search(text):
            raise DataError(f"{place}: found half of a surrogate pair, expected text that UTF-8 can hold")
    return rendered


def _example(made: Form, document: Document, *, name: str, fields: Mapping[str, object], place: str) -> Example:
    description = describe(made, document, place=place)
    if made.output_type == "loglikelihood_rolling":
        whole = _text_of(_target(made, document, place), place=place, key="doc_to_target")
        return Example(name, fields, (whole,), question="", description=description)
    text = _text(made, document, place)
    choices = None if made.doc_to_choice is None else _choices(made, document, place)
    if made.has_numbered_text:
        return _partial(made, document, text, choices, name=name, fields=fields, place=place)
    if not isinstance(text, str):
        raise DataError(f"{place}: doc_to_text gives {text!r:.60}, expected text")
    prefix = _prefix(made, document, place)
    question = text
    if prefix:
        question += (made.target_delimiter if _needs_space(text, prefix) else "") + prefix
    target = _target(made, document, place)
    if made.is_demonstration:
        answers = tuple(
            _joined(made, prefix, answer) if target != "" else ""
            for answer in _answers(target, choices, place=place, is_strict=True)
        )
        shown = tuple(_joined(made, prefix, choice) for choice in choices or ())
        return Example(name, fields, answers, shown, question=question, description=description)
    if made.output_type == "multiple_choice":
        shown = tuple(made.target_delimiter + choice for choice in choices or ())
        answers = tuple(
            made.target_delimiter + each for each in _answers(target, choices, place=place, is_strict=False)
        )
        return Example(name, fields, answers, shown, question=question, description=description)
    if made.output_type == "loglikelihood":
        answer = _text_of(target, place=place, key="doc_to_target")
        return Example(name, fields, (answer,), question=question, description=description)
    answers = _answers(target, choices, place=place, is_strict=True)
    return Example(name, fields, answers, question=question, description=description)


def gives_number(made: Form, document: Document) -> bool:
    """Whether doc_to_text gives a number, which lm_eval finds out from the first document."""
    return made.doc_to_choice is not None and isinstance(_text(made, document, f"{made.shown}: first document"), int)


def may_give_number(reading: object) -> bool:
    """Whether a doc_to_text could give a number, as far as that shows without a document."""
    if not isinstance(reading, str):
        return True
    fixed = MARKED.sub("", reading)  # what every document's text has
    if TRIMMING.search(reading):
        fixed = "".join(fixed.split())
    return fixed == "" or fixed.isdigit() or re.fullmatch(r"\w+", reading) is not None


def describe(made: Form, document: Document, *, place: str) -> str | None:
    """Render a description that depends on the document; None for one that all documents share."""
    if made.description and made.description in document:
        return _text_of(document[made.description], place=place, key="description")
    if MARKUP.search(made.description):
        return _rendered(made.description, document, shown=f"{place}: description")
    return None


def constant(text: str) -> str:
    """Render a text without any markup, of which Jinja2 changes nothing but the ends of lines."""
    return "" if not text or MARKUP.search(text) else _rendered(text, {}, shown="description")


def check(text: str, *, shown: str) -> None:
    """Raise TaskError for a template that is broken, whatever the document."""
    try:
        _compiled(text)
    except TaskError as error:
        raise TaskError(f"{shown}: {error}") from error


def _partial(
    made: Form,
    document: Document,
    text: object,
    choices: Sequence[str] | None,
    *,
    name: str,
    fields: Mapping[str, object],
    place: str,
) -> Example:
    """Make an example whose choices are the questions: the right one is that of doc_to_text's number."""
    if choices is None or not isinstance(text, int) or not -len(choices) <= text < len(choices):
        raise DataError(
            f"{place}: doc_to_text gives {text!r}, expected the place of one of the {len(choices or ())} choices, "
            "as with the first document"
        )
    target = _target(made, document, place)
    prefix = _prefix(made, document, place)
    if made.is_demonstration:
        answer = _answers(target, None, place=place, is_strict=True)[0]
        ending = _joined(made, prefix, answer) if target != "" else ""
        gaps = [made.target_delimiter if prefix and _needs_space(choice, prefix) else "" for choice in choices]
    else:
        ending = f"{made.target_delimiter}{target}"
        gaps = [""] * len(choices)
    shown = tuple(choice + gap + (prefix or "") for choice, gap in zip(choices, gaps, strict=True))
    description = describe(made, document, place=place)
    return Example(name, fields, (shown[text],), shown, question="", ending=ending, description=description)


def _text(made: Form, document: Document, place: str) -> object:
    value = _read(made.doc_to_text, document, shown=f"{place}: doc_to_text")
    if isinstance(value, _Rendered) and value.isdigit() and made.has_choices:
        return int(value)
    return str(value) if isinstance(value, str) else value


def _target(made: Form, document: Document, place: str) -> object:
    value = _read(made.doc_to_target, document, shown=f"{place}: doc_to_target")
    if not isinstance(value, _Rendered):
        return value
    if value.isdigit() and made.has_choices:
        return int(value)
    if value.startswith("[") and value.endswith("]") and len(value) >= 2:
        try:
            return ast.literal_eval(value)
        except (SyntaxError, ValueError):
            return str(value)
    return str(value)


def _choices(made: Form, document: Document, place: str) -> tuple[str, ...]:
    reading = list(made.doc_to_choice.values()) if isinstance(made.doc_to_choice, dict) else made.doc_to_choice
    value = _read(reading, document, shown=f"{place}: doc_to_choice")
    if isinstance(value, _Rendered):
        try:
            value = ast.literal_eval(value)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise DataError(
                f"{place}: doc_to_choice: found {value[:60]!r}, expected a list in Python's form"
            ) from error
    if isinstance(value, Mapping):  # of a document's own mapping lm_eval takes the keys
        value = list(value)
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"{place}: doc_to_choice: found {type(value).__name__}, expected a list of choices")
    if any(isinstance(choice, bool) for choice in value):
        raise DataError(
            f"{place}: doc_to_choice: found true or false among the choices, expected text; put it in quotes"
        )
    return tuple(str(choice) for choice in value)


def _prefix(made: Form, document: Document, place: str) -> str | None:
    if made.gen_prefix is None:
        return None
    return _text_of(_read(made.gen_prefix, document, shown=f"{place}: gen_prefix"), place=place, key="gen_prefix")


class _Rendered(str):
    """What a template gave, as opposed to a column's own text: only in this digits become numbers."""

    __slots__ = ()


def _read(reading: Reading, document: Document, *, shown: str) -> object:
    if isinstance(reading, str):
        if reading in document:
            return document[reading]
        return _Rendered(_rendered(reading, document, shown=shown))
    return code.call(reading, document, shown=shown) if callable(reading) else reading


def _answers(target: object, choices: Sequence[str] | None, *, place: str, is_strict: bool) -> tuple[str, ...]:
    """Return the right answers as text: a number is the place of a choice.

    lm_eval counts a place that there is not, and a text that is no choice, as never right; `is_strict` refuses the
    place.
    """
    listed = list(target) if isinstance(target, list | tuple) else [target]
    if not listed or target is None:
        raise DataError(f"{place}: doc_to_target gives no answer, expected one or more")
    found = []
    for value in listed:
        each = value
        if isinstance(each, float) and each.is_integer() and choices:
            each = int(each)  # whole numbers of a column with gaps
        if not choices or not isinstance(each, int):
            found.append(str(each))
        elif 0 <= each < len(choices) or (is_strict and -len(choices) <= each < 0):
            found.append(choices[each])
        elif is_strict:
            raise DataError(f"{place}: doc_to_target gives {each}, expected the place of one of {len(choices)} choices")
        else:
            found.append(f"(no choice {each})")
    return tuple(found)


def _text_of(value: object, *, place: str, key: str) -> str:
    if isinstance(value, list | tuple | Mapping) or value is None:
        found = "nothing" if value is None else type(value).__name__
        raise DataError(f"{place}: {key}: found {found}, expected text")
    return str(value)


def _joined(made: Form, prefix: str | None, answer: str) -> str:
    """Put before a demonstration's answer what stands between it and its question, which ends in the prefix if any."""
    if not prefix:
        return made.target_delimiter + answer
    return f" {answer}" if answer and _needs_space(prefix, answer) else answer


def _needs_space(left: str, right: str) -> bool:
    """Whether two texts meet without white space on either side."""
    return left != "" and not (left[-1].isspace() or right[0].isspace())


def _rendered(template: str, document: Document, *, shown: str) -> str:
    try:
        compiled = _compiled(template)
    except TaskError as error:
        raise TaskError(f"{shown}: {error}") from error
    return templates.fill(compiled, document, shown=shown, of="this document")


@lru_cache(maxsize=256)
def _compiled(text: str) -> templates.Compiled:
    """Compile a template once."""
    return templates.compile_in(_environment(), text)


@cache
def _environment() -> templates.Sandbox:
    """Make lm_eval's environment, in a sandbox and without what is random."""
    made = templates.Sandbox(undefined=StrictUndefined, keep_trailing_newline=True)
    del made.globals["lipsum"], made.filters["random"]
    made.filters["regex_replace"] = _replaced
    return made


def _replaced(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    try:
        return re.sub(pattern, replacement, text, count=count)
    except re.error as error:
        raise ValueError(f"regex_replace: found {pattern!r}, expected a regular expression: {error}") from error
