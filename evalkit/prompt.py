"""Render examples through a task's template and build prompts that fit the window.

A template shows one example, demonstrations and question alike. A demonstration is its rendering followed by its first
target; the description, the demonstrations and the question are joined by the task's separator. Whole demonstrations
are dropped until prompt and answer fit the window, the ones furthest from the question first: with fewshot.draw a
prompt cut to k demonstrations is the very prompt of k shots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evalkit.dataset import READY_MADE
from evalkit.errors import TaskError, UsageError
from evalkit.records import Example, Prompt, Task
from evalkit.registry import suggest

CountTokens: TypeAlias = Callable[[Sequence[str]], list[int]]
Job: TypeAlias = tuple[Example, Sequence[Example]]  # an example and the demonstrations drawn for it, in prompt order

JOBS_AT_ONCE = 256  # bounds the memory that a tokenizer's batch takes
VISIBLE = {" ": "·", "\t": "→\t", "\n": "⏎\n", "\r": "␍", "\u00a0": "⍽"}
MOST_STEPS = 100_000  # that all ranges of one rendering have together, so that no template runs for ever


@dataclass(frozen=True, slots=True)
class Preview:
    """What `evalkit prompt` shows of one example."""

    text: str  # the context with visible whitespace
    answers: tuple[str, ...]  # what may follow it, with visible whitespace, the first target first
    tokens: int  # of the context with the start token
    room: int  # tokens kept for the answer
    window: int
    fits: bool  # False where not even the example alone fits
    used: tuple[str, ...]  # ids of the demonstrations, in order
    dropped: tuple[str, ...]  # ids of those that did not fit, in order


def build(
    task: Task, jobs: Sequence[Job], *, shots: int, count_tokens: CountTokens, window: int
) -> list[Prompt | None]:
    """Build the prompt of each job, in order; None where not even the example alone fits the window.

    `shots` is the number asked for, of which the pool may have had fewer. `count_tokens` counts whole contexts and is
    called with long lists. Give all jobs of a task at once: a demonstration is rendered once a call.
    Raises TaskError where the template fails, UsageError for a window below 1.
    """
    if window < 1:
        raise UsageError(f"found a window of {window} tokens, expected at least 1")
    written: dict[int, str] = {}  # keyed by identity: ids of a pool and of a source may collide
    lengths: dict[str, int] = {}  # tokens of the parts of prompts
    prompts: list[Prompt | None] = []
    for start in range(0, len(jobs), JOBS_AT_ONCE):
        drafts = [_draft(task, job, written) for job in jobs[start : start + JOBS_AT_ONCE]]
        guesses = _estimate(task, drafts, lengths, count_tokens=count_tokens, window=window)
        fitting = _fit(task, drafts, guesses, count_tokens=count_tokens, window=window)
        for draft, kept in zip(drafts, fitting, strict=True):
            if kept is None:
                prompts.append(None)
                continue
            shown, tokens = kept
            prompts.append(Prompt(draft.context(shown), draft.ids(shown), shots, tokens, window))
    return prompts


def question(task: Task, example: Example) -> str:
    """Render one example without an answer, trailing whitespace included. Raises TaskError."""
    return _question(_compile(task.template), task, example)


def continuation(task: Task, example: Example, answer: str) -> str:
    """Return what follows the context for this answer: whitespace first, since a context never ends in any.

    Where the template's rendering ends in whitespace, that takes the place of the answer's own.
    """
    return _continuation(question(task, example), answer)


def answers(task: Task, example: Example) -> tuple[str, ...]:
    """Return the continuations whose likelihood is asked for: all choices, or all targets where there are none."""
    rendered = question(task, example)
    return tuple(_continuation(rendered, answer) for answer in example.choices or example.targets)


def preview(task: Task, job: Job, *, shots: int, count_tokens: CountTokens, window: int) -> Preview:
    """Describe the exact prompt of one example for a reader, built as a run builds it."""
    example, demonstrations = job
    [prompt] = build(task, [job], shots=shots, count_tokens=count_tokens, window=window)
    draft = _draft(task, job, {})
    context = draft.context(0) if prompt is None else prompt.context
    used = () if prompt is None else prompt.demonstrations
    candidates = tuple(
        dict.fromkeys((*(continuation(task, example, target) for target in example.targets), *answers(task, example)))
    )
    [tokens] = count_tokens([context])
    room = task.max_tokens
    if task.kind != "generate":
        room = max(count_tokens([context + answer for answer in draft.answers])) - tokens
    return Preview(
        text=visible(context),
        answers=tuple(visible(answer) for answer in candidates),
        tokens=tokens,
        room=room,
        window=window,
        fits=prompt is not None,
        used=used,
        dropped=tuple(each.id for each in demonstrations[: len(demonstrations) - len(used)]),
    )


def visible(text: str) -> str:
    r"""Write whitespace so that it can be seen: `·` a space, `⏎` a newline (and the newline), `→` a tab.

    Whatever else does not print, or would act on a terminal, stands as its escape, such as `\x1b`.
    """
    return "".join(VISIBLE.get(each) or (each if each.isprintable() else escape(each)) for each in text)


def escape(character: str) -> str:
    r"""Write a character as Python does, such as `\x1b`."""
    return character.encode("unicode_escape").decode()


def check_template(text: str, *, name: str) -> None:
    """Raise TaskError where the template is broken before any example is shown: its syntax, an unknown filter."""
    try:
        _environment().from_string(text)  # compiles, which finds unknown filters too
    except TemplateSyntaxError as error:
        raise TaskError(f"{name}:{error.lineno}: broken template: {error.message}") from error


@dataclass(frozen=True, slots=True)
class _Draft:
    """The parts of one prompt before it is known how many demonstrations fit."""

    description: str
    separator: str
    written: Sequence[str]  # the demonstrations, in prompt order
    question: str
    answers: tuple[str, ...]  # continuations that have to fit, empty for a generation
    demonstrations: Sequence[Example]

    @property
    def parts(self) -> tuple[str, ...]:
        """All texts that a prompt is joined from, and the answers."""
        return (self.description, self.separator, *self.written, self.question, *self.answers)

    def context(self, shown: int) -> str:
        """Join the description, the last `shown` demonstrations and the question."""
        parts = [*self.written[len(self.written) - shown :], self.question]
        return self.separator.join([self.description, *parts] if self.description else parts).rstrip()

    def ids(self, shown: int) -> tuple[str, ...]:
        """Return the ids of the last `shown` demonstrations."""
        return tuple(each.id for each in self.demonstrations[len(self.demonstrations) - shown :])


def _draft(task: Task, job: Job, written: dict[int, str]) -> _Draft:
    example, demonstrations = job
    template = _compile(task.template)
    rendered = _question(template, task, example)
    gap = rendered[len(rendered.rstrip()) :]
    if gap == rendered and (task.description or demonstrations):
        raise TaskError(
            f"{task.name}: template: found nothing of example {example.id} before its answer, expected text"
        )
    if task.kind == "generate" and any(stop in gap for stop in task.stop):
        raise TaskError(
            f"{task.name}: the template ends in {gap!r}, which begins the answer, where the stop string would end it; "
            "end the template before it, or change 'stop'"
        )
    for each in demonstrations:
        if id(each) not in written:
            written[id(each)] = _join_answer(_question(template, task, each), each.targets[0])
    return _Draft(
        description=task.description,
        separator=task.separator,
        written=[written[id(each)] for each in demonstrations],
        question=rendered,
        answers=() if task.kind == "generate" else tuple(dict.fromkeys(answers(task, example))),
        demonstrations=demonstrations,
    )


def _fit(
    task: Task, drafts: Sequence[_Draft], guesses: Sequence[int], *, count_tokens: CountTokens, window: int
) -> list[tuple[int, int] | None]:
    """Find, for each draft, the most demonstrations that fit and the tokens of that context; None where none fits.

    Each round counts one candidate of every open draft in one call. The first candidate is an estimate from the parts'
    own tokens, the second its neighbour, and the rest bisects, so that two rounds settle nearly all drafts.
    """
    fitting: list[tuple[int, int] | None] = [None] * len(drafts)
    too_many = [len(draft.written) + 1 for draft in drafts]
    guesses = list(guesses)
    rounds = 0
    while True:
        least = [-1 if found is None else found[0] for found in fitting]
        still = [index for index in range(len(drafts)) if too_many[index] - least[index] > 1]
        if not still:
            return fitting
        for index in still if rounds else ():
            guesses[index] = _next_guess(least[index], too_many[index], guesses[index], rounds)
        counted = _count(task, [drafts[index] for index in still], [guesses[index] for index in still], count_tokens)
        for index, (tokens, whole) in zip(still, counted, strict=True):
            if whole <= window:
                fitting[index] = (guesses[index], tokens)
            else:
                too_many[index] = guesses[index]
        rounds += 1


def _next_guess(fits: int, too_many: int, last: int, rounds: int) -> int:
    if rounds == 1:
        return last + 1 if last == fits else last - 1
    return (fits + too_many) // 2


def _estimate(
    task: Task, drafts: Sequence[_Draft], lengths: dict[str, int], *, count_tokens: CountTokens, window: int
) -> list[int]:
    """Guess how many demonstrations fit each draft by adding up its parts' tokens, which `lengths` remembers."""
    parts = dict.fromkeys(part for draft in drafts for part in draft.parts)
    new = [part for part in ("", *parts) if part not in lengths]
    lengths.update(zip(new, count_tokens(new), strict=True))
    start = lengths[""]  # the start token, which every count includes
    guesses = []
    for draft in drafts:
        separator = lengths[draft.separator] - start
        room = task.max_tokens if task.kind == "generate" else max(lengths[answer] for answer in draft.answers) - start
        left = window - room - lengths[draft.question] - (lengths[draft.description] - start)
        shown = 0
        for text in reversed(draft.written):
            left -= lengths[text] - start + separator
            if left < 0:
                break
            shown += 1
        guesses.append(shown)
    return guesses


