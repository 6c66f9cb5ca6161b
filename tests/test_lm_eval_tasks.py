from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from evalkit.errors import DataError, EvalkitError, TaskError
from evalkit.lm_eval import code, documents, index, tasks, yaml_files
from evalkit.lm_eval.rendering import may_give_number
from evalkit.records import Decoding, Example, Filter, Source, Task

ROWS = [{"q": "1 + 1", "a": "2", "options": ["2", "3"]}, {"q": "1 + 2", "a": "3", "options": ["2", "3"]}]
RIGHT = [{**ROWS[0], "right": place} for place in (1, 5, -1)]
KINDS = ("1dc", "2da", "2dm", "2ds", "3da", "3ds", "4da", "4ds", "5da", "5ds")
PLAIN = """
task: plain
dataset_path: json
dataset_kwargs: {data_files: {test: test.jsonl}}
test_split: test
doc_to_text: "{{q}} ="
doc_to_target: a
"""
CHOICE = PLAIN + "output_type: multiple_choice\ndoc_to_choice: options\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        yield


def written(folder: Path, text: str, *, name: str = "task.yaml", rows: list[dict[str, object]] | None = None) -> Path:
    """Write a task file and the data beside it."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    lines = [json.dumps(row) for row in ROWS if rows is None] or [json.dumps(row) for row in rows or ()]
    (folder / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return path


def loaded(path: Path | str, *, trusted: bool = False, said: list[str] | None = None) -> Task:
    [task] = tasks.load(str(path), trusted=trusted, say=[].append if said is None else said.append)
    return task


def rendered(source: Source | None) -> list[Example]:
    assert source is not None
    return list(documents.examples(source))


def complaint(path: Path | str) -> str:
    """The one line that a task is refused with."""
    with pytest.raises(TaskError) as caught:
        tasks.load(str(path), trusted=False, say=lambda _: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_generating_task_compares_bare_answers_and_shows_them_after_the_delimiter(tmp_path: Path) -> None:
    task = loaded(written(tmp_path, PLAIN))
    assert [(each.question, each.targets) for each in rendered(task.source)] == [
        ("1 + 1 =", ("2",)),
        ("1 + 2 =", ("3",)),
    ]
    assert [(each.question, each.targets) for each in rendered(task.pool)] == [
        ("1 + 1 =", (" 2",)),
        ("1 + 2 =", (" 3",)),
    ]
    assert (task.kind, task.stop, task.max_tokens, task.decoding) == ("generate", ("\n\n",), 256, Decoding())
    assert (task.metrics, task.filters, task.separator) == (("exact_match(strip=false)",), (), "\n\n")


def test_choices_and_right_answers_begin_with_the_delimiter(tmp_path: Path) -> None:
    task = loaded(written(tmp_path, CHOICE))
    assert [(each.choices, each.targets) for each in rendered(task.source)] == [
        ((" 2", " 3"), (" 2",)),
        ((" 2", " 3"), (" 3",)),
    ]
    assert task.metrics == ("accuracy(by=sum)", "accuracy(by=character)")


def test_an_answer_that_is_no_choice_is_never_right(tmp_path: Path) -> None:
    # As lm_eval counts it: the place -100 among the choices.
    path = written(tmp_path, CHOICE.replace("doc_to_target: a", "doc_to_target: right"), rows=RIGHT)
    examples = rendered(loaded(path).source)
    assert [example.targets[0] in example.choices for example in examples] == [True, False, False]


def test_data_without_any_right_answer_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, CHOICE.replace("doc_to_target: a", "doc_to_target: right"), rows=RIGHT[1:])
    with pytest.raises(DataError, match="found no document of plain whose answer is one of its choices"):
        rendered(loaded(path).source)


def test_generation_settings_are_read_as_lm_eval_reads_them(tmp_path: Path) -> None:
    own = "generation_kwargs: {until: 'END', do_sample: true, temperature: '0.8', top_p: 0.95, max_new_tokens: 9}\n"
    task = loaded(written(tmp_path, PLAIN + own))
    assert (task.stop, task.max_tokens, task.decoding) == (("END",), 9, Decoding(temperature=0.8, top_p=0.95))
    own = "generation_kwargs: {do_sample: false, temperature: 0.8, max_gen_toks: 3, max_tokens: 4}\n"
    task = loaded(written(tmp_path, PLAIN + own))
    assert (task.stop, task.max_tokens, task.decoding) == (("\n\n",), 3, Decoding())


def test_every_filter_scores_every_metric(tmp_path: Path) -> None:
    own = """
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: maj@3, filter: [{function: majority_vote}, {function: take_first}]}
repeats: 3
"""
    task = loaded(written(tmp_path, PLAIN + own))
    assert task.metrics == ("exact_match(strip=false)@first", "exact_match(strip=false)@maj@3")
    assert (task.filters[0], task.repeats) == (Filter("first", ({"function": "take_first"},)), 3)


def test_the_first_of_several_answers_is_scored_where_no_filter_says_otherwise(tmp_path: Path) -> None:
    task = loaded(written(tmp_path, PLAIN + "repeats: 2\n"))
    assert task.filters == (Filter("none", ({"function": "take_first"},)),)
    assert task.metrics == ("exact_match(strip=false)@none",)


def test_an_included_file_is_overruled_and_looks_for_files_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    written(tmp_path / "base", PLAIN, name="base_yaml")
    path = tmp_path / "own.yaml"
    path.write_text("include: base/base_yaml\ntask: own\ndescription: Add.\n", encoding="utf-8")
    task = loaded(path)
    assert (task.name, task.description) == ("own", "Add.")
    assert len(rendered(task.source)) == 2


def test_later_includes_overrule_earlier_ones(tmp_path: Path) -> None:
    written(tmp_path, PLAIN + "task_alias: first\n", name="one.yaml")
    (tmp_path / "two.yaml").write_text("task_alias: second\n", encoding="utf-8")
    path = tmp_path / "own.yaml"
    path.write_text("include: [one.yaml, two.yaml]\n", encoding="utf-8")
    assert loaded(path).title == "second"


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    assert "which includes this file itself" in complaint(written(tmp_path, PLAIN + "include: task.yaml\n"))


def test_a_group_lays_its_keys_over_its_tasks_and_nearer_ones_over_farther(tmp_path: Path) -> None:
    written(tmp_path, PLAIN)
    path = tmp_path / "group.yaml"
    path.write_text(
        "group: both\nnum_fewshot: 2\ntask:\n- plain\n- {task: other, include: task.yaml, num_fewshot: 1}\n"
        "- {group: inner, task: [{task: third, include: task.yaml}]}\n",
        encoding="utf-8",
    )
    found = tasks.load(str(path), trusted=False, say=lambda _: None)
    assert [(task.name, task.group, task.paper_shots) for task in found] == [
        ("plain", "both", 2),
        ("both::other", "both", 1),
        ("both::inner::third", "both", 2),
    ]


def test_a_group_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "group: ring\ntask: [ring]\n")
    assert "group 'ring' holds itself" in complaint(path)


def test_functions_are_refused_until_trusted_and_named_with_their_hash_once(tmp_path: Path) -> None:
    code = "def upper(docs):\n    return docs.map(lambda doc: {'q': doc['q'] + '!'})\n"
    code += "def text(doc):\n    return doc['q']\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    text = PLAIN.replace('"{{q}} ="', "!function mine.text") + "process_docs: !function mine.upper\n"
    path = written(tmp_path, text)
    message = complaint(path)
    assert message.startswith(f"{path}:6: task 'plain': key 'doc_to_text': needs the Python function mine.text")
    assert "--trust-task-code" in message
    said: list[str] = []
    task = loaded(path, trusted=True, said=said)
    assert said == [f"runs code of {tmp_path / 'mine.py'}, sha256 {sha256(code.encode()).hexdigest()}"]
    assert [each.question for each in rendered(task.source)] == ["1 + 1!", "1 + 2!"]
    json.dumps(dict(task.source.settings))  # settings are kept in run.json


def test_code_that_changed_after_it_was_shown_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def text(doc):\n    return 'x'\n", encoding="utf-8")
    task = loaded(written(tmp_path, PLAIN.replace('"{{q}} ="', "!function mine.text")), trusted=True)
    (tmp_path / "mine.py").write_text("def text(doc):\n    return 'y'\n", encoding="utf-8")
    with pytest.raises(TaskError, match="changed since the task was read"):
        rendered(task.source)


def test_a_function_that_fails_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def text(doc):\n    return doc['nothing']\n", encoding="utf-8")
    task = loaded(written(tmp_path, PLAIN.replace('"{{q}} ="', "!function mine.text")), trusted=True)
    with pytest.raises(
        TaskError, match=r"task.yaml: plain: .*test.jsonl: row 1: doc_to_text: function text failed: KeyError"
    ):
        rendered(task.source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PLAIN + "doc_to_txt: q\n",
            "task.yaml:8: task 'plain': key 'doc_to_txt' is unknown; did you mean 'doc_to_text'?",
        ),
        (
            PLAIN + "fewshot_config: {smpler: x}\n",
            "key 'fewshot_config.smpler' is unknown; did you mean 'sampler'?",
        ),
        (PLAIN + "fewshot_config: {sampler: best}\n", "found 'best', expected default or first_n"),
        (PLAIN + "repeats: many\n", "key 'repeats': found 'many', expected a whole number"),
        (PLAIN + "num_fewshot: true\n", "key 'num_fewshot': found true, expected a whole number"),
        (PLAIN + "output_type: multiple_choise\n", "did you mean 'multiple_choice'?"),
        (PLAIN + "output_type: multiple_choice\n", "key 'doc_to_choice': missing"),
        (PLAIN + "doc_to_image: picture\n", "key 'doc_to_image' is not carried out: evalkit's models read text alone"),
        (PLAIN + "doc_to_audio: sound\n", "key 'doc_to_audio' is not carried out"),
        (PLAIN + "use_prompt: promptsource:x\n", "key 'use_prompt' is not carried out"),
        (PLAIN + "process_results: !function a.b\n", "key 'process_results' (!function a.b) is not carried out"),
        (PLAIN + "class: !function a.B\n", "key 'class': the task is a Python class"),
        (PLAIN + "metric_list: [{metric: !function a.b}]\n", "'metric' is the Python function a.b"),
        (PLAIN + "metric_list: [{metric: exact_mach}]\n", "did you mean 'exact_match'?"),
        (PLAIN + "metric_list: [acc]\n", "key 'metric_list[0]': found 'acc', expected a mapping"),
        (
            PLAIN + "filter_list: [{name: f, filter: [{function: regx}]}]\n",
            "unknown function 'regx'; did you mean 'regex'?",
        ),
        (PLAIN + "generation_kwargs: {num_beam: 2}\n", "unknown key 'num_beam'"),
        (PLAIN + "generation_kwargs: {do_sample: true}\n", "found true without a temperature above 0"),
        (PLAIN.replace("{{q}} =", "{{q"), "key 'doc_to_text': template, line 1: broken template"),
        (PLAIN.replace("test_split: test\n", ""), "key 'test_split': missing, and so is 'validation_split'"),
        (PLAIN.replace("doc_to_target: a\n", ""), "key 'doc_to_target': missing"),
        (PLAIN.replace("dataset_path: json\n", ""), "key 'dataset_path': missing"),
        (PLAIN + "include: bse.yaml\n", "key 'include': no such file 'bse.yaml'"),
        ("group: g\ntask: [{dataset_path: json}]\n", "found a mapping among its tasks"),
        ("group: g\ntask: []\n", "expected a list of tasks"),
        ("output_type: generate_until\n", "found neither key 'task' nor 'group'"),
        ("task: a\n b: [\n", "broken YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    assert message in complaint(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ cycler.__init__.__globals__ }}", "not allowed in a template: access to attribute '__init__'"),
        ("{{ q.__class__ }}", "not allowed in a template"),
        ("{{ options.append(1) }}", "not allowed in a template"),
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{% for _ in range(1000000) %}{% endfor %}", "shorten the loops"),
    ],
)
def test_a_template_cannot_reach_out_of_its_sandbox(text: str, message: str, tmp_path: Path) -> None:
    task = loaded(written(tmp_path, PLAIN.replace("{{q}} =", text)))
    with pytest.raises(TaskError, match=r"plain: .*test.jsonl: row 1: ") as caught:
        rendered(task.source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_none_is_shown_as_lm_eval_shows_it(tmp_path: Path) -> None:
    task = loaded(written(tmp_path, PLAIN, rows=[{"q": None, "a": "2"}, {"q": "1", "a": "2"}]))
    assert [each.question for each in rendered(task.source)] == ["None =", "1 ="]


def test_examples_are_named_by_their_id_or_by_what_they_hold(tmp_path: Path) -> None:
    task = loaded(written(tmp_path, PLAIN, rows=[{**ROWS[0], "id": 7}, {**ROWS[1], "id": 8}]))
    assert [each.id for each in rendered(task.source)] == ["7", "8"]
    task = loaded(written(tmp_path, PLAIN, rows=[{**ROWS[0], "id": 7}, {**ROWS[1], "id": 7}, {**ROWS[1], "id": 7}]))
    first, second, third = [each.id for each in rendered(task.source)]
    assert first != second
    assert third == f"{second}-2"


def test_a_description_of_the_document_belongs_to_its_example(tmp_path: Path) -> None:
    task = loaded(written(tmp_path, PLAIN + 'description: "About {{q}}.\\n"\n'))
    assert task.description == ""
    assert [each.description for each in rendered(task.source)] == ["About 1 + 1.\n", "About 1 + 2.\n"]
    task = loaded(written(tmp_path, PLAIN + 'description: "Add.\\n\\n"\n'))
    assert task.description == "Add.\n\n"
    assert rendered(task.source)[0].description is None


def test_samples_of_the_file_are_the_pool(tmp_path: Path) -> None:
    own = "fewshot_config: {sampler: first_n, samples: [{q: 9 + 9, a: '18'}]}\n"
    task = loaded(written(tmp_path, PLAIN + own))
    assert [(each.question, each.targets) for each in rendered(task.pool)] == [("9 + 9 =", (" 18",))]
    assert task.pool is not None
    assert task.pool.settings["sampler"] == "first_n"


def test_other_data_take_the_place_of_the_tasks_own(tmp_path: Path) -> None:
    task = loaded(written(tmp_path, PLAIN))
    other = tmp_path / "other.jsonl"
    other.write_text('{"q": "5 + 5", "a": 10}\n', encoding="utf-8")
    [example] = rendered(documents.with_data(task.source, Source("file", str(other), {})))
    assert (example.question, example.targets) == ("5 + 5 =", ("10",))


def test_data_that_cannot_be_had_are_named_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"data_files: no such file '.*test.jsonl'; paths are relative") as caught:
        rendered(loaded(path).source)
    assert "\n" not in str(caught.value)


def test_a_wrong_choice_is_told_where_it_stands(tmp_path: Path) -> None:
    path = written(tmp_path, CHOICE.replace("doc_to_choice: options", "doc_to_choice: [yes, no]"))
    with pytest.raises(EvalkitError, match="found true or false among the choices, expected text; put it in quotes"):
        rendered(loaded(path).source)


@pytest.mark.parametrize(
    ("reading", "is_open"),
    [("label", True), ("{{label}}", True), ("{% if a %}0{% else %}1{% endif %}", True), (0, True), ("{{q}} =", False)],
)
def test_only_some_texts_could_be_the_place_of_a_choice(reading: object, is_open: bool) -> None:
    assert may_give_number(reading) is is_open


def test_files_of_lm_evals_form_are_told_from_evalkits_own(tmp_path: Path) -> None:
    assert tasks.is_lm_eval(written(tmp_path, PLAIN))
    assert tasks.is_lm_eval({"include": "base.yaml", "task": "a"})
    assert tasks.is_lm_eval({"group": "g", "task": ["a"]})
    assert not tasks.is_lm_eval({"title": "A", "source": {}, "description": "B", "template": "c"})
    assert not tasks.is_lm_eval(tmp_path / "missing.yaml")
    for path in (Path(__file__).parent.parent / "tasks").glob("*.yaml"):
        assert not tasks.is_lm_eval(path)


def test_the_index_takes_the_first_file_of_a_name_and_the_tags_of_includes(tmp_path: Path) -> None:
    (tmp_path / "base_yaml").write_text("tag: [odd, even]\nclass_of: x\n", encoding="utf-8")
    (tmp_path / "a.yaml").write_text('"task": one\ninclude: base_yaml\n', encoding="utf-8")
    (tmp_path / "b.yaml").write_text("task: one\n", encoding="utf-8")
    (tmp_path / "c.yaml").write_text(
        "doc_to_text: |\n  task: no\ntask: two  # a remark\ntag:\n- odd\n", encoding="utf-8"
    )
    (tmp_path / "d.yaml").write_text("group: all\ntask:\n  - odd\n", encoding="utf-8")
    (tmp_path / "e.yaml").write_text("task: [broken\n", encoding="utf-8")
    found = index.build(tmp_path)
    assert {name: entry.kind for name, entry in found.items()} == {
        "one": "task", "two": "task", "odd": "tag", "even": "tag", "all": "group"
    }  # fmt: skip
    assert (found["one"].path, found["odd"].members) == (str(tmp_path / "a.yaml"), {"one", "two"})


def test_groups_and_tags_of_an_installed_lm_eval_come_in_its_order() -> None:
    pytest.importorskip("lm_eval", reason="looked up in lm_eval, which the extra `dev` installs")
    found = tasks.load("lm_eval:mmlu", trusted=False, say=lambda _: None)
    assert (len(found), {task.group for task in found}) == (57, {"mmlu"})  # of four groups of tags
    assert (found[0].name, found[0].title) == ("mmlu_abstract_algebra", "abstract_algebra")
    said: list[str] = []
    code._said.clear()  # another test may have told of the file
    found = tasks.load("lm_eval:arithmetic", trusted=True, say=said.append)
    assert [task.name for task in found] == sorted(f"arithmetic_{kind}" for kind in KINDS)
    assert ({task.group for task in found}, len(said)) == ({None}, 1)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    pytest.importorskip("lm_eval", reason="looked up in lm_eval, which the extra `dev` installs")
    assert complaint("lm_eval:bolq") == "unknown task 'lm_eval:bolq'; did you mean 'boolq'?"


def test_nothing_of_lm_eval_is_imported(tmp_path: Path) -> None:
    import subprocess

    pytest.importorskip("lm_eval", reason="looked up in lm_eval, which the extra `dev` installs")
    script = (
        "import sys; from evalkit.lm_eval import tasks; tasks.load('lm_eval:boolq', trusted=False, say=print); "
        "sys.exit(any(name.split('.')[0] in {'lm_eval', 'datasets', 'torch'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_place_is_named_by_file_and_line(tmp_path: Path) -> None:
    keys = yaml_files.read(written(tmp_path, "# remark\ntask: a\n\ndoc_to_text: b\n"))
    assert yaml_files.at(keys.places["doc_to_text"]) == f"{tmp_path / 'task.yaml'}:4"
