"""Read lm_eval's task files, as they stand, into tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from evalkit import filters
from evalkit.errors import DataError, TaskError
from evalkit.lm_eval import documents, generation, groups, keys, rendering, yaml_files
from evalkit.lm_eval.code import Gate
from evalkit.lm_eval.keys import Config
from evalkit.lm_eval.yaml_files import Function
from evalkit.metrics import lm_eval_names
from evalkit.records import Filter, RequestKind, Source, Task
from evalkit.registry import suggest
from evalkit.schema import Entry
from evalkit.signatures import found

PREFIX = "lm_eval:"
OUTPUTS: Mapping[str, RequestKind] = {
    "multiple_choice": "choice",
    "generate_until": "generate",
    "loglikelihood": "loglikelihood",
    "loglikelihood_rolling": "rolling",
}
DEFAULT_OUTPUT = "generate_until"
DEFAULT_TARGET_DELIMITER = " "
DEFAULT_DELIMITER = "\n\n"
UNNAMED = "none"  # lm_eval's name of the filter that tasks without any have
NOT_CARRIED_OUT = {
    "doc_to_image": "evalkit's models read text alone",
    "doc_to_audio": "evalkit's models read text alone",
    "use_prompt": "promptsource's templates are not there; write doc_to_text and doc_to_target",
    "process_results": "the task scores by Python code of its own, and evalkit by its own metrics",
}
SAMPLERS = ("default", "first_n")
TAKEN = {  # no keys of dataset_kwargs, with what a message says of each
    "path": "expected key 'dataset_path' of the task; move it there",
    "name": "expected key 'dataset_name' of the task; move it there",
    "split": "expected key 'test_split' of the task, or that of another split; move it there",
    "is_local": "expected names that datasets know; leave it out",
}
NUMBERED: tuple[RequestKind, ...] = ("choice", "partial")  # what a task is whose doc_to_text gives text, or a number
METRICS = "metrics_of"  # setting with the metrics of each of those kinds


def is_lm_eval(given: Path | Mapping[str, object]) -> bool:
    """Whether a YAML file, or what was read of it, is of lm_eval's form; a file that cannot be read is not."""
    if isinstance(given, Path):
        try:
            given = yaml_files.own(given.absolute()).values
        except TaskError:
            return False
    own = Entry.model_fields.keys() - keys.TASK.keys()
    return bool(keys.TELLING & given.keys()) and not own & given.keys()


def load(name: str, *, trusted: bool, say: Callable[[str], None]) -> tuple[Task, ...]:
    """Read `path.yaml`, or `lm_eval:NAME` of an installed lm_eval: a task, a tag or a group, in lm_eval's order.

    Python functions that a task needs run only if `trusted`, and `say` is told the file of each and its hash. Raises
    TaskError for a task that cannot be carried out.
    """
    wanted = name.removeprefix(PREFIX)
    if not wanted.strip():
        raise TaskError(f"{name}: found no name, expected that of a task, such as {PREFIX}boolq")
    configs = groups.of_file(Path(name)) if wanted == name else groups.installed(wanted)
    gate = Gate(trusted=trusted, say=say)
    return tuple(decided(make(config, gate=gate)) for config in configs)


def make(config: Config, *, gate: Gate) -> Task:
    """Make the task of a file's keys without looking at its data. Raises TaskError."""
    _refuse(config)
    keys.check(config)
    output = config.text("output_type", DEFAULT_OUTPUT)
    if output not in OUTPUTS:
        raise TaskError(f"{config.at('output_type')}: found {output!r}; {suggest(output, OUTPUTS)}")
    if output == "multiple_choice" and config.values.get("doc_to_choice") is None:
        raise TaskError(f"{config.at('doc_to_choice')}: missing, which output type 'multiple_choice' needs")
    settings = _settings(config, output=output, gate=gate)
    rules = _generation(config) if output == DEFAULT_OUTPUT else generation.read({"until": None}, delimiter="")
    task = Task(
        name=config.name,
        version=_version(config),
        group=config.group,
        title=config.text("task_alias", config.name),
        source=_source(config, settings, split=_evaluated(config)),
        pool=None if output == "loglikelihood_rolling" else _pool(config, settings, gate=gate),
        template=_shown(config.values["doc_to_text"]),
        description=rendering.constant(config.text("description")),
        kind=OUTPUTS[output],
        metrics=(),
        paper_shots=cast(int | None, config.values.get("num_fewshot")),
        stop=rules.stop,
        max_tokens=rules.max_tokens,
        decoding=rules.decoding,
        columns={},
        citation="",
        separator=_of_demonstrations(config).text("fewshot_delimiter", DEFAULT_DELIMITER),
        target=_shown(config.values["doc_to_target"]),
        filters=_filters(config) if output == DEFAULT_OUTPUT else (),
        repeats=cast(int | None, config.values.get("repeats")) or 1 if output == DEFAULT_OUTPUT else 1,
        is_verbatim=True,
    )
    if task.kind != "choice" or not rendering.may_give_number(config.values["doc_to_text"]):
        return replace(task, metrics=_metrics(task, config))
    task = _with_setting(task, METRICS, {kind: _metrics_or_reason(task, config, kind=kind) for kind in NUMBERED})
    return _of_kind(task, is_numbered=isinstance(config.values["doc_to_text"], int))


