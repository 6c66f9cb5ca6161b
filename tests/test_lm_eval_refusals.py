from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from evalkit.errors import DataError, EvalkitError, TaskError
from evalkit.lm_eval import documents, tasks
from evalkit.records import Example, Source, Task

PLAIN = """
task: plain
dataset_path: json
dataset_kwargs: {data_files: {test: test.jsonl}}
test_split: test
doc_to_text: "{{q}} ="
doc_to_target: a
"""
CHOICE = PLAIN + "output_type: multiple_choice\ndoc_to_choice:\n- x\n"
SAMPLED = PLAIN + "generation_kwargs:\n  do_sample: true\n  temperature: 1.0\n"
NUMBERED = PLAIN.replace('"{{q}} ="', "q") + "output_type: multiple_choice\ndoc_to_choice: options\n"
ROWS = '{"q": "1", "a": "2"}\n{"q": "2", "a": "3"}\n'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)  # messages name files relative to it


def loaded(text: str, *, code: str = "", rows: bytes = ROWS.encode(), file: str = "test.jsonl") -> Task:
    Path("task.yaml").write_text(text, encoding="utf-8")
    Path("mine.py").write_text(code, encoding="utf-8")
    Path(file).write_bytes(rows)
    [task] = tasks.load("task.yaml", trusted=True, say=lambda _: None)
    return task


def examples(source: Source | None) -> list[Example]:
    assert source is not None
    return list(documents.examples(source))


