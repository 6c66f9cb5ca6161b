"""A figure's picture as part of the page: known elements and attributes alone, with names of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from xml.etree import ElementTree

SPACE = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
ELEMENTS = {
    *("g", "defs", "path", "clipPath", "use", "rect", "circle", "ellipse", "line", "polyline", "polygon", "image"),
    *("text", "tspan", "title", "desc", "linearGradient", "stop", "pattern", "marker"),
}
PAINT = {
    *("fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linejoin"),
    *("stroke-linecap", "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit", "opacity", "clip-path"),
    *(
        "clip-rule",
        "font-family",
        "font-size",
        "font-weight",
        "font-style",
        "text-anchor",
        "stop-color",
        "stop-opacity",
    ),
}
SHAPE = {
    *("d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "width", "height", "points", "transform"),
    *("viewBox", "preserveAspectRatio", "offset", "gradientUnits", "clipPathUnits", "orient", "refX", "refY"),
}
ATTRIBUTES = PAINT | SHAPE
OWN_LINK = re.compile(r"url\(#([^)]*)\)")
SCALE = 1.6  # pixels a point: text of 8 points, small print in a paper, becomes readable on a screen
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")


def inline(svg: str, *, name: str, labelled_by: str) -> str:
    """Write an SVG for the page; `name` sets its ids apart, and what could run or fetch is left out.

    The page's policy forbids style attributes, so their properties become attributes, which mean the same.
    """
    root = ElementTree.fromstring(svg)
    view = root.get("viewBox", "0 0 480 360")
    width = SCALE * float(view.split()[2])
    # matplotlib says how lines are joined in a style sheet, for all of them.
    return (
        f'<svg viewBox="{escape(view)}" width="{width:.0f}" role="img" aria-labelledby="{labelled_by}" '
        f'stroke-linejoin="round">{"".join("".join(_written(child, name)) for child in root)}</svg>'
    )


def _written(element: ElementTree.Element, name: str) -> Iterator[str]:
    tag = element.tag.removeprefix(SPACE) if isinstance(element.tag, str) else ""
    if tag not in ELEMENTS:
        return
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in _attributes(element, name))
    yield f"<{tag}{attributes}>{escape(element.text or '') if tag in {'text', 'tspan', 'title', 'desc'} else ''}"
    for child in element:
        yield from _written(child, name)
    yield f"</{tag}>"


def _attributes(element: ElementTree.Element, name: str) -> Iterator[tuple[str, str]]:
    styles = (each.partition(":") for each in element.get("style", "").split(";"))
    given = dict(element.attrib) | {key.strip(): value.strip() for key, _, value in styles}
    for key, value in given.items():
        if key == "id":
            yield "id", f"{name}-{value}"
        elif key in {"href", LINK}:
            if value.startswith("#"):
                yield "href", f"#{name}-{value[1:]}"
            elif PICTURE.fullmatch(value):
                yield "href", value
        elif key in ATTRIBUTES:
            owned = OWN_LINK.sub(rf"url(#{name}-\1)", value)
            if "url(" not in OWN_LINK.sub("", value):
                yield key, owned