def decided(task: Task) -> Task:
    """Look at the first document where only that tells whether doc_to_text gives a text or the place of a choice.

    To be asked again after the task was given other data. Raises TaskError.
    """
    if task.source.kind != "lm_eval" or METRICS not in task.source.settings:
        return task
    try:
        is_numbered = documents.has_numbered_text(task.source)
    except DataError:  # which is told where the examples are loaded
        return task
    return _of_kind(task, is_numbered=is_numbered)


def _refuse(config: Config) -> None:
    """Raise TaskError for a task that asks for what evalkit does not do."""
    if "class" in config.values:
        raise TaskError(
            f"{config.at('class')}: the task is a Python class, which evalkit does not run; write it as YAML with "
            "doc_to_text and doc_to_target"
        )
    for key, why in NOT_CARRIED_OUT.items():
        value = config.values.get(key)
        if value is not None:
            named = f" (!function {value.name})" if isinstance(value, Function) else ""
            raise TaskError(f"{config.at(key)}{named} is not carried out: {why}")


def _settings(config: Config, *, output: str, gate: Gate) -> dict[str, object]:
    """Collect what turns the data into examples, as JSON holds it: rendering.Form's fields and documents' keys."""
    function = config.values.get("custom_dataset")
    if function is None:
        _check_dataset(config)
    place = config.places.get("dataset_kwargs") or config.places.get("dataset_path")
    metadata = config.values.get("metadata")
    return {
        "shown": config.name,
        "file": config.path,
        "output_type": output,
        "is_demonstration": False,
        "has_numbered_text": False,
        "has_choices": config.values.get("doc_to_choice") is not None,
        **_form(config, gate=gate, prefix=""),
        "folder": str(Path(place[0] if place else config.path).parent),
        "dataset_path": config.values.get("dataset_path"),
        "dataset_name": config.values.get("dataset_name"),
        "dataset_kwargs": config.values.get("dataset_kwargs"),
        "custom_dataset": _admitted(config, "custom_dataset", gate=gate),
        "metadata": {**(metadata if isinstance(metadata, dict) else {}), "config_source": config.path}
        if function is not None
        else None,
    }


def _check_dataset(config: Config) -> None:
    """Raise TaskError where the dataset of a task is missing, or is given what it does not take."""
    if config.values.get("dataset_path") is None:
        raise TaskError(f"{config.at('dataset_path')}: missing, expected a dataset of the hub, or json with data_files")
    given = config.mapping("dataset_kwargs")
    for key in given:
        if key in TAKEN or not isinstance(key, str):
            hint = TAKEN.get(key, "expected names in text; put it in quotes")
            raise TaskError(f"{config.at(f'dataset_kwargs.{key}')}: found among the dataset's arguments, {hint}")
    if config.values["dataset_path"] in documents.FILES and not any(given.get(key) for key in documents.PLACES):
        raise TaskError(
            f"{config.at('dataset_path')}: found {config.values['dataset_path']!r}, but 'data_files' of "
            "'dataset_kwargs' is missing; name the files of each split there"
        )


