"""Results as a table, the one shape that every renderer reads: tasks down, numbers of shots across."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

from evalkit.records import Cell, Estimate, Result, Table

T = TypeVar("T")
Row: TypeAlias = tuple[str, str, str, str]  # task, title, metric, subset

MOST_NAMED = 2  # metrics in a caption; the rows name them too
LARGE = 1e7  # from which a number is shown by its power of ten
NOTHING = "–"  # what an absent number prints as
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # of Unicode: turn other text round


def build(results: Sequence[Result], *, notes: Sequence[str] = ()) -> Table:
    """Arrange results in their own order; columns that would hold one value throughout go to the caption."""
    cells = {(_row(result), result.shots): result for result in results}
    rows = _distinct(_row(result) for result in results)
    shots = _distinct(result.shots for result in results)
    metrics = _distinct((result.metric, result.is_proportion) for result in results)
    has_subsets = any(result.subset != "all" for result in results)
    counts_agree = all(len({e.n for s in shots if (e := _estimate(cells.get((row, s))))}) <= 1 for row in rows)
    has_spread = any(result.spread is not None for result in results)
    has_baseline = any(result.baseline is not None for result in results)
    unit = ", %" if all(is_proportion for _, is_proportion in metrics) else ""

    columns = ["task", *["metric"] * (len(metrics) > 1), *["examples"] * has_subsets, *["n"] * counts_agree]
    columns += ["majority, %"] * has_baseline
    for number in shots:
        columns += [f"{count(number, 'shot')}{unit}", *[f"n, {count(number, 'shot')}"] * (not counts_agree)]
        columns += ["SD of seeds"] * has_spread

    body: list[tuple[Cell, ...]] = []
    for row in rows:
        _, title, metric, subset = row
        here = [_estimate(cells.get((row, number))) for number in shots]
        line: list[Cell] = [clean(title), *[metric] * (len(metrics) > 1), *[clean(subset)] * has_subsets]
        if counts_agree:
            line.append(next((e.n for e in here if e), 0))
        found = [cells.get((row, number)) for number in shots]
        line += [next((_scaled(each, each.baseline) for each in found if each), None)] * has_baseline
        for estimate, result in zip(here, found, strict=True):
            line += [estimate, *[estimate.n if estimate else 0] * (not counts_agree)]
            line += [_scaled(result, result.spread) if result else None] * has_spread
        body.append(tuple(line))

    caption = clean(_caption(results, metrics))
    return Table(tuple(columns), tuple(body), caption, notes=tuple(clean(note) for note in notes))


def clean(label: str) -> str:
    r"""Write whitespace as single spaces, and what would act on a terminal or a page as its escape, such as `\x1b`."""
    return "".join(
        each.encode("unicode_escape").decode()
        if unicodedata.category(each) in {"Cc", "Cs"} or unicodedata.bidirectional(each) in DIRECTIONS
        else each
        for each in " ".join(label.split())
    )


def count(number: int, noun: str) -> str:
    """Write `0 shots`, `1 shot`, `2 shots`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number(value: float) -> str:
    """Print a value with two decimals, as the paper's Table H.1; never `-0.00`, and 1.23e+09 for 1,234,567,890."""
    if abs(value) >= LARGE:
        return f"{value:.2e}"
    return f"{round(value, 2) + 0.0:.2f}"


def interval(estimate: Estimate) -> str:
    """Print the interval as its bounds: a proportion's interval is not symmetric."""
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def text(cell: Cell) -> str:
    """Print a cell as plain text."""
    if cell is None:
        return NOTHING
    if isinstance(cell, Estimate):
        return f"{number(cell.value)} {interval(cell)}"
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return number(cell)
    return cell


def is_numeric(table: Table, column: int) -> bool:
    """Whether a column holds numbers, and so is set to the right."""
    return all(not isinstance(row[column], str) for row in table.rows)


def percent(estimate: Estimate) -> Estimate:
    """Scale a proportion; rounding at 1e-10 takes off what 100 * 0.58 adds."""
    value, low, high = (round(100 * x, 10) for x in (estimate.value, estimate.low, estimate.high))
    return Estimate(value=value, low=low, high=high, n=estimate.n)


def _estimate(result: Result | None) -> Estimate | None:
    if result is None or result.estimate is None:
        return None
    return percent(result.estimate) if result.is_proportion else result.estimate


def _scaled(result: Result, value: float | None) -> float | None:
    """Put a number beside an estimate in the estimate's unit."""
    return value if value is None or not result.is_proportion else round(100 * value, 10)


def _row(result: Result) -> Row:
    metric = f"{result.metric}, %" if result.is_proportion else result.metric
    return result.task, result.title, metric, result.subset


def _caption(results: Sequence[Result], metrics: Sequence[tuple[str, bool]]) -> str:
    models = ", ".join(_distinct(result.model for result in results))
    if len(metrics) > MOST_NAMED:
        return f"Scores of {models}, with 95 % intervals"
    what = " and ".join(name + " in %" * is_proportion for name, is_proportion in metrics)
    return f"{what[:1].upper()}{what[1:]} of {models}, with 95 % intervals"


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