def _count(
    task: Task, drafts: Sequence[_Draft], shown: Sequence[int], count_tokens: CountTokens
) -> list[tuple[int, int]]:
    """Count, for each draft, the tokens of its context and those of the context with its longest answer."""
    contexts = [draft.context(number) for draft, number in zip(drafts, shown, strict=True)]
    if task.kind == "generate":
        return [(tokens, tokens + task.max_tokens) for tokens in count_tokens(contexts)]
    texts = [
        context + answer for draft, context in zip(drafts, contexts, strict=True) for answer in ("", *draft.answers)
    ]
    counts = iter(count_tokens(texts))
    pairs = []
    for draft in drafts:
        tokens = next(counts)
        pairs.append((tokens, max(next(counts) for _ in draft.answers)))
    return pairs


def _question(template: _Compiled, task: Task, example: Example) -> str:
    fields = example.fields
    if template.is_ready_made(fields):
        if fields["context"] is None:
            raise TaskError(_nothing(task, example, ["context"]))
        return str(fields["context"])
    if example.choices and "choices" not in fields:
        fields = {**fields, "choices": example.choices}
    try:
        # Positional, since a column may be called `self`.
        rendered = template.template.render({"range": _counted_range(), **fields})
    except _NothingError as error:
        raise TaskError(_nothing(task, example, sorted(template.fields))) from error
    except UndefinedError as error:
        missing = sorted(template.fields - fields.keys())
        hint = suggest(missing[0], fields) if missing else ""
        found = f"fields found: {', '.join(sorted(fields)) or 'none'}"
        hint = f"{found}; {hint}" if hint.startswith("did") else found
        raise TaskError(f"{task.name}: template: {error.message}; {hint}") from error
    except SecurityError as error:
        raise TaskError(f"{task.name}: template: not allowed in a template: {error}") from error
    except FAILURES as error:
        what = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise TaskError(f"{task.name}: template: {what}; found with example {example.id}") from error
    return rendered


