"""The nouns: frozen records that every part of evalkit speaks in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

RequestKind: TypeAlias = Literal["generate", "choice", "unconditional", "partial", "loglikelihood", "rolling"]
DemonstrationMode: TypeAlias = Literal["per-example", "fixed", "grouped", "first", "balanced"]
FinishReason: TypeAlias = Literal["stop", "end-of-text", "max-tokens", "window"]


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a dataset, before any prompt is built from it."""

    id: str  # stable across order, --limit and machine
    fields: Mapping[str, object]  # the columns of the data file, what templates read
    targets: tuple[str, ...]  # right answers as text; the first is shown in demonstrations
    choices: tuple[str, ...] = ()  # candidate answers, empty for free-form tasks
    cluster: str | None = None  # examples that share one are near-duplicates of each other
    question: str | None = None  # what is shown before the answer, where the data bring it; None renders the template
    ending: str | None = None  # partial evaluation: what follows each of the choices, which end the question
    description: str | None = None  # text before its demonstrations; None takes the task's
    place: str | None = field(default=None, compare=False)  # where it stands in its data, such as `test.jsonl:17`


@dataclass(frozen=True, slots=True)
class Source:
    """Where a task's examples come from: a generator, a data file, two line-aligned files, the hub, an lm_eval task."""

    kind: Literal["generator", "file", "lines", "hub", "lm_eval"]
    location: str  # the generator's name, a path (two with a comma between), or a hub id
    settings: Mapping[str, object]  # what the generator or the reader is given


@dataclass(frozen=True, slots=True)
class Filter:
    """Steps that turn the raw completions of one example into the answer that is scored."""

    name: str  # what metrics name after an @
    steps: tuple[Mapping[str, object], ...]  # each with the key `function` and that function's settings


@dataclass(frozen=True, slots=True)
class Decoding:
    """The rule that picks the next token."""

    temperature: float = 0.0  # 0 is greedy
    top_k: int | None = None  # keep the k likeliest tokens; 1 is greedy
    top_p: float | None = None  # keep the smallest set of tokens with this probability
    beams: int = 1  # beam width; above 1 the rule is beam search
    length_penalty: float = 0.6  # alpha of ((5 + length) / 6) ** alpha (Wu 2016, eq. 14)


@dataclass(frozen=True, slots=True)
class Task:
    """A checked task file: what is asked, how it is asked and how it is scored."""

    name: str  # `arithmetic/2-digit-addition`: group, then subtask
    version: int
    group: str | None  # the task file it belongs to, where that holds several tasks
    title: str  # what a table calls it
    source: Source  # the examples that are evaluated
    pool: Source | None  # the demonstrations; None draws them from the source itself
    template: str  # text of the Jinja2 template that shows one example
    description: str  # text before the demonstrations; empty for none
    kind: RequestKind  # the request that decides how prompts are laid out; metrics may need others beside it
    metrics: tuple[str, ...]  # such as `exact_match`, `bleu(tokenize=intl)`, `exact_match@strict`
    paper_shots: int | None  # K of the GPT-3 paper, what `--shots paper` means
    stop: tuple[str, ...]  # stop strings of a generation
    max_tokens: int  # longest generation, in tokens
    decoding: Decoding
    columns: Mapping[str, str]  # evalkit's name of a field -> column of the data file
    citation: str
    separator: str = "\n\n"  # between description, demonstrations and question
    choices: tuple[str, ...] = ()  # candidate answers shared by all examples; empty where each brings its own or none
    target: str | None = None  # template of the right answer, where no column holds it
    fields: Mapping[str, object] = field(default_factory=dict)  # that every example has beside its columns
    zero_shot_template: str | None = None  # shows an example without demonstrations; None takes the template
    answer_context: str = ""  # before a choice on its own, whose likelihood others are divided by, such as `Answer:`
    filters: tuple[Filter, ...] = ()
    repeats: int = 1  # generations an example
    sample: Source | None = None  # examples that ship with evalkit, where the hub cannot be reached
    sample_pool: Source | None = None
    hold_out: float | None = None  # share of other data that becomes the pool, where that brings none
    is_verbatim: bool = False  # texts are joined as they stand; a context may end in whitespace


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text before the answer, and what went into it."""

    context: str  # never ends in whitespace
    demonstrations: tuple[str, ...]  # ids of the demonstrations used, in order
    shots_asked: int
    tokens: int  # of the context with the start token, without the room kept for the answer
    window: int  # tokens that prompt and answer share

    @property
    def shots_used(self) -> int:
        """Demonstrations left after whole ones were dropped to fit the window."""
        return len(self.demonstrations)


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """Ask for the log-probability of a continuation."""

    context: str
    continuation: str  # begins with the whitespace that the context does not end with


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask for text that continues a context."""

    context: str
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    decoding: Decoding = Decoding()
    seed: int = 0  # of this request alone, so that an answer does not depend on its batch


@dataclass(frozen=True, slots=True)
class Rolling:
    """Ask for the log-probability of a whole text of any length, in windows."""

    text: str
    window: int  # tokens computed at once: the one before its first prediction, and all it predicts but the last
    stride: int | None = None  # tokens that a window after the first predicts; None is as many as the window


@dataclass(frozen=True, slots=True)
class PerToken:
    """Ask for log-probability and rank of every token of a text, and what was foreseen before it, in windows."""

    text: str
    window: int  # as a Rolling has them
    stride: int | None = None


