"""Have a model write continuations for articles, in rounds, until every article has one that can be shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from evalkit import encoding, fewshot
from evalkit.articles import choice
from evalkit.articles.choice import Left
from evalkit.articles.gather import Gathered, example
from evalkit.articles.length import count_words
from evalkit.articles.records import Condition, Written
from evalkit.articles.settings import CONTROL, BuildSettings
from evalkit.assignment import Assignment
from evalkit.interfaces import LanguageModel, SizedModel
from evalkit.records import Completion, Prompt
from evalkit.report.table import count

ROUNDS = 4  # as many candidates again are asked for in each, for articles none of whose can be shown
TOKENS_A_WORD = 2  # as the task keeps 400 for about 200 words

Json = dict[str, Any]  # Any: JSON nests


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model wrote for one article."""

    article: str  # id
    prompt: Prompt | None  # None where not even the title fits the window
    written: tuple[tuple[int, Completion], ...]  # seed and continuation


Ask: TypeAlias = Callable[[Assignment], Sequence[Answered]]  # puts an assignment to the model
Standing: TypeAlias = Callable[[Sequence[str]], frozenset[str]]  # tells which texts stand in the corpus


@dataclass(frozen=True, slots=True)
class Writer:
    """A model as it writes for one condition."""

    model: LanguageModel
    is_control: bool
    assignment: Assignment  # all articles, with the candidates of the first round
    window: int

    @property
    def name(self) -> str:
        """The name of the condition."""
        return CONTROL if self.is_control else self.model.name


@dataclass(frozen=True, slots=True)
class Writing:
    """What came of one writer's work."""

    condition: Condition  # with the articles that have a text that can be shown
    account: Json  # what was asked, dropped and used, for study.json
    left_out: Mapping[str, str]  # article's id -> why it has no text
    notes: tuple[str, ...]


def prepare(
    settings: BuildSettings, gathered: Gathered, model: LanguageModel, *, is_control: bool, window: int
) -> Writer:
    """Fix what a model is asked: the task with the condition's decoding, candidates, room and articles of context."""
    shots = 0 if is_control else settings.context
    task = replace(
        gathered.task,
        decoding=settings.rule(gathered.task.decoding, is_control=is_control),
        repeats=settings.candidates,
        max_tokens=settings.max_tokens or _room(gathered),
        metrics=("words",),  # texts are written here and scored elsewhere
    )
    pool = fewshot.prepare([example(each) for each in gathered.pool], task=task) if shots else None
    examples = tuple(example(each) for each in gathered.articles)
    assignment = Assignment(task, examples, pool, (shots,), gathered.digest)
    return Writer(model, is_control, assignment, window)


def write(
    writer: Writer, gathered: Gathered, *, ask: Ask, standing: Standing | None, sign: Callable[[Assignment], str]
) -> Writing:
    """Ask for candidates and choose one of each article; those without get more, up to ROUNDS times as many."""
    answered, lefts = _rounds(writer, gathered, ask=ask, standing=standing)
    ids = [each.id for each in gathered.articles]
    written = {
        name: Written(name, left.candidates[0].text, len(left.candidates), left.candidates[0].seed)
        for name in ids
        if (left := lefts[name]).candidates
    }
    condition = Condition(
        name=writer.name,
        is_control=writer.is_control,
        signature=sign(writer.assignment),
        parameters=writer.model.parameters if isinstance(writer.model, SizedModel) else None,
        written=written,
    )
    left_out = {name: _why(answered[name], lefts[name]) for name in ids if name not in written}
    account = _account(writer, [answered[name] for name in ids], [lefts[name] for name in ids])
    return Writing(condition, account, left_out, tuple(_notes(writer, account)))


