"""Runs as lm-evaluation-harness logs them, beside its own logs of the same answers."""

import importlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas
import pytest

from evalkit import stats, stored
from evalkit.contamination.compare import find
from evalkit.contamination.lm_eval_samples import read_lm_eval
from evalkit.contamination.scan import Settings as ScanSettings
from evalkit.contamination.scan import scan
from evalkit.errors import DataError, TaskError
from evalkit.export import export
from evalkit.export_lm_eval import names
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Generate
from evalkit.run import run
from evalkit.settings import Settings
from tests import lm_eval_cases
from tests.exports import judge, likelihood, logged, make_fruits, make_sums, samples_of


@pytest.fixture(scope="module")
def fruits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fruits(tmp_path_factory.mktemp("fruits"))


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sums(tmp_path_factory.mktemp("sums") / "run")


@pytest.mark.parametrize("shots", [0, 2])
def test_lm_evals_own_code_makes_a_table_of_it(fruits: Path, tmp_path: Path, shots: int) -> None:
    utils = importlib.import_module("lm_eval.utils")
    export([fruits / "run"], out=tmp_path, formats=["lm_eval"])
    [path] = (tmp_path / "lm_eval" / "run" / f"{shots}-shot" / "scripted").glob("results_*.json")
    results = json.loads(path.read_text())
    cells = [[cell.strip() for cell in line.split("|")] for line in utils.make_table(results).splitlines()[2:]]
    expected = {
        each["spec"]: each["estimate"]["value"]
        for each in stored.described(fruits / "run")["results"]
        if each["shots"] == shots
    }
    assert cells[0][1:5] == ["Fruits", "3", "none", str(shots)]
    shown = {cell[5]: (cell[6], cell[7], cell[9]) for cell in cells}
    named = {"acc": "accuracy(by=sum)", "acc_norm": "accuracy(by=character)", "accuracy": "accuracy"}
    for name, spec in named.items():
        values = [each.statistics[spec][0] for each in samples_of(fruits / "run") if each.shots == shots]
        error = pandas.Series(values).std() / len(values) ** 0.5
        assert shown[name] == ("↑", f"{expected[spec]:.4f}", f"{error:.4f}")
    assert results["n-samples"] == {"fruits": {"original": 12, "effective": 12}}
    assert utils.get_results_filenames([str(path)]) == [str(path)]
    [lines] = path.parent.glob("samples_*.jsonl")
    assert utils.get_sample_results_filenames([str(lines)]) == [str(lines)]
    assert utils.get_file_task_name(lines.name) == "fruits"
    assert utils.get_file_datetime(lines.name) == utils.get_file_datetime(path.name).removesuffix(".json")


def test_compare_reads_the_logged_samples(fruits: Path, tmp_path: Path) -> None:
    corpus = (str(fruits / "corpus.jsonl"),)
    scan(ScanSettings(tasks=(str(fruits / "fruits.yaml"),), corpus=corpus, ngram=13, out=tmp_path / "scan"))
    export([fruits / "run"], out=tmp_path / "out", formats=["lm_eval"])
    folder = tmp_path / "out" / "lm_eval" / "run" / "0-shot" / "scripted"
    theirs = find([folder], tmp_path / "scan").comparisons
    own = find([fruits / "run"], tmp_path / "scan").comparisons
    assert [each.metric for each in theirs] == ["acc", "acc_norm", "accuracy"]
    by_token = next(each for each in own if each.shots == 0 and each.metric == "accuracy")
    assert theirs[2].all == by_token.all
    assert theirs[2].clean == by_token.clean
    assert theirs[2].clean is not None
    assert theirs[2].clean.n == 11


def test_each_number_of_shots_and_seed_has_a_folder(sums: Path, tmp_path: Path) -> None:
    found = export([sums], out=tmp_path, formats=["lm_eval"])
    settings = {path.relative_to(tmp_path / "lm_eval" / "run").parts[0] for path in found.files}
    assert settings == {"0-shot-seed-1", "2-shot-seed-1", "2-shot-seed-2"}
    [path] = (tmp_path / "lm_eval" / "run" / "2-shot-seed-2").rglob("results_*.json")
    results = json.loads(path.read_text())
    here = [each for each in samples_of(sums) if (each.shots, each.seed) == (2, 2)]
    for task in ("small/addition", "small/subtraction"):
        values = [each.statistics["exact_match"][0] for each in here if each.task == task]
        assert results["results"][task]["exact_match,none"] == sum(values) / len(values)
    assert results["group_subtasks"]["small"] == ["small/addition", "small/subtraction"]
    assert results["config"]["fewshot_seed"] == 2
    samples = read_lm_eval(
        sorted(path.parent.glob("samples_small__addition_*")), task="small/addition", metric="exact_match", shots=2
    )
    assert [each.statistics["exact_match"] for each in samples] == [
        each.statistics["exact_match"] for each in here if each.task == "small/addition"
    ]
    assert (
        stats.score([each.statistics["exact_match"] for each in samples], stats.mean_of_totals)
        == (results["results"]["small/addition"]["exact_match,none"])
    )


