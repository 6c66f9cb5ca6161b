"""Load examples: from a generator, a data file, a folder of data files, or a dataset of the Hugging Face hub.

Rows of files become examples by `Task.columns`, which says in what column each of evalkit's names is found:

    target      the right answer, or a list of right answers; the first is shown in demonstrations
    label       the place of the right answer among the choices from 0, or its text; where `Task.columns` names both
                this and target, a row needs one of them, and target comes first
    choices     the candidate answers, where the task file has none that all examples share
    id          the example's own name; without it, a hash of the row
    cluster     equal for examples that are near-duplicates of each other
    ending      in partial evaluation, what follows each of the choices

A name that is not in `Task.columns` is its own column; `translation.en` is the key `en` of the column `translation`.
Where a task has a template of the target, no column holds it. All other columns are fields for the template under their
own names, and any further name in `Task.columns` renames one. Among choices, true and false are the choices of these
texts, or else the places 1 and 0, also as the words of a CSV file. Answers get the space before them that files leave
out.
A row without the task's columns but with `context` and `completion`, the form of GPT-3's released files, brings its own
prompt: the context is shown as it stands and the completion is the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path

from evalkit import hub, hub_place, registry, rows, templates
from evalkit.errors import DataError, HubError, UsageError
from evalkit.records import Example, Source, Task
from evalkit.rows import Place, Row
from evalkit.text import digest, generator, shuffled

RIGHT = ("target", "label")
ANSWERS = (*RIGHT, "choices", "ending")
IDENTITY = ("id", "cluster")
READY_MADE = ("context", "completion")
WRITTEN = {"true": True, "false": False}


def load(source: Source, *, task: Task) -> tuple[Example, ...]:
    """Load all examples of one of a task's sources, in the source's order.

    Raises DataError for files that are missing, broken, empty or lack a column, TaskError for a generator's settings.
    """
    if source.kind == "generator":
        made: tuple[Example, ...] = registry.resolve(registry.GENERATORS, source.location)(**source.settings)
        return made
    if source.kind == "lm_eval":
        from evalkit.lm_eval import documents

        examples = tuple(documents.examples(source))
    elif source.kind == "lines":  # their rows have evalkit's own names
        examples = tuple(_examples(rows.read_pairs(*_pair(source.location)), task=replace(task, columns={})))
    else:
        found = _hub_rows(source) if source.kind == "hub" else rows.read(Path(source.location))
        examples = tuple(_examples(found, task=task))
    if not examples:
        raise DataError(f"{source.location}: found no rows, expected at least one")
    return examples


def with_data(
    task: Task,
    data: str | None,
    *,
    pool: str | None = None,
    columns: Mapping[str, str] | None = None,
    by: str | None = None,
) -> Task:
    """Return the task on other data: a path, two line-aligned files with a comma between, or a dataset of the hub.

    Without data for the pool, demonstrations come from the data itself, as only those surely have its form. `columns`
    are of the names that the task reads, and of `by`, which its results are split by.
    """
    shown = task.pool
    if data is not None:
        # A pool of lm_eval's shows its documents in a form of its own, whatever the data.
        other = None if shown is None or shown.kind != "lm_eval" else _other(task, data, of=shown)
        task = replace(task, source=_other(task, data), pool=other, sample=None, sample_pool=None)
    if columns and task.source.kind == "lm_eval":
        raise UsageError(f"--columns: {task.name} names its columns in lm_eval's templates; change its file instead")
    if columns:
        _check_names(task, columns, by=by)
        own = None if columns.keys() & {*RIGHT} else task.target  # a column that is named goes before a template
        task = replace(task, columns={**task.columns, **columns}, target=own)
    if pool is not None:
        task = replace(task, pool=_other(task, pool, of=shown), hold_out=None, sample=None, sample_pool=None)
    if data is None or task.source.kind != "lm_eval":
        return task
    from evalkit.lm_eval import tasks as lm_eval_tasks

    return lm_eval_tasks.decided(task)  # other data may tell otherwise whether the choices are its questions


def _check_names(task: Task, columns: Mapping[str, str], *, by: str | None) -> None:
    """Raise UsageError for names that nothing reads."""
    texts = [each for each in (task.template, task.zero_shot_template, task.target) if each is not None]
    read = {name for text in texts for name in templates.compiled(text).fields}
    known = {*task.columns, *ANSWERS, *IDENTITY, *read, *([] if by is None else [by])}
    for name in columns:
        if name not in known:
            raise UsageError(f"--columns: {task.name} reads no {name!r}; {registry.suggest(name, known)}")


def locate(data: str) -> Source:
    """Tell a path from a dataset of the hub, `owner/name:config@split`; what begins with `hub:` is always one."""
    place = hub_place.parse(data)
    is_path = Path(data).exists() or Path(data).suffix in rows.READERS
    is_hub = data.startswith(hub_place.PREFIX) or (place is not None and place.is_id and "/" in place.name)
    if "," in data and not Path(data).exists():
        return Source("lines", data, {})
    if place is None or is_path or not is_hub:
        return Source("file", data, {})
    settings = {"config": place.config, "split": place.split, "revision": place.revision}
    return Source("hub", place.name, {name: value for name, value in settings.items() if value is not None})


def _other(task: Task, data: str, *, of: Source | None = None) -> Source:
    if task.source.kind == "lm_eval":
        from evalkit.lm_eval import documents

        return documents.with_data(of or task.source, locate(data))
    takes_words = (
        task.source.kind == "generator"
        and "words" in signature(registry.resolve(registry.GENERATORS, task.source.location)).parameters
    )
    if takes_words and (Path(data).suffix == ".txt" or Path(data).name == "tokenizer.json"):
        return replace(task.source, settings={**task.source.settings, "words": data})
    return locate(data)


def _pair(location: str) -> tuple[Path, Path]:
    files = [Path(each.strip()) for each in location.split(",") if each.strip()]
    if len(files) != 2:
        raise DataError(f"{location}: expected two line-aligned files, SOURCE,TARGET, found {len(files)}")
    return files[0], files[1]


def sample(examples: Sequence[Example], *, limit: int | None, seed: int) -> tuple[Example, ...]:
    """Take a random sample of `limit` examples in the dataset's order; a smaller limit takes a subset of a larger's."""
    if limit is None or limit >= len(examples):
        return tuple(examples)
    if limit < 1:
        raise UsageError(f"found a limit of {limit} examples, expected at least 1")
    order = shuffled(len(examples), generator("sample", seed))
    chosen = sorted(place for place, _ in zip(order, range(limit), strict=False))
    return tuple(examples[place] for place in chosen)


def _examples(rows: Iterable[tuple[Place, Row]], *, task: Task) -> Iterator[Example]:
    places: dict[str, Place] = {}  # of each id, for the message
    copies: dict[str, int] = {}
    named = [task.columns[key] for key in IDENTITY if key in task.columns]
    for place, raw in rows:
        row = raw | _inner(raw, task.columns.values())
        absent = [column for column in named if column not in row]
        if absent and not all(column in row for column in READY_MADE):
            raise DataError(f"{place}: missing column {absent[0]!r}; {_columns_found(row)}")
        column = task.columns.get("id", "id")
        if row.get(column) is None:
            name = digest(raw)  # whatever the task's columns take out of it
            copies[name] = copies.get(name, 0) + 1
            if copies[name] > 1:  # equal rows: which is called the second does not matter
                name = f"{name}-{copies[name]}"
        else:
            name = str(row[column])
            if name in places:
                raise DataError(
                    f"{place}: found id {name!r} again, first at {places[name]}; expected ids that differ, "
                    f"or no column {column!r}"
                )
        places[name] = place
        yield _example(row, name=name, place=place, task=task)


def _example(row: Row, *, name: str, place: Place, task: Task) -> Example:
    wanted = {key: column for key, column in task.columns.items() if key not in IDENTITY}
    missing = [repr(column) for key, column in wanted.items() if key not in RIGHT and column not in row]
    answers = [wanted[key] for key in RIGHT if key in wanted]
    question = None
    if answers and not any(column in row for column in answers):
        missing.append(" or ".join(map(repr, answers)))
    is_ready_made = all(column in row for column in READY_MADE) and (bool(missing) or not _has_answer(row, task))
    if missing and not is_ready_made:
        raise DataError(f"{place}: missing column {missing[0]}; {_columns_found(row)}")
    cluster = row.get(task.columns.get("cluster", "cluster"))
    fields = {**task.fields, **row}
    if is_ready_made:
        if _is_shown_as_it_stands(row, task):
            question = _texts(row["context"], column="context", place=place)[0]
        choices, targets = _spaced(task.choices), _texts(row["completion"], column="completion", place=place)
    else:
        fields |= {key: row[column] for key, column in wanted.items() if key not in ANSWERS}
        choices = _choices(row, place=place, task=task)
        targets = _targets(row, fields, choices=choices, place=place, task=task)
    if task.kind in {"choice", "partial"}:
        _check_choice(targets, choices, place=place)
    return Example(
        id=name,
        fields=fields,
        targets=targets,
        choices=choices,
        cluster=None if cluster is None else str(cluster),
        question=question,
        ending=_ending(row, place=place, task=task) if task.kind == "partial" else None,
        place=place,
    )


def _is_shown_as_it_stands(row: Row, task: Task) -> bool:
    """Whether a row's own context is the question: the template reads neither column, and lacks others."""
    reads = templates.compiled(task.template).fields
    return not reads & {*READY_MADE} and not reads <= row.keys()


