"""A sample as readers see it: its prompt in segments, its answers, what was right; and a handful of them as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, TypeAlias

from evalkit import metric_spec
from evalkit.metrics.choice import likeliest
from evalkit.records import Completion, LogProb, Response, Sample
from evalkit.report import table as tables
from evalkit.report.content import ShownSample
from evalkit.report.page.markup import cut, preformatted, text

Outcome: TypeAlias = Literal["right", "wrong", "neither"]
Scanned: TypeAlias = Literal["dirty", "clean", "unscanned"]

BREAK = "\n\n"  # between the segments of a prompt, which demonstrations share
LEAST = 4  # characters of a field that tells the question from what precedes it
SHORT = 12  # characters of a segment that is hardly a question, such as `A:`
MOST_OF_CHOICE = 200  # characters of a choice beside its likelihood
MOST_FEW = 60  # samples in the page as HTML
ACCURACIES = ("accuracy", "partial_accuracy")
SIGNS = {"right": "✓", "wrong": "✗", "neither": "–"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, or what is said of it."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a text was."""

    text: str
    total: float  # nats
    tokens: int
    is_right: bool

    @property
    def per_token(self) -> float | None:
        """Nats a token; None for a text of no tokens."""
        return self.total / self.tokens if self.tokens else None


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Texts whose likelihoods are compared with each other."""

    label: str
    rows: tuple[Likelihood, ...]


def anchor(shown: ShownSample) -> str:
    """Name a sample in links, the same in every page that has it."""
    sample = shown.sample
    key = "\0".join((shown.model, sample.task, str(sample.shots), str(sample.seed), sample.example.id))
    return f"sample-{sha256(key.encode('utf-8', 'backslashreplace')).hexdigest()[:12]}"


def outcome(shown: ShownSample) -> Outcome:
    """Say how a sample counts."""
    return "neither" if shown.is_right is None else "right" if shown.is_right else "wrong"


def scanned(shown: ShownSample) -> Scanned:
    """Say what a scan found of a sample's example."""
    return "unscanned" if shown.is_dirty is None else "dirty" if shown.is_dirty else "clean"


def segments(sample: Sample) -> tuple[list[str], int]:
    """Cut a prompt at blank lines; the number says how many of the last segments are the question."""
    if sample.prompt is None:
        return [], 0
    found = sample.prompt.context.split(BREAK)
    fields = [value for value in sample.example.fields.values() if isinstance(value, str) and len(value) >= LEAST]

    def is_own(segment: str) -> bool:
        return any(field in segment or (len(segment) >= SHORT and segment in field) for field in fields)

    last = next((place for place in reversed(range(len(found))) if is_own(found[place])), None)
    if last is None:  # no field is shown as it stands
        return found, 2 if len(found) > 1 and len(found[-1]) < SHORT else 1
    while last and is_own(found[last - 1]):
        last -= 1
    return found, len(found) - last


def answers(sample: Sample) -> list[Answer]:
    """List the completions, and what was scored token by token."""
    completions = sum(isinstance(response, Completion) for response in sample.responses)
    said: list[Answer] = []
    for response in sample.responses:
        if isinstance(response, Completion):
            which = f"answer {len(said) + 1}" if completions > 1 else "answer"
            said.append(Answer(f"{which}, {_ended(response)}", response.text))
        elif not isinstance(response, LogProb):
            said.append(Answer("scores", f"of each of {tables.count(len(response.texts), 'token')}"))
    return said


def likelihoods(sample: Sample) -> list[Likelihoods]:
    """Group the likelihoods: of each choice, of each on its own, or of the one text that was scored."""
    found = [response for response in sample.responses if isinstance(response, LogProb)]
    choices = sample.example.choices
    if not choices or len(found) % len(choices):
        named = list(sample.example.targets) if len(found) <= len(sample.example.targets) else []
        rows = [
            _likelihood(named[at] if named else f"text {at + 1}", response, is_right=True)
            for at, response in enumerate(found)
        ]
        return [Likelihoods("likelihood of the target", tuple(rows))] if rows else []
    right = {target.strip() for target in sample.example.targets}
    groups = []
    for start in range(0, len(found), len(choices)):
        here = zip(choices, found[start : start + len(choices)], strict=True)
        rows = [_likelihood(choice, response, is_right=choice.strip() in right) for choice, response in here]
        label = "likelihood of each choice on its own" if start else "likelihood of each choice"
        groups.append(Likelihoods(label, tuple(rows)))
    return groups


