"""The nouns of an article study: what is shown to whom, and what they answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Writer: TypeAlias = Literal["human", "model"]
Quiz: TypeAlias = Literal["A", "B"]
QUIZZES: tuple[Quiz, Quiz] = ("A", "B")
WRITERS: tuple[Writer, Writer] = ("human", "model")

CHOICES = (  # of the paper's question (Brown 2020, Appendix E), in its order; an answer is a place in it, from 1
    "very likely written by a human",
    "more likely written by a human",
    "I don't know",
    "more likely written by a machine",
    "very likely written by a machine",
)
NEUTRAL = 3


@dataclass(frozen=True, slots=True)
class Article:
    """A news article that a person wrote."""

    id: str
    title: str  # empty where the data have none, as is the subtitle
    subtitle: str
    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote for an article's title: the continuation that was chosen, as it is shown."""

    article: str  # id
    text: str
    candidates: int  # continuations it was chosen from
    seed: int | None  # of the chosen one; None where it was not generated here


@dataclass(frozen=True, slots=True)
class Condition:
    """One model whose articles a group of participants sees."""

    name: str  # of the model, as tables call it; the control's is `control`
    is_control: bool
    signature: str  # model, decoding, articles of context: what its texts depend on
    parameters: int | None  # of the model; None where nobody knows
    written: Mapping[str, Written]  # by article's id; every article of the study has one


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Who is left out, declared before anybody is asked."""

    must_finish: bool = True  # all articles answered
    must_attend: bool = True  # the attention check answered as it asks
    least_seconds: float | None = None  # of an article, at the median; who is faster did not read


@dataclass(frozen=True, slots=True)
class Study:
    """Articles, the texts of every condition, and the two quizzes; study.json holds it."""

    title: str
    seed: int  # of the quizzes; each participant's order comes from it and the participant's id
    articles: tuple[Article, ...]
    human_in_a: tuple[str, ...]  # ids of the articles that quiz A shows as people wrote them; quiz B shows the others
    conditions: tuple[Condition, ...]
    exclusions: Exclusions
    signature: str

    def writer(self, article: str, quiz: Quiz) -> Writer:
        """Tell whose text of an article a quiz shows."""
        return "human" if (article in self.human_in_a) == (quiz == "A") else "model"


@dataclass(frozen=True, slots=True)
class Answer:
    """One participant's answer about one article."""

    article: str  # id
    position: int  # in the participant's own order, from 0
    writer: Writer  # whose text was shown
    choice: int  # 1 to 5, a place in CHOICES
    seconds: float  # from the first showing of the page to the answer


@dataclass(frozen=True, slots=True)
class Participant:
    """One person who took a quiz; nothing is known of them but a random id."""

    id: str
    condition: str  # name of the condition whose texts were shown
    quiz: Quiz
    has_finished: bool
    has_attended: bool | None  # passed the attention check; None where it was not reached
    answers: tuple[Answer, ...]  # in the order in which they were given