def on(task: Task, rows: str) -> Task:
    """Put a task on other data."""
    Path("other.jsonl").write_text(rows, encoding="utf-8")
    assert task.pool is not None
    data = Source("file", "other.jsonl", {})
    return replace(task, source=documents.with_data(task.source, data), pool=documents.with_data(task.pool, data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHOICE + "- !function u.txt\n", "task.yaml:11: task 'plain': key 'doc_to_choice[1]': found !function u.txt"),
        (
            PLAIN + "fewshot_config:\n  samples:\n  - q: 1\n    a: !function u.a\n",
            "task.yaml:11: task 'plain': key 'fewshot_config.samples[0].a': found !function u.a",
        ),
        (
            PLAIN + "description: [!function u.txt]\n",
            "task.yaml:8: task 'plain': key 'description[0]': found !function",
        ),
        (
            PLAIN + "filter_list: [{name: f, filter: [{function: map, mapping_dict: {a: !function u.a}}]}]\n",
            "found !function u.a within 'mapping_dict'",
        ),
        (
            PLAIN.replace("dataset_kwargs: {", "metadata: {"),
            "task.yaml:3: task 'plain': key 'dataset_path': found 'json'",
        ),
        (
            PLAIN.replace("kwargs: {", "kwargs: {name: a, "),
            "task.yaml:4: task 'plain': key 'dataset_kwargs.name': found among the dataset's arguments, expected key "
            "'dataset_name' of the task",
        ),
        (PLAIN.replace("kwargs: {", "kwargs: {split: a, "), "expected key 'test_split' of the task"),
        (PLAIN.replace("kwargs: {", "kwargs: {is_local: a, "), "expected names that datasets know; leave it out"),
        (PLAIN.replace("kwargs: {", "kwargs: {1: a, "), "key 'dataset_kwargs.1': found among the dataset's arguments"),
        (PLAIN + "fewshot_config: {1: 2}\n", "key 'fewshot_config.1' is unknown"),
        (PLAIN + "doc_to_text: q\n", "task.yaml:8: key 'doc_to_text' stands twice in one mapping"),
        (PLAIN + "metadata:\n  a: 1\n  a: 2\n", "task.yaml:10: key 'a' stands twice in one mapping"),
        (SAMPLED + "  max_gen_toks: .inf\n", "task.yaml:11: task 'plain': key 'generation_kwargs': key 'max_gen_toks'"),
        (SAMPLED + f"  max_gen_toks: 1{'0' * 400}\n", "expected a number of 1 or more"),
        (SAMPLED + "  max_tokens: 3.7\n", "key 'max_tokens': found 3.7, expected a whole number"),
        (SAMPLED + "  num_beams: 1.5\n", "key 'num_beams': found 1.5, expected a whole number"),
        (PLAIN + "repeats: -3\n", "task.yaml:8: task 'plain': key 'repeats': found -3, expected a whole number of 1"),
        (
            PLAIN + "num_fewshot: -2\n",
            "task.yaml:8: task 'plain': key 'num_fewshot': found -2, expected a whole number",
        ),
        (CHOICE + "- null\n", "task.yaml:11: task 'plain': key 'doc_to_choice[1]': found nothing among the choices"),
        (CHOICE + "- [y]\n", "found a list among the choices"),
        (CHOICE + "- {y: z}\n", "found a mapping among the choices"),
        (
            PLAIN + "filter_list:\n- &f {name: f, filter: [{function: lowercase}]}\n- *f\n",
            "task.yaml:8: task 'plain': key 'filter_list[1].name': found filter 'f' twice",
        ),
        (PLAIN + "inclde: base.yaml\n", "task.yaml:8: task 'plain': key 'inclde' is unknown; did you mean 'include'?"),
        (
            PLAIN + "fewshot_config:\n  sampler: default\n  smples: 1\n",
            "task.yaml:10: task 'plain': key 'fewshot_config",
        ),
        (
            PLAIN + "metric_list:\n- metric: exact_match\n- metric: exact_mtch\n",
            "task.yaml:10: task 'plain': key 'metric_",
        ),
        (
            PLAIN + "filter_list:\n- name: f\n  filter:\n  - function: lowercase\n  - function: lowrcase\n",
            "task.yaml:12: task 'plain': key 'filter_list[0].filter[1]': filter 'f': unknown function 'lowrcase'",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        loaded(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("acc", "group.yaml:5: group 'g': key 'aggregate_metric_list': found 'acc', expected a list of metrics"),
        ("[acc]", "found 'acc' among its entries, expected a mapping with 'metric'"),
        ("[{metric: accc}]", "unknown metric 'accc'; did you mean 'acc'?"),
    ],
)
def test_wrong_metrics_of_a_group_are_refused(metrics: str, message: str) -> None:
    loaded(PLAIN)
    text = f"group: g\ntask:\n- task: other\n  include: task.yaml\naggregate_metric_list: {metrics}\n"
    Path("group.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        tasks.load("group.yaml", trusted=False, say=lambda _: None)
    assert message in str(caught.value)


def test_a_folder_that_ends_like_lm_evals_is_none_of_its_own() -> None:
    folder = Path("my_lm_eval/tasks")
    folder.mkdir(parents=True)
    text = f"group: g\ntask:\n- task: other\n{PLAIN}aggregate_metric_list: [{{metric: accc}}]\n"
    (folder / "group.yaml").write_text(text.replace("task: plain\n", ""), encoding="utf-8")
    with pytest.raises(TaskError, match="unknown metric 'accc'"):
        tasks.load(str(folder / "group.yaml"), trusted=False, say=lambda _: None)


def test_a_function_of_a_module_without_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_session", ModuleType("own_session"))  # as __main__ is in a notebook
    with pytest.raises(TaskError, match=r"needs the Python function own_session\.ok: no such file"):
        loaded(PLAIN + "process_docs: !function own_session.ok\n")


def test_a_typo_within_a_group_names_its_own_line() -> None:
    loaded(PLAIN)
    text = "group: g\ntask:\n- task: other\n  include: task.yaml\n  fewshot_config:\n    smples: 1\n"
    Path("group.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TaskError, match=r"^group.yaml:6: .* did you mean 'samples'\?"):
        tasks.load("group.yaml", trusted=False, say=lambda _: None)


def test_of_a_key_that_stands_twice_in_a_file_of_lm_eval_the_last_counts() -> None:
    folder = Path("lm_eval/tasks")
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(PLAIN + "task_alias: one\ntask_alias: two\n", encoding="utf-8")
    [task] = tasks.load(str(folder / "a.yaml"), trusted=False, say=lambda _: None)
    assert task.title == "two"


def test_a_missing_name_is_asked_for() -> None:
    with pytest.raises(TaskError, match=r"^lm_eval:: found no name, expected that of a task, such as lm_eval:boolq"):
        tasks.load("lm_eval:", trusted=False, say=lambda _: None)


@pytest.mark.parametrize(
    ("kind", "file", "rows", "message"),
    [
        ("json", "test.jsonl", b'{"q": "1", "a": "2"}\n{"q": "\xe9", "a": "3"}\n', "test.jsonl:2: found the byte 0xe9"),
        ("json", "test.jsonl", b'{"q": "1", "a": "2"}\n{"q": 1"\n', "test.jsonl:2: broken JSON"),
        ("csv", "test.csv", b"q,a\n1,2\n\xe9,3\n", "test.csv:3: found the byte 0xe9, which is not UTF-8"),
        ("parquet", "test.parquet", b"nothing", "test.parquet: broken Parquet"),
    ],
)
def test_a_broken_data_file_is_named_with_its_line_and_nothing_is_logged(
    kind: str, file: str, rows: bytes, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = PLAIN.replace("path: json", f"path: {kind}").replace("test.jsonl", file)
    task = loaded(text, rows=rows, file=file)
    with caplog.at_level(logging.INFO), pytest.raises(DataError) as caught:
        examples(task.source)
    assert message in str(caught.value)
    assert not [each for each in caplog.records if each.name.startswith("datasets")]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def change(docs): return None",
            "process_docs: function change returns nothing, expected a list of documents",
        ),
        ("def change(docs):\n  yield {}\n  raise ValueError('bad')", "function change failed: ValueError: bad"),
        ("def change(docs): raise SystemExit(3)", "function change failed: SystemExit: 3"),
        ("raise SystemExit(3)", "mine.py: cannot be imported: SystemExit: 3"),
        ("def change(docs): return [1]", "document 1 of split 'test': found int, expected a mapping"),
    ],
)
def test_code_that_fails_is_named(code: str, message: str) -> None:
    task = loaded(PLAIN + "process_docs: !function mine.change\n", code=code)
    with pytest.raises(EvalkitError) as caught:
        examples(task.source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {'test': None}", "custom_dataset: split 'test': function make returns nothing, expected a list of"),
        ("return {'test': 5}", "custom_dataset: split 'test': function make returns int, expected a list of documents"),
        ("return {'test': (1 / 0 for _ in '1')}", "custom_dataset: function make failed: ZeroDivisionError"),
        ("return {}", "custom_dataset: found no split 'test'"),
    ],
)
def test_code_that_gives_no_documents_is_named(body: str, message: str) -> None:
    task = loaded(PLAIN + "custom_dataset: !function mine.make\n", code=f"def make(**settings): {body}")
    with pytest.raises(EvalkitError) as caught:
        examples(task.source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_is_given_metadata_of_any_name() -> None:
    text = PLAIN + "custom_dataset: !function mine.make\nmetadata: {shown: 7, function: 8}\n"
    body = "return {'test': [{'q': settings['shown'], 'a': settings['function']}]}"
    [example] = examples(loaded(text, code=f"def make(**settings): {body}").source)
    assert (example.question, example.targets) == ("7 =", ("8",))


def test_metadata_that_are_no_names_are_refused() -> None:
    text = PLAIN + "custom_dataset: !function mine.make\nmetadata: {1: 7}\n"
    with pytest.raises(TaskError, match="custom_dataset: function make failed: TypeError: keywords must be strings"):
        examples(loaded(text, code="def make(**settings): return {'test': []}").source)


def test_data_of_mixed_types_are_refused_where_code_is_given_them() -> None:
    task = on(
        loaded(PLAIN + "process_docs: !function mine.change\n", code="def change(docs): return docs"),
        '{"q": "1", "a": "2"}\n{"q": 2, "a": "3"}\n',
    )
    with pytest.raises(DataError, match=r"other.jsonl: cannot be made a dataset .* expected columns of one type each"):
        examples(task.source)


def test_rows_of_a_slice_are_not_counted_as_those_of_the_file() -> None:
    text = PLAIN.replace("{test: test.jsonl}", "test.jsonl").replace('"{{q}} ="', '"{{nothing}}"')
    text = text.replace("test_split: test", "test_split: train[1:]")
    with pytest.raises(TaskError, match=r"document 1 of split 'train\[1:\]': doc_to_text: 'nothing' is undefined"):
        examples(loaded(text).source)


def test_a_missing_file_is_named_beside_the_task() -> None:
    task = loaded(PLAIN.replace("test.jsonl", "missing.jsonl"))
    with pytest.raises(DataError) as caught:
        examples(task.source)
    said = "task.yaml: plain: data_files: no such file 'missing.jsonl'; paths are relative to the task file"
    assert str(caught.value) == said


def test_a_split_that_local_files_lack_says_nothing_of_the_network() -> None:
    with pytest.raises(DataError, match="check its files and splits") as caught:
        examples(loaded(PLAIN.replace("test_split: test", "test_split: tset")).source)
    assert "network" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ q|regex_replace('(', 'x') }}", "row 1: doc_to_text: ValueError: regex_replace: found '('"),
        (r"{{ '\ud800' }}", "row 1: found half of a surrogate pair"),
        ("{{ nothing }}", "task.yaml: plain: test.jsonl: row 1: doc_to_text: 'nothing' is undefined"),
    ],
)
def test_a_template_that_fails_names_file_and_row(template: str, message: str) -> None:
    task = loaded(PLAIN.replace('"{{q}} ="', f">-\n  {template}"))
    with pytest.raises(EvalkitError) as caught:
        examples(task.source)
    assert message in str(caught.value)


