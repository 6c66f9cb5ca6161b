"""Jinja2 templates in a sandbox: nothing of Python's inside, no undefined names, nothing random, no endless ranges."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from string import Formatter
from typing import Any, cast

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.filters import do_center, do_format, do_indent, do_replace
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evalkit.errors import TaskError
from evalkit.registry import suggest

MOST_STEPS = 100_000  # that all ranges of one rendering have together, so that no template runs for ever


class NothingError(Exception):
    """A template shows None, which would stand in a prompt as a word."""


MOST_CHARACTERS = 1_000_000  # that one product, padding, format, indentation or replacement may add
MOST_BITS = 4096  # of a power
PADDED = ("center", "expandtabs", "ljust", "rjust", "zfill")
FORMATS = ("format", "format_map")
# One conversion of a printf-like format, with its end: key in parentheses, width, precision.
CONVERSION = re.compile(r"%(\([^()]*[()])?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?.?", re.DOTALL)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, which refuses the single steps that make a long text, or a large number, of a few characters.

    Those are products, powers, paddings, formats, indentations and replacements, each as operator, method and filter.
    Loops are bounded by `counted_range`. What joins texts that are there already, such as `~` or `join`, is not.
    """

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:  # Any: jinja2's options
        super().__init__(**options)
        self.filters |= BOUNDED

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # Any: a template's values
        """Compute a product, a power or a format; OverflowError for what would take all memory."""
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > MOST_BITS:
                raise OverflowError(f"found a power of more than {MOST_BITS:,} bits, expected a smaller one")
        elif operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int):
                    _refuse_long(len(text) * times)
        elif operator == "%" and isinstance(left, str):
            _refuse_wide(left)
        return super().call_binop(context, operator, left, right)

    # By position alone, since an argument of the template may be called `context` or `obj`.
    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # Any: a template's values
        """Call a function or method; OverflowError for a padding, a format or a replacement without bounds."""
        name = getattr(obj, "__name__", "")
        if name in PADDED:
            for width in (*args, *kwargs.values()):
                _refuse_long(width if isinstance(width, int) else 0)
        written = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)  # the sandbox wraps a text's methods
        if isinstance(written, str) and name in FORMATS:
            _refuse_wide_fields(written)
        if isinstance(written, str) and name == "replace" and all(isinstance(each, str) for each in args[:2]):
            _refuse_replacement(written, *args[:3], **kwargs)
        return super().call(context, obj, *args, **kwargs)


def _refuse_long(length: int) -> None:
    if length > MOST_CHARACTERS:
        raise OverflowError(f"found a text of {length:,} characters, expected at most {MOST_CHARACTERS:,}")


def _refuse_wide(text: str) -> None:
    """Raise OverflowError for a printf-like format whose widths and precisions make a long text, or are values."""
    conversions = [found.groups() for found in CONVERSION.finditer(text)]
    if any("*" in parts or (parts[0] or "").endswith("(") for parts in conversions):
        raise OverflowError("found a format with a * or nested parentheses, expected its width as a number")
    _refuse_long(sum(_number(part) for _, *parts in conversions for part in parts if part))


def _refuse_wide_fields(text: str) -> None:
    """Raise OverflowError for a format in braces whose widths and precisions make a long text, or are values."""
    specs = [spec for _, _, spec, _ in Formatter().parse(text) if spec]
    if any("{" in spec for spec in specs):
        raise OverflowError("found a format within a format, expected its width as a number")
    _refuse_long(sum(_number(digits) for spec in specs for digits in re.findall(r"\d+", spec)))


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:9] or 0)  # nine digits are too many, and thousands of them no int for Python


def _refuse_replacement(
    text: str, old: str = "", new: str = "", count: int | None = -1, /, **named: int | None
) -> None:
    limit = named.get("count", count)
    places = text.count(old) if limit is None or limit < 0 else min(text.count(old), limit)
    _refuse_long(places * (len(new) - len(old)))


@wraps(do_center)
def _center(value: object, width: int = 80) -> str:
    _refuse_long(width)
    return do_center(cast(str, value), width)


@wraps(do_format)
def _format(value: object, *args: object, **kwargs: object) -> str:
    _refuse_wide(str(value))
    return do_format(cast(str, value), *args, **kwargs)


@wraps(do_indent)
def _indent(s: str, width: int | str = 4, *args: bool, **kwargs: bool) -> str:
    _refuse_long((len(width) if isinstance(width, str) else width) * (len(s.splitlines()) + 1))
    return do_indent(s, width, *args, **kwargs)


@wraps(do_replace)  # which also says that it is given the context
def _replace(context: EvalContext, s: object, old: object, new: object, count: int | None = None) -> str:
    _refuse_replacement(str(s), str(old), str(new), count)
    return do_replace(context, cast(str, s), cast(str, old), cast(str, new), count)


BOUNDED: Mapping[str, Callable[..., str]] = {
    "center": _center,
    "format": _format,
    "indent": _indent,
    "replace": _replace,
}

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
