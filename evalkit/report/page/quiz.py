"""Quizzes as HTML: each article as participants saw it, with the answers they could give and how often they did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.report import table as tables
from evalkit.report.content import ShownArticle, ShownText
from evalkit.report.page.markup import cut, text

OPEN = 1  # articles that are open at first, so that a reader sees what they are


def render(articles: Sequence[ShownArticle]) -> Iterator[str]:
    """Write a block for each article, in their order: its texts one below the other, the human one first."""
    yield '<p class="soft">A participant saw one text of each article, never who wrote it, and gave one answer. '
    yield "Beside each answer stands how often it was given, by those who are excluded from the tables too.</p>\n"
    for place, article in enumerate(articles):
        given = sum(count for each in article.texts for _, count in each.answers)
        yield f'<details class="article"{" open" * (place < OPEN)}><summary><h3>{_title(article)}</h3> '
        yield f'<span class="soft">{tables.count(len(article.texts), "text")}, '
        yield f"{tables.count(given, 'answer')}</span></summary>\n"
        for each in article.texts:
            yield from _text(article, each)
        yield "</details>\n"


def _text(article: ShownArticle, shown: ShownText) -> Iterator[str]:
    yield f'<h4>Written by {text(shown.writer)}</h4>\n<div class="asked"><div class="shown">'
    if article.title:
        yield f"<strong>{text(article.title)}</strong>"
    if article.subtitle:
        yield f"<p><em>{text(article.subtitle)}</em></p>"
    yield f"<blockquote>{cut(shown.text)}</blockquote></div>\n<ol>"
    total = sum(count for _, count in shown.answers)
    for answer, count in shown.answers:
        share = f" ({round(100 * count / total)} %)" if total else ""
        yield f"<li>{text(answer)} <span>{count:,}{share}</span></li>"
    yield "</ol></div>\n"


def _title(article: ShownArticle) -> str:
    return text(article.title or article.texts[0].text[:60])
