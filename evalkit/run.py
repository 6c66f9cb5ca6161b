"""Main path 1: ask a model few-shot questions, keep every answer, and put the scores in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalkit import (
    atomic,
    encoding,
    fewshot,
    filters,
    manifest,
    metric_spec,
    plan,
    prompt,
    report_figures,
    request,
    score,
    signature,
    stored,
)
from evalkit.assignment import Assignment, Say, gather, ignore_text, short_names
from evalkit.errors import ModelMemoryError, UsageError
from evalkit.interfaces import LanguageModel, OnProgress, Progress, ignore
from evalkit.plan import Ask, Batch
from evalkit.records import (
    Completion,
    DemonstrationMode,
    Example,
    Generate,
    Prompt,
    Request,
    Response,
    Result,
    Sample,
    Table,
    Task,
)
from evalkit.report import data_notes, files, layout, notes, provenance, table
from evalkit.report.content import Figure, Page, ShownSample
from evalkit.report.shown import is_right
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
    """One example as it is put to the model at one number of shots, with the demonstrations of one seed."""

    task: Task
    shots: int
    seed: int
    example: Example
    prompt: Prompt | None  # None where not even the example alone fits the window
    asked: Mapping[str, tuple[Ask, ...]]  # by kind of request
    again: Mapping[str, tuple[Ask, ...]] = field(default_factory=dict)  # by metric, once those are answered

    @property
    def asks(self) -> tuple[Ask, ...]:
        """All requests, kind after kind; those that metrics make later are not among them."""
        return tuple(each for asks in self.asked.values() for each in asks)


def run(
    settings: Settings,
    load_model: Callable[[], LanguageModel],
    *,
    on_progress: OnProgress = ignore,
    say: Say = ignore_text,
) -> Outcome:
    """Evaluate a model on tasks at each number of shots, from the task's name to the files of a report.

    What was answered before, by a run that was stopped, is not asked again; the files are the same bytes either way.
    """
    # A mistake in a flag, a task or its data shows before a model is loaded.
    assignments = gather(settings, say=say)
    for assignment in assignments:
        request.check(assignment.task, assignment.examples)
    if settings.out is not None:
        manifest.check(settings.out)
    model = load_model()
    window = choose_window(settings, model)
    assignments = tuple(answerable(assignment, model, say=say) for assignment in assignments)

    described = manifest.describe(settings, assignments, model)
    directory = settings.out or manifest.default_directory(described)
    with manifest.claim(directory, described) as store:
        questions = ask(assignments, settings=settings, model=model, window=window, on_progress=on_progress)

        def answer(
            questions: Sequence[Question], what: str, *, known: Mapping[str, Response]
        ) -> Mapping[str, Response]:
            batches = plan.batches(asks_of(questions), token_budget=settings.call_tokens)
            report = Reporter(questions, on_progress, what=what)
            return execute(batches, model, known=known, store=store, report=report)

        answers = answer(questions, "answering", known=store.responses(model.fingerprint))
        questions = ask_again(questions, answers, model=model, window=window)
        if further := [replace(question, asked=question.again) for question in questions if question.again]:
            answers = answer(further, "answering again", known=answers)

        samples = [evaluate(question, answers) for question in questions]
        atomic.write(directory / stored.SAMPLES, (f"{encoding.encode_sample(sample)}\n" for sample in samples))

        def sign(tasks: Sequence[Assignment], shots: Sequence[int]) -> str:
            return signature.line(tasks, shots=shots, settings=settings, model=model, window=window)

        scoring = score.Scoring(model=model.name, by=settings.by, sign=sign)
        results = score.results(assignments, by_setting(samples), scoring=scoring)
        signatures = sign_groups(assignments, sign)
        shown = layout.build(results, notes=footnotes(results, assignments, signatures=signatures, window=window))
        counted = described | {"samples": len(samples)}
        manifest.write(directory, counted, signatures=signatures, results=results)
        title = table.clean(f"{', '.join(short_names(settings.tasks))}: {model.name}")
        origin = provenance.read(directory, {"run": Settings})
        page = Page(
            title=title,
            summary=(shown,),
            figures=draw(results, samples),
            samples=[ShownSample(each, model.name, is_right(each), is_dirty=None) for each in samples],
            provenance=(replace(origin, name=title),),  # not the directory's: files are equal wherever they lie
        )
        files.write(directory, page, with_figures=False)  # evalkit report writes them for papers
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
    parts = [
        (assignment, shots, seed)
        for assignment in assignments
        for shots in assignment.shots
        for seed in seeds_at(assignment.task, shots, settings)
    ]
    total = sum(len(assignment.examples) for assignment, _, _ in parts)
    questions: list[Question] = []
    for assignment, shots, seed in parts:
        on_progress(Progress("building prompts", len(questions), total))
        task, examples = prompt.at(assignment.task, shots), assignment.examples
        jobs = [
            (example, demonstrations(assignment, example, shots, seed, mode=settings.demos)) for example in examples
        ]
        prompts = prompt.build(task, jobs, shots=shots, count_tokens=model.count_tokens, window=window)
        for example, built in zip(examples, prompts, strict=True):
            asked = {} if built is None else asks_about(task, example, built, model=model, seed=seed)
            questions.append(Question(task, shots, seed, example, built, asked))
    on_progress(Progress("building prompts", total, total))
    return questions


def seeds_at(task: Task, shots: int, settings: Settings) -> tuple[int, ...]:
    """Tell the seeds a task is asked with: one where nothing is drawn, neither demonstrations nor tokens."""
    is_drawn = (shots > 0 and fewshot.mode_of(task, settings.demos) != "first") or task.decoding.temperature > 0
    return settings.all_seeds if is_drawn else settings.all_seeds[:1]


def demonstrations(
    assignment: Assignment, example: Example, shots: int, seed: int, *, mode: DemonstrationMode
) -> tuple[Example, ...]:
    """Draw the demonstrations of one example."""
    if assignment.pool is None or shots == 0:
        return ()
    own = fewshot.mode_of(assignment.task, mode)
    return fewshot.draw(assignment.pool, example, shots=shots, seed=seed, mode=own)


def asks_about(
    task: Task, example: Example, built: Prompt, *, model: LanguageModel, seed: int
) -> Mapping[str, tuple[Ask, ...]]:
    """Make the requests of one example, each with the tokens that planning reckons with."""
    requests = request.build(task, example, built, seed=seed)
    flat = [each for kind in requests.values() for each in kind]
    texts = [request.text(each) for each in flat if not isinstance(each, Generate)]
    counted = iter(model.count_tokens(texts) if texts else ())

    def tokens(each: Request) -> int:
        return built.tokens + each.max_tokens if isinstance(each, Generate) else next(counted)

    return {
        kind: tuple(Ask(encoding.request_key(each), each, tokens(each), built.demonstrations) for each in asked)
        for kind, asked in requests.items()
    }


def answerable(assignment: Assignment, model: LanguageModel, *, say: Say) -> Assignment:
    """Leave out the metrics of a task that a model cannot be scored by, and say so."""
    left_out = request.unanswerable(assignment.task, model)
    if not left_out:
        return assignment
    kept = tuple(name for name in assignment.task.metrics if name not in left_out)
    note = (
        f"{assignment.task.title}: not scored by {', '.join(left_out)}, for which {model.name} would have to tell more "
        "of each token than it does."
    )
    say(note)
    return replace(assignment, task=replace(assignment.task, metrics=kept), notes=(*assignment.notes, note))


def ask_again(
    questions: Sequence[Question], answers: Mapping[str, Response], *, model: LanguageModel, window: int
) -> list[Question]:
    """Add to questions what their metrics ask once the first requests are answered."""
    made = [
        {
            name: asked
            for name in question.task.metrics
            if question.prompt is not None
            and (asked := request.follow_ups(name, question.example, read(name, question, answers), window=window))
        }
        for question in questions
    ]
    # Several metrics, and several seeds of one example, ask the same.
    distinct = list(dict.fromkeys(each for again in made for asked in again.values() for each in asked))
    counted = model.count_tokens([request.text(each) for each in distinct]) if distinct else ()
    planned: dict[Request, Ask] = {}
    for each, tokens in zip(distinct, counted, strict=True):
        room = each.max_tokens if isinstance(each, Generate) else 0
        planned[each] = Ask(encoding.request_key(each), each, tokens + room, prefix=())
    return [
        replace(question, again={name: tuple(planned[each] for each in asked) for name, asked in again.items()})
        for question, again in zip(questions, made, strict=True)
    ]


def asks_of(questions: Iterable[Question]) -> Iterable[Ask]:
    """Yield all requests of all questions."""
    return (each for question in questions for each in question.asks)


class Reporter:
    """Counts the examples whose answers are all there, and reports them."""

    def __init__(self, questions: Sequence[Question], on_progress: OnProgress, *, what: str = "answering") -> None:
        """Count the requests that each example waits for."""
        keys = [{each.key for each in question.asks} for question in questions if question.asks]
        self._left = [len(own) for own in keys]
        self._waiting: dict[str, list[int]] = {}
        for place, own in enumerate(keys):
            for key in own:
                self._waiting.setdefault(key, []).append(place)
        self._done = 0
        self._on_progress = on_progress
        self._what = what

    def __call__(self, keys: Iterable[str]) -> None:
        """Report these requests as answered."""
        for key in keys:
            for place in self._waiting.pop(key, ()):
                self._left[place] -= 1
                self._done += not self._left[place]
        self._on_progress(Progress(self._what, self._done, len(self._left)))


def execute(
    batches: Sequence[Batch],
    model: LanguageModel,
    *,
    known: Mapping[str, Response],
    store: Store,
    report: Callable[[Iterable[str]], None],
) -> Mapping[str, Response]:
    """Answer what is not known yet, each answer kept as soon as it is there; returns all answers by key.

    Where the device runs out of memory the token budget is halved for what is left, which the plan does not notice.
    Raises ModelMemoryError where a single request is too large.
    """
    answers = dict(known)
    report(answers)
    budget: int | None = None  # None until the device has run out of memory
    for batch in batches:
        waiting: list[Sequence[Ask]] = [batch]
        while waiting:
            part = [each for each in waiting.pop() if each.key not in answers]
            if not part:
                continue
            if budget is not None and len(part) > 1 and plan.tokens(part) > budget:
                waiting += reversed(plan.halves(part))
                continue
            try:
                with store.adding(model.fingerprint) as keep:

                    def answered(place: int, response: Response, part: Sequence[Ask] = part) -> None:
                        answers[part[place].key] = response
                        keep(part[place].key, response)
                        report([part[place].key])

                    model.answer([each.request for each in part], on_response=answered)
            except ModelMemoryError as error:
                if len(part) == 1:
                    raise too_large(part[0], error) from error
                budget = max(plan.tokens(half) for half in plan.halves(part))
                waiting.append(part)
    return answers


def too_large(single: Ask, error: ModelMemoryError) -> ModelMemoryError:
    """Say that not even one request fits the device."""
    return ModelMemoryError(
        f"out of memory on a single request of {single.tokens} tokens ({error}); use a smaller --window, --dtype "
        "bfloat16, or another --device (finished answers are kept)"
    )


def evaluate(question: Question, answers: Mapping[str, Response]) -> Sample:
    """Reduce the answers of one example to the statistics of each metric."""
    return Sample(
        task=question.task.name,
        shots=question.shots,
        example=question.example,
        prompt=question.prompt,
        responses=tuple(answers[each.key] for each in question.asks),
        statistics={
            name: statistics(name, question, answers) for name in question.task.metrics if question.prompt is not None
        },
        seed=question.seed,
    )


def statistics(name: str, question: Question, answers: Mapping[str, Response]) -> tuple[float, ...]:
    """Give a metric the responses that it reads, and those to what it asked again."""
    again = [answers[each.key] for each in question.again.get(name, ())]
    return metric_spec.load(name).statistics(question.example, [*read(name, question, answers), *again])


def read(name: str, question: Question, answers: Mapping[str, Response]) -> list[Response]:
    """List the responses of the kinds that a metric needs, completions as the filter it names leaves them."""
    wanted = metric_spec.parse(name).filter
    needs = metric_spec.load(name).needs
    responses = [answers[each.key] for kind in needs for each in question.asked[kind]]
    if wanted is None:
        return responses
    [chosen] = [each for each in question.task.filters if each.name == wanted]
    completions = [each for each in responses if isinstance(each, Completion)]
    return list(filters.apply(chosen, completions, question.example.fields))


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


def draw(results: Sequence[Result], samples: Sequence[Sample]) -> tuple[Figure, ...]:
    """Draw scores against shots, and the reliability of choices, where there are several shots, or choices."""
    titles = {result.task: result.title for result in results}
    return (*report_figures.of_results(results), *report_figures.of_choices(samples, titles=titles))