def _rounds(
    writer: Writer, gathered: Gathered, *, ask: Ask, standing: Standing | None
) -> tuple[Mapping[str, Answered], Mapping[str, Left]]:
    """Ask until every article has a candidate that can be shown; what was answered and what is left, by id."""
    articles = {each.id: each for each in gathered.articles}
    shown = articles | {each.id: each for each in gathered.pool}
    task = writer.assignment.task
    answered: dict[str, Answered] = {}
    lefts: dict[str, Left] = {}
    waiting = list(articles)
    for number in range(1, ROUNDS + 1):
        examples = tuple(each for each in writer.assignment.examples if each.id in waiting)
        more = replace(task, repeats=number * task.repeats)
        for each in ask(replace(writer.assignment, task=more, examples=examples)):
            answered[each.article] = each
            context = () if each.prompt is None else [shown[name] for name in each.prompt.demonstrations]
            lefts[each.article] = choice.clean(articles[each.article], each.written, context=context)
        if standing is not None:
            _drop_standing(lefts, waiting, standing)
        waiting = [each for each in waiting if not lefts[each].candidates and answered[each].prompt is not None]
        if not waiting or task.decoding.temperature == 0:
            break
    return answered, lefts


def _room(gathered: Gathered) -> int:
    """Keep tokens for an article as long as the longest, the same for every model, and no less than the task does."""
    longest = max(count_words(each.text) for each in gathered.articles)
    return max(gathered.task.max_tokens, TOKENS_A_WORD * longest)


def _drop_standing(lefts: dict[str, Left], names: Sequence[str], standing: Standing) -> None:
    texts = [each.text for name in names for each in lefts[name].candidates]
    found = standing(texts) if texts else frozenset()
    for name in names:
        lefts[name] = choice.without(lefts[name], found)


def _why(answered: Answered, left: Left) -> str:
    if answered.prompt is None:
        return "its title and room for an article do not fit the window"
    reasons = ", ".join(f"{number} {reason}" for reason, number in choice.total([left]).items())
    return f"none of {count(len(answered.written), 'candidate')} can be shown: {reasons}"


def _account(writer: Writer, answered: Sequence[Answered], lefts: Iterable[Left]) -> Json:
    """List what was asked of a writer, what was dropped, and which articles of context its prompts held."""
    return {
        "model": {"name": writer.model.name, "fingerprint": writer.model.fingerprint},
        "decoding": encoding.decoding_fields(writer.assignment.task.decoding),
        "max_tokens": writer.assignment.task.max_tokens,
        "window": writer.window,
        "candidates": sum(len(each.written) for each in answered),
        "broken_off": _broken_off(writer, answered),
        "dropped": dict(choice.total(lefts)),
        "context_asked": writer.assignment.shots[0],
        "context": {each.article: list(each.prompt.demonstrations) for each in answered if each.prompt is not None},
    }


def _broken_off(writer: Writer, answered: Sequence[Answered]) -> int:
    """Count the candidates that had no tokens left before they were as long as the human article."""
    words = {each.id: count_words(each.targets[0]) for each in writer.assignment.examples}
    return sum(
        completion.finish in {"max-tokens", "window"} and count_words(completion.text) < words[each.article]
        for each in answered
        for _, completion in each.written
    )


def _notes(writer: Writer, account: Json) -> Iterable[str]:
    yield from choice.note(writer.name, account["dropped"], asked=account["candidates"])
    if account["broken_off"]:
        yield (
            f"{writer.name}: {account['broken_off']:,} of {account['candidates']:,} candidates were broken off at "
            f"{account['max_tokens']:,} tokens, shorter than the human article; --max-tokens gives them more."
        )
    asked = account["context_asked"]
    used = [len(context) for context in account["context"].values()]
    if asked and used and min(used) < asked:
        found = f"{min(used)}" if min(used) == max(used) else f"{min(used)} to {max(used)}"
        yield (
            f"{writer.name}: prompts hold {found} of {count(asked, 'article')} of context: the window of "
            f"{writer.window:,} tokens has no room for more beside {account['max_tokens']:,} kept for the text."
        )
