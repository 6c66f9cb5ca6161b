"""--data, --pool, --columns and --seeds, from the command line to the table."""

import json
import os
from pathlib import Path

import pytest

from evalkit import hub
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Completion
from tests.test_cli import call


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def run(tmp_path: Path, *flags: str, script: object = None) -> tuple[int, str, str]:
    given = ("run", "--out", str(tmp_path / "run"), *flags)
    return call(*given, load=lambda *_, **__: ScriptedModel(script or (lambda _: " house")))  # type: ignore[arg-type]


def samples(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    source = write(tmp_path / "test.fr", "maison\nchat\nchien\n")
    target = write(tmp_path / "test.en", "house\ncat\ndog\n")
    return f"{source},{target}"


@pytest.fixture
def dev(tmp_path: Path) -> str:
    source = write(tmp_path / "dev.fr", "arbre\npomme\n")
    target = write(tmp_path / "dev.en", "tree\napple\n")
    return f"{source},{target}"


def test_two_aligned_files_are_source_and_target(tmp_path: Path, pairs: str) -> None:
    code, out, _ = run(tmp_path, "--task", "translation/fr-en", "--data", pairs)
    assert code == 0
    assert "BLEU (intl)" in out
    [first, *_] = samples(tmp_path)
    assert first["prompt"]["context"] == "Q: What is the English translation of maison A:"  # type: ignore[index]
    assert first["example"]["targets"] == [" house"]  # type: ignore[index]


def test_demonstrations_come_from_the_pool_that_is_named(tmp_path: Path, pairs: str, dev: str) -> None:
    run(tmp_path, "--task", "translation/fr-en", "--data", pairs, "--pool", dev, "--shots", "2")
    for sample in samples(tmp_path):
        shown = sample["prompt"]["context"].split("\n\n")  # type: ignore[index]
        assert sorted(shown[:2]) == ["arbre = tree", "pomme = apple"]


def test_files_of_other_lengths_are_refused(tmp_path: Path, pairs: str) -> None:
    short = write(tmp_path / "short.en", "house\n")
    source = pairs.partition(",")[0]
    code, out, error = run(tmp_path, "--task", "translation/fr-en", "--data", f"{source},{short}")
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1
    assert "3" in error
    assert "1" in error


def test_columns_are_named_on_the_command_line(tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "text,gold\n1 plus 1,2\n")
    flags = ("--task", "arithmetic/2-digit-addition", "--data", data)
    assert run(tmp_path, *flags)[0] == 2
    assert run(tmp_path, *flags, "--columns", "question=text,target=gold", script=lambda _: " 2")[0] == 0
    [sample] = samples(tmp_path)
    assert sample["prompt"]["context"] == "\n\nQ: What is 1 plus 1?\n\nA:"  # type: ignore[index]
    assert sample["statistics"] == {"exact_match": [1.0], "greedy_match": [1.0]}


def test_a_column_may_be_named_that_results_are_split_by(tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "question,answer,topic0\n1 plus 1,2,sums\n2 plus 2,4,more\n")
    flags = ("--task", "arithmetic/2-digit-addition", "--data", data, "--columns", "topic=topic0", "--by", "topic")
    code, out, error = run(tmp_path, *flags, script=lambda _: " 2")
    assert (code, error.startswith("error")) == (0, False)
    assert "topic=sums" in out


@pytest.mark.parametrize("text", ["target", "=x", "target=", "a=b,c"])
def test_columns_that_are_no_pairs_are_refused(tmp_path: Path, text: str) -> None:
    data = write(tmp_path / "a.csv", "question,answer\n1 plus 1,2\n")
    code, _, error = run(tmp_path, "--task", "arithmetic/2-digit-addition", "--data", data, "--columns", text)
    assert code == 2
    assert "expected NAME=COLUMN" in error


def test_columns_need_data(tmp_path: Path) -> None:
    code, _, error = run(tmp_path, "--task", "arithmetic/2-digit-addition", "--columns", "question=text")
    assert code == 2
    assert "--columns: found no --data" in error


def test_scores_of_several_seeds_are_averaged_and_their_spread_is_shown(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"question": f"{n} plus {n}", "answer": str(2 * n)}) + "\n" for n in range(1, 21))
    data = write(tmp_path / "a.jsonl", rows)
    flags = ("--task", "arithmetic/2-digit-addition", "--data", data, "--shots", "0,1", "--seeds", "0,1,2")
    code, out, _ = run(tmp_path, *flags, script=lambda _: " 2")
    assert code == 0
    assert "SD of seeds" in out
    assert "|seeds:0,1,2|" in out
    found = samples(tmp_path)
    assert {sample.get("seed", 0) for sample in found if sample["shots"] == 0} == {0}  # nothing is drawn
    assert {sample.get("seed", 0) for sample in found if sample["shots"] == 1} == {0, 1, 2}
    [few] = [line for line in out.splitlines() if "2D+" in line and " exact match, %" in line and "teacher" not in line]
    # 1 of 20 examples is right, whatever the seed: the spread is 0, and n counts examples once.
    assert few.split()[-1] == "0.00"
    assert few.count("5.00 [") == 2
    assert " 20 " in few


@pytest.mark.parametrize("text", ["a", "0,,x", "1,1"])
def test_seeds_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    code, _, error = run(tmp_path, "--task", "arithmetic/2-digit-addition", "--seeds", text)
    assert code == 2
    assert error.startswith("error: --seeds: found")


def test_a_server_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    hub.prepare.cache_clear()
    hub.prepare()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    hub.prepare.cache_clear()


def test_repeats_are_voted_on_by_a_filter(tmp_path: Path) -> None:
    write(tmp_path / "vote.jinja", "Q: {{ question }}\nA:")
    data = write(tmp_path / "a.jsonl", json.dumps({"question": "who", "answer": "me"}) + "\n")
    task = write(
        tmp_path / "vote.yaml",
        f"version: 1\ntitle: Vote\nsource: {{file: {data}}}\ncolumns: {{target: answer}}\ntemplate: vote.jinja\n"
        "kind: generate\nrepeats: 5\ndecoding: {temperature: 1.0}\nmetrics: [exact_match@vote, exact_match@first]\n"
        "filters:\n  - name: vote\n    steps: [{function: majority_vote}, {function: take_first}]\n"
        "  - name: first\n    steps: [{function: take_first}]\n",
    )
    answers = iter([" you", " me", " me", " you", " me"])
    code, _, _ = run(tmp_path, "--task", task, script=lambda _: Completion(next(answers), 1, "stop"))
    assert code == 0
    [sample] = samples(tmp_path)
    first = float(sample["responses"][0]["text"] == " me")  # type: ignore[index]
    assert sample["statistics"] == {"exact_match@vote": [1.0], "exact_match@first": [first]}
