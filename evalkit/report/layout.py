"""Results as a table: tasks, models and numbers of shots, any of them down and any other across."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from evalkit.records import Cell, Result, Table
from evalkit.report import direction
from evalkit.report import table as tables

T = TypeVar("T")
Axis: TypeAlias = Literal["tasks", "models", "shots"]
Order: TypeAlias = Literal["given", "name", "score"]
Key: TypeAlias = tuple[object, ...]

AXES: tuple[Axis, ...] = ("tasks", "models", "shots")
ORDERS: tuple[Order, ...] = ("given", "name", "score")
ALL = "all"  # the subset that is no subset
MOST_NAMED = 2  # metrics in a caption; the rows name them too


@dataclass(frozen=True, slots=True)
class Marks:
    """What is known of results beside their scores."""

    best: Collection[Result] = frozenset()
    signs: Mapping[Result, tuple[str, ...]] = field(default_factory=dict)

    def cell(self, result: Result) -> Cell:
        """Show a result's score, in percent if it is a proportion, with its marks."""
        return tables.marked(tables.scaled(result), is_best=result in self.best, signs=self.signs.get(result, ()))


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands where."""

    rows: Axis = "tasks"
    columns: Axis = "shots"
    order: Order = "given"  # of rows


PLAIN = Layout()
UNMARKED = Marks()


def build(
    results: Sequence[Result],
    *,
    layout: Layout = PLAIN,
    marks: Marks = UNMARKED,
    notes: Sequence[str] = (),
    sources: Sequence[str] = (),
    shows_used: bool = False,
) -> Table:
    """Arrange results, one row a task, metric and subset, or a model or number of shots with these.

    What varies and is neither row nor column has a label column; what would be one value throughout goes to the
    caption. `shows_used` sets the demonstrations that prompts had room for beside scores, where those are fewer than
    asked for.
    """
    rows, columns = layout.rows, layout.columns
    cells = {(_row(result, columns), _place(result, columns)): result for result in results}
    keys = _distinct(_row(result, columns) for result in results)
    places = _distinct(_place(result, columns) for result in results)
    if columns == "shots":
        places.sort(key=lambda place: int(str(place[0])))
    grid = {key: [cells.get((key, place)) for place in places] for key in keys}
    keys = _sorted(keys, grid, rows=rows, order=layout.order)

    metrics = _distinct((result.metric, result.is_proportion) for result in results)
    has_metrics = len(metrics) > 1
    is_named = columns == "tasks" and has_metrics  # columns say what their metric is
    unit = ", %" if all(is_proportion for _, is_proportion in metrics) and not is_named else ""
    names = [_heading(place, columns, has_metrics=has_metrics) for place in places]
    labels = _labels(results, rows=rows, columns=columns, has_metrics=has_metrics)
    companions = _companions(results, grid, columns=columns, shows_used=shows_used)

    has_n = not (companions.has_one_n or companions.sizes)
    header = [name for name, _ in labels]
    header += ["n"] * companions.has_one_n + ["majority, %"] * companions.has_baseline
    for name in names:
        header.append(f"{name}{unit}")
        header += [f"n, {name}"] * has_n
        header += [f"shots used, {name}"] * companions.has_used
        header += [f"SD of seeds, {name}" if len(names) > 1 else "SD of seeds"] * companions.has_spread

    body: list[tuple[Cell, ...]] = []
    for key in keys:
        here = grid[key]
        first = next(each for each in here if each is not None)
        line: list[Cell] = [label(first) for _, label in labels]
        line += [next((each.estimate.n for each in here if each and each.estimate), 0)] * companions.has_one_n
        line += [
            next((tables.scaled_number(each, each.baseline) for each in here if each), None)
        ] * companions.has_baseline
        for result in here:
            line.append(marks.cell(result) if result else None)
            line += [result.estimate.n if result and result.estimate else 0] * has_n
            line += [result.shots_used if result and result.estimate else None] * companions.has_used
            line += [tables.scaled_number(result, result.spread) if result else None] * companions.has_spread
        body.append(tuple(line))
    return Table(
        columns=tuple(tables.clean(name) for name in header),
        rows=tuple(body),
        caption=tables.clean(caption(results, layout)),
        notes=tuple(tables.clean(note) for note in (*_counts(companions.sizes), *notes)),
        sources=tuple(tables.clean(source) for source in sources),
    )


def caption(results: Sequence[Result], layout: Layout = PLAIN) -> str:
    """Say what the scores are and whose, and the task and number of shots where neither is row or column."""
    models = ", ".join(_distinct(result.model for result in results))
    metrics = _distinct((result.metric, result.is_proportion) for result in results)
    titles, shots = _distinct(result.title for result in results), _distinct(result.shots for result in results)
    axes = (layout.rows, layout.columns)
    where = f" on {titles[0]}" if len(titles) == 1 and "tasks" not in axes else ""
    where += f" at {tables.count(shots[0], 'shot')}" if len(shots) == 1 and "shots" not in axes else ""
    if len(metrics) > MOST_NAMED:
        return f"Scores of {models}{where}, with 95 % intervals"
    what = " and ".join(name + " in %" * is_proportion for name, is_proportion in metrics)
    return f"{what[:1].upper()}{what[1:]} of {models}{where}, with 95 % intervals"


@dataclass(frozen=True, slots=True)
class _Companions:
    """What stands beside scores."""

    has_one_n: bool  # the examples of a row are as many in all its columns
    sizes: Mapping[str, int]  # or those of a column in all its rows: its task's title, and n; empty where they are not
    has_baseline: bool
    has_used: bool  # demonstrations that were left, where they are fewer than asked for
    has_spread: bool


def _companions(
    results: Sequence[Result], grid: Mapping[Key, Sequence[Result | None]], *, columns: Axis, shows_used: bool
) -> _Companions:
    sizes = [{each.estimate.n for each in here if each and each.estimate} for here in grid.values()]
    has_one_n = all(len(each) <= 1 for each in sizes)
    return _Companions(
        has_one_n=has_one_n,
        sizes={} if has_one_n or columns != "tasks" else _sizes(results),
        has_baseline=columns != "tasks" and any(result.baseline is not None for result in results),
        has_used=shows_used and any(each.estimate is not None and each.shots_used < each.shots for each in results),
        has_spread=any(result.spread is not None for result in results),
    )


def _sizes(results: Sequence[Result]) -> Mapping[str, int]:
    """Tell how many examples each task has; empty where that varies."""
    found: dict[str, set[int]] = {}
    for result in results:
        if result.estimate is not None:
            found.setdefault(result.title, set()).add(result.estimate.n)
    is_one = all(len(numbers) == 1 for numbers in found.values())
    return {title: numbers.pop() for title, numbers in found.items()} if is_one else {}


def _counts(sizes: Mapping[str, int]) -> Iterator[str]:
    """Say in a note how many examples columns rest on."""
    by_number: dict[int, list[str]] = {}
    for title, number in sizes.items():
        by_number.setdefault(number, []).append(title)
    if by_number:
        parts = (f"{number:,} for {', '.join(titles)}" for number, titles in by_number.items())
        yield f"n: {'; '.join(parts)}."


Label: TypeAlias = tuple[str, Callable[[Result], Cell]]


def _labels(results: Sequence[Result], *, rows: Axis, columns: Axis, has_metrics: bool) -> list[Label]:
    """List the columns that say what a row is: its own axis first, then the others that vary."""
    axes: dict[Axis, Label] = {
        "tasks": ("task", lambda result: tables.clean(result.title)),
        "models": ("model", lambda result: tables.clean(result.model)),
        "shots": ("shots", lambda result: result.shots),
    }
    values: dict[Axis, set[object]] = {
        "tasks": {result.task for result in results},
        "models": {result.model for result in results},
        "shots": {result.shots for result in results},
    }
    further = [axis for axis in AXES if axis not in (rows, columns) and len(values[axis]) > 1]
    labels = [axes[rows], *(axes[axis] for axis in further)]
    if has_metrics and columns != "tasks":
        labels.append(("metric", lambda result: tables.clean(tables.metric(result))))
    if any(result.subset != ALL for result in results):
        labels.append(("examples", lambda result: tables.clean(result.subset)))
    return labels


def _row(result: Result, columns: Axis) -> Key:
    """Tell which row a result stands in: all that its column does not say."""
    own: dict[Axis, Key] = {
        "tasks": (result.task, result.title, tables.metric(result)),
        "models": (result.model,),
        "shots": (result.shots,),
    }
    return (*(own[axis] if axis != columns else None for axis in AXES), result.subset)


def _place(result: Result, columns: Axis) -> Key:
    """Tell which column a result stands in; a task's metrics have columns of their own."""
    if columns == "tasks":
        return result.title, tables.metric(result), result.task
    return (result.shots,) if columns == "shots" else (result.model,)


