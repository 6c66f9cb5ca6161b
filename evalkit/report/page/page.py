"""index.html from a `Page`: sections that have something, the scripts and the style, and the samples' data last."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from evalkit import atomic
from evalkit.records import Table
from evalkit.report.content import Figure, Page, ShownSample
from evalkit.report.page import drawing, origins, packed, passages, quiz, samples, tables
from evalkit.report.page.markup import text
from evalkit.report.page.packed import LIMIT, Block, Packed

FILE = "index.html"
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Section:
    name: str  # its id
    title: str
    content: Iterable[str]


def write(directory: Path, page: Page) -> None:
    """Write index.html into a directory; StorageError where the disk refuses."""
    atomic.write(directory / FILE, render(page))


def render(page: Page, *, limit: int = LIMIT) -> Iterator[str]:
    """Write the page piece by piece, with at most `limit` bytes of samples; all that it shows is escaped."""
    few: dict[object, ShownSample] = {}
    data = packed.pack(samples.pick(page.samples, few), limit=limit)
    sections = list(_sections(page, data, list(few.values())))
    style, tools, browser = _style(), _read("tools.js"), _read("samples.js")
    yield '<!doctype html>\n<html lang="en">\n<head>\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, tools, browser)}">\n'
    yield '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{tables.label(page.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
    yield f'<a class="skip" href="#main">Skip to the content</a>\n<header><h1>{text(page.title)}</h1></header>\n'
    if len(sections) > 1:
        links = "".join(f'<li><a href="#{each.name}">{each.title}</a></li>' for each in sections)
        yield f'<nav class="sections" aria-label="Sections"><ul>{links}</ul></nav>\n'
    yield '<main id="main">\n'
    for each in sections:
        yield f'<section id="{each.name}" aria-labelledby="{each.name}-title">'
        yield f'<h2 id="{each.name}-title">{each.title}</h2>\n'
        yield from each.content
        yield "</section>\n"
    yield f"</main>\n<script>{tools}</script>\n"
    if data.count:
        yield f"{_data(data.index)}<script>{browser}</script>\n"
        # What is shown first does not wait for these.
        yield from map(_data, data.blocks)
    yield "</body>\n</html>\n"


def _sections(page: Page, data: Packed, few: list[ShownSample]) -> Iterator[_Section]:
    if page.summary:
        yield _Section("summary", "Summary", _tables(page.summary, name="summary"))
    if page.contamination:
        yield _Section("contamination", "Contamination", _tables(page.contamination, name="contamination"))
    if page.people:
        yield _Section("people", "People", _tables(page.people, name="people"))
    if page.detectors:
        yield _Section("detectors", "Detectors", _tables(page.detectors, name="detectors"))
    if page.figures:
        yield _Section("figures", "Figures", _figures(page.figures))
    if page.quiz:
        yield _Section("quiz", "Quiz", quiz.render(page.quiz))
    if data.count:
        yield _Section("samples", "Samples", _samples(data, few))
    if page.passages:
        yield _Section("matches", "Matches", passages.render(page.passages))
    if page.provenance:
        yield _Section("provenance", "Provenance", origins.render(page.provenance))


def _tables(shown: Iterable[Table], *, name: str) -> Iterator[str]:
    for place, table in enumerate(shown, start=1):
        yield from tables.render(table, name=f"{name}-{place}")


def _figures(figures: Iterable[Figure]) -> Iterator[str]:
    for place, figure in enumerate(figures, start=1):
        name = f"figure-{place}"
        yield f'<figure class="drawing"><div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">'
        yield f"{drawing.inline(figure.svg, name=name, labelled_by=name)}</div>\n"
        said = figure.caption.removeprefix(figure.title)  # many captions begin with it
        gap = " " if said == figure.caption else ""
        yield f'<figcaption id="{name}"><strong>{text(figure.title)}</strong>{gap}{text(said)}</figcaption>\n'
        yield "<details><summary>Data of this figure</summary>\n"
        yield from tables.render(figure.data, name=f"{name}-data")
        yield "</details></figure>\n"


def _samples(data: Packed, few: list[ShownSample]) -> Iterator[str]:
    if data.left_out:
        yield f'<p class="soft">{data.count:,} of {data.count + data.left_out:,} samples, as many as fit into a page: '
        yield "dirty ones first, then wrong ones. samples.jsonl has them all.</p>\n"
    yield '<div id="few"><p class="soft">One of each outcome for every task and number of shots, '
    yield f"{samples.MOST_FEW} at most, of {data.count:,} samples. "
    yield "Where scripts run, all can be searched here; samples.jsonl has them too.</p>\n"
    yield from samples.render(few)
    yield f"</div>\n{_read('browser.html')}"


def _data(block: Block) -> str:
    return f'<script type="application/octet-stream" id="{block.name}">{block.content}</script>\n'


def _policy(style: str, *scripts: str) -> str:
    """Allow this style and these scripts alone; nothing is fetched, embedded or sent."""
    allowed = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'"


def _style() -> str:
    return f"\n{_read('style.css')}{tables.widths()}\n"


@cache
def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