def _inner(row: Row, columns: Iterable[str]) -> Row:
    """Take out cells of mappings: `translation.en` is what the column `translation` has under `en`."""
    found: Row = {}
    for column in columns:
        cell: object = None if column in row else row
        for key in column.split("."):
            if not isinstance(cell, dict) or key not in cell:
                break
            cell = cell[key]
        else:
            found[column] = cell
    return found


def _ending(row: Row, *, place: Place, task: Task) -> str:
    column = task.columns.get("ending", "ending")
    if column not in row:
        raise DataError(f"{place}: missing column {column!r}, what follows the choices; {_columns_found(row)}")
    [text] = _spaced(_texts(row[column], column=column, place=place)[:1])
    return text


def _has_answer(row: Row, task: Task) -> bool:
    return task.target is not None or any(task.columns.get(key, key) in row for key in RIGHT)


def _choices(row: Row, *, place: Place, task: Task) -> tuple[str, ...]:
    column = task.columns.get("choices", "choices")
    if task.choices or not isinstance(row.get(column), list):
        return _spaced(task.choices)
    return _spaced(_texts(row[column], column=column, place=place))


def _targets(
    row: Row, fields: Mapping[str, object], *, choices: tuple[str, ...], place: Place, task: Task
) -> tuple[str, ...]:
    if task.target is not None:
        return _filled(
            templates.render(task.target, fields, shown=f"{task.name}: target", of=place), place=place, task=task
        )
    column = task.columns.get("target", "target")
    if column in row:
        value = row[column]
        chosen = _chosen(value, choices) if str(value).lower() in WRITTEN else None
        if chosen:
            return (chosen,)
        return tuple(
            answer
            for text in _texts(value, column=column, place=place)
            for answer in _filled(text, place=place, task=task)
        )
    label = task.columns.get("label", "label")
    if label not in row or not choices:
        expected = f"{column!r}, or {label!r} with choices" if label not in row else "'choices' beside the label"
        raise DataError(f"{place}: missing column {expected}; {_columns_found(row)}")
    chosen = _chosen(row[label], choices)
    if chosen is None:
        raise DataError(
            f"{place}: column {label!r}: found {row[label]!r}, expected 0 to {len(choices) - 1} or one of the choices"
        )
    return (chosen,)