def _form(config: Config, *, gate: Gate, prefix: str) -> dict[str, object]:
    """Collect the keys that say how one document is shown, and check their templates."""
    for key in (*documents.READINGS, "gen_prefix", "description"):
        value = config.values.get(key)
        if isinstance(value, str) and rendering.MARKUP.search(value):
            rendering.check(value, shown=config.at(prefix + key))
    return {
        **{key: _admitted(config, key, gate=gate, prefix=prefix) for key in (*documents.READINGS, "process_docs")},
        "target_delimiter": config.text("target_delimiter", DEFAULT_TARGET_DELIMITER),
        "gen_prefix": config.values.get("gen_prefix"),
        "description": config.text("description"),
    }


def _admitted(config: Config, key: str, *, gate: Gate, prefix: str = "") -> object:
    value = config.values.get(key)
    return gate.admit(value, key=config.at(prefix + key)) if isinstance(value, Function) else value


def _source(config: Config, settings: Mapping[str, object], *, split: str | None, **more: object) -> Source:
    location = settings["dataset_path"] or config.name
    return Source("lm_eval", str(location), {**settings, "split": split, **more})


def _evaluated(config: Config) -> str:
    for key in ("test_split", "validation_split"):
        if config.values.get(key) is not None:
            return config.text(key)
    raise TaskError(f"{config.at('test_split')}: missing, and so is 'validation_split'; one of them is evaluated")


def _of_demonstrations(config: Config) -> Config:
    """Lay the keys of `fewshot_config` over those of the task."""
    own = {key: value for key, value in config.mapping("fewshot_config").items() if value is not None}
    places = dict.fromkeys(own, config.places.get("fewshot_config", (config.path, 1)))
    return replace(config, values={**config.values, **own}, places={**config.places, **places})


def _pool(config: Config, settings: Mapping[str, object], *, gate: Gate) -> Source:
    """Say where demonstrations come from and how they are shown.

    The split that is named for them, else samples in the file, else the split for training, validation or testing.
    """
    shown = _of_demonstrations(config)
    sampler = shown.values.get("sampler", "default")
    if sampler not in SAMPLERS:
        name = sampler.name if isinstance(sampler, Function) else str(sampler)
        raise TaskError(
            f"{config.at('fewshot_config.sampler')}: found {name!r}, expected {' or '.join(SAMPLERS)}; evalkit draws "
            "demonstrations itself"
        )
    form = {**_form(shown, gate=gate, prefix="fewshot_config."), "is_demonstration": True, "sampler": sampler}
    settings = {**settings, **form}
    split = shown.values.get("split") or shown.values.get("fewshot_split")
    samples = shown.values.get("samples")
    if split is None and samples is not None:
        evaluated = _evaluated(config)  # whose documents say what is a column
        return _source(config, settings, split=None, samples=_samples(shown, gate=gate), evaluated_split=evaluated)
    if split is None:
        settings["process_docs"] = _admitted(config, "process_docs", gate=gate)
        names = ("training_split", "validation_split", "test_split")
        split = next(config.values[key] for key in names if config.values.get(key) is not None)
    return _source(config, settings, split=str(split), indices=shown.values.get("fewshot_indices"))


def _samples(config: Config, *, gate: Gate) -> object:
    samples = config.values["samples"]
    if isinstance(samples, list):
        for number, sample in enumerate(samples):
            if not isinstance(sample, dict):
                raise TaskError(
                    f"{config.at(f'fewshot_config.samples[{number}]')}: found {found(sample)}, expected a mapping"
                )
        return samples
    return _admitted(config, "samples", gate=gate, prefix="fewshot_config.")


def _generation(config: Config) -> generation.Generation:
    given = cast(Mapping[str, object] | None, config.values.get("generation_kwargs"))
    try:
        return generation.read(given, delimiter=config.text("fewshot_delimiter", DEFAULT_DELIMITER))
    except TaskError as error:
        inner = re.match(r"(?:unknown )?key '(\w+)'", str(error))
        key = f"generation_kwargs.{inner[1]}" if inner else "generation_kwargs"
        place = config.at(key).removesuffix(f"key {key!r}")
        raise TaskError(f"{place}key 'generation_kwargs': {error}") from error


