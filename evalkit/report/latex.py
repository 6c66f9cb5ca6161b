"""A table as LaTeX, to be put into a paper: booktabs, in as few pages as it can be read on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from evalkit.records import Table
from evalkit.report import latex_text
from evalkit.report.latex_columns import GAP, Column, Style, columns, heading

SHRUNK = 1.2  # times as wide as a line: hardly to be seen when it is shrunk
SMALL = 0.8  # height of a line in \footnotesize
ENDS = (".", "?", "!")  # of what needs no full stop
CONTINUED = r"  {\normalsize\tablename~\thetable{} (continued)\par}"  # not in the list of tables again
SIUNITX = (  # bold numbers keep their places
    r"\sisetup{mode=match, reset-text-series=false, propagate-math-font=true, "
    "group-digits=integer, group-minimum-digits=4, group-separator={,}}"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the article class, of 10 points on letter paper, by what it has room for."""

    environment: str
    is_small: bool  # whether columns are set in \footnotesize
    width: float  # characters of columns in a line
    height: float  # lines of the text's own size
    caption: int  # characters in a line of a caption
    note: int  # and of a note


UPRIGHT = Page("table", is_small=False, width=68, height=42, caption=80, note=100)
SMALLER = Page("table", is_small=True, width=84, height=42, caption=80, note=100)
SIDEWAYS = Page("sidewaystable", is_small=True, width=136, height=26.5, caption=130, note=165)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that stay on one page."""

    lines: tuple[str, ...]
    height: float  # in lines of the text's own size


def render(table: Table, *, style: Style = "plain") -> str:
    """Write table environments with caption, booktabs rules and notes.

    What is wider than the text is set smaller, in parts below each other that repeat the first columns, or sideways,
    whichever takes the fewest pages; what is longer than a page goes on in another environment with the same number.
    """
    found = columns(table, style)
    is_wide = _width(found) > UPRIGHT.width
    laid_out = [(page, _laid_out(table, found, page)) for page in ((SMALLER, SIDEWAYS) if is_wide else (UPRIGHT,))]
    # Where columns go beyond a line nevertheless, the table is shrunk; the less of that, the better it can be read.
    page, sheets = min(laid_out, key=lambda each: (max(SHRUNK, _reach(found, each[0])), len(each[1])))
    packages = ["booktabs", "graphicx", *["rotating"] * (page is SIDEWAYS), *["siunitx"] * (style == "siunitx")]
    needs = ", ".join([rf"\usepackage{{{name}}}" for name in packages])
    version = " (from version 3)" * (style == "siunitx")
    lines = [rf"% Needs {needs}{version} and \usepackage[T1]{{fontenc}}."]
    for number, sheet in enumerate(sheets):
        lines += [
            rf"\begin{{{page.environment}}}",
            r"  \centering",
            *[rf"  {SIUNITX}"] * (style == "siunitx"),
            *(_caption(table) if number == 0 else [CONTINUED]),
            r"  \smallskip",
            *(line for block in sheet for line in block.lines),
            rf"\end{{{page.environment}}}",
        ]
    return "\n".join(lines) + "\n"


def _laid_out(table: Table, found: Sequence[Column], page: Page) -> list[list[Block]]:
    """Share a table out to pages of one kind."""
    caption = 1.0 + math.ceil(len(". ".join([table.caption, *table.sources])) / page.caption)
    tabulars = (block for part in _parts(found, page.width) for block in _tabulars(part, page, caption))
    return list(_sheets([*tabulars, *(_note(note, page) for note in table.notes)], page, caption))


def _caption(table: Table) -> Iterator[str]:
    """Write the caption with what the numbers rest on; lists of tables have it without."""
    short = latex_text.breakable(table.caption)
    if not table.sources:
        yield rf"  \caption{{{short}}}"
        return
    parts = (table.caption, *table.sources)
    long = " ".join(latex_text.breakable(each if each.endswith(ENDS) else f"{each}.") for each in parts)
    yield rf"  \caption[{{{short}}}]{{\raggedright {long}}}"


def _reach(found: Sequence[Column], page: Page) -> float:
    """Tell how many lines of a page the widest part would take."""
    return max(_width(part) for part in _parts(found, page.width)) / page.width


def _width(found: Sequence[Column]) -> float:
    return sum(column.width for column in found) - GAP


def _parts(found: Sequence[Column], limit: float) -> Iterator[list[Column]]:
    """Share the columns out to parts that are as wide as the text, each with the labels; evenly, by their widths."""
    labels = [column for column in found if column.is_label]
    others = [column for column in found if not column.is_label]
    room = limit - _width(labels) - GAP
    if _width(found) <= limit or not others or room < max(column.width for column in others):
        yield list(found)  # where even one column is too wide beside the labels, the table is made smaller
        return
    number = math.ceil(sum(column.width for column in others) / room)
    while True:
        shares = _shares(others, sum(column.width for column in others) / number, room)
        if shares is not None:
            break
        number += 1
    for share in shares:
        yield [*labels, *share]


def _shares(others: Sequence[Column], wanted: float, room: float) -> list[list[Column]] | None:
    """Cut columns into shares of about the wanted width; None where one would be wider than its room."""
    ends = list(accumulate(column.width for column in others))
    shares: dict[int, list[Column]] = {}
    for column, end in zip(others, ends, strict=True):
        shares.setdefault(int((end - column.width / 2) / wanted), []).append(column)
    found = list(shares.values())
    return found if all(sum(column.width for column in share) <= room for share in found) else None


def _tabulars(part: Sequence[Column], page: Page, caption: float) -> Iterator[Block]:
    """Set columns as tabulars, each at most as high as a page below its caption."""
    scale = SMALL if page.is_small else 1.0
    heights = [max(column.heights[row] for column in part) for row in range(len(part[0].cells))]
    head = max(len(column.heading) for column in part) + 1.5
    begin, used = 0, 0.0
    for row, height in enumerate(heights):
        if row > begin and (used + height + head) * scale + 0.5 > page.height - caption:
            yield _tabular(part, range(begin, row), (used + head) * scale, is_small=page.is_small)
            begin, used = row, 0.0
        used += height
    yield _tabular(part, range(begin, len(heights)), (used + head) * scale, is_small=page.is_small)


def _tabular(part: Sequence[Column], rows: range, height: float, *, is_small: bool) -> Block:
    lines = (
        *[r"  {\footnotesize\setlength{\tabcolsep}{4pt}%"] * is_small,
        # A table that is wider than the text is made as wide as it; others keep their size.
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{''.join(column.layout for column in part)}}}",
        r"    \toprule",
        _line([heading(column) for column in part]),
        r"    \midrule",
        *(_line([column.cells[row] for column in part]) for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}}" + "}" * is_small,
        r"  \par\smallskip",
    )
    return Block(lines, height + 0.5)


def _note(note: str, page: Page) -> Block:
    height = SMALL * math.ceil(len(note) / page.note)
    return Block((rf"  {{\footnotesize\raggedright {latex_text.breakable(note)}\par}}",), height)


def _sheets(blocks: Sequence[Block], page: Page, caption: float) -> Iterator[list[Block]]:
    """Put blocks onto pages, in their order."""
    sheet: list[Block] = []
    used = caption
    for block in blocks:
        if sheet and used + block.height > page.height:
            yield sheet
            sheet, used = [], caption
        sheet.append(block)
        used += block.height
    yield sheet


def _line(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"
