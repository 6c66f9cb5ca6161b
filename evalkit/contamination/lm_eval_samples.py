"""Read what lm-evaluation-harness logged (`--log_samples`), so that its users compare without running a model again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit import registry, rows, stats
from evalkit.errors import DataError
from evalkit.records import Estimate, Example, Prompt, Sample
from evalkit.rows import Place, Row

NOT_METRICS = {  # what a line holds beside the metrics
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}


@dataclass(frozen=True, slots=True)
class LoggedMean:
    """The mean of one logged number an example: Wilson's interval for zeros and ones, else the BCa bootstrap's."""

    name: str
    is_proportion: bool
    is_binary: bool  # every logged value is a zero or a one

    def aggregate(self, statistics: Sequence[tuple[float, ...]], *, clusters: Sequence[str] | None = None) -> Estimate:
        """Score a set of examples from their logged values, shape (E, 1), E at least 1."""
        values = [value for (value,) in statistics]
        estimate = stats.proportion if self.is_binary else stats.bootstrap_mean
        return estimate(values, clusters=clusters)


def read_lm_eval(
    paths: Iterable[Path],
    *,
    task: str,
    metric: str,
    shots: int,
    filter_name: str | None = None,
    id_field: str | None = None,
) -> list[Sample]:
    """Read the samples of one task from its files `samples_<task>_<date>.jsonl`.

    `task` and `shots` are for the caller to say, as the lines do not hold them. An example's id is its `doc_id`, or the
    field `id_field` of its `doc`. Where the task has several filters a line stands there for each: `filter_name` picks
    one. The numbers of tokens in the prompts are not logged, and are 0 here.
    Raises DataError with file and line for a broken line, a metric that is missing or no number, and an id found twice.
    """
    samples: dict[str, Sample] = {}
    places: dict[str, Place] = {}
    seen: set[str] = set()  # filters
    for place, row in (each for path in paths for each in rows.read(path)):
        name = str(row.get("filter", "none"))
        seen.add(name)
        if filter_name is not None and name != filter_name:
            continue
        example = _example(row, place=place, id_field=id_field)
        if example.id in places:
            hint = f"choose one of the filters {', '.join(sorted(seen))}" if len(seen) > 1 else "give each example once"
            raise DataError(f"{place}: found id {example.id!r} again, first at {places[example.id]}; {hint}")
        places[example.id] = place
        value = _value(row, metric, place=place)
        prompt = Prompt(_context(row), demonstrations=(), shots_asked=shots, tokens=0, window=0)
        samples[example.id] = Sample(task, shots, example, prompt, responses=(), statistics={metric: (value,)})
    if not samples:
        wanted = "at least one" if filter_name is None else f"some of filter {filter_name!r}"
        found = f"; found filters {', '.join(sorted(seen))}" if seen else ""
        raise DataError(f"{task}: found no samples, expected {wanted}{found}")
    return list(samples.values())


def logged_mean(samples: Sequence[Sample], metric: str) -> LoggedMean:
    """Make the aggregation of a logged metric: values that all lie in 0..1 make it a proportion."""
    values = [value for sample in samples for value in sample.statistics[metric]]
    return LoggedMean(
        name=metric,
        is_proportion=all(0 <= value <= 1 for value in values),
        is_binary=all(value in {0, 1} for value in values),
    )


def _example(row: Row, *, place: Place, id_field: str | None) -> Example:
    doc = row.get("doc")
    if not isinstance(doc, Mapping):
        raise DataError(f"{place}: found no object 'doc', expected a line of lm-evaluation-harness's --log_samples")
    holder, key = (row, "doc_id") if id_field is None else (doc, id_field)
    identity = holder.get(key)
    if identity is None:
        where = "the line" if id_field is None else "doc"
        raise DataError(f"{place}: found no {key!r} in {where}, expected the example's id; {_known(holder)}")
    return Example(id=str(identity), fields=dict(doc), targets=(str(row.get("target", "")),))


def _value(row: Row, metric: str, *, place: Place) -> float:
    metrics = {key: value for key, value in row.items() if key not in NOT_METRICS}
    if metric not in metrics:
        raise DataError(f"{place}: found no metric {metric!r}; {registry.suggest(metric, metrics)}")
    value = metrics[metric]
    if not isinstance(value, int | float):
        raise DataError(
            f"{place}: {metric}: found {type(value).__name__}, expected one number an example; choose another metric, "
            "as this one is scored on the whole set"
        )
    return float(value)


def _context(row: Row) -> str:
    """Find the first request's context: newer versions log arguments as objects, older ones as lists."""
    arguments = row.get("arguments")
    while isinstance(arguments, Mapping | list) and arguments:
        arguments = next(iter(arguments.values())) if isinstance(arguments, Mapping) else arguments[0]
    return arguments if isinstance(arguments, str) else ""


def _known(holder: Mapping[str, object]) -> str:
    return f"known: {', '.join(holder)}"
