"""Matches as HTML: what an example and a document share, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.report import table as tables
from evalkit.report.content import Passage
from evalkit.report.page.markup import cut, text

MOST = 200  # passages in the page
OPEN = 3  # of them, so that a reader sees what they are


def render(passages: Sequence[Passage]) -> Iterator[str]:
    """Write a block for each passage, in their order, the first `MOST` of them."""
    if len(passages) > MOST:
        yield f'<p class="soft">The first {MOST} of {len(passages):,} matches; matches.parquet has them all.</p>\n'
    yield '<div class="matches">\n'
    for place, passage in enumerate(passages[:MOST]):
        yield f'<details class="match"{" open" * (place < OPEN)}><summary><h3>{text(passage.task)} '
        yield f"<code>{text(passage.example)}</code></h3> "
        yield f'<span class="soft">{tables.count(passage.words, "shared word")}</span></summary>\n<div class="pair">'
        yield _side("Example", passage.in_example)
        yield _side("Document", passage.in_document, place=passage.document)
        yield "</div></details>\n"
    yield "</div>\n"


def _side(heading: str, parts: tuple[str, str, str] | None, *, place: str | None = None) -> str:
    where = "" if place is None else f" <code>{text(place)}</code>"
    if parts is None:
        said = '<p class="soft">The corpus was not kept with the scan, or cannot be read.</p>'
    else:
        before, run, after = (cut(part) for part in parts)
        said = f"<blockquote>{before}<mark>{run}</mark>{after}</blockquote>"
    return f"<div><h4>{heading}{where}</h4>{said}</div>"
