"""Find the tasks that a name or a file stands for: one, those of a tag, those of a group and the groups within it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from evalkit.errors import TaskError
from evalkit.lm_eval import index, yaml_files
from evalkit.lm_eval.index import Entry
from evalkit.lm_eval.keys import GROUP, STRUCTURE, Config
from evalkit.lm_eval.yaml_files import Function, Keys
from evalkit.metrics import lm_eval_names
from evalkit.registry import suggest
from evalkit.signatures import found

NOTHING = Keys({}, {})
NAMED_BY = ("task", "group")
AGGREGATED = frozenset({*(name for known in lm_eval_names.KNOWN.values() for name in known), *lm_eval_names.EVALUATE})


def installed(name: str) -> tuple[Config, ...]:
    """Find the tasks that a name of the installed lm_eval stands for. Raises TaskError."""
    entries = index.build(index.installed())
    if name not in entries:
        raise TaskError(f"unknown task 'lm_eval:{name}'; {index.unknown(name, entries)}")
    entry = entries[name]
    group = name if entry.kind == "group" else None
    return _distinct(_Names(None).found(entry, over=NOTHING, group=group, above=()))


def of_file(path: Path) -> tuple[Config, ...]:
    """Find the tasks that a file stands for; a group's are looked for in lm_eval, then below the file's folder."""
    keys = yaml_files.read(path)
    kind = index.kind_of(keys.values)
    if kind is None:
        raise TaskError(f"{yaml_files.shown(path)}: found neither key 'task' nor 'group', expected one of them")
    name = keys.values["group" if kind == "group" else "task"]
    if not isinstance(name, str):
        raise TaskError(f"{yaml_files.shown(path)}: key {kind!r}: found {found(name)}, expected a name")
    entry = Entry(name, kind, str(path.absolute()))
    group = name if kind == "group" else None
    return _distinct(_Names(path.absolute().parent).found(entry, over=NOTHING, group=group, above=()))


def _distinct(configs: Iterator[Config]) -> tuple[Config, ...]:
    """Keep one task of each name, the last, in the place of the first."""
    return tuple({config.name: config for config in configs}.values())


@dataclass(frozen=True)
class _Names:
    """What names stand for."""

    folder: Path | None  # also looked in, after the installed lm_eval

    @cached_property
    def _installed(self) -> Mapping[str, Entry]:
        try:
            return index.build(index.installed())
        except TaskError:
            if self.folder is None:
                raise
            return {}

    @cached_property
    def _local(self) -> Mapping[str, Entry]:
        return {} if self.folder is None else index.build(self.folder)

    def get(self, name: str) -> Entry | None:
        return self._installed.get(name) or self._local.get(name)

    def unknown(self, name: str) -> str:
        return index.unknown(name, {**self._local, **self._installed})

    def found(self, entry: Entry, *, over: Keys, group: str | None, above: tuple[str, ...]) -> Iterator[Config]:
        """Yield the tasks of an entry, with the keys of `over` laid over theirs."""
        if entry.kind == "group" and entry.name in above:
            raise TaskError(f"group {entry.name!r} holds itself; leave it out of {above[-1]!r}")
        if entry.kind == "tag":
            for name in sorted(entry.members):
                member = self.get(name)
                if member is not None:
                    yield from self.found(member, over=over, group=group, above=above)
            return
        assert entry.path is not None
        keys = yaml_files.read(Path(entry.path))
        if entry.kind == "group":
            yield from self._members(entry.name, keys, path=entry.path, over=over, group=group, above=above)
        else:
            yield _config(entry.name, keys, path=entry.path, over=over, group=group)

    def _members(
        self, name: str, keys: Keys, *, path: str, over: Keys, group: str | None, above: tuple[str, ...]
    ) -> Iterator[Config]:
        members = keys.values.get("task")
        if not isinstance(members, list) or not members:
            raise TaskError(
                f"{yaml_files.shown(path)}: group {name!r}: key 'task': found {found(members)}, "
                "expected a list of tasks"
            )
        _check_aggregates(name, keys)
        # What a group says beside its members goes for all of them; what lies over the group goes before.
        over = _over(_without(keys, GROUP), over)
        place = f"{yaml_files.at(keys.places['task'])}: group {name!r}"
        for number, member in enumerate(members):
            own = _within(keys, member, key=f"task[{number}]") if isinstance(member, dict) else NOTHING
            wanted = member if isinstance(member, str) else own.values.get("group", own.values.get("task"))
            if not isinstance(wanted, str):
                raise TaskError(
                    f"{place}: found {found(member)} among its tasks, expected a name, or a mapping with 'task' or "
                    "'group'"
                )
            entry = self.get(wanted)
            if "group" in own.values and (entry is None or entry.kind != "group"):  # one that is described here
                inner = f"{name}::{wanted}"
                yield from self._members(inner, own, path=path, over=over, group=group, above=(*above, name))
                continue
            own = _without(yaml_files.with_included(own, path=Path(path)), NAMED_BY)
            if entry is not None:
                yield from self.found(entry, over=_over(over, own), group=group, above=(*above, name))
            elif own.values:  # a task that is described here
                yield _config(f"{name}::{wanted}", _over(over, own), path=path, over=NOTHING, group=group)
            else:
                raise TaskError(f"{place}: unknown task {wanted!r}; {self.unknown(wanted)}")


def _config(name: str, keys: Keys, *, path: str, over: Keys, group: str | None) -> Config:
    laid = _without(_over(keys, over), STRUCTURE)
    return Config(name, group, path, {**laid.values, "task": name}, laid.places)


def _within(keys: Keys, member: Mapping[str, object], *, key: str) -> Keys:
    """Make the keys of a task that a group describes, with their places in the group's file."""
    below = {name.removeprefix(f"{key}."): place for name, place in keys.places.items() if name.startswith(f"{key}.")}
    return Keys(member, {**dict.fromkeys(member, keys.places["task"]), **below})


def _check_aggregates(name: str, keys: Keys) -> None:
    """Raise TaskError where the metrics that a group averages are none, though evalkit averages by its own rule."""
    key = "aggregate_metric_list"
    listed = keys.values.get(key)
    if listed is None:
        return
    if not isinstance(listed, list | dict):
        place = yaml_files.at(keys.places[key])
        raise TaskError(f"{place}: group {name!r}: key '{key}': found {found(listed)}, expected a list of metrics")
    for number, entry in enumerate([listed] if isinstance(listed, dict) else listed):
        place = yaml_files.at(keys.places.get(f"{key}[{number}]", keys.places[key])) + f": group {name!r}: key '{key}'"
        metric = entry.get("metric") if isinstance(entry, dict) else None
        if metric is None or not isinstance(metric, str | Function):
            raise TaskError(f"{place}: found {found(entry)} among its entries, expected a mapping with 'metric'")
        # Tasks of lm_eval that score by code of their own have further metrics.
        if metric not in AGGREGATED and not yaml_files.is_shipped(keys.places[key][0]) and isinstance(metric, str):
            raise TaskError(f"{place}: unknown metric {metric!r}; {suggest(metric, AGGREGATED)}")


def _over(below: Keys, above: Keys) -> Keys:
    return Keys({**below.values, **above.values}, {**below.places, **above.places})


def _without(keys: Keys, names: tuple[str, ...]) -> Keys:
    return replace(keys, values={key: value for key, value in keys.values.items() if key not in names})
