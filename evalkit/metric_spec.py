"""Metrics as task files write them: `exact_match`, `bleu(tokenize=intl)`, `exact_match(ignore_case=true)@strict`.

A name of registry.METRICS, settings in parentheses as in a call, and after an @ the filter whose answers are scored.
A value is a number, true, false, text or a list in brackets; text needs no quotes where it is made of letters,
digits, `_`, `.`, `+` and `-`. What stands in quotes is read as in Python.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from evalkit import registry
from evalkit.errors import TaskError
from evalkit.interfaces import Metric

TOKEN = re.compile(r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\w.+-]+|\S|$)""")
BARE = re.compile(r"[\w.+-]+")
CONSTANTS: dict[str, object] = {"true": True, "false": False}
FORM = "write it as NAME, NAME(SETTING=VALUE, ...) or one of these and @FILTER"


@dataclass(frozen=True, slots=True)
class Spec:
    """A metric of a task file, taken apart."""

    name: str  # of registry.METRICS
    settings: Mapping[str, object]  # numbers, truth values, text, tuples of these
    filter: str | None  # the filter whose answers it scores; None takes the completions as they are


@cache
def parse(text: str) -> Spec:
    """Take a metric's text apart, without asking whether there is such a metric. Raises TaskError."""
    try:
        return _Reader(text).spec()
    except SyntaxError as error:
        raise TaskError(f"metric {text!r}: {error.msg}; {FORM}") from error


def format(spec: Spec) -> str:
    """Write a metric in its canonical form, which `parse` reads: settings by name, quotes where they are needed."""
    settings = ", ".join(f"{name}={_written(value)}" for name, value in sorted(spec.settings.items()))
    call = f"{spec.name}({settings})" if settings else spec.name
    return call if spec.filter is None else f"{call}@{spec.filter}"


@cache
def load(text: str) -> Metric:
    """Make the metric that a text names; equal texts share one. Raises TaskError."""
    from evalkit import signatures

    spec = parse(text)
    if spec.name not in registry.METRICS:
        raise TaskError(f"unknown metric {spec.name!r}; {registry.suggest(spec.name, registry.METRICS)}")
    kind = registry.resolve(registry.METRICS, spec.name)
    try:
        signatures.check(kind, spec.settings, word="setting", owner=f"metric {spec.name!r}")
        metric: Metric = kind(**spec.settings)
    except TaskError as error:
        raise TaskError(f"metric {text!r}: {error}") from error
    return metric


def titles(texts: Sequence[str]) -> Mapping[str, str]:
    """Name the metrics of a task as tables do, with their filters; those that share a name by their settings too."""
    names = {text: _title(text) for text in texts}
    shared = Counter(names.values())
    return {text: text if shared[name] > 1 else name for text, name in names.items()}


def _title(text: str) -> str:
    wanted = parse(text).filter
    name = load(text).name
    return name if wanted is None else f"{name}, {wanted}"


class _Reader:
    """Reads one metric from left to right; SyntaxError says what was found and what was expected."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def spec(self) -> Spec:
        name = self.word("a metric's name")
        settings: dict[str, object] = {}
        if self.next() == "(":
            self.take("(")
            for _ in self.parts(")"):
                key = self.word("a setting's name")
                if key in settings:
                    raise SyntaxError(f"setting {key!r} is given twice")
                self.take("=")
                settings[key] = self.value()
        wanted = None
        if self.next() == "@":
            self.take("@")
            wanted = self.text[self.place :].strip()
            if not wanted:
                raise SyntaxError("found nothing after the @, expected a filter's name")
        elif self.next():
            raise self.unexpected("the end")
        return Spec(name, MappingProxyType(settings), wanted)

    def value(self) -> object:
        if self.next() == "[":
            self.take("[")
            return tuple(self.value() for _ in self.parts("]"))
        token = self.next()
        if token[:1] in {"'", '"'} and len(token) > 1:
            self.take(token)
            return str(ast.literal_eval(token))
        if BARE.fullmatch(token):
            self.take(token)
            return CONSTANTS[token.lower()] if token.lower() in CONSTANTS else _number(token)
        raise self.unexpected("a value")

    def parts(self, end: str) -> Iterator[None]:
        """Stop before each part of a list with commas, and after its end."""
        while self.next() != end:
            yield
            if self.next() != end:
                self.take(",")
        self.take(end)

    def word(self, expected: str) -> str:
        token = self.next()
        if not token.isidentifier():
            raise self.unexpected(expected)
        self.take(token)
        return token

    def next(self) -> str:
        """Look at the next token; empty at the end."""
        match = TOKEN.match(self.text, self.place)
        assert match is not None  # the pattern matches at the end too
        return match[1]

    def take(self, token: str) -> None:
        if self.next() != token:
            raise self.unexpected(repr(token))
        self.place = self.text.index(token, self.place) + len(token)

    def unexpected(self, expected: str) -> SyntaxError:
        return SyntaxError(f"found {repr(self.next()) if self.next() else 'the end'}, expected {expected}")


def _number(word: str) -> object:
    """Read a number as Python writes it; any other word is text."""
    try:
        value = ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word
    return value if isinstance(value, int | float) and math.isfinite(value) else word


def _written(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_written(each) for each in value)}]"
    if isinstance(value, str):
        is_plain = BARE.fullmatch(value) and value.lower() not in CONSTANTS and _number(value) == value
        return value if is_plain else repr(value)
    return repr(value).lower()