def test_a_row_of_other_data_is_named_by_its_line() -> None:
    task = on(loaded(PLAIN), '{"q": "1", "a": "2"}\n\n{"a": "3"}\n')
    with pytest.raises(TaskError, match=r"^task.yaml: plain: other.jsonl:3: doc_to_text: 'q' is undefined"):
        examples(task.source)


def test_the_name_of_a_missing_column_is_not_taken_for_an_answer() -> None:
    task = loaded(PLAIN + "fewshot_config: {samples: [{q: 1}]}\n")
    expected = "document 1 of fewshot_config.samples: missing column 'a', which doc_to_target names; columns found: q"
    with pytest.raises(DataError, match=expected):
        examples(task.pool)
    task = on(loaded(PLAIN), '{"q": "1", "a": "2"}\n{"q": "2"}\n')
    with pytest.raises(DataError, match=r"other.jsonl:2: missing column 'a', which doc_to_target names"):
        examples(task.source)


def test_samples_that_templates_show_do_not_load_the_evaluated_split() -> None:
    code = "def make(**settings): open('calls', 'a').write('x'); return {'test': [{'q': 1, 'a': 2}]}"
    text = PLAIN.replace("doc_to_target: a", 'doc_to_target: "{{a}}"') + "custom_dataset: !function mine.make\n"
    task = loaded(text + "fewshot_config: {samples: [{q: 1, a: 2}]}\n", code=code)
    assert [each.targets for each in examples(task.pool)] == [(" 2",)]
    assert not Path("calls").exists()