def _filters(config: Config) -> tuple[Filter, ...]:
    """Read `filter_list`; without one, the first of several answers is scored."""
    made: list[Filter] = []
    for number, entry in enumerate(config.entries("filter_list")):
        name, steps = entry.get("name"), entry.get("filter")
        if not isinstance(name, str) or not isinstance(steps, list) or set(entry) != {"name", "filter"}:
            raise TaskError(f"{config.at('filter_list')}: found {', '.join(map(str, entry))}, expected name and filter")
        if name in [each.name for each in made]:
            raise TaskError(f"{config.at(f'filter_list[{number}].name')}: found filter {name!r} twice; rename one")
        for place, step in enumerate(steps):
            key = f"filter_list[{number}].filter[{place}]"
            _refuse_code(step, config=config, key=key)
            try:
                filters.check(Filter(name, (step,)))
            except TaskError as error:
                raise TaskError(f"{config.at(key)}: {error}") from error
        made.append(Filter(name, tuple(steps)))
    if not made and cast(int | None, config.values.get("repeats") or 1) != 1:
        made.append(Filter(UNNAMED, ({"function": "take_first"},)))
    return tuple(made)


def _refuse_code(step: object, *, config: Config, key: str) -> None:
    """Raise TaskError where an entry of a list names a Python function."""
    if not isinstance(step, dict):
        raise TaskError(f"{config.at(key)}: found {found(step)} among its entries, expected a mapping")
    for name, value in step.items():
        for _, inner in keys.functions(value, key=name):
            raise TaskError(f"{config.at(key)}: found !function {inner.name} within {name!r}, expected a value")
        if isinstance(value, Function):
            raise TaskError(
                f"{config.at(key)}: {name!r} is the Python function {value.name}, and evalkit scores by its own; "
                "name one of those"
            )


def _metrics(task: Task, config: Config) -> tuple[str, ...]:
    output, is_partial = config.text("output_type", DEFAULT_OUTPUT), task.kind == "partial"
    delimiter = config.text("target_delimiter", DEFAULT_TARGET_DELIMITER)
    if config.values.get("metric_list") is None:
        specs = lm_eval_names.specs(output_type=output, delimiter=delimiter, is_partial=is_partial)
    else:
        specs = []
        for number, entry in enumerate(config.entries("metric_list")):
            key = f"metric_list[{number}]"
            _refuse_code(entry, config=config, key=key)
            try:
                specs += lm_eval_names.spec_of(entry, output_type=output, delimiter=delimiter, is_partial=is_partial)
            except TaskError as error:
                raise TaskError(f"{config.at(key)}: {error}") from error
    if not specs:
        raise TaskError(f"{config.at('metric_list')}: found no metric, expected at least one")
    names = dict.fromkeys(specs)
    if not task.filters:
        return tuple(names)
    return tuple(f"{name}@{each.name}" for each in task.filters for name in names)


def _metrics_or_reason(task: Task, config: Config, *, kind: RequestKind) -> list[str] | str:
    """List the metrics of a task of this kind, or say why it has none."""
    try:
        return list(_metrics(replace(task, kind=kind), config))
    except TaskError as error:
        return str(error)


def _with_setting(task: Task, name: str, value: object) -> Task:
    """Return the task with a setting for its documents and its demonstrations."""

    def changed(source: Source) -> Source:
        return replace(source, settings={**source.settings, name: value})

    # A pool of another kind is evalkit's own data, which has no such setting.
    pool = changed(task.pool) if task.pool is not None and task.pool.kind == "lm_eval" else task.pool
    return replace(task, source=changed(task.source), pool=pool)


def _of_kind(task: Task, *, is_numbered: bool) -> Task:
    """Return the task with choices that are its questions where doc_to_text gives the place of the right one."""
    kind: RequestKind = "partial" if is_numbered else "choice"
    metrics = cast(Mapping[str, list[str] | str], task.source.settings[METRICS])[kind]
    if isinstance(metrics, str):
        raise TaskError(metrics)
    task = _with_setting(task, "has_numbered_text", is_numbered)
    return replace(task, kind=kind, metrics=tuple(metrics))


def _version(config: Config) -> int:
    """Read the whole part of `metadata.version`; 0 where there is none."""
    metadata = config.values.get("metadata")
    version = str(metadata.get("version", "")) if isinstance(metadata, dict) else ""
    whole = version.partition(".")[0]
    return int(whole) if whole.isdecimal() else 0


def _shown(reading: object) -> str:
    return f"!function {reading.name}" if isinstance(reading, Function) else str(reading)
