"""The keys of lm_eval's task files, and what may stand under them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from evalkit.errors import TaskError
from evalkit.lm_eval import yaml_files
from evalkit.lm_eval.yaml_files import Function, Place
from evalkit.registry import suggest
from evalkit.signatures import found

TEXT, NUMBER, LIST, MAPPING, YES_NO = (str,), (int,), (list,), (dict,), (bool,)
CODE = (Function,)
TASK: Mapping[str, tuple[type, ...]] = {
    "task": TEXT,
    "task_alias": TEXT,
    "tag": (str, list),
    "custom_dataset": CODE,
    "dataset_path": TEXT,
    "dataset_name": TEXT,
    "dataset_kwargs": MAPPING,
    "training_split": TEXT,
    "validation_split": TEXT,
    "test_split": TEXT,
    "fewshot_split": TEXT,
    "process_docs": CODE,
    "doc_to_text": (str, int, Function),
    "doc_to_target": (str, int, list, Function),
    "doc_to_choice": (str, list, dict, Function),
    "doc_to_image": (str, list, Function),
    "doc_to_audio": (str, list, Function),
    "unsafe_code": YES_NO,
    "process_results": (str, Function),
    "use_prompt": TEXT,
    "description": TEXT,
    "target_delimiter": TEXT,
    "fewshot_delimiter": TEXT,
    "fewshot_config": MAPPING,
    "num_fewshot": NUMBER,
    "output_type": TEXT,
    "metric_list": LIST,
    "generation_kwargs": MAPPING,
    "repeats": NUMBER,
    "filter_list": LIST,
    "should_decontaminate": YES_NO,
    "doc_to_decontamination_query": (str, Function),
    "gen_prefix": TEXT,
    "metadata": (dict, list, str, int, float),
}
GROUP = ("group", "group_alias", "task", "aggregate_metric_list", "metadata")
INCLUDING = ("include", "group", "class")  # further keys of a file, which are no task's
HOLDERS = ("fewshot_config", "metric_list", "filter_list")  # whose entries are looked at one by one
LEAST = {"num_fewshot": 0, "repeats": 1}
STRUCTURE = ("tag", "group", "task_list")  # of a task file, and nothing about the task
FEWSHOT: Mapping[str, tuple[type, ...]] = {
    "sampler": (str, Function),
    "split": TEXT,
    "process_docs": CODE,
    "fewshot_indices": LIST,
    "samples": (list, Function),
    "doc_to_text": TASK["doc_to_text"],
    "doc_to_choice": TASK["doc_to_choice"],
    "doc_to_target": TASK["doc_to_target"],
    "gen_prefix": TEXT,
    "fewshot_delimiter": TEXT,
    "target_delimiter": TEXT,
}
# Keys that a file of this form has and no task file of evalkit's own.
TELLING = frozenset({*TASK, "include", "group", "class"} - {"description", "metadata", "repeats", "task"})
WORDS = {
    str: "text",
    int: "a whole number",
    list: "a list",
    dict: "a mapping",
    bool: "true or false",
    float: "a number",
    Function: "!function FILE.NAME",
}


@dataclass(frozen=True, slots=True)
class Config:
    """The keys of one task as lm_eval would see them: those of its file, with what a group lays over them."""

    name: str
    group: str | None  # that was asked for, where one was
    path: str  # of the file that the task stands in
    values: Mapping[str, object]
    places: Mapping[str, Place]

    def at(self, key: str) -> str:
        """Name a key in a message, with the place where it stands."""
        top = self.places.get(re.split(r"[.[]", key, maxsplit=1)[0])
        place = self.places.get(key)
        if place is None or top is None or place[0] != top[0]:  # of a mapping that another file replaced
            place = top
        where = yaml_files.at(place) if place else yaml_files.shown(self.path)
        return f"{where}: task {self.name!r}: key {key!r}"

    def text(self, key: str, default: str = "") -> str:
        """Return a key that is text; the default where it is missing or empty."""
        return cast(str, self.values.get(key) if self.values.get(key) is not None else default)

    def mapping(self, key: str) -> Mapping[str, object]:
        """Return a key that is a mapping; an empty one where it is missing."""
        return cast(Mapping[str, object], self.values.get(key) or {})

    def entries(self, key: str) -> list[Mapping[str, object]]:
        """Return a key that is a list of mappings; TaskError where it holds anything else."""
        listed = cast(list[object], self.values.get(key) or [])
        for number, entry in enumerate(listed):
            if not isinstance(entry, dict):
                raise TaskError(f"{self.at(f'{key}[{number}]')}: found {found(entry)}, expected a mapping")
        return cast(list[Mapping[str, object]], listed)


def check(config: Config) -> None:
    """Raise TaskError for a key that lm_eval does not know, and a value of another form than it takes."""
    _check(config, config.values, TASK, prefix="")
    for key in ("doc_to_text", "doc_to_target"):
        if config.values.get(key) is None:
            raise TaskError(f"{config.at(key)}: missing, expected a column's name or a template")
    _check(config, config.mapping("fewshot_config"), FEWSHOT, prefix="fewshot_config.")
    for key, least in LEAST.items():
        value = config.values.get(key)
        if isinstance(value, int) and value < least:
            raise TaskError(f"{config.at(key)}: found {value}, expected a whole number of {least} or more")
    _check_choices(config, config.values.get("doc_to_choice"), key="doc_to_choice")
    key = "fewshot_config.doc_to_choice"
    _check_choices(config, config.mapping("fewshot_config").get("doc_to_choice"), key=key)


def _check_choices(config: Config, choices: object, *, key: str) -> None:
    """Raise TaskError for a choice of the file that is no text and no number."""
    listed = choices.items() if isinstance(choices, dict) else enumerate(choices) if isinstance(choices, list) else ()
    for name, choice in listed:
        place = f"{key}.{name}" if isinstance(choices, dict) else f"{key}[{name}]"
        if isinstance(choice, bool):
            raise TaskError(
                f"{config.at(place)}: found true or false among the choices, expected text; put it in quotes"
            )
        if not isinstance(choice, str | int | float):
            raise TaskError(f"{config.at(place)}: found {found(choice)} among the choices, expected text")


def functions(value: object, *, key: str) -> Iterator[tuple[str, Function]]:
    """Yield the functions within lists and mappings, each with the name of its key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in pairs:
        inner = f"{key}.{name}" if isinstance(value, dict) else f"{key}[{name}]"
        if isinstance(each, Function):
            yield inner, each
        else:
            yield from functions(each, key=inner)


def _check(config: Config, values: Mapping[str, object], known: Mapping[str, tuple[type, ...]], *, prefix: str) -> None:
    for key, value in values.items():
        if key in STRUCTURE and not prefix:
            continue
        if key not in known:
            others = () if prefix else INCLUDING
            raise TaskError(f"{config.at(f'{prefix}{key}')} is unknown; {suggest(str(key), (*known, *others))}")
        if value is None:
            continue
        for inner, function in () if key in HOLDERS else functions(value, key=prefix + key):
            raise TaskError(
                f"{config.at(inner)}: found !function {function.name} within {found(value)}, expected a value; a "
                "function can only stand for the whole of a key"
            )
        is_flag = isinstance(value, bool) and bool not in known[key]
        if is_flag or not isinstance(value, known[key]):
            raise TaskError(f"{config.at(prefix + key)}: found {found(value)}, expected {_expected(known[key])}")


def _expected(types: Iterable[type]) -> str:
    return " or ".join(WORDS[each] for each in types)