def test_a_word_that_is_no_column_anywhere_is_the_answer_of_samples() -> None:
    task = loaded(
        PLAIN.replace("doc_to_target: a", "doc_to_target: yes_it_is") + "fewshot_config: {samples: [{q: 1}]}\n"
    )
    assert [each.targets for each in examples(task.pool)] == [(" yes_it_is",)]


def test_the_documents_that_are_used_decide_whether_choices_are_questions() -> None:
    task = loaded(NUMBERED)
    assert (task.kind, task.metrics) == ("choice", ("accuracy(by=sum)", "accuracy(by=character)"))
    task = tasks.decided(on(task, '{"q": 1, "a": "x", "options": ["y", "z"]}\n'))
    assert (task.kind, task.metrics) == ("partial", ("partial_accuracy(by=sum)",))
    [example], [shown] = examples(task.source), examples(task.pool)
    assert (example.choices, example.targets, example.ending) == (("y", "z"), ("z",), " x")
    assert (shown.targets, shown.ending) == (("z",), " x")
    task = tasks.decided(on(task, '{"q": "Who?", "a": 1, "options": ["y", "z"]}\n'))
    assert task.kind == "choice"
    assert [each.targets for each in examples(task.source)] == [(" z",)]


def test_code_is_told_of_once_a_process() -> None:
    text = PLAIN.replace('"{{q}} ="', "!function mine.text")
    loaded(text, code="def text(doc): return 'told'")
    said: list[str] = []
    tasks.load("task.yaml", trusted=True, say=said.append)
    assert said == []
