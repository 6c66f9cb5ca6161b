"""What could be taken for another thing: metrics that differ in a setting, tasks of one name, pools, repeats."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit import assignment, fewshot, prompt, request, task
from evalkit.contamination.compare import find
from evalkit.contamination.scan import Settings as ScanSettings
from evalkit.contamination.scan import scan
from evalkit.errors import UsageError
from evalkit.records import Example, LogLikelihood
from evalkit.settings import Settings
from tests.conftest import count_pieces
from tests.test_data_flags import run, samples, write


@pytest.fixture
def quiz_file(tmp_path: Path) -> Path:
    write(tmp_path / "quiz.jinja", "Q: {{ question }}\nA:")
    rows = [{"question": f"number {n}", "answer": ["Lima", "LIMA"] if n else "lima"} for n in range(4)]
    write(tmp_path / "quiz.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "quiz.yaml"


def quiz(path: Path, *lines: str) -> str:
    given = ("version: 1", "title: Quiz", "source: {file: quiz.jsonl}", "columns: {target: answer}")
    return write(path, "\n".join([*given, "template: quiz.jinja", *lines]) + "\n")


def test_metrics_that_differ_in_a_setting_have_rows_of_their_own(tmp_path: Path, quiz_file: Path) -> None:
    one = quiz(quiz_file, "kind: generate", "metrics: [exact_match, exact_match(ignore_case=true)]")
    code, out, _ = run(tmp_path, "--task", one, script=lambda _: " Lima")
    assert code == 0
    rows = [line for line in out.splitlines() if line.strip().startswith("Quiz  ")]
    assert [("ignore_case=true" in row, "75.00 [" in row, "100.00 [" in row) for row in rows] == [
        (False, True, False),
        (True, False, True),
    ]


def test_a_filter_changes_the_signature(tmp_path: Path, quiz_file: Path) -> None:
    def signature(function: str) -> str:
        steps = f"filters: [{{name: a, steps: [{{function: {function}}}]}}]"
        path = quiz(quiz_file, "kind: generate", "metrics: [exact_match@a]", steps)
        assert run(tmp_path / function, "--task", path, script=lambda _: " Lima")[0] == 0
        return str(json.loads((tmp_path / function / "run" / "run.json").read_text())["signatures"][0])

    assert signature("lowercase") != signature("remove_whitespace")


def test_the_likelihood_of_the_first_of_several_targets_is_asked(tmp_path: Path, quiz_file: Path) -> None:
    one = quiz(quiz_file, "kind: loglikelihood", "metrics: [greedy_match, target_perplexity]")
    assert run(tmp_path, "--task", one, script=lambda _: " Lima")[0] == 0
    assert [sample["statistics"]["greedy_match"] for sample in samples(tmp_path)] == [[0.0], [1.0], [1.0], [1.0]]  # type: ignore[index]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("metrics: [exact_match]", "repeats: 3", "decoding: {temperature: 1.0}"), "scores one completion, found 3"),
        (("metrics: [exact_match]", "repeats: 3"), "which always answers the same"),
        (("metrics: [exact_match, exact_match]",), "metric 'exact_match' stands there twice"),
        (("metrics: [exact_match@b]",), "unknown filter 'b'; key 'filters' has none"),
    ],
)
def test_what_cannot_be_scored_is_refused_first(
    tmp_path: Path, quiz_file: Path, lines: tuple[str, ...], said: str
) -> None:
    code, out, error = run(tmp_path, "--task", quiz(quiz_file, "kind: generate", *lines))
    assert (code, out) == (2, "")
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_pool_that_is_named_is_not_replaced_by_the_sample(tmp_path: Path) -> None:
    code, _, error = run(tmp_path, "--task", "boolq", "--shots", "1", "--pool", str(tmp_path / "typo.jsonl"))
    assert code == 2
    assert "aps/super_glue" in error


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    row = write(tmp_path / "a.jsonl", json.dumps({"q": "who", "a": "me"}) + "\n")
    files = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {row}}}}}\ntest_split: test\n"
    forms = 'doc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\noutput_type: generate_until\n'
    other = write(tmp_path / "other.yaml", f"task: arithmetic/2-digit-addition\n{files}{forms}")
    code, _, error = run(tmp_path, "--task", f"arithmetic/2-digit-addition,{other}")
    assert code == 2
    assert "found two tasks called arithmetic/2-digit-addition" in error


def member(folder: Path, name: str) -> str:
    rows = write(folder / "rows.jsonl", '{"q": "who", "a": "me"}\n')
    data = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}}}\ntest_split: test\n"
    return write(folder / f"{name}.yaml", f'task: {name}\n{data}doc_to_text: "{{{{q}}}}"\ndoc_to_target: a\n')


def group(folder: Path, name: str, *members: str) -> str:
    return write(folder / f"{name}.yaml", f"group: {name}\ntask: [{', '.join(members)}]\n")


@pytest.mark.parametrize("is_group_first", [True, False])
def test_a_task_that_is_named_beside_its_group_stands_in_its_group(tmp_path: Path, is_group_first: bool) -> None:
    one, two, other = (member(tmp_path, name) for name in ("own_one", "own_two", "own_other"))
    both = group(tmp_path, "own_group", "own_one", "own_two")
    named = (both, two) if is_group_first else (two, other, both)
    found = [(each.task.name, each.task.group) for each in assignment.gather(Settings(tasks=named))]
    inside = [("own_one", "own_group"), ("own_two", "own_group")]
    assert found == (inside if is_group_first else [("own_other", None), *inside])
    assert [each.task.group for each in assignment.gather(Settings(tasks=(one,)))] == [None]


def test_a_mean_over_tasks_has_neither_a_metrics_form_nor_a_spread(tmp_path: Path) -> None:
    for name in ("own_one", "own_two"):
        member(tmp_path, name)
    both = group(tmp_path, "own_group", "own_one", "own_two")
    write(tmp_path / "rows.jsonl", "".join(f'{{"q": "who {n}", "a": "me"}}\n' for n in range(3)))
    assert run(tmp_path, "--task", both, "--shots", "1", "--seeds", "0,1", script=lambda _: "me")[0] == 0
    results = json.loads((tmp_path / "run" / "run.json").read_text())["results"]
    # Both tasks are answered alike with either seed, which is a spread of 0; their mean has none of its own.
    form = "exact_match(strip=false)"
    assert [(each["spec"], each["spread"]) for each in results] == [(form, 0.0), (form, 0.0), (None, None)]


def test_a_task_of_two_groups_is_refused(tmp_path: Path) -> None:
    member(tmp_path, "own_one")
    named = group(tmp_path, "own_a", "own_one"), group(tmp_path, "own_b", "own_one")
    with pytest.raises(UsageError, match="found own_one in the groups own_a and own_b, expected it in one"):
        assignment.gather(Settings(tasks=named))


def test_metrics_that_differ_in_a_setting_are_told_apart_in_comparisons(tmp_path: Path, quiz_file: Path) -> None:
    long = [json.dumps({"question": f"which of the towns by the sea has {n} mills", "answer": "Lima"}) for n in "ab"]
    write(tmp_path / "quiz.jsonl", "\n".join(long))
    one = quiz(quiz_file, "kind: generate", "metrics: [exact_match, exact_match(ignore_case=true)]")
    assert run(tmp_path, "--task", one, script=lambda _: " Lima")[0] == 0
    corpus = write(tmp_path / "corpus.txt", "nothing of it\n")
    assert scan(ScanSettings(tasks=(one,), corpus=(corpus,), workers=1, out=tmp_path / "scan")) is not None
    outcome = find([tmp_path / "run"], tmp_path / "scan")
    assert [each.metric for each in outcome.comparisons] == ["exact_match", "exact_match(ignore_case=true)"]


def test_names_that_the_task_does_not_read_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "question,answer\n1 plus 1,2\n")
    flags = ("--task", "arithmetic/2-digit-addition", "--data", data)
    assert "did you mean 'target'?" in run(tmp_path, *flags, "--columns", "targt=answer")[2]
    assert "found 'id' twice" in run(tmp_path, *flags, "--columns", "id=a,id=b")[2]
    assert "missing column 'nope'" in run(tmp_path, *flags, "--columns", "cluster=nope")[2]


def test_questions_that_are_all_the_same_are_told_apart_by_their_answers() -> None:
    [each] = task.load("arithmetic/2-digit-addition")
    facts = [Example(f"id{n}", {}, (f" fact{n}",), question="Write a fact:") for n in range(5)]
    pool = fewshot.prepare(facts, task=each)
    drawn = fewshot.draw(pool, facts[0], shots=9, seed=0)
    assert sorted(example.id for example in drawn) == ["id1", "id2", "id3", "id4"]


def test_white_space_that_ends_a_verbatim_context_begins_the_continuation() -> None:
    [each] = task.load("boolq")
    example = Example("a", {}, ("yes",), ("no", "yes"), question="Answer: ")
    from dataclasses import replace

    verbatim = replace(each, is_verbatim=True)
    [built] = prompt.build(verbatim, [(example, ())], shots=0, count_tokens=count_pieces, window=99)
    assert built is not None
    assert built.context == "Answer: "
    asked = request.build(verbatim, example, built, seed=0)["choice"]
    assert asked == (LogLikelihood("Answer:", " no"), LogLikelihood("Answer:", " yes"))


def test_the_decoder_needs_torch_tokenizers_and_safetensors_alone() -> None:
    blocked = ("pydantic", "jinja2", "yaml", "sacrebleu", "sacremoses", "numba", "datasets", "typer", "rich", "pyarrow")
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
    code += "import evalkit.decoder.engine, evalkit.training, evalkit.nano, evalkit.models.load\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
