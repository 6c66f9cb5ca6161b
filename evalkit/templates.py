"""Jinja2 templates in a sandbox: nothing of Python's inside, no undefined names, nothing random, no endless ranges."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evalkit.errors import TaskError
from evalkit.registry import suggest

MOST_STEPS = 100_000  # that all ranges of one rendering have together, so that no template runs for ever


class NothingError(Exception):
    """A template shows None, which would stand in a prompt as a word."""


MOST_CHARACTERS = 1_000_000  # that one product or one padding may make
MOST_BITS = 4096  # of a power
PADDED = ("center", "expandtabs", "ljust", "rjust", "zfill")
FORMATS = ("format", "format_map")
WIDTH = re.compile(r"%[^%a-zA-Z]*\d{5}|:[^}]*\d{5}")  # of a format of five digits or more


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, in which no single step makes a text or a number without bounds."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # Any: a template's values
        """Compute a product, a power or a format; OverflowError for what would take all memory."""
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > MOST_BITS:
                raise OverflowError(f"found a power of more than {MOST_BITS:,} bits, expected a smaller one")
        elif operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int):
                    _refuse_long(len(text) * times)
        elif operator == "%" and isinstance(left, str) and WIDTH.search(left):
            raise OverflowError("found a format of five digits or more, expected a narrower one")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:  # Any: a template's values
        """Call a function or method; OverflowError for a padding without bounds."""
        if getattr(obj, "__name__", "") in PADDED:
            for width in (*args, *kwargs.values()):
                _refuse_long(width if isinstance(width, int) else 0)
        written = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)  # the sandbox wraps a text's methods
        if isinstance(written, str) and WIDTH.search(written) and getattr(obj, "__name__", "") in FORMATS:
            raise OverflowError("found a format of five digits or more, expected a narrower one")
        return super().call(context, obj, *args, **kwargs)


def _refuse_long(length: int) -> None:
    if length > MOST_CHARACTERS:
        raise OverflowError(f"found a text of {length:,} characters, expected at most {MOST_CHARACTERS:,}")


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
        raise TaskError(f"{name}: line {error.lineno}: broken template: {error.message}") from error


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
        raise TaskError(f"{shown}: {error.message}; {hint}; found with {of}") from error
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
    return compile_in(environment(), text)


def compile_in(made: Sandbox, text: str) -> Compiled:
    """Compile a template in an environment of these or other options. Raises TaskError."""
    try:
        fields = meta.find_undeclared_variables(made.parse(text))
        return Compiled(made.from_string(text), frozenset(fields - set(made.globals)))
    except TemplateSyntaxError as error:
        raise TaskError(f"template, line {error.lineno}: broken template: {error.message}") from error


@lru_cache(maxsize=1)
def environment() -> Sandbox:
    """Make the sandbox; block tags leave no lines."""
    made = Sandbox(undefined=StrictUndefined, finalize=_refuse_nothing, trim_blocks=True, lstrip_blocks=True)
    made.globals = {"range": made.globals["range"]}  # each rendering brings one that counts
    del made.filters["random"]
    return made


def _refuse_nothing(value: object) -> object:
    if value is None:
        raise NothingError
    return value
