"""Main path 1: ask a model few-shot questions, keep every answer, and put the scores in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit import atomic, encoding, fewshot, manifest, plan, prompt, request, score, signature
from evalkit.assignment import Assignment, gather, short_names
from evalkit.errors import ModelMemoryError, UsageError
from evalkit.interfaces import LanguageModel, OnProgress, Progress, ignore
from evalkit.plan import Ask, Batch
from evalkit.records import Example, Generate, Prompt, Response, Result, Sample, Table, Task
from evalkit.report import data_notes, files, notes, table
from evalkit.settings import Settings
from evalkit.store import Store


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run leaves."""

    directory: Path
    results: tuple[Result, ...]
    table: Table


@dataclass(frozen=True, slots=True)
class Question:
    """One example as it is put to the model at one number of shots."""

    task: Task
    shots: int
    example: Example
    prompt: Prompt | None  # None where not even the example alone fits the window
    asks: tuple[Ask, ...]


def run(settings: Settings, load_model: Callable[[], LanguageModel], *, on_progress: OnProgress = ignore) -> Outcome:
    """Evaluate a model on tasks at each number of shots, from the task's name to the files of a report.

    What was answered before, by a run that was stopped, is not asked again; the files are the same bytes either way.
    """
    # A mistake in a flag, a task or its data shows before a model is loaded.
    assignments = gather(settings)
    for assignment in assignments:
        score.check_metrics(assignment.task)
    if settings.out is not None:
        manifest.check(settings.out)
    model = load_model()
    window = choose_window(settings, model)

    described = manifest.describe(settings, assignments, model)
    directory = settings.out or manifest.default_directory(described)
    with manifest.claim(directory, described) as store:
        questions = ask(assignments, settings=settings, model=model, window=window, on_progress=on_progress)
        batches = plan.batches(asks_of(questions), token_budget=settings.token_budget)
        answers = execute(batches, model, store=store, report=Reporter(questions, batches, on_progress))

        samples = [evaluate(question, answers) for question in questions]
        atomic.write(directory / "samples.jsonl", (f"{encoding.encode_sample(sample)}\n" for sample in samples))

        def sign(tasks: Sequence[Assignment], shots: Sequence[int]) -> str:
            return signature.line(tasks, shots=shots, settings=settings, model=model, window=window)

        scoring = score.Scoring(model=model.name, by=settings.by, sign=sign)
        results = score.results(assignments, by_setting(samples), scoring=scoring)
        signatures = sign_groups(assignments, sign)
        shown = table.build(results, notes=footnotes(results, assignments, signatures=signatures, window=window))
        title = table.clean(f"{', '.join(short_names(settings.tasks))}: {model.name}")
        files.write(directory, shown, title=title, samples=excerpt(samples))
        manifest.write(directory, described, signatures=signatures, results=results)
    return Outcome(directory, results, shown)


def choose_window(settings: Settings, model: LanguageModel) -> int:
    """Take the window asked for, or the model's own; UsageError beyond that."""
    if settings.window is not None and settings.window > model.window:
        raise UsageError(f"--window: found {settings.window}, expected at most the {model.window} of {model.name}")
    return settings.window or model.window


def ask(
    assignments: Sequence[Assignment],
    *,
    settings: Settings,
    model: LanguageModel,
    window: int,
    on_progress: OnProgress,
) -> list[Question]:
    """Build the prompt and the requests of every example, in the order of tasks, shots and examples."""
    total = sum(len(assignment.examples) * len(assignment.shots) for assignment in assignments)
    questions: list[Question] = []
    for assignment in assignments:
        task, examples = assignment.task, assignment.examples
        for shots in assignment.shots:
            on_progress(Progress("building prompts", len(questions), total))
            jobs = [(example, demonstrations(assignment, example, shots, settings)) for example in examples]
            prompts = prompt.build(task, jobs, shots=shots, count_tokens=model.count_tokens, window=window)
            for example, built in zip(examples, prompts, strict=True):
                asks = () if built is None else asks_about(task, example, built, model=model, seed=settings.seed)
                questions.append(Question(task, shots, example, built, asks))
    on_progress(Progress("building prompts", total, total))
    return questions


def demonstrations(assignment: Assignment, example: Example, shots: int, settings: Settings) -> tuple[Example, ...]:
    """Draw the demonstrations of one example."""
    if assignment.pool is None or shots == 0:
        return ()
    return fewshot.draw(assignment.pool, example, shots=shots, seed=settings.seed, mode=settings.demos)


def asks_about(task: Task, example: Example, built: Prompt, *, model: LanguageModel, seed: int) -> tuple[Ask, ...]:
    """Make the requests of one example, each with the tokens that planning reckons with."""
    requests = request.build(task, example, built, seed=seed)
    texts = [each.context + each.continuation for each in requests if not isinstance(each, Generate)]
    counted = iter(model.count_tokens(texts) if texts else ())
    return tuple(
        Ask(
            key=encoding.request_key(each),
            request=each,
            tokens=built.tokens + each.max_tokens if isinstance(each, Generate) else next(counted),
            prefix=built.demonstrations,
        )
        for each in requests
    )


