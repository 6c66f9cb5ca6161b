import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit import task
from evalkit.errors import TaskError
from evalkit.records import Decoding, Source

PAPER = ["2D+", "2D-", "3D+", "3D-", "4D+", "4D-", "5D+", "5D-", "2Dx", "1DC"]  # Brown 2020, Table H.1
COPA = """\
version: 1
title: COPA
template: copa.jinja
kind: choice
metrics: [exact_match]
source: {file: copa.jsonl}
"""


def write(folder: Path, text: str, *, template: str = "{{ premise }}") -> str:
    (folder / "copa.yaml").write_text(text)
    (folder / "copa.jinja").write_text(template)
    return str(folder / "copa.yaml")


def message(folder: Path, text: str, *, template: str = "{{ premise }}") -> str:
    """Return the error without the folder's own name."""
    path = write(folder, text, template=template)
    with pytest.raises(TaskError) as caught:
        task.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


def test_group_gives_the_papers_ten_tasks_in_its_order() -> None:
    tasks = task.load("arithmetic")
    assert [each.title.split()[0] for each in tasks] == PAPER
    assert {each.group for each in tasks} == {"arithmetic"}
    assert {each.paper_shots for each in tasks} == {50}


def test_subtask_is_the_one_of_its_group() -> None:
    for each in task.load("arithmetic"):
        assert task.load(each.name) == (each,)


def test_pool_is_the_source_with_other_settings() -> None:
    [each] = task.load("arithmetic/2-digit-addition")
    settings = {"split": "test", "seed": 0, "n": 2000, "kind": "2-digit-addition"}
    assert each.source == Source("generator", "arithmetic", settings)
    assert each.pool == Source("generator", "arithmetic", {**settings, "split": "pool"})
    assert each.decoding == Decoding()


def test_path_gives_its_task_with_paths_beside_it(tmp_path: Path) -> None:
    path = write(
        tmp_path, COPA + "pool: {hub: owner/copa, split: train}\nchoices: ['no', 'yes']\n", template="{{ a }}\n"
    )
    [each] = task.load(path)
    assert (each.name, each.group, each.template) == ("copa", None, "{{ a }}\n")
    assert each.source == Source("file", str(tmp_path / "copa.jsonl"), {})
    assert each.pool == Source("hub", "owner/copa", {"split": "train"})
    assert each.choices == ("no", "yes")


