"""What tells a text's writer without being read: differences that come of how data were made rather than of writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.articles import ending
from evalkit.articles.gather import some
from evalkit.articles.records import Article, Condition
from evalkit.report.table import count

FEWEST = 0.1  # share of texts that a mark is worth a note from
MARKS = (("line breaks", "\n"), ("curly quotation marks", "“”‘’"))


def notes(articles: Sequence[Article], condition: Condition) -> Iterator[str]:
    """Say how a condition's texts can be told from the human ones: by their ends, by marks that one side never has."""
    human = [each.text.strip() for each in articles]
    model = [condition.written[each.id].text.strip() for each in articles]
    pairs = zip(articles, human, model, strict=True)
    if odd := [each.id for each, one, other in pairs if ending.is_ended(one) != ending.is_ended(other)]:
        yield (
            f"{condition.name}: of {count(len(odd), 'article')} one text alone ends with a sentence, the human one or "
            f"the model's, by which they can be told: {some(odd)}."
        )
    for what, marks in MARKS:
        of_human, of_model = (sum(any(mark in text for mark in marks) for text in side) for side in (human, model))
        if min(of_human, of_model) == 0 and max(of_human, of_model) >= FEWEST * len(articles):
            yield (
                f"{condition.name}: {of_human} human texts and {of_model} of the model's have {what}, by which they "
                "can be told; where the data have lost them, give others."
            )