def asks_of(questions: Iterable[Question]) -> Iterable[Ask]:
    """Yield all requests of all questions."""
    return (each for question in questions for each in question.asks)


class Reporter:
    """Counts the examples whose last answer is there, and reports them."""

    def __init__(self, questions: Sequence[Question], batches: Sequence[Batch], on_progress: OnProgress) -> None:
        """Find the request that completes each example: the one that stands last in the plan."""
        place = {each.key: at for at, each in enumerate(each for batch in batches for each in batch)}
        self._completes = Counter(
            max((each.key for each in question.asks), key=place.__getitem__) for question in questions if question.asks
        )
        self._total = self._completes.total()
        self._done = 0
        self._on_progress = on_progress

    def __call__(self, keys: Iterable[str]) -> None:
        """Report these requests as answered."""
        self._done += sum(self._completes[key] for key in keys)
        self._on_progress(Progress("answering", self._done, self._total))


def execute(
    batches: Sequence[Batch], model: LanguageModel, *, store: Store, report: Callable[[Iterable[str]], None]
) -> Mapping[str, Response]:
    """Answer what is not answered yet, batch by batch, each kept as soon as it is there; returns all answers by key.

    Where the device runs out of memory the token budget is halved for what is left, which the plan does not notice.
    Raises ModelMemoryError where a single request is too large.
    """
    answers = store.responses(model.fingerprint)
    report(answers)
    budget: int | None = None  # None until the device has run out of memory
    for batch in batches:
        waiting: list[Sequence[Ask]] = [[each for each in batch if each.key not in answers]]
        while waiting:
            part = waiting.pop()
            if not part:
                continue
            if budget is not None and len(part) > 1 and plan.tokens(part) > budget:
                waiting += reversed(plan.halves(part))
                continue
            try:
                responses = model.answer([each.request for each in part])
            except ModelMemoryError as error:
                if len(part) == 1:
                    raise too_large(part[0], error) from error
                budget = max(plan.tokens(half) for half in plan.halves(part))
                waiting.append(part)
                continue
            answered = {each.key: response for each, response in zip(part, responses, strict=True)}
            store.add(model.fingerprint, answered.items())
            answers |= answered
            report(answered)
    return answers


def too_large(single: Ask, error: ModelMemoryError) -> ModelMemoryError:
    """Say that not even one request fits the device."""
    return ModelMemoryError(
        f"out of memory on a single request of {single.tokens} tokens ({error}); use a smaller --window, --dtype "
        "bfloat16, or another --device (finished answers are kept)"
    )


def evaluate(question: Question, answers: Mapping[str, Response]) -> Sample:
    """Reduce the answers of one example to the statistics of each metric."""
    responses = tuple(answers[each.key] for each in question.asks)
    statistics = {
        name: score.load_metric(name).statistics(question.example, responses)
        for name in question.task.metrics
        if question.prompt is not None
    }
    return Sample(question.task.name, question.shots, question.example, question.prompt, responses, statistics)


def by_setting(samples: Iterable[Sample]) -> Mapping[tuple[str, int], Sequence[Sample]]:
    """Sort samples by task name and number of shots."""
    sorted_samples: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        sorted_samples.setdefault((sample.task, sample.shots), []).append(sample)
    return sorted_samples


def sign_groups(assignments: Sequence[Assignment], sign: score.Sign) -> tuple[str, ...]:
    """Write one signature for each group of tasks, and each task outside one, with all its numbers of shots."""
    groups: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        groups.setdefault(assignment.task.group or assignment.task.name, []).append(assignment)
    return tuple(sign(members, members[0].shots) for members in groups.values())


def footnotes(
    results: Sequence[Result], assignments: Sequence[Assignment], *, signatures: Sequence[str], window: int
) -> tuple[str, ...]:
    """Write the notes under the table."""
    names = {assignment.task.name for assignment in assignments}
    single = [result for result in results if result.task in names and result.subset == score.ALL]
    means = [result for result in results if result.task not in names]
    return (*data_notes.write(assignments), *notes.write(single, means=means, signatures=signatures, window=window))


def excerpt(samples: Iterable[Sample]) -> list[Sample]:
    """Pick the first sample of each outcome of every task and number of shots, for people to look at."""
    first: dict[object, Sample] = {}
    for sample in samples:
        outcome = tuple(sample.statistics.values()) if all_binary(sample) else None
        first.setdefault((sample.task, sample.shots, sample.prompt is None, outcome), sample)
    return list(first.values())


def all_binary(sample: Sample) -> bool:
    """Whether every statistic is a zero or a one, so that there are few outcomes."""
    return all(number in {0.0, 1.0} for values in sample.statistics.values() for number in values)