Windowed: TypeAlias = Rolling | PerToken
Request: TypeAlias = LogLikelihood | Generate | Windowed


@dataclass(frozen=True, slots=True)
class LogProb:
    """The answer to a LogLikelihood or a Rolling."""

    total: float  # nats, summed over the continuation
    tokens: int  # of the continuation
    bytes: int  # of the continuation in UTF-8
    is_greedy: bool  # every token of the continuation is the likeliest one
    boundary_merged: bool  # a token spans the end of the context and the start of the continuation


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to a Generate."""

    text: str  # up to, and without, the first stop string
    tokens: int  # generated, those of the stop string included
    finish: FinishReason


@dataclass(frozen=True, slots=True)
class TokenScores:
    """The answer to a PerToken: of each token of the text, in order, what the model made of it beforehand."""

    texts: tuple[str, ...]  # that the tokens add; joined they are the text, and a character is its last token's
    logprobs: tuple[float, ...]  # nats
    ranks: tuple[int, ...]  # 1 is the likeliest token; only those with strictly larger logits are better
    entropies: tuple[float, ...]  # of the distribution that the token was predicted with, in nats
    variances: tuple[float, ...]  # of the log-probability of a token drawn from that distribution, in nats squared


Response: TypeAlias = LogProb | Completion | TokenScores


@dataclass(frozen=True, slots=True)
class Sample:
    """One example as evaluated."""

    task: str
    shots: int  # asked for
    example: Example
    prompt: Prompt | None  # None where not even the example alone fits the window
    responses: tuple[Response, ...]
    statistics: Mapping[str, tuple[float, ...]]  # metric -> what its aggregation sums up
    seed: int = 0  # of its demonstrations and of what was drawn


@dataclass(frozen=True, slots=True)
class Estimate:
    """Any number that is ever printed."""

    value: float
    low: float  # of the 95 % interval
    high: float
    n: int  # examples it rests on


@dataclass(frozen=True, slots=True)
class Result:
    """One row of results: a task at one number of shots, by one model."""

    task: str
    title: str
    shots: int  # asked for
    shots_used: float  # mean over the samples
    model: str
    metric: str
    is_proportion: bool  # the estimate lies in 0..1, and tables show it in percent
    subset: str  # "all", or `field=value` where results are split by a field
    estimate: Estimate | None  # None where no example could be scored
    skipped: int  # examples that do not fit the window at zero shots
    signature: str
    spec: str | None  # the metric as the task file has it; None for a mean over tasks
    spread: float | None = None  # standard deviation of the scores of several seeds, in the estimate's unit
    baseline: float | None = None  # score of always giving the commonest answer, in the estimate's unit


@dataclass(frozen=True, slots=True)
class Match:
    """A maximal run of words that an example and a document of a corpus share."""

    task: str
    example: str  # id
    parts: tuple[str, ...]  # of the example that the run touches: context, question, answer
    word: int  # where the run begins in the example, in words from 0
    words: int  # length of the run
    document: str  # file and place in it, such as `pile/00.jsonl.zst:1207`
    begin: int  # span in the document's text, in bytes of UTF-8
    end: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of one example a corpus holds, under one measure."""

    task: str
    example: str  # id
    words: int  # of the example
    value: float | None  # 0..1; None where the example cannot be scanned
    is_dirty: bool | None  # None where the example cannot be scanned, which never counts as clean
    longest: int  # words of the longest match that was kept, one too short to count too
    documents: int  # that hold a match which counts
    parts: tuple[str, ...]  # of the example that matches touch
    edited: float | None = None  # share of its words that one document has in their order; None where not looked for
    substrings: int | None = None  # of its three of 50 characters that the corpus has; None where not looked for


@dataclass(frozen=True, slots=True)
class Split:
    """The examples of one task, sorted by what a corpus holds of them."""

    task: str
    measure: str  # name and settings, such as `gpt3` or `ngram-ratio(n=8)`
    threshold: float  # an example is dirty from this value on
    clean: tuple[str, ...]  # ids
    dirty: tuple[str, ...]
    unscanned: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One task's score on all, clean and dirty examples, under one metric."""

    task: str
    title: str
    shots: int
    metric: str
    is_proportion: bool  # the scores lie in 0..1, and tables show them in percent
    n: int  # words of the n-grams that made examples dirty
    all: Estimate | None
    clean: Estimate | None
    dirty: Estimate | None
    unscanned: Estimate | None
    difference: Estimate | None  # clean minus all, with a paired interval
    detectable: float | None  # smallest difference of clean and dirty that this many examples can show
    flags: tuple[str, ...]  # what a reader has to know, such as `clean subset too small`


Content: TypeAlias = str | int | float | Estimate | None


@dataclass(frozen=True, slots=True)
class Marked:
    """A cell that is marked out among others."""

    content: Content
    is_best: bool = False  # of the cells it is compared with; set in bold
    signs: tuple[str, ...] = ()  # such as `†`, superscripts that notes explain


Cell: TypeAlias = Content | Marked


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, rows, caption, notes: the only thing a renderer sees."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # what the numbers rest on: in a paper part of the caption, elsewhere the last notes
    intervals: Literal["bracket", "plusminus"] = "bracket"  # how estimates print where bounds lie as far on either side