def _filled(answer: str, *, place: Place, task: Task) -> tuple[str, ...]:
    """Give an answer its space; DataError for an empty one. The text of a rolling request is taken as it is."""
    if not answer.strip():
        raise DataError(f"{place}: found an empty answer, expected text; fill it in, or leave the row out")
    return (answer,) if task.kind == "rolling" else _spaced((answer,))


def _chosen(value: object, choices: tuple[str, ...]) -> str | None:
    """Return the choice that a label means; None where it means none."""
    if isinstance(value, str | bool):
        named = [each for each in _spaced((str(value), str(value).lower())) if each in choices]
        if named:
            return named[0]
    if isinstance(value, str):  # a CSV file has nothing but text
        value = {str(place): place for place in range(len(choices))}.get(value, WRITTEN.get(value.lower()))
    return choices[value] if isinstance(value, int) and 0 <= value < len(choices) else None


def _check_choice(targets: tuple[str, ...], choices: tuple[str, ...], *, place: Place) -> None:
    if len(choices) < 2:
        raise DataError(f"{place}: found {len(choices)} choices, expected at least 2, in the row or in the task file")
    for target in targets:
        if target not in choices:
            raise DataError(f"{place}: found the answer {target!r}, expected one of the choices: {', '.join(choices)}")


def _texts(value: object, *, column: str, place: Place) -> tuple[str, ...]:
    """Read a text, a number or a list of those."""
    values = value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, str | int | float):
            found = "nothing" if each is None else type(each).__name__
            raise DataError(f"{place}: column {column!r}: found {found}, expected text, a number, or a list of those")
    if not values:
        raise DataError(f"{place}: column {column!r}: found an empty list, expected at least one answer")
    return tuple(str(each) for each in values)


def _spaced(answers: Iterable[str]) -> tuple[str, ...]:
    """Put one space before each answer that does not begin with whitespace."""
    return tuple(answer if answer[:1].isspace() else f" {answer}" for answer in answers)


def _columns_found(row: Row) -> str:
    return f"columns found: {', '.join(row) or 'none'}"


def _hub_rows(source: Source) -> Iterator[tuple[Place, Row]]:
    named = source.settings
    split = str(named.get("split", "test"))
    try:
        loaded = hub.load(source.location, split=split, name=named.get("config"), revision=named.get("revision"))
    except HubError as error:  # of a path that was taken for a dataset's name
        said = str(error).removeprefix(f"{source.location}: ")
        raise HubError(f"{source.location}: no such file or folder here, and {said}") from error.__cause__
    for number, row in enumerate(loaded, start=1):
        place = f"{source.location}, split {split}, row {number}"
        yield place, rows.checked(row, place=place)
