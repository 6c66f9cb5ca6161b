"""From a drawing of matplotlib's to SVG, PDF and PNG: the same bytes for the same points."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal
from xml.sax.saxutils import quoteattr

from evalkit.records import Table
from evalkit.report import table as tables
from evalkit.report.content import Figure
from evalkit.report.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

UNDATED = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
SUBSET = re.compile(rb"/[A-Z]{6}\+(?=DejaVu)")  # before a font's name in a PDF that holds a part of it


@contextlib.contextmanager
def drawing(width: float, height: float) -> Iterator[Drawing]:
    """Lend an empty drawing of this size in inches; `finish` it inside."""
    from matplotlib.figure import Figure as Drawing

    with style.context():
        yield Drawing(figsize=(width, height), layout="constrained")


def finish(drawn: Drawing, *, name: str, title: str, caption: str, data: Table) -> Figure:
    """Draw the page's form; the others are drawn when they are asked for."""
    freeze(drawn)

    def saved(form: Literal["pdf", "png"]) -> bytes:
        with style.context():
            return _saved(drawn, form) if form == "png" else _renamed(_saved(drawn, form))

    return Figure(
        name=name,
        title=tables.clean(title),
        caption=tables.clean(caption),
        svg=page_svg(_saved(drawn, "svg").decode(), name=name, title=tables.clean(title)),
        saved=saved,
        data=data,
    )


def freeze(drawn: Drawing) -> None:
    """Lay a drawing out for good, so that places in it are known, and the same in every form."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(drawn.get_layout_engine(), ConstrainedLayoutEngine):
        drawn.draw_without_rendering()
        drawn.set_layout_engine("none")


def page_svg(svg: str, *, name: str, title: str) -> str:
    """Make matplotlib's SVG fit to stand in a page, several beside each other.

    Ids begin with `name`. What styles it are attributes, which a page's policy does not forbid and which act on nothing
    else. Ink takes the colour of the text around it, for dark pages; alone it is black.
    """
    found = svg[svg.index("<svg") :]
    found = re.sub(r"<!--.*?-->\n?|<style.*?</style>", "", found, flags=re.DOTALL)
    found = re.sub(r' style="([^"]*)"', _attributes, found)
    found = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", found)
    found = found.replace(f'"{style.INK}"', '"currentColor"')
    head = f'<svg role="img" aria-label={quoteattr(title)} stroke-linejoin="round" stroke-linecap="butt"'
    return found.replace("<svg", head, 1)


def _saved(drawn: Drawing, form: str) -> bytes:
    """Save a frozen drawing; its own `savefig` would draw it twice, once for the layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.BytesIO()
    drawn.patch.set_visible(form != "svg")  # what is under it shows, for dark pages
    match form:
        case "svg":
            FigureCanvasSVG(drawn).print_svg(out, metadata=UNDATED[form])  # type: ignore[no-untyped-call]
        case "pdf":
            FigureCanvasPdf(drawn).print_pdf(out, metadata=UNDATED[form])  # type: ignore[no-untyped-call]
        case _:
            before = drawn.dpi
            drawn.set_dpi(style.DPI)
            FigureCanvasAgg(drawn).print_png(out, metadata=UNDATED[form])  # type: ignore[no-untyped-call]
            drawn.set_dpi(before)
    return out.getvalue()


def _attributes(matched: re.Match[str]) -> str:
    """Write `fill: none; stroke: #000` as attributes."""
    pairs = (each.split(":", 1) for each in matched[1].split(";") if each.strip())
    return "".join(f' {key.strip()}="{value.strip()}"' for key, value in pairs)


def _renamed(pdf: bytes) -> bytes:
    """Call a PDF's parts of fonts by letters that follow from its content: matplotlib's differ by process."""
    digest = hashlib.sha256(SUBSET.sub(b"", pdf)).digest()
    first = int.from_bytes(digest[:4], "big")
    names = list(dict.fromkeys(SUBSET.findall(pdf)))  # the parts of one font need different ones
    return SUBSET.sub(lambda matched: b"/" + _letters(first + names.index(matched[0])) + b"+", pdf)


def _letters(number: int) -> bytes:
    """Write a number in six capital letters."""
    return bytes(ord("A") + number // 26**place % 26 for place in range(6))
