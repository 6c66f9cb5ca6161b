"""A run as one web page that needs nothing beside it: table, notes, and some samples with their prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from evalkit.records import Cell, Completion, Estimate, Response, Sample, Table, TokenScores
from evalkit.report import table as tables

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5f6671; --line: #d9dce1; --page: #fff; --tint: #f5f6f8;
        --good: #1a7f45; --bad: #b3362b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --soft: #9aa1ac; --line: #363b43; --page: #16181c; --tint: #1f2227;
          --good: #63c58c; --bad: #ef8a80; } }
body { margin: 3rem auto; padding: 0 1.25rem; max-width: 62rem; background: var(--page); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1.5rem; }
h2 { font-size: 1.1rem; margin: 2.75rem 0 .75rem; }
.wide { overflow-x: auto; width: max-content; min-width: 100%; max-width: calc(100vw - 4rem);
        position: relative; left: 50%; transform: translateX(-50%); } /* beyond the text where a table is wide */
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .6rem; }
th, td { text-align: left; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; }
thead th { border-bottom: 2px solid var(--ink); }
tbody tr:hover { background: var(--tint); }
.number { text-align: right; }
.interval { color: var(--soft); font-size: .85em; margin-left: .35rem; }
.notes { color: var(--soft); font-size: .88rem; padding-left: 1.1rem; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .8rem; }
summary code { color: var(--soft); }
details > div { padding: 0 .8rem .8rem; }
pre { background: var(--tint); border-radius: 4px; padding: .7rem .8rem; margin: .3rem 0 .8rem; white-space: pre-wrap;
      overflow-wrap: anywhere; max-height: 24rem; overflow-y: auto; font: .84rem/1.5 ui-monospace, Menlo, monospace; }
.label { color: var(--soft); font-size: .82rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
"""


def render(table: Table, *, title: str, samples: Sequence[Sample] = (), more: Sequence[Table] = ()) -> str:
    """Write the whole page, with more tables under the first; all that comes from data and models is escaped."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style></head>",
            "<body>",
            f"<h1>{escape(title)}</h1>",
            *_table(table),
            *_notes(table.notes),
            *(line for each in more for line in (*_table(each), *_notes(each.notes))),
            *_samples(samples),
            "</body>",
            "</html>\n",
        ]
    )


def _table(table: Table) -> Iterable[str]:
    numeric = [tables.is_numeric(table, column) for column in range(len(table.columns))]
    yield f'<div class="wide"><table><caption>{escape(table.caption)}</caption>'
    header = zip(table.columns, numeric, strict=True)
    yield f"<thead><tr>{''.join(_tagged('th', escape(column), right) for column, right in header)}</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        cells = (_tagged("td", _cell(cell), right) for cell, right in zip(row, numeric, strict=True))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _tagged(tag: str, content: str, is_number: bool) -> str:
    return f'<{tag} class="number">{content}</{tag}>' if is_number else f"<{tag}>{content}</{tag}>"


def _cell(cell: Cell) -> str:
    if isinstance(cell, Estimate):
        shown = f'{tables.number(cell.value)}<span class="interval">{tables.interval(cell)}</span>'
        return f'<span title="n = {cell.n:,}">{shown}</span>'
    return escape(tables.text(cell))


def _notes(notes: Sequence[str]) -> Iterable[str]:
    if notes:
        yield f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def _samples(samples: Sequence[Sample]) -> Iterable[str]:
    if samples:
        yield "<h2>Samples</h2>"
        yield '<p class="label">One of each outcome for every task and number of shots; samples.jsonl has them all.</p>'
    for sample in samples:
        yield f"<details><summary>{_outcome(sample)} {escape(sample.task)}, {tables.count(sample.shots, 'shot')} "
        yield f"<code>{escape(sample.example.id)}</code></summary><div>"
        if sample.prompt is not None:
            used = tables.count(sample.prompt.shots_used, "demonstration")
            yield f'<span class="label">prompt, {sample.prompt.tokens:,} tokens, {used}</span>'
            yield _preformatted(sample.prompt.context)
        for label, response in zip(_labels(sample), sample.responses, strict=True):
            yield f'<span class="label">{escape(label)}</span>'
            yield _preformatted(_said(response))
        yield '<span class="label">expected</span>'
        yield _preformatted("\n".join(sample.example.targets))
        yield "</div></details>"


def _labels(sample: Sample) -> list[str]:
    """Say what each response is: the likelihood of a choice, or an answer."""
    choices = sample.example.choices
    if len(choices) == len(sample.responses):
        return [f"likelihood of {choice.strip()}" for choice in choices]
    return ["answer"] * len(sample.responses)


def _preformatted(text: str) -> str:
    # A browser drops a line break right after <pre>; this one is dropped in its place.
    return f"<pre>\n{escape(text)}</pre>"


def _outcome(sample: Sample) -> str:
    if sample.prompt is None:
        return '<span class="bad">does not fit the window</span>'
    scores = [values[0] for values in sample.statistics.values() if len(values) == 1]
    if scores and scores[0] in {0.0, 1.0}:
        return '<span class="good">right</span>' if scores[0] else '<span class="bad">wrong</span>'
    return ""


def _said(response: Response) -> str:
    if isinstance(response, Completion):
        return response.text
    if isinstance(response, TokenScores):
        return f"scores of {tables.count(len(response.texts), 'token')}"
    return f"{response.total:.3f} nats over {tables.count(response.tokens, 'token')}"
