"""BoolQ from the task file to the table: formats of its data, prompts, likelihoods, notes."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import dataset, fewshot, prompt, request, task
from evalkit.errors import DataError
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Example, LogLikelihood, Request, Task
from tests.conftest import count_pieces
from tests.test_cli import call, evalkit

TOWNS = ("Almere", "Bergen", "Cork", "Delft", "Essen", "Fano", "Graz", "Hull", "Ivrea", "Jena", "Kiruna", "Lund")


def rows(count: int) -> list[dict[str, object]]:
    """Rows as SuperGLUE has them; every third is right."""
    return [
        {
            "question": f"is the {place} ferry of {TOWNS[place % 12].lower()} free of charge",
            "passage": f"{TOWNS[place % 12]} -- Ferry {place} of {TOWNS[place % 12]} crosses the river. It is free.",
            "idx": place,
            "label": int(place % 3 == 0),
        }
        for place in range(count)
    ]


def write(path: Path, lines: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def boolq() -> Task:
    [loaded] = task.load("boolq")
    return loaded


def load(each: Task, path: str) -> tuple[Example, ...]:
    return dataset.load(dataset.locate(path), task=each)


@pytest.mark.parametrize("shots", [0, 1, 32])
def test_prompts_are_the_golden_ones(
    tmp_path: Path, golden: Callable[[str, str], None], boolq: Task, shots: int
) -> None:
    examples = load(boolq, write(tmp_path / "a.jsonl", rows(40)))
    pool = fewshot.prepare(examples, task=boolq)
    jobs = [(examples[1], fewshot.draw(pool, examples[1], shots=shots, seed=0))]
    [built] = prompt.build(boolq, jobs, shots=shots, count_tokens=count_pieces, window=4096)
    assert built is not None
    assert built.shots_used == shots
    likelihoods = request.build(boolq, examples[1], built, seed=0)["choice"]
    answers = [each.continuation for each in likelihoods if isinstance(each, LogLikelihood)]
    shown = "".join(f"|{prompt.visible(answer)}\n" for answer in answers)
    golden(f"boolq-task-{shots}-shot.txt", prompt.visible(built.context) + shown)


def test_the_prompt_is_the_papers(boolq: Task) -> None:
    # Brown 2020, Figure G.29: passage with its title, lower-case labels, a question mark that the data has not.
    example = Example("a", {"passage": "Title -- Text.", "question": "is it"}, (" no",), (" no", " yes"))
    assert prompt.question(boolq, example) == "Title -- Text.\nquestion: is it?\nanswer:"
    assert boolq.paper_shots == 32


@pytest.mark.parametrize(
    ("right", "target"),
    [
        ({"label": 0}, " no"),
        ({"label": 1}, " yes"),
        ({"label": False}, " no"),
        ({"label": True}, " yes"),
        ({"label": "yes"}, " yes"),
        ({"label": "1"}, " yes"),  # as a CSV file has it
        ({"label": "False"}, " no"),
        ({"answer": True}, " yes"),
        ({"answer": False}, " no"),
        ({"answer": "true"}, " yes"),
        ({"answer": "no"}, " no"),
        ({"answer": True, "label": 0}, " yes"),
    ],
)
def test_every_release_gives_the_same_answers(
    tmp_path: Path, boolq: Task, right: dict[str, object], target: str
) -> None:
    row = {"passage": "T -- p", "question": "q", **right}
    [example] = load(boolq, write(tmp_path / "a.jsonl", [row]))
    assert (example.targets, example.choices) == ((target,), (" no", " yes"))


@pytest.mark.parametrize(
    ("right", "message"),
    [
        ({"label": 2}, "column 'label': found 2, expected 0 to 1 or one of the choices"),
        ({"label": -1}, "column 'label': found -1, expected 0 to 1 or one of the choices"),  # hidden, as in test splits
        ({"label": "maybe"}, "column 'label': found 'maybe', expected 0 to 1 or one of the choices"),
        ({"label": None}, "column 'label': found None, expected 0 to 1 or one of the choices"),
        ({"label": 1.0}, "column 'label': found 1.0, expected 0 to 1 or one of the choices"),
        ({"answer": "maybe"}, "found the answer ' maybe', expected one of the choices:  no,  yes"),
        ({}, "missing column 'answer' or 'label'; columns found: passage, question"),
    ],
)
def test_other_labels_are_one_line_with_the_place(
    tmp_path: Path, boolq: Task, right: dict[str, object], message: str
) -> None:
    row = {"passage": "T -- p", "question": "q", **right}
    with pytest.raises(DataError) as caught:
        load(boolq, write(tmp_path / "a.jsonl", [row]))
    assert str(caught.value) == f"{tmp_path}/a.jsonl:1: {message}"


def test_true_and_false_are_their_own_choices_where_there_are_such(tmp_path: Path, boolq: Task) -> None:
    each = replace(boolq, choices=("True", "False"))
    row = {"passage": "p", "question": "q", "label": True}
    [example] = load(each, write(tmp_path / "a.jsonl", [row]))
    assert example.targets == (" True",)


def test_the_first_releases_title_stands_before_its_passage(tmp_path: Path, boolq: Task) -> None:
    row = {"question": "is it", "title": "Title", "answer": True, "passage": "Text."}
    [example] = load(boolq, write(tmp_path / "a.jsonl", [row]))
    assert prompt.question(boolq, example) == "Title -- Text.\nquestion: is it?\nanswer:"


def test_questions_on_one_passage_are_one_cluster(tmp_path: Path, boolq: Task) -> None:
    first, other = rows(2)
    path = write(tmp_path / "a.jsonl", [first, first | {"question": "is there a ferry"}, other])
    one, two, three = (example.cluster for example in load(boolq, path))
    assert one == two != three


def says_yes(request: Request) -> str:
    return " yes"


def run(tmp_path: Path, *more: str) -> tuple[int, str, str]:
    data = write(tmp_path / "a.jsonl", rows(12))
    given = ("run", "--task", "boolq", "--data", data, "--out", str(tmp_path / "run"), *more)
    return call(*given, load=lambda *_, **__: ScriptedModel(says_yes))


def test_a_run_scores_likelihoods_and_names_the_majority(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path)
    assert code == 0
    # 4 of 12 are right; Wilson's interval of 4 of 12
    assert "33.33 [13.81, 60.94]" in out
    assert "66.67   33.33 [13.81, 60.94]" in out
    assert "BoolQ: the majority's answer is 'no'." in out


def test_demonstrations_of_a_test_file_are_told(tmp_path: Path) -> None:
    _, out, _ = run(tmp_path, "--shots", "0,2")
    said = "BoolQ: demonstrations come from the evaluated data itself, without the example and its near-duplicates."
    assert said in " ".join(out.split())
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert {len(sample["prompt"]["demonstrations"]) for sample in samples if sample["shots"] == 2} == {2}
    assert not any(sample["example"]["id"] in sample["prompt"]["demonstrations"] for sample in samples)


def test_zero_shots_need_no_word_on_demonstrations(tmp_path: Path) -> None:
    assert "demonstrations come from" not in run(tmp_path)[1]


def test_without_network_the_sample_is_asked_with_a_notice(tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ("run", "--task", "boolq", "--limit", "2", "--out", str(out))
    done = evalkit(*given, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 0
    [note] = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: BoolQ: asked on the 140 examples of a sample written for evalkit")
    assert "aps/super_glue" in note
    assert "of a sample written for evalkit" in " ".join(done.stdout.split())


def test_held_out_examples_are_told(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", rows(200))
    given = ("run", "--task", "boolq", "--data", data, "--out", str(tmp_path / "run"), "--shots", "2", "--limit", "5")
    _, out, _ = call(*given, load=lambda *_, **__: ScriptedModel(says_yes))
    said = re.search(
        r"demonstrations come from (\d+) of the 200 examples, which are held out and not scored", " ".join(out.split())
    )
    assert said
    assert 5 <= int(said[1]) <= 40  # 20 on average


def test_the_scan_takes_passage_question_and_answer_apart(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", rows(12))
    (tmp_path / "corpus.txt").write_text(str(rows(12)[5]["passage"]))
    corpus, out = str(tmp_path / "corpus.txt"), tmp_path / "scan"
    given = ("scan", "--task", "boolq", "--data", data, "--corpus", corpus, "--out", str(out), "--workers", "1")
    assert call(*given, "--ngram", "8")[0] == 0
    lines = [json.loads(line) for line in (out / "overlap.jsonl").read_text().splitlines()]
    # The passage has 11 words, of which the next longest example shares "crosses the river it is free".
    assert [(line["longest"], line["parts"]) for line in lines if line["dirty"]] == [(11, ["context"])]
