"""Participants whose true accuracy is known: what tests of the analysis and plans of a study are tried on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.articles.records import NEUTRAL, QUIZZES, Answer, Participant, Quiz, Study
from evalkit.text import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SURE = 0.5  # share of answers that say "very likely"
GUESS = 0.5  # accuracy of who does not attend
SECONDS, HURRIED = 60.0, 3.0  # of an article, at the median


@dataclass(frozen=True, slots=True)
class Effects:
    """What an answer depends on beside the condition: standard deviations of the probability that it is right."""

    participant: float = 0.0
    article: float = 0.0  # alike in all conditions
    text: float = 0.0  # of an article in one condition alone
    neutral: float = 0.0  # share of answers "I don't know"
    inattentive: float = 0.0  # share of participants who guess and fail the attention check
    unfinished: float = 0.0  # share of participants who stop half way


@dataclass(frozen=True, slots=True)
class Draws:
    """Answers of R repetitions of a study with G conditions, P participants each and A articles; (R, G, P, A)."""

    is_right: NDArray[np.bool_]
    is_neutral: NDArray[np.bool_]


def draw(
    accuracies: tuple[float, ...],
    effects: Effects,
    *,
    participants: int,
    articles: int,
    repetitions: int,
    generator: np.random.Generator,
) -> Draws:
    """Draw answers of conditions with these true mean accuracies; participants and articles are new each time.

    Effects are uniform around 0, so that no probability leaves 0 to 1 and the mean accuracy stays exact. Raises
    ValueError where they do not fit between an accuracy and 0 or 1.
    """
    import numpy as np

    reach = math.sqrt(3) * (effects.participant + effects.article + effects.text)
    if any(not reach <= each <= 1 - reach for each in accuracies):
        raise ValueError(
            f"found effects that reach {reach:.3f} from accuracies {accuracies}, expected 0 to 1 to hold all"
        )
    r, g, p, a = repetitions, len(accuracies), participants, articles

    def effect(deviation: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return generator.uniform(-1, 1, shape) * math.sqrt(3) * deviation

    probability = np.asarray(accuracies)[:, None, None] + effect(effects.participant, (r, g, p, 1))
    probability = probability + effect(effects.article, (r, 1, 1, a)) + effect(effects.text, (r, g, 1, a))
    is_right = generator.random((r, g, p, a)) < probability
    return Draws(is_right, generator.random((r, g, p, a)) < effects.neutral)


def simulate(
    study: Study, accuracies: Mapping[str, float], effects: Effects, *, participants: int, seed: int
) -> tuple[Participant, ...]:
    """Let so many participants take each condition of a study, half of them each quiz; `accuracies` by condition.

    Who is inattentive guesses, fails the attention check and hurries; who does not finish stops half way.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    names = [condition.name for condition in study.conditions if condition.name in accuracies]
    draws = draw(
        tuple(accuracies[name] for name in names),
        effects,
        participants=participants,
        articles=len(study.articles),
        repetitions=1,
        generator=generator,
    )
    found: list[Participant] = []
    for place, name in enumerate(names):
        for number in range(participants):
            attends, finishes = generator.random(2) >= (effects.inattentive, effects.unfinished)
            right = draws.is_right[0, place, number]
            quiz = QUIZZES[number % 2]
            answers = _answers(
                study,
                quiz,
                is_right=right if attends else generator.random(len(right)) < GUESS,
                is_neutral=draws.is_neutral[0, place, number],
                seconds=SECONDS if attends else HURRIED,
                generator=generator,
            )
            found.append(
                Participant(
                    id=digest("simulated", seed, name, number),
                    condition=name,
                    quiz=quiz,
                    has_finished=bool(finishes),
                    has_attended=bool(attends) if finishes else None,
                    answers=answers if finishes else answers[: len(answers) // 2],
                )
            )
    return tuple(found)


def _answers(
    study: Study,
    quiz: Quiz,
    *,
    is_right: NDArray[np.bool_],
    is_neutral: NDArray[np.bool_],
    seconds: float,
    generator: np.random.Generator,
) -> tuple[Answer, ...]:
    """Answer a quiz in an order of one's own; `is_right` and `is_neutral` by the study's order of articles, (A,)."""
    order = generator.permutation(len(study.articles))
    is_sure = generator.random(len(order)) < SURE
    times = seconds * generator.lognormal(sigma=0.4, size=len(order))
    answers: list[Answer] = []
    for position, place in enumerate(order.tolist()):
        article = study.articles[place].id
        writer = study.writer(article, quiz)
        says_human = (writer == "human") == bool(is_right[place])
        sure = 2 if is_sure[place] else 1  # places away from the neutral answer
        choice = NEUTRAL if is_neutral[place] else NEUTRAL - sure if says_human else NEUTRAL + sure
        answers.append(Answer(article, position, writer, choice, float(times[position])))
    return tuple(answers)
