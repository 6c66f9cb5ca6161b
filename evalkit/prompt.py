"""Render examples through a task's template and build prompts that fit the window.

A template shows one example, demonstrations and question alike. A demonstration is its rendering followed by its first
target; the description, the demonstrations and the question are joined by the task's separator. Whole demonstrations
are dropped until prompt and answer fit the window, the ones furthest from the question first: with fewshot.draw a
prompt cut to k demonstrations is the very prompt of k shots. Texts of tasks that are verbatim are joined as they stand,
as lm_eval does: nothing follows the description, the separator follows each demonstration, no whitespace is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from evalkit import metric_spec, templates
from evalkit.errors import TaskError, UsageError
from evalkit.records import Example, Prompt, RequestKind, Task

CountTokens: TypeAlias = Callable[[Sequence[str]], list[int]]
Job: TypeAlias = tuple[Example, Sequence[Example]]  # an example and the demonstrations drawn for it, in prompt order

SEAM = 8  # tokens that two texts joined may save, at the most
JOBS_AT_ONCE = 256  # bounds the memory that a tokenizer's batch takes
VISIBLE = {" ": "·", "\t": "→\t", "\n": "⏎\n", "\r": "␍", "\u00a0": "⍽"}


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
    if task.kind == "rolling":  # a text of any length, in windows
        return [Prompt("", (), shots, 0, window) for _ in jobs]
    written: dict[int, str] = {}  # keyed by identity: ids of a pool and of a source may collide
    lengths: dict[str, int] = {}  # tokens of the parts of prompts
    prompts: list[Prompt | None] = []
    for start in range(0, len(jobs), JOBS_AT_ONCE):
        drafts = [_draft(task, job, written) for job in jobs[start : start + JOBS_AT_ONCE]]
        _measure(drafts, lengths, count_tokens=count_tokens)
        fitting = _fit(drafts, lengths, count_tokens=count_tokens, window=window)
        for draft, kept in zip(drafts, fitting, strict=True):
            if kept is None:
                prompts.append(None)
                continue
            shown, tokens = kept
            prompts.append(Prompt(draft.context(shown), draft.ids(shown), shots, tokens, window))
    return prompts


@lru_cache(maxsize=64)
def kinds(metrics: tuple[str, ...]) -> tuple[RequestKind, ...]:
    """Tell the kinds of request that these metrics need."""
    return tuple(dict.fromkeys(kind for metric in metrics for kind in metric_spec.load(metric).needs))


def at(task: Task, shots: int) -> Task:
    """Return the task as it is asked at a number of shots: some have a template of their own for none."""
    if shots or task.zero_shot_template is None:
        return task
    return replace(task, template=task.zero_shot_template)


def question(task: Task, example: Example) -> str:
    """Render one example without an answer, trailing whitespace included. Raises TaskError."""
    if example.question is not None:
        return example.question
    fields = example.fields
    if example.choices and "choices" not in fields:
        fields = {**fields, "choices": example.choices}
    return templates.render(task.template, fields, shown=f"{task.name}: template", of=named(example))


def named(example: Example) -> str:
    """Name an example for a message, with its place in the data."""
    return f"example {example.id}" if example.place is None else f"example {example.id} ({example.place})"


def continuation(task: Task, example: Example, answer: str) -> str:
    """Return what follows the context for this answer: whitespace first, since a context never ends in any.

    Where the template's rendering ends in whitespace, that takes the place of the answer's own.
    """
    return _continuation(task, question(task, example), answer)


def answers(task: Task, example: Example) -> tuple[str, ...]:
    """Return the continuations whose likelihood is asked for: all choices, or all targets where there are none."""
    return _answers(task, question(task, example), example)


def worked(task: Task, example: Example) -> str:
    """Render one example with its first target: a demonstration."""
    return _join(task, question(task, example), example.targets[0]) + (example.ending or "")


def preview(task: Task, job: Job, *, shots: int, count_tokens: CountTokens, window: int) -> Preview:
    """Describe the exact prompt of one example for a reader, built as a run builds it."""
    example, demonstrations = job
    task = at(task, shots)
    [prompt] = build(task, [job], shots=shots, count_tokens=count_tokens, window=window)
    draft = _draft(task, job, {})
    context = draft.context(0) if prompt is None else prompt.context
    used = () if prompt is None else prompt.demonstrations
    candidates = (*(continuation(task, example, target) for target in example.targets), *answers(task, example))
    candidates = tuple(dict.fromkeys(answer + (example.ending or "") for answer in candidates))
    likelihoods = (*draft.answers, *draft.targets)
    [tokens, *longer] = count_tokens([context, *(context + answer for answer in likelihoods)])
    room = max([draft.room, *(count - tokens for count in longer)])
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


@dataclass(frozen=True, slots=True)
class _Draft:
    """The parts of one prompt before it is known how many demonstrations fit."""

    description: str
    separator: str
    written: Sequence[str]  # the demonstrations, in prompt order
    question: str
    answers: tuple[str, ...]  # continuations that have to fit, counted with their contexts
    targets: tuple[str, ...]  # those of a generation, which rarely are longer than it may be, counted alone
    room: int  # tokens of a generation that have to fit
    demonstrations: Sequence[Example]
    is_verbatim: bool

    @property
    def parts(self) -> tuple[str, ...]:
        """All texts that a prompt is joined from, and the answers."""
        return (self.description, self.separator, *self.written, self.question, *self.answers, *self.targets)

    def context(self, shown: int) -> str:
        """Join the description, the last `shown` demonstrations and the question."""
        written = self.written[len(self.written) - shown :]
        if self.is_verbatim:
            return self.description + "".join(each + self.separator for each in written) + self.question
        parts = [*written, self.question]
        return self.separator.join([self.description, *parts] if self.description else parts).rstrip()

    def ids(self, shown: int) -> tuple[str, ...]:
        """Return the ids of the last `shown` demonstrations."""
        return tuple(each.id for each in self.demonstrations[len(self.demonstrations) - shown :])


def _draft(task: Task, job: Job, written: dict[int, str]) -> _Draft:
    example, demonstrations = job
    rendered = question(task, example)
    if not task.is_verbatim:
        _check_gap(task, rendered, job)
    for each in demonstrations:
        if id(each) not in written:
            written[id(each)] = worked(task, each)
    asked = kinds(task.metrics)
    likelihoods = () if asked == ("generate",) else _answers(task, rendered, example)
    answers = tuple(dict.fromkeys(answer + (example.ending or "") for answer in likelihoods))
    is_generated = "generate" in asked
    return _Draft(
        description=task.description if example.description is None else example.description,
        separator=task.separator,
        written=[written[id(each)] for each in demonstrations],
        question=rendered,
        answers=() if is_generated else answers,
        targets=answers if is_generated else (),
        room=task.max_tokens if is_generated else 0,
        demonstrations=demonstrations,
        is_verbatim=task.is_verbatim,
    )


def _check_gap(task: Task, rendered: str, job: Job) -> None:
    """Raise TaskError for a question that leaves nothing before its answer, or begins the answer with a stop string."""
    example, demonstrations = job
    gap = rendered[len(rendered.rstrip()) :]
    if gap == rendered and (task.description or demonstrations):
        raise TaskError(f"{task.name}: template: found nothing of {named(example)} before its answer, expected text")
    if task.kind == "generate" and any(stop in gap for stop in task.stop):
        raise TaskError(
            f"{task.name}: the template ends in {gap!r}, which begins the answer, where the stop string would end it; "
            "end the template before it, or change 'stop'"
        )


def _fit(
    drafts: Sequence[_Draft],
    lengths: Mapping[str, int],
    *,
    count_tokens: CountTokens,
    window: int,
) -> list[tuple[int, int] | None]:
    """Find, for each draft, the most demonstrations that fit and the tokens of that context; None where none fits.

    Each round counts one candidate of every open draft in one call. The first candidate is an estimate from the parts'
    own tokens, the second its neighbour, and the rest bisects. The neighbour is not counted where the demonstration
    that would join is longer than the room that is left, beyond what a seam may save: one round settles nearly all.
    """
    fitting: list[tuple[int, int] | None] = [None] * len(drafts)
    too_many = [len(draft.written) + 1 for draft in drafts]
    guesses = [_estimate(draft, lengths, window=window) for draft in drafts]
    rooms = [_room(draft, lengths) for draft in drafts]
    rounds = 0
    while True:
        least = [-1 if found is None else found[0] for found in fitting]
        still = [index for index in range(len(drafts)) if too_many[index] - least[index] > 1]
        if not still:
            return fitting
        for index in still if rounds else ():
            guesses[index] = _next_guess(least[index], too_many[index], guesses[index], rounds)
        chosen = [(drafts[index], guesses[index], rooms[index]) for index in still]
        counted = _count(chosen, count_tokens)
        for index, (tokens, whole) in zip(still, counted, strict=True):
            if whole <= window:
                fitting[index] = (guesses[index], tokens)
                if _next(drafts[index], guesses[index], lengths) > window - whole + SEAM:
                    too_many[index] = guesses[index] + 1
            else:
                too_many[index] = guesses[index]
        rounds += 1


def _next(draft: _Draft, shown: int, lengths: Mapping[str, int]) -> int:
    """Tokens of the demonstration that would be the next to join; 0 where all are there."""
    return lengths[draft.written[-shown - 1]] - lengths[""] if shown < len(draft.written) else 0


def _next_guess(fits: int, too_many: int, last: int, rounds: int) -> int:
    if rounds == 1:
        return last + 1 if last == fits else last - 1
    return (fits + too_many) // 2


def _measure(drafts: Sequence[_Draft], lengths: dict[str, int], *, count_tokens: CountTokens) -> None:
    """Count the tokens of the parts of drafts that `lengths` has not yet."""
    parts = dict.fromkeys(part for draft in drafts for part in draft.parts)
    new = [part for part in ("", *parts) if part not in lengths]
    lengths.update(zip(new, count_tokens(new), strict=True))


def _estimate(draft: _Draft, lengths: Mapping[str, int], *, window: int) -> int:
    """Guess how many demonstrations fit a draft by adding up its parts' tokens."""
    start = lengths[""]  # the start token, which every count includes
    separator = lengths[draft.separator] - start
    room = max([_room(draft, lengths), *(lengths[answer] - start for answer in draft.answers)])
    left = window - room - lengths[draft.question] - (lengths[draft.description] - start)
    shown = 0
    for text in reversed(draft.written):
        left -= lengths[text] - start + separator
        if left < 0:
            break
        shown += 1
    return shown


