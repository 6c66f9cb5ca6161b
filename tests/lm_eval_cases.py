"""Tasks that lm_eval and evalkit are compared on: lm_eval's own files on small data of their form, and a few more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

Rows = Sequence[Mapping[str, object]]
SPLITS = ("train", "validation", "test", "dev")
NAMES = ("Ann", "Bo", "Cy", "Dee", "Ed", "Flo", "Gus", "Hal")


@dataclass(frozen=True, slots=True)
class Case:
    """A task file and the rows that all of its splits have, each split with other numbers in them."""

    name: str
    rows: Rows  # `{n}` in a text is the number of the row, different in each split
    shipped: str = ""  # a file of lm_eval's tasks
    own: str = ""  # or the text of one
    shots: int = 3


def numbered(value: object, number: int) -> object:
    """Put a number in every text of a row."""
    if isinstance(value, str):
        return value.replace("{n}", str(number)).replace("{name}", NAMES[number % len(NAMES)])
    if isinstance(value, dict):
        return {key: numbered(each, number) for key, each in value.items()}
    if isinstance(value, list):
        return [numbered(each, number) for each in value]
    return value


def write(case: Case, folder: Path) -> Path:
    """Write the data of a case and a file that points the task at it; return that file."""
    files = {}
    for place, split in enumerate(SPLITS):
        path = folder / f"{split}.jsonl"
        rows = [numbered(dict(row), 100 * place + number) for number, row in enumerate(case.rows)]
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        files[split] = str(path)
    base = folder / "base.yaml"
    if case.own:
        base.write_text(case.own, encoding="utf-8")
    else:
        base = tasks_folder() / case.shipped
    path = folder / f"{case.name}.yaml"
    lines = [f"include: {json.dumps(str(base))}", f"task: {case.name}", "dataset_path: json", "dataset_name: null"]
    path.write_text("\n".join([*lines, f"dataset_kwargs: {json.dumps({'data_files': files})}", ""]), encoding="utf-8")
    return path


def tasks_folder() -> Path:
    """Return the folder of lm_eval's task files, without importing it."""
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "tasks")


QUESTIONS = [{"q": "How old is {name} in year {n}?", "a": "{n} years"} for _ in range(6)]
CASES = (
    Case(
        "boolq",
        [
            {"passage": " {name} counts {n} – “twice”.\n", "question": "is it {n}", "label": number % 2}
            for number in range(6)
        ],
        shipped="super_glue/boolq/default.yaml",
    ),
    Case(
        "arithmetic_2da",
        [{"context": "Q: What is {n} plus 7?\n\nA:", "completion": " {n}"} for _ in range(6)],
        shipped="arithmetic/arithmetic_2da.yaml",
    ),
    Case(
        "wmt14-en-fr",
        [{"translation": {"en": "It rains, {name} {n}.", "fr": "Il pleut, {name} {n}."}} for _ in range(6)],
        shipped="translation/wmt14_en-fr.yaml",
    ),
    Case(
        "winogrande",
        [
            {"sentence": "{name} saw {n} of them, _ was glad.", "option1": "Al", "option2": "Bea", "answer": answer}
            for answer in "121221"
        ],
        shipped="winogrande/default.yaml",
    ),
    Case(
        "lambada_openai_cloze_yaml",
        [{"text": "{name} took {n} steps and then the door"} for _ in range(6)],
        shipped="lambada_cloze/lambada_openai_cloze.yaml",
    ),
    Case("pile_arxiv", [{"text": "  {name}\n\nwrote {n} pages. "} for _ in range(6)], shipped="pile/pile_arxiv.yaml"),
    Case(
        "gsm8k",
        [{"question": "{name} has {n} eggs?", "answer": "She has {n}.\n#### {n}"} for _ in range(6)],
        shipped="gsm8k/gsm8k.yaml",
    ),
    Case(
        "mmlu_anatomy",
        [
            {"question": " What is {n}? ", "choices": ["{n}", "no", "a b", "é"], "answer": number % 4, "subject": "x"}
            for number in range(6)
        ],
        shipped="mmlu/default/mmlu_anatomy.yaml",
    ),
    Case(
        "bbh_cot_fewshot_boolean_expressions",
        [{"input": "not ( {n} ) is", "target": "True"} for _ in range(4)],
        shipped="bbh/cot_fewshot/boolean_expressions.yaml",
    ),
    Case(
        "prefix_of_choices",
        [{**row, "label": number % 3} for number, row in enumerate(QUESTIONS)],
        own="""
output_type: multiple_choice
training_split: train
test_split: test
description: "About {{q}}\\n\\n"
doc_to_text: "{{q}}"
doc_to_choice: {a: "yes ", b: "no", c: " maybe"}
doc_to_target: "{{label}}"
gen_prefix: "The answer is"
target_delimiter: ":"
metric_list: [{metric: acc_norm}, {metric: acc_mutual_info}]
""",
    ),
    Case(
        "prefix_of_answers",
        QUESTIONS,
        own="""
test_split: test
fewshot_split: train
doc_to_text: "{{q}}\\n"
doc_to_target: "{{['  ' + a, a]}}"
gen_prefix: "{{a[:1]}}:"
generation_kwargs: {until: ["\\n", "", "\\n"], max_new_tokens: 7}
fewshot_config: {fewshot_delimiter: "\\n###\\n", target_delimiter: " => "}
""",
    ),
    Case(
        "other_demonstrations",
        QUESTIONS,
        own="""
output_type: loglikelihood
validation_split: validation
fewshot_split: dev
doc_to_text: q
doc_to_target: a
target_delimiter: "\\n"
fewshot_delimiter: "\\n--\\n"
fewshot_config: {doc_to_text: "Q {{q | regex_replace('[aeiou]', '')}}", doc_to_target: "{{a | length}}"}
""",
    ),
    Case(
        "numbers_of_questions",
        [{"label": number % 2, "before": "{name}", "after": " ran {n} miles"} for number in range(6)],
        own="""
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: label
doc_to_choice: "{{[before, before + ' and ' + before]}}"
doc_to_target: "{% set n = 1 %}{{after[n:]}}"
""",
    ),
    Case(
        "several_right_choices",
        [{"q": "Which, {n}?", "options": ["a", "b", "c"], "right": [0, number % 3]} for number in range(6)],
        own="""
output_type: multiple_choice
validation_split: validation
doc_to_text: "{{q}}"
doc_to_choice: options
doc_to_target: right
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
        shots=0,  # lm_eval cannot show the place of a choice that stands in a list
    ),
)
