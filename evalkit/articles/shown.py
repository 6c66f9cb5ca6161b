"""The quiz of a study as its report shows it: every article with all its texts, and how often each answer was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evalkit.articles.records import CHOICES, Article, Participant, Study
from evalkit.report.content import ShownArticle, ShownText


def articles(study: Study, participants: Sequence[Participant]) -> tuple[ShownArticle, ...]:
    """Put each article's human text and that of every condition beside the answers about it.

    The human text was shown to participants of all conditions: its answers are counted together.
    """
    given = Counter(
        (answer.article, None if answer.writer == "human" else participant.condition, answer.choice)
        for participant in participants
        for answer in participant.answers
    )

    def shown(article: Article, text: str, condition: str | None) -> ShownText:
        answers = tuple((each, given[article.id, condition, place]) for place, each in enumerate(CHOICES, start=1))
        return ShownText("a person" if condition is None else condition, text, answers)

    return tuple(
        ShownArticle(
            article.title,
            article.subtitle,
            (
                shown(article, article.text, None),
                *(shown(article, each.written[article.id].text, each.name) for each in study.conditions),
            ),
        )
        for article in study.articles
    )
