"""What one study is built from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from evalkit import decoding
from evalkit.articles.records import Exclusions
from evalkit.errors import UsageError
from evalkit.records import Decoding
from evalkit.report.table import clean

CONTROL = "control"  # the name of the control's condition
NO_CONTROL = "none"
PEOPLE = ("human", "humans", "people")  # names that no model has
TITLE = "Who wrote these news articles?"
MOST_ARTICLES = 1000  # a participant is shown all of them
MOST_CANDIDATES = 1000


@dataclass(frozen=True, slots=True)
class Given:
    """Texts of a model that wrote elsewhere."""

    name: str  # of the condition
    path: Path
    parameters: int | None = None  # of the model; None where nobody knows


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """The flags of `evalkit study build`; UsageError where one cannot be carried out."""

    articles: str | None = None  # a data file, a folder, a hub id; None is the sample that ships with evalkit
    columns: tuple[tuple[str, str], ...] = ()  # evalkit's name and the data's: title, subtitle, article, id
    models: tuple[str, ...] = ()
    given: tuple[Given, ...] = ()
    control: str | None = None  # model of the control; None is the first model, `none` leaves it out
    title: str = TITLE  # of the report and the admin's page; participants are not shown it
    limit: int = 25  # articles, a seeded sample; the paper's number
    candidates: int = 5  # continuations an article, of which one is chosen; the paper's number
    context: int = 3  # articles before the one to be written; the paper's number
    seed: int = 0  # of the sample, of the articles of context, of decoding and of the quizzes
    temperature: float | None = None  # None is that of the task `articles`, as is top_p's
    top_p: float | None = None
    control_temperature: float = 1.2  # without top_p; the paper says no more than increased output randomness
    max_tokens: int | None = None  # of a continuation; None is the task's, or 2 for a word of the longest article
    corpus: tuple[str, ...] = ()  # files, folders, globs: a candidate with words that stand in them is dropped
    text_field: str | None = None  # where documents of the corpus have their text; None takes a usual name
    exclusions: Exclusions = field(default_factory=Exclusions)
    window: int | None = None
    device: str | None = None
    dtype: str | None = None
    token_budget: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        if not self.models and not self.given:
            raise UsageError("found no writer; name models with --model, or ready-made texts with --given NAME=FILE")
        if not self.models and self.control not in (None, NO_CONTROL):
            raise UsageError(
                f"--control: found {self.control!r} without --model; give its texts as --given control=FILE"
            )
        self._check_names()
        if self.text_field is not None and not self.corpus:
            raise UsageError("--text-field: found no --corpus, whose field it could name; give both")
        ranges = (
            ("limit", self.limit, 2, MOST_ARTICLES),
            ("candidates", self.candidates, 1, MOST_CANDIDATES),
            ("context", self.context, 0, 100),
            ("max-tokens", self.max_tokens, 1, None),
            ("window", self.window, 2, None),
            ("token-budget", self.token_budget, 1, None),
        )
        for flag, value, least, most in ranges:
            if value is not None and (value < least or (most is not None and value > most)):
                expected = f"{least} or more" if most is None else f"{least} to {most:,}"
                raise UsageError(f"--{flag}: found {value}, expected {expected}")
        self._check_decoding()
        least_seconds = self.exclusions.least_seconds
        if least_seconds is not None and not 0 < least_seconds < 86_400:
            raise UsageError(f"--least-seconds: found {least_seconds:g}, expected above 0 and less than a day")
        if not self.title.strip():
            raise UsageError("--title: found an empty text, expected what the report is to be called")

    @property
    def control_model(self) -> str | None:
        """The model that writes the control's texts; None where they are given, or nothing is the control."""
        is_given = any(each.name == CONTROL for each in self.given)
        if self.control == NO_CONTROL or is_given or not self.models:
            return None
        return self.control or self.models[0]

    def rule(self, task: Decoding, *, is_control: bool) -> Decoding:
        """Choose the decoding of a condition."""
        if is_control:
            return Decoding(temperature=self.control_temperature)
        return Decoding(
            temperature=task.temperature if self.temperature is None else self.temperature,
            top_p=task.top_p if self.top_p is None else self.top_p,
        )

    def _check_names(self) -> None:
        names = [*self.models, *(each.name for each in self.given)]
        if twice := next((name for name, count in Counter(names).items() if count > 1), None):
            raise UsageError(f"found the writer {twice!r} twice, expected names that differ; leave one out")
        if strange := next((name for name in names if clean(name) != name.strip()), None):
            raise UsageError(f"found the writer {strange!r}, expected a name of characters that can be seen")
        if taken := next((name for name in names if name.strip().lower() in PEOPLE), None):
            raise UsageError(f"found the writer {taken!r}, by which tables call people; give the model another name")
        if any(not name.strip() for name in names):
            raise UsageError("found a writer without a name; give --model NAME, or --given NAME=FILE")
        has_given = any(each.name == CONTROL for each in self.given)
        if has_given and self.control is not None:
            raise UsageError(f"--control: found {self.control!r} beside --given control=FILE; leave one out")

    def _check_decoding(self) -> None:
        temperature = 1.0 if self.temperature is None else self.temperature
        rules = {
            "temperature": Decoding(temperature=temperature),
            "top-p": Decoding(temperature=1.0, top_p=self.top_p),
            "control-temperature": Decoding(temperature=self.control_temperature),
        }
        for flag, rule in rules.items():
            if wrong := decoding.complaint(rule):
                raise UsageError(f"--{flag}: {wrong[1]}")
            if rule.temperature == 0 and self.candidates > 1:
                raise UsageError(
                    f"--{flag}: found 0, by which all {self.candidates} candidates are one text; expected more, or "
                    "--candidates 1"
                )
