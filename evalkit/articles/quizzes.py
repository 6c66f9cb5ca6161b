"""The two quizzes of a study: each shows every article once, half as people wrote them, and quiz B the other half."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.articles.records import CHOICES, NEUTRAL, Article, Quiz, Study
from evalkit.errors import UsageError
from evalkit.registry import suggest
from evalkit.text import generator, shuffled


def assign(articles: Sequence[Article], seed: int) -> tuple[str, ...]:
    """Draw the articles that quiz A shows as people wrote them: half of them, in the articles' order.

    Of an odd number the seed says which quiz has one more. Raises UsageError for fewer than 2 articles.
    """
    if len(articles) < 2:
        raise UsageError(f"found {len(articles)} articles, expected at least 2: each quiz shows some by people")
    draws = generator("quizzes", seed)
    human = len(articles) // 2 + (len(articles) % 2 and draws.randrange(2))
    chosen = {place for place, _ in zip(shuffled(len(articles), draws), range(human), strict=False)}
    return tuple(article.id for place, article in enumerate(articles) if place in chosen)


def order(study: Study, participant_id: str) -> tuple[str, ...]:
    """Shuffle the ids of a study's articles for one participant, the same at each call."""
    draws = generator("order", study.seed, participant_id)
    return tuple(study.articles[place].id for place in shuffled(len(study.articles), draws))


def asked(study: Study, participant_id: str, *, before: int | None) -> int:
    """Draw the choice that the attention check asks of a participant, the same at each call; never the neutral one.

    Nor is it `before`, the choice given last: who always gives the same answer fails.
    """
    choices = [each for each in range(1, len(CHOICES) + 1) if each not in (NEUTRAL, before)]
    return generator("attention", study.seed, participant_id).choice(choices)


def shown(study: Study, condition: str, *, quiz: Quiz, article: str) -> str:
    """Return the text that a quiz of a condition shows for an article, by their name and id. Raises UsageError."""
    conditions = {each.name: each for each in study.conditions}
    if condition not in conditions:
        raise UsageError(f"unknown condition {condition!r} of the study; {suggest(condition, conditions)}")
    articles = {each.id: each for each in study.articles}
    if article not in articles:
        raise UsageError(f"unknown article {article!r} of the study; {suggest(article, articles)}")
    is_human = study.writer(article, quiz) == "human"
    return articles[article].text if is_human else conditions[condition].written[article].text
