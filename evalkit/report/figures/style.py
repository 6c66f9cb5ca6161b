"""The look of all figures: sizes, colours, markers, text."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

from evalkit.report import table as tables

COLUMN, PAGE = 3.5, 7.0  # inches: one column of a paper with two, and the width of its text
TEXT, SMALL = 8.0, 7.0  # points; the small one for counts alone
INK = "#1b1b1b"
# Okabe and Ito 2008, Color Universal Design (jfly.uni-koeln.de/color); their yellow is too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # one more than colours, so that pairs do not repeat soon
DPI = 200  # of PNG
FAINT = 0.12  # opacity of grids
UNKNOWN = "\ufffd"  # stands for a character that the font has not

SETTINGS: dict[Any, Any] = {  # Any: the names of settings are literals of their own type
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that figures look alike everywhere
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "figure.titlesize": TEXT,
    "figure.labelsize": TEXT,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a task's name may hold dollar signs
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.formatter.useoffset": False,
    "grid.color": INK,
    "grid.alpha": FAINT,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "errorbar.capsize": 1.8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "svg.fonttype": "path",
    "svg.hashsalt": "evalkit",  # ids of equal figures are equal
    "pdf.fonttype": 42,  # TrueType, embedded: journals refuse Type 3
}


@contextlib.contextmanager
def context() -> Iterator[None]:
    """Draw and save with these settings, whatever a matplotlibrc says; what was set before comes back."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def colour(place: int) -> str:
    """Give the colour of the series at this place."""
    return COLOURS[place % len(COLOURS)]


def marker(place: int) -> str:
    """Give the marker of the series at this place."""
    return MARKERS[place % len(MARKERS)]


def plain(text: str) -> str:
    """Write text on one line with what the font has; nothing in it acts on a page."""
    known = _characters()
    return "".join(each if ord(each) in known else UNKNOWN for each in tables.clean(text))


def label(text: str, *, width: int = 30, lines: int = 2) -> str:
    """Break text into at most so many lines of `width` characters; of longer text the middle is left out."""
    shown = whole = plain(text) or tables.NOTHING
    kept = width * lines
    while len(broken := textwrap.wrap(shown, width=width)) > lines:  # breaks between words leave lines unfilled
        kept -= 1
        shown = shortened(whole, kept)
    return "\n".join(broken)


def shortened(text: str, length: int) -> str:
    """Leave out the middle of a text that is longer: names of tasks and models tell apart at both ends."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"


def counts(numbers: list[int]) -> str:
    """Write `n = 400`, or `n = 38 to 400` where they differ."""
    low, high = min(numbers), max(numbers)
    return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"


@cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