def chosen(sample: Sample) -> int | None:
    """Tell the place of the choice that the sample's first accuracy takes for the likeliest.

    By whole likelihoods where it has no accuracy; None where it was not asked for the likelihoods of choices.
    """
    choices = sample.example.choices
    found = [response for response in sample.responses if isinstance(response, LogProb)]
    if not choices or len(found) < len(choices):
        return None
    name = next((each for each in sample.statistics if metric_spec.parse(each).name in ACCURACIES), None)
    if name is None:
        return likeliest([response.total for response in found[: len(choices)]])
    metric = metric_spec.load(name)
    given = found[: len(metric.needs) * len(choices)]
    # The metric itself says which choice it takes: the one that would be right if it were the target.
    return next(
        place
        for place, choice in enumerate(choices)
        if metric.statistics(replace(sample.example, targets=(choice,)), given)[0]
    )


def remarks(group: Likelihoods) -> list[str]:
    """Say of each row whether it is right, and likeliest as a whole or by the token."""
    if len(group.rows) == 1:
        return [""]
    whole = max(row.total for row in group.rows)
    each = max((row.per_token for row in group.rows if row.per_token is not None), default=None)
    said = []
    for row in group.rows:
        best = [
            name for name, is_best in (("whole", row.total == whole), ("by token", row.per_token == each)) if is_best
        ]
        chosen = ["likeliest" if len(best) == 2 else f"likeliest {best[0]}"] if best else []
        said.append(", ".join([*["right"] * row.is_right, *chosen]))
    return said


def numbers(row: Likelihood) -> tuple[str, str, str]:
    """Print the likelihood as a whole and by the token, in nats, and the tokens."""
    each = tables.NOTHING if row.per_token is None else f"{row.per_token:.3f}"
    return f"{row.total:.3f}", each, f"{row.tokens:,}"


def pick(samples: Iterable[ShownSample], into: dict[object, ShownSample]) -> Iterator[ShownSample]:
    """Hand samples on, and keep the first of every model, task, number of shots and outcome, `MOST_FEW` in all."""
    for shown in samples:
        if len(into) < MOST_FEW:
            sample = shown.sample
            key = (shown.model, sample.task, sample.shots, sample.prompt is None, shown.is_right)
            into.setdefault(key, shown)
        yield shown


def render(few: Sequence[ShownSample]) -> Iterator[str]:
    """Write samples that open and close without a script."""
    for shown in few:
        sample, how = shown.sample, outcome(shown)
        yield f'<details class="sample" id="{anchor(shown)}"><summary><h3><span class="{how}">{SIGNS[how]}</span> '
        yield f"{text(sample.task)}, {tables.count(sample.shots, 'shot')} <code>{text(sample.example.id)}</code>"
        yield f' <span class="soft">{how if sample.prompt else "does not fit the window"}</span></h3></summary>\n'
        if sample.prompt is not None:
            used = tables.count(sample.prompt.shots_used, "demonstration")
            yield f"<h4>Prompt <span>{tables.count(sample.prompt.tokens, 'token')}, {used}</span></h4>"
            yield preformatted(sample.prompt.context)
        for answer in answers(sample):
            yield f"<h4>{_heading(answer.label)}</h4>{preformatted(answer.text)}"
        for group in likelihoods(sample):
            yield f"<h4>{_heading(group.label)}</h4>"
            yield from _likelihood_table(group)
        yield f"<h4>Expected</h4>{preformatted(chr(10).join(sample.example.targets))}</details>\n"


def _likelihood_table(group: Likelihoods) -> Iterator[str]:
    said = remarks(group)
    headers = "".join(f'<th scope="col" class="number">{name}</th>' for name in ("nats", "nats a token", "tokens"))
    headers += '<th scope="col">remark</th>' if any(said) else ""
    yield f'<div class="scroll"><table><thead><tr><th scope="col">text</th>{headers}</tr></thead><tbody>'
    for row, remark in zip(group.rows, said, strict=True):
        cells = "".join(f'<td class="number">{number}</td>' for number in numbers(row))
        cells += f"<td>{remark}</td>" if any(said) else ""
        yield f'<tr><th scope="row">{cut(row.text, most=MOST_OF_CHOICE)}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _likelihood(shown: str, response: LogProb, *, is_right: bool) -> Likelihood:
    return Likelihood(shown, response.total, response.tokens, is_right)


def _ended(response: Response) -> str:
    if not isinstance(response, Completion):
        return ""
    ends = {
        "stop": "stop string",
        "end-of-text": "end of text",
        "max-tokens": "longest answer",
        "window": "window full",
    }
    return f"{tables.count(response.tokens, 'token')}, ended by {ends[response.finish]}"


def _heading(label: str) -> str:
    name, comma, rest = label.partition(", ")
    return f"{name[:1].upper()}{name[1:]}{f' <span>{rest}</span>' if comma else ''}"