CASES = {"boolq": (), "winogrande": (), "gsm8k": ("generation_kwargs",), "pile_arxiv": (), "prefix_of_choices": ()}
GSM8K = "generation_kwargs: {until: ['Question:', 'qq'], max_gen_toks: 24, do_sample: false, temperature: 0.0}\n"


@pytest.fixture
def lm_eval_quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def theirs(path: Path, out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let lm_eval evaluate a task file with the same answers, and log it."""
    from lm_eval import evaluator
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks._yaml_loader import load_yaml

    class Judge(LM):
        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            return [(likelihood("".join(each.args)), False) for each in requests]

        def loglikelihood_rolling(self, requests: Any) -> list[float]:
            return [likelihood(each.args[0]) for each in requests]

        def generate_until(self, requests: Any) -> list[str]:
            return [str(judge(Generate(each.args[0]))) for each in requests]

    config = {key: value for key, value in load_yaml(path).items() if key not in {"tag", "group"}}
    task = ConfigurableTask(config={**config, "num_fewshot": 0})
    name = task.config.task
    found = evaluator.evaluate(Judge(), {"tasks": {name: task}, "groups": {}, "group_map": {}}, bootstrap_iters=10)
    tracker = EvaluationTracker(output_path=str(out))
    tracker.general_config_tracker.model_name_sanitized, tracker.date_id = "judge", "now"
    tracker.save_results_samples(name, found["samples"][name])
    return logged(out, "samples_*"), {key: value for key, value in found.items() if key != "samples"}


@pytest.mark.parametrize(
    "case", [each for each in lm_eval_cases.CASES if each.name in CASES], ids=lambda each: each.name
)
def test_a_run_is_logged_as_lm_eval_logs_it(
    case: lm_eval_cases.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lm_eval_quiet: None
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    path = lm_eval_cases.write(case, tmp_path)
    if case.name == "gsm8k":
        path.write_text(path.read_text(encoding="utf-8") + GSM8K, encoding="utf-8")
    if case.own:
        path.write_text(path.read_text(encoding="utf-8") + "metadata: {version: 2.0}\n", encoding="utf-8")
    settings = Settings(tasks=(str(path),), trust_task_code=True, out=tmp_path / "run")
    run(settings, lambda: ScriptedModel(judge))
    export([tmp_path / "run"], out=tmp_path / "out", formats=["lm_eval"], trusted=True)
    expected, their_results = theirs(path, tmp_path / "theirs")
    ours = logged(tmp_path / "out", "samples_*")
    assert [list(each) for each in ours] == [list(each) for each in expected]
    for mine, other in zip(sort(ours), sort(expected), strict=True):
        assert mine == other
    [found] = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(found.read_text())
    for key in ("versions", "n-shot", "n-samples", "higher_is_better"):
        assert results[key] == their_results[key], key
    own, other = results["results"][case.name], their_results["results"][case.name]
    assert own.keys() == other.keys()
    for key, value in other.items():
        if "_stderr" not in key and isinstance(value, float):
            assert own[key] == pytest.approx(value), key


def sort(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order lines by document, and leave out what each side calls it."""
    without_ids = [{key: value for key, value in each.items() if key != "doc_id"} for each in lines]
    return sorted(without_ids, key=lambda each: (each["doc_hash"], each["filter"]))


def test_files_are_named_after_runs_and_tasks() -> None:
    given = ["arithmetic/2-digit", "../../etc", "a b", "a\x00/b", "a__b", ".."]
    found = names(given)
    assert found[0] == "arithmetic__2-digit"
    assert found[1] == "__..__etc"
    assert found[5] == "_"
    assert len(set(found)) == len(given)
    assert all("/" not in each for each in found)
    assert names([Path("/x/run"), Path("/y/run"), Path("/z/other")])[2] == "other"


def test_a_task_that_has_changed_is_not_logged_in_the_form_of_lm_eval(fruits: Path, tmp_path: Path) -> None:
    described = json.loads((fruits / "run" / "run.json").read_text())
    folder = tmp_path / "run"
    folder.mkdir()
    task = tmp_path / "fruits.yaml"
    described["settings"]["tasks"] = [str(task)]
    (folder / "run.json").write_text(json.dumps(described))
    (folder / "samples.jsonl").write_bytes((fruits / "run" / "samples.jsonl").read_bytes())
    with pytest.raises(TaskError, match=r"fruits\.yaml"):  # it is gone
        export([folder], out=tmp_path / "out", formats=["lm_eval"])
    task.write_bytes((fruits / "fruits.yaml").read_bytes())
    (tmp_path / "fruits.jinja").write_text("{{ question }}\n\nA:")
    with pytest.raises(DataError, match="run: the template of fruits has changed since the run; run its command again"):
        export([folder], out=tmp_path / "out", formats=["lm_eval"])
    (tmp_path / "fruits.jinja").write_bytes((fruits / "fruits.jinja").read_bytes())
    lines = (folder / "samples.jsonl").read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | {"responses": []})
    (folder / "samples.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="fruits asks 3 requests of example 'q-3', and the run has 0 answers; the task"):
        export([folder], out=tmp_path / "out", formats=["lm_eval"])
