"""Hold answers against the study that they are said to come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.articles.records import CHOICES, QUIZZES, Participant, Study
from evalkit.errors import DataError
from evalkit.registry import suggest


def check(study: Study, participants: Sequence[Participant]) -> None:
    """Raise DataError for the first participant or answer that the study cannot have, and for two controls."""
    controls = [condition.name for condition in study.conditions if condition.is_control]
    if len(controls) > 1:
        raise DataError(f"study {study.title!r}: found {len(controls)} controls, {', '.join(controls)}; expected one")
    conditions = [condition.name for condition in study.conditions]
    articles = {article.id for article in study.articles}
    seen: set[str] = set()
    for participant in participants:
        place = f"participant {participant.id!r}"
        if participant.id in seen:
            raise DataError(f"{place}: found twice, expected one entry a participant; join or drop the second")
        seen.add(participant.id)
        if participant.condition not in conditions:
            raise DataError(
                f"{place}: found condition {participant.condition!r}, expected one of the study's; "
                f"{suggest(participant.condition, conditions)}"
            )
        if participant.quiz not in QUIZZES:
            raise DataError(f"{place}: found quiz {participant.quiz!r}, expected {' or '.join(QUIZZES)}")
        _check_answers(study, participant, articles)


def _check_answers(study: Study, participant: Participant, articles: set[str]) -> None:
    answered: set[str] = set()
    for answer in participant.answers:
        place = f"participant {participant.id!r}, article {answer.article!r}"
        if answer.article not in articles:
            raise DataError(f"{place}: found no such article, expected one of the study's {len(articles)}")
        if answer.article in answered:
            raise DataError(f"{place}: found two answers, expected one an article")
        answered.add(answer.article)
        if answer.choice not in range(1, len(CHOICES) + 1):
            raise DataError(f"{place}: found choice {answer.choice!r}, expected 1 to {len(CHOICES)}")
        expected = study.writer(answer.article, participant.quiz)
        if answer.writer != expected:
            raise DataError(
                f"{place}: found writer {answer.writer!r}, expected {expected!r}, which quiz {participant.quiz} shows"
            )
        if not (math.isfinite(answer.seconds) and answer.seconds >= 0):
            raise DataError(f"{place}: found {answer.seconds} seconds, expected a number from 0 on")
