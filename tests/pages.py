"""Pages for tests: samples, a page with every section, and what a written page holds."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from evalkit.records import Completion, Estimate, Example, LogProb, Marked, Prompt, Response, Sample, Table
from evalkit.report.content import Figure, Page, Passage, Provenance, ShownArticle, ShownSample, ShownText

BLOCK = re.compile(r'<script type="application/octet-stream" id="([^"]*)">([^<]*)</script>')
HOSTILE = (
    '</script><script>window.ran = 1</script><img src="x" onerror="window.ran = 1"> \u202eevil\u202c \x00 &amp;\n'
    "</pre><!-- \x1b[31m \ud800 javascript:window.ran=1 {{ x }} ${x}"
)
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="252pt" height="180pt" '
    'viewBox="0 0 252 180"><defs><path id="a" d="M0 0L9 9"/></defs><script>window.ran = 1</script>'
    '<g onload="window.ran = 1" style="fill: #ffffff; stroke: #0072b2"><use xlink:href="#a" clip-path="url(#c)"/></g>'
    '<image href="https://example.com/x.png" width="9" height="9"/><a href="javascript:x()"><path d="M1 1"/></a>'
    '<rect width="9" height="9" style="fill: url(https://example.com/y)"/><foreignObject><b>x</b></foreignObject></svg>'
)


def shown(
    name: str = "e1",
    *,
    context: str | None = "Q: 1?\n\nA:",
    answer: str = " 143",
    is_right: bool | None = True,
    is_dirty: bool | None = None,
    task: str = "2d+",
    shots: int = 0,
    model: str = "nano",
) -> ShownSample:
    """Make a sample of one completion."""
    sample = Sample(
        task=task,
        shots=shots,
        example=Example(name, {}, (" 143",)),
        prompt=None if context is None else Prompt(context, (), shots, 9, 2048),
        responses=() if context is None else (Completion(answer, 2, "stop"),),
        statistics={"exact_match": (float(bool(is_right)),)},
    )
    return ShownSample(sample, model, is_right, is_dirty)


def choosing(*totals: float, first: str = " choice 0") -> ShownSample:
    """Make a sample of choices, of which the first is right."""
    choices = (first, *(f" choice {place}" for place in range(1, len(totals))))
    responses: tuple[Response, ...] = tuple(
        LogProb(total, 1 + place, 9, False, False) for place, total in enumerate(totals)
    )
    prompt = Prompt("Which?\nAnswer:", (), 0, 5, 2048)
    sample = Sample("quiz", 0, Example("quiz-1", {}, choices[:1], choices), prompt, responses, {"accuracy": (1.0,)})
    return ShownSample(sample, "nano", is_right=True, is_dirty=None)


def table(rows: int = 3) -> Table:
    """Make a table whose values fall from 100 down, and with a missing one at the end."""
    values = [Estimate(100.0 - 9 * place, 90.0 - 9 * place, 100.0, 2000) for place in range(rows)]
    body = [(f"task {place}", 5 + place, Marked(each, signs=("†",))) for place, each in enumerate(values)]
    return Table(("task", "n", "0 shots, %"), (*body, ("task z", 1, None)), "Scores", ("A note.",))


ASKED = ShownText("a person", "Moss.", (("human", 3), ("?", 1)))


def page(**changes: Any) -> Page:  # Any: fields of a Page
    """Make a page with something in every section."""
    fields: dict[str, Any] = {
        "title": "Report",
        "summary": (table(),),
        "contamination": (table(),),
        "people": (table(),),
        "detectors": (table(),),
        "figures": (Figure("f", "A figure.", "Drawn.", SVG, lambda form: form.encode(), table()),),
        "quiz": (ShownArticle("Cave moss", "Its calendar", (ASKED,)),),
        "samples": [shown(f"e{place}", is_right=place % 2 == 0) for place in range(3)],
        "passages": (Passage("t", "e1", 2, "a.txt:1", ("one ", "two three", " four"), ("x ", "Two, three", " y")),),
        "provenance": (Provenance("run-1", "evalkit run --tasks 'a b'", {"seed": "0"}, ("t|v1",)),),
    }
    return Page(**(fields | changes))


@dataclass(frozen=True, slots=True)
class Data:
    """The samples that a page holds."""

    index: Any  # Any: JSON
    texts: list[str]
    records: list[Any]

    def prompt(self, place: int) -> str:
        """Put a sample's prompt together."""
        return "\n\n".join(self.texts[number] for number in self.records[place][0])


def data(html: str) -> Data:
    """Read the samples back out of a page."""
    blocks = {name: json.loads(zlib.decompress(b64decode(content), wbits=-15)) for name, content in BLOCK.findall(html)}

    def joined(kind: str) -> list[Any]:
        starts = blocks["samples-index"]["starts"][kind]
        found = [blocks[f"{kind}-{place}"] for place in range(len(starts))]
        assert starts == [sum(map(len, found[:place])) for place in range(len(found))]
        return [piece for block in found for piece in block]

    return Data(blocks["samples-index"], joined("text"), joined("record"))
