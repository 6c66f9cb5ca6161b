"""Jinja2 templates in a sandbox: nothing of Python's inside, no undefined names, nothing random, no endless ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evalkit.errors import TaskError
from evalkit.registry import suggest

MOST_STEPS = 100_000  # that all ranges of one rendering have together, so that no template runs for ever


class NothingError(Exception):
    """A template shows None, which would stand in a prompt as a word."""


FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template, and the names that it reads."""

    template: Template
    fields: frozenset[str]


def check(text: str, *, name: str) -> None:
    """Raise TaskError where the template is broken before any example is shown: its syntax, an unknown filter."""
    try:
        environment().from_string(text)  # compiles, which finds unknown filters too
    except TemplateSyntaxError as error:
        raise TaskError(f"{name}:{error.lineno}: broken template: {error.message}") from error


def render(text: str, fields: Mapping[str, object], *, shown: str, of: str) -> str:
    """Render a template over fields; TaskError says that `shown` went wrong with the fields `of` what."""
    return fill(compiled(text), fields, shown=shown, of=of)


def fill(template: Compiled, fields: Mapping[str, object], *, shown: str, of: str) -> str:
    """Render a template that was compiled, here or in an environment of other options."""
    try:
        # Positional, since a column may be called `self`.
        return template.template.render({"range": counted_range(), **fields})
    except NothingError as error:
        empty = [f"field {name!r}" for name in sorted(template.fields) if name in fields and fields[name] is None]
        raise TaskError(
            f"{shown}: found no value in {empty[0] if empty else 'a part'} of {of}, expected something to show; fill "
            "it in, or leave it out of the template with {% if %}"
        ) from error
    except UndefinedError as error:
        missing = sorted(template.fields - fields.keys())
        hint = suggest(missing[0], fields) if missing else ""
        found = f"fields found: {', '.join(sorted(fields)) or 'none'}"
        hint = f"{found}; {hint}" if hint.startswith("did") else found
        raise TaskError(f"{shown}: {error.message}; {hint}") from error
    except SecurityError as error:
        raise TaskError(f"{shown}: not allowed in a template: {error}") from error
    except FAILURES as error:
        what = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise TaskError(f"{shown}: {what}; found with {of}") from error


def counted_range() -> Callable[..., range]:
    """Make the `range` of one rendering."""
    left = MOST_STEPS

    def counted(*bounds: int) -> range:
        nonlocal left
        steps = range(*bounds)
        if len(steps) > left:
            raise OverflowError(f"found more than {MOST_STEPS:,} steps in ranges, expected fewer; shorten the loops")
        left -= len(steps)
        return steps

    return counted


@lru_cache(maxsize=64)
def compiled(text: str) -> Compiled:
    """Compile a template once."""
    made = environment()
    try:
        fields = meta.find_undeclared_variables(made.parse(text))
        return Compiled(made.from_string(text), frozenset(fields - set(made.globals)))
    except TemplateSyntaxError as error:
        raise TaskError(f"template, line {error.lineno}: broken template: {error.message}") from error


@lru_cache(maxsize=1)
def environment() -> ImmutableSandboxedEnvironment:
    """Make the sandbox; block tags leave no lines."""
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_refuse_nothing, trim_blocks=True, lstrip_blocks=True
    )
    made.globals = {"range": made.globals["range"]}  # each rendering brings one that counts
    del made.filters["random"]
    return made


def _refuse_nothing(value: object) -> object:
    if value is None:
        raise NothingError
    return value