def test_path_of_a_group_takes_a_subtask(tmp_path: Path) -> None:
    path = write(tmp_path, COPA + "tasks:\n  a: {title: A}\n  b: {stop: ['.'], source: {file: b.csv}}\n")
    assert [each.name for each in task.load(path)] == ["copa/a", "copa/b"]
    [b] = task.load(f"{path}/b")
    assert (b.title, b.stop, b.source.location) == ("b", (".",), str(tmp_path / "b.csv"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (COPA.replace("metrics", "metric"), "copa.yaml: unknown key 'metric'; did you mean 'metrics'?"),
        (COPA.replace("version: 1\n", ""), "copa.yaml: missing key 'version'"),
        (COPA + "max_tokens: many\n", "copa.yaml: key 'max_tokens': found 'many', expected a whole number"),
        (COPA + "max_tokens: 0\n", "copa.yaml: key 'max_tokens': found 0, expected greater than or equal to 1"),
        (COPA + "stop: [1]\n", "copa.yaml: key 'stop[0]': found 1, expected text; put it in quotes"),
        (COPA + "choices: [yes, no]\n", "copa.yaml: key 'choices[0]': found true, expected text; put it in quotes"),
        (COPA + "stop: x\n", "copa.yaml: key 'stop': found 'x', expected a list"),
        (COPA + "columns: [a]\n", "copa.yaml: key 'columns': found a list, expected a mapping"),
        (COPA + "description:\n", "copa.yaml: key 'description': found nothing, expected text"),
        (COPA.replace("choice", "chose"), "'choice', 'partial', 'loglikelihood' or 'rolling'"),
        (COPA + "decoding: {beam: 1}\n", "copa.yaml: unknown key 'decoding.beam'; did you mean 'decoding.beams'?"),
        (
            COPA + "decoding: {temperature: .inf}\n",
            "copa.yaml: key 'decoding.temperature': found inf, expected 0 to 1000",
        ),
        (
            COPA + "decoding: {length_penalty: .nan}\n",
            "copa.yaml: key 'decoding.length_penalty': found nan, expected -10",
        ),
        (COPA + "decoding: {beams: 3, temperature: 1.0}\n", "expected temperature 0 with it"),
        (COPA + "decoding: {beams: 1.5}\n", "copa.yaml: key 'decoding.beams': found 1.5, expected a whole number"),
        (
            COPA.replace("exact_match", "exact_mach"),
            "copa.yaml: unknown metric 'exact_mach'; did you mean 'exact_match'?",
        ),
        (COPA.replace("file:", "fil:"), "key 'source': found fil, expected one of generator, file, lines, hub"),
        (COPA.replace("copa.jsonl", "3"), "copa.yaml: key 'source.file': found 3, expected text"),
        (COPA.replace("copa.jsonl", "a, b: 1"), "copa.yaml: unknown key 'source.b'"),
        (COPA.replace("copa.jinja", "copy.jinja"), "copa.yaml: key 'template': no such file"),
        (
            COPA.replace("copa.jinja", "arithmetik"),
            "copa.yaml: key 'template': unknown template 'arithmetik'; did you mean 'arithmetic'?",
        ),
        (COPA + "title: again\n", "copa.yaml:7: key 'title' stands twice in one mapping; remove one"),
        (COPA + "decoding:\n  beams: 1\n  beams: 2\n", "copa.yaml:9: key 'beams' stands twice in one mapping"),
        (COPA + "stop: {[a]: b}\n", "copa.yaml:7: broken YAML: found unhashable key"),
        (COPA + "stop: [\n", "copa.yaml:8: broken YAML: "),
        (
            COPA + "stop: !!python/object/apply:os.getcwd []\n",
            "copa.yaml:7: broken YAML: could not determine a constructor",
        ),
        ("", "copa.yaml: found no mapping"),
        ("- a\n", "copa.yaml: found no mapping"),
        (COPA + "max_tokens: 2000000\n", "copa.yaml: key 'max_tokens': found 2000000, expected less than or equal to"),
        (COPA + "fields: {a: [1]}\n", "copa.yaml: key 'fields.a': found a list, expected text or a number"),
        (COPA + "target: '{% if %}'\n", "copa.yaml: key 'target': line 1: broken template: "),
        (
            COPA + "filters: [{name: a, steps: [{function: regex, regex_pattern: '('}]}]\n",
            "copa.yaml: filter 'a': setting 'regex_pattern': found '(', expected a regular expression",
        ),
        (COPA + "tasks: {}\n", "copa.yaml: key 'tasks': found an empty mapping, expected at least one subtask"),
        (COPA + "tasks: [a]\n", "copa.yaml: key 'tasks': found a list"),
        (COPA + "tasks: {a: {stpo: []}}\n", "copa.yaml: task 'a': unknown key 'stpo'; did you mean 'stop'?"),
    ],
)
def test_mistake_is_named_with_what_was_expected(tmp_path: Path, found: str, expected: str) -> None:
    assert expected in message(tmp_path, found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{generator: arithmetik}", "unknown generator 'arithmetik'; did you mean 'arithmetic'?"),
        ("{generator: arithmetic, kind: a}", "missing key 'source.split', which generator 'arithmetic' needs"),
        (
            "{generator: arithmetic, kind: a, split: b, sede: 1}",
            "unknown key 'source.sede'; did you mean 'source.seed'?",
        ),
        ("{generator: arithmetic, kind: a, split: b, n: '1'}", "key 'source.n': found '1', expected a whole number"),
    ],
)
def test_settings_are_held_against_the_generator(tmp_path: Path, source: str, expected: str) -> None:
    assert expected in message(tmp_path, COPA.replace("{file: copa.jsonl}", source))


def test_broken_template_is_named_with_its_line(tmp_path: Path) -> None:
    assert message(tmp_path, COPA, template="{{ a }}\n{% if %}").startswith("copa.jinja: line 2: broken template: ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("arithmetics", "unknown task 'arithmetics'; did you mean 'arithmetic'?"),
        ("arithmetic/2-digit-additon", "did you mean '2-digit-addition'?"),
        ("zzz", "known: arithmetic"),
        ("nowhere.yaml", "nowhere.yaml: no such task file"),
    ],
)
def test_unknown_name_gets_a_suggestion(name: str, expected: str) -> None:
    with pytest.raises(TaskError) as caught:
        task.load(name)
    assert expected in str(caught.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "copa.yaml"
    path.write_bytes(b"title: caf\xe9\n")
    with pytest.raises(TaskError, match=":1: found the byte 0xe9, which is not UTF-8"):
        task.load(path)


def test_listing_names_what_a_file_holds() -> None:
    [arithmetic] = [each for each in task.available() if each.name == "arithmetic"]
    assert arithmetic.title == "Arithmetic"
    assert arithmetic.subtasks == tuple(each.name for each in task.load("arithmetic"))


def test_listing_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from evalkit import task; task.available(); "
        "print([m for m in ('torch', 'transformers', 'pydantic', 'jinja2', 'numpy', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    start = time.process_time()
    task.available()
    assert time.process_time() - start < 0.1