def _heading(place: Key, columns: Axis, *, has_metrics: bool) -> str:
    if columns == "shots":
        return tables.count(int(str(place[0])), "shot")
    return f"{place[0]}, {place[1]}" if columns == "tasks" and has_metrics else str(place[0])


def _sorted(keys: list[Key], grid: Mapping[Key, Sequence[Result | None]], *, rows: Axis, order: Order) -> list[Key]:
    """Put rows in order; those of one task, model or number of shots stay together unless scores order them."""
    firsts = {key: next(each for each in grid[key] if each is not None) for key in keys}
    if order == "score":
        return sorted(keys, key=lambda key: _rank(grid[key]))
    if order == "name":
        return sorted(keys, key=lambda key: _name(firsts[key], rows))
    if rows == "shots":
        return sorted(keys, key=lambda key: firsts[key].shots)
    groups = _distinct(_axis(firsts[key], rows) for key in keys)
    return sorted(keys, key=lambda key: groups.index(_axis(firsts[key], rows)))


def _axis(result: Result, rows: Axis) -> object:
    return (result.task, result.title) if rows == "tasks" else result.model


def _name(result: Result, rows: Axis) -> tuple[int, str]:
    return (result.shots, "") if rows == "shots" else (0, result.title if rows == "tasks" else result.model)


def _rank(here: Sequence[Result | None]) -> tuple[bool, float]:
    """Order by the first column that has a score; rows without any come last."""
    first = next((each for each in here if each is not None and each.estimate is not None), None)
    if first is None or first.estimate is None:
        return True, 0.0
    is_lower_better = first.spec is not None and direction.of(first.spec) == direction.LOWER
    return False, first.estimate.value if is_lower_better else -first.estimate.value


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