def _nothing(task: Task, example: Example, names: Iterable[str]) -> str:
    empty = [f"field {name!r}" for name in names if name in example.fields and example.fields[name] is None]
    return (
        f"{task.name}: template: found no value in {empty[0] if empty else 'a part'} of example {example.id}, expected "
        "something to show; fill it in, or leave it out of the template with {% if %}"
    )


def _join_answer(rendered: str, answer: str) -> str:
    """Append an answer; the rendering's trailing whitespace stands between, else the answer's leading one."""
    return rendered + (answer.lstrip() if rendered != rendered.rstrip() else answer)


def _continuation(rendered: str, answer: str) -> str:
    return _join_answer(rendered, answer)[len(rendered.rstrip()) :]


class _NothingError(Exception):
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


def _refuse_nothing(value: object) -> object:
    if value is None:
        raise _NothingError
    return value


def _counted_range() -> Callable[..., range]:
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


@dataclass(frozen=True, slots=True)
class _Compiled:
    template: Template
    fields: frozenset[str]  # names the template reads

    def is_ready_made(self, fields: Mapping[str, object]) -> bool:
        """Whether a row brings its own context: it has both columns, neither is the template's, and others lack."""
        return (
            all(name in fields and name not in self.fields for name in READY_MADE) and not self.fields <= fields.keys()
        )


@lru_cache(maxsize=64)
def _compile(text: str) -> _Compiled:
    environment = _environment()
    try:
        fields = meta.find_undeclared_variables(environment.parse(text))
        return _Compiled(environment.from_string(text), frozenset(fields - set(environment.globals)))
    except TemplateSyntaxError as error:
        raise TaskError(f"template, line {error.lineno}: broken template: {error.message}") from error


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    """Make the sandbox: nothing of Python's inside, no undefined fields, nothing random; block tags leave no lines."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_refuse_nothing, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals = {"range": environment.globals["range"]}  # each rendering brings one that counts
    del environment.filters["random"]
    return environment