def _room(draft: _Draft, lengths: Mapping[str, int]) -> int:
    """Tokens to keep for a generation, and for the target that is scored beside it, with one for the seam."""
    return max([draft.room, *(lengths[target] - lengths[""] + 1 for target in draft.targets)])


def _count(chosen: Sequence[tuple[_Draft, int, int]], count_tokens: CountTokens) -> list[tuple[int, int]]:
    """Count, for drafts with demonstrations and room, the tokens of contexts and of contexts with their answers."""
    contexts = [draft.context(shown) for draft, shown, _ in chosen]
    texts = [
        context + answer
        for (draft, _, _), context in zip(chosen, contexts, strict=True)
        for answer in ("", *draft.answers)
    ]
    counts = iter(count_tokens(texts))
    pairs = []
    for draft, _, room in chosen:
        tokens = next(counts)
        pairs.append((tokens, max([tokens + room, *(next(counts) for _ in draft.answers)])))
    return pairs


def _join(task: Task, rendered: str, answer: str) -> str:
    """Append an answer; the rendering's trailing whitespace stands between, else the answer's leading one."""
    return rendered + (answer.lstrip() if not task.is_verbatim and rendered != rendered.rstrip() else answer)


def _answers(task: Task, rendered: str, example: Example) -> tuple[str, ...]:
    return tuple(_continuation(task, rendered, answer) for answer in example.choices or example.targets)


def _continuation(task: Task, rendered: str, answer: str) -> str:
    return answer if task.is_verbatim else _join(task, rendered, answer)[len(rendered.rstrip()) :]
