"""Runs as files for other programs: a table of samples, and what lm-evaluation-harness logs."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet
import pytest

from evalkit import encoding, export_parquet, stats, stored
from evalkit.contamination.compare import compare
from evalkit.contamination.lm_eval_samples import read_lm_eval
from evalkit.contamination.scan import Settings as ScanSettings
from evalkit.contamination.scan import scan
from evalkit.errors import DataError, StorageError, TaskError, UsageError
from evalkit.export import export
from evalkit.export_lm_eval import names
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Completion, Example, Generate, LogLikelihood, LogProb, Request, Response, Sample
from evalkit.registry import METRICS
from evalkit.run import run
from evalkit.settings import Settings
from tests import lm_eval_cases
from tests.test_cli import SMALL, call
from tests.test_diff import PROMPT, sample, store

FRUITS = ("apple", "pear", "fig, ripe")
CHOICE = """
version: 3
title: Fruits
template: ./fruits.jinja
kind: choice
metrics: [accuracy, accuracy(by=sum), accuracy(by=character)]
paper_shots: 2
source: {file: FILE}
columns: {question: question, target: answer, choices: options}
"""


def judge(request: Request) -> Response | str:
    """Answer by a hash of all that is asked, so that whoever asks the same is answered the same."""
    if isinstance(request, Generate):
        return f" It is #### {sha256(request.context.encode()).digest()[0] % 10}.\n\n"
    text = request.context + request.continuation if isinstance(request, LogLikelihood) else request.text
    return LogProb(likelihood(text), tokens=1 + len(text) % 3, bytes=4, is_greedy=False, boundary_merged=False)


def likelihood(text: str) -> float:
    return -(1 + int.from_bytes(sha256(text.encode()).digest()[:3], "big")) / 2**20


@pytest.fixture(scope="module")
def fruits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a task with choices at 0 and 2 shots; its second example is a copy of a corpus."""
    folder = tmp_path_factory.mktemp("fruits")
    words = "which of these three fruits would you, being number {}, put into a bag for a long walk?"
    rows = [
        {
            "id": f"q-{number}",
            "question": words.format(number),
            "answer": FRUITS[number % 3],
            "options": list(FRUITS),
        }
        for number in range(12)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "fruits.jinja").write_text("{{ question }}\n\nAnswer:")
    (folder / "fruits.yaml").write_text(CHOICE.replace("FILE", str(folder / "rows.jsonl")))
    (folder / "corpus.jsonl").write_text(json.dumps({"text": f"so {rows[1]['question']} Answer: {FRUITS[1]}"}))
    settings = Settings(tasks=(str(folder / "fruits.yaml"),), shots=(0, 2), out=folder / "run")
    run(settings, lambda: ScriptedModel(judge))
    return folder


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of generated answers with two seeds."""
    folder = tmp_path_factory.mktemp("sums") / "run"
    code, _, err = call(
        *("run", "--task", SMALL, "--shots", "0,2", "--limit", "5", "--seeds", "1,2", "--out", str(folder))
    )
    assert code == 0, err
    return folder


def samples_of(folder: Path) -> list[Sample]:
    return list(stored.samples(folder))


def table_of(*runs: Path, out: Path, **given: Any) -> pandas.DataFrame:
    export(runs, out=out, **given)
    return pandas.read_parquet(out / "samples.parquet")


def logged(out: Path, pattern: str) -> list[dict[str, Any]]:
    [path] = out.rglob(pattern)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_pandas_reads_every_number_back(fruits: Path, sums: Path, tmp_path: Path) -> None:
    table = table_of(fruits / "run", sums, out=tmp_path)
    expected = [*samples_of(fruits / "run"), *samples_of(sums)]
    assert len(table) == len(expected) == 24 + 30
    for row, each in zip(table.to_dict("records"), expected, strict=True):
        assert each.prompt is not None
        assert (row["task"], row["shots"], row["seed"], row["example"]) == (
            *(each.task, each.shots, each.seed, each.example.id),
        )
        assert (row["prompt"], row["tokens"], row["shots_used"]) == (
            *(each.prompt.context, each.prompt.tokens, each.prompt.shots_used),
        )
        assert tuple(row["demonstrations"]) == each.prompt.demonstrations
        assert (tuple(row["targets"]), tuple(row["choices"])) == (each.example.targets, each.example.choices)
        assert list(row["loglikelihoods"]) == [one.total for one in each.responses if isinstance(one, LogProb)]
        assert json.loads(row["fields"]) == each.example.fields
        for name, (number,) in each.statistics.items():
            assert row[name] == number
    assert table.groupby(["task", "shots"], sort=False)["accuracy"].mean().tolist()[:2] == [
        each["estimate"]["value"]
        for each in stored.described(fruits / "run")["results"]
        if each["spec"] == "accuracy" and each["subset"] == "all"
    ]


def test_a_row_names_its_run_model_and_signature(fruits: Path, sums: Path, tmp_path: Path) -> None:
    table = table_of(fruits / "run", sums, out=tmp_path)
    assert table["run"].unique().tolist() == [str(fruits / "run"), str(sums)]
    assert table["model"].unique().tolist() == ["scripted"]
    described = stored.described(fruits / "run")
    assert table["signature"].unique().tolist()[:2] == list(
        dict.fromkeys(each["signature"] for each in described["results"])
    )


def test_columns_have_types_of_their_own(fruits: Path, sums: Path, tmp_path: Path) -> None:
    export([fruits / "run", sums], out=tmp_path)
    kinds = {each.name: str(each.type) for each in pyarrow.parquet.read_schema(tmp_path / "samples.parquet")}
    assert kinds == {
        **dict.fromkeys(("run", "model", "task", "example", "cluster", "prompt", "answer"), "string"),
        **dict.fromkeys(("fields", "signature"), "string"),
        **dict.fromkeys(("shots", "tokens", "shots_used", "chosen"), "int32"),
        **dict.fromkeys(("demonstrations", "targets", "choices", "completions"), "list<element: string>"),
        **dict.fromkeys(("accuracy", "accuracy(by=sum)", "accuracy(by=character)", "exact_match"), "double"),
        "seed": "int64",
        "loglikelihoods": "list<element: double>",
    }
    assert not kinds.keys() & METRICS.keys() - {"accuracy", "exact_match"}


def test_what_a_sample_lacks_is_null(fruits: Path, sums: Path, tmp_path: Path) -> None:
    table = table_of(fruits / "run", sums, out=tmp_path)
    choice, generated = table[table["task"] == "fruits"], table[table["task"] != "fruits"]
    assert choice["exact_match"].isna().all()
    assert generated["accuracy"].isna().all()
    assert generated["chosen"].isna().all()
    assert generated["answer"].tolist() == [
        each.responses[0].text for each in samples_of(sums) if isinstance(each.responses[0], Completion)
    ]


def test_the_chosen_answer_is_the_one_that_was_scored(fruits: Path, tmp_path: Path) -> None:
    table = table_of(fruits / "run", out=tmp_path)
    for row, each in zip(table.to_dict("records"), samples_of(fruits / "run"), strict=True):
        per_token = [one.total / one.tokens for one in each.responses if isinstance(one, LogProb)]
        assert row["chosen"] == max(range(3), key=per_token.__getitem__)
        assert row["answer"] == each.example.choices[int(row["chosen"])]
        assert (row["answer"] in each.example.targets) == row["accuracy"]


def test_without_an_accuracy_whole_likelihoods_choose() -> None:
    example = Example("e", {}, ("b",), choices=("a", "b"))
    answers = tuple(LogProb(total, 1, 1, False, False) for total in (-2.0, -1.0, -9.0, -0.5))
    assert export_parquet.chosen(Sample("t", 0, example, PROMPT, answers, {"mcc": (1.0,)})) == 1
    # Divided by the likelihoods of the choices alone: -2 + 9 against -1 + 0.5.
    against = Sample("t", 0, example, PROMPT, answers, {"accuracy(by=unconditional)": (0.0,)})
    assert export_parquet.chosen(against) == 0
    assert export_parquet.chosen(Sample("t", 0, example, None, (), {})) is None


def test_statistics_of_several_numbers_have_a_column_each(tmp_path: Path) -> None:
    example = Example("e", {}, ("b",))
    samples = [
        Sample("t", 0, example, PROMPT, (), {"bleu": (3.0, 1.0, 0.5)}),
        Sample("u", 0, example, PROMPT, (), {"mcc": (1.0, 0.0)}),
        Sample("u", 0, Example("f", {}, ("b",)), PROMPT, (), {"mcc": (1.0, 0.0, 1.0)}),
        Sample("u", 0, Example("g", {}, ("b",)), None, (), {}),
    ]
    table = table_of(store(tmp_path / "run", samples), out=tmp_path / "out")
    assert table[["bleu.0", "bleu.1", "bleu.2"]].iloc[0].tolist() == [3.0, 1.0, 0.5]
    assert table["mcc.1"].tolist()[1:3] == [0.0, 0.0]
    assert [math.isnan(value) for value in table["mcc.2"]] == [True, True, False, True]
    assert table["prompt"].isna().tolist() == [False, False, False, True]


def test_row_groups_bound_what_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store(tmp_path / "run", [sample(f"e{number}", 1.0) for number in range(25)])
    monkeypatch.setattr(export_parquet, "ROWS", 10)
    export([folder], out=tmp_path)
    groups = pyarrow.parquet.ParquetFile(tmp_path / "samples.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [10, 10, 5]
    monkeypatch.setattr(export_parquet, "CHARACTERS", 1)
    export([folder], out=tmp_path)
    assert pyarrow.parquet.ParquetFile(tmp_path / "samples.parquet").metadata.num_row_groups == 25


def test_text_that_is_no_utf_8_stays_readable(tmp_path: Path) -> None:
    hostile = "\udc80<script>\x00\u202e"
    each = Sample("t", 0, Example(hostile, {"q": hostile}, (hostile,)), PROMPT, (), {"exact_match": (1.0,)})
    folder = store(tmp_path / "run", [sample("e", 1.0, task="t")])
    (folder / "samples.jsonl").write_text(encoding.encode_sample(each) + "\n", errors="backslashreplace")
    table = table_of(folder, out=tmp_path / "out")
    assert table["targets"][0].tolist() == ["\\udc80<script>\x00\u202e"]


def test_a_scan_adds_what_it_found(fruits: Path, sums: Path, tmp_path: Path) -> None:
    corpus = (str(fruits / "corpus.jsonl"),)
    settings = ScanSettings(tasks=(str(fruits / "fruits.yaml"),), corpus=corpus, ngram=13, out=tmp_path / "scan")
    outcome = scan(settings)
    assert outcome is not None
    table = table_of(fruits / "run", sums, out=tmp_path / "out", scans=[tmp_path / "scan"])
    found = {each.example: each for each in outcome.overlaps}
    assert found["q-1"].is_dirty
    for row in table[table["task"] == "fruits"].to_dict("records"):
        assert (row["dirty"], row["coverage"]) == (found[row["example"]].is_dirty, found[row["example"]].value)
    assert table[table["task"] != "fruits"]["dirty"].isna().all()


@pytest.mark.parametrize("shots", [0, 2])
def test_lm_evals_own_code_makes_a_table_of_it(fruits: Path, tmp_path: Path, shots: int) -> None:
    utils = pytest.importorskip("lm_eval.utils", reason="lm_eval's own table, which the extra `dev` installs")
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
    theirs = compare([folder], tmp_path / "scan", out=tmp_path / "theirs").comparisons
    own = compare([fruits / "run"], tmp_path / "scan", out=tmp_path / "own").comparisons
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
    pytest.importorskip("lm_eval", reason="compared with lm_eval, which the extra `dev` installs")
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


def test_an_export_again_replaces_what_is_there(fruits: Path, tmp_path: Path) -> None:
    first = export([fruits / "run"], out=tmp_path, formats=["parquet", "lm_eval"])
    before = {path: path.read_bytes() for path in first.files}
    again = export([fruits / "run"], out=tmp_path, formats=["parquet", "lm_eval"])
    assert {path: path.read_bytes() for path in again.files} == before
    mine = first.files[1].with_name("samples_of_mine.jsonl")
    mine.touch()
    # The run was run again since.
    (fruits / "run" / "run.json").write_bytes((fruits / "run" / "run.json").read_bytes())
    later = export([fruits / "run"], out=tmp_path, formats=["parquet", "lm_eval"])
    assert {path.name for path in later.files} != {path.name for path in first.files}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*later.files, mine}


def test_files_are_named_after_runs_and_tasks() -> None:
    given = ["arithmetic/2-digit", "../../etc", "a b", "a\x00/b", "a__b", ".."]
    found = names(given)
    assert found[0] == "arithmetic__2-digit"
    assert found[1] == "__..__etc"
    assert found[5] == "_"
    assert len(set(found)) == len(given)
    assert all("/" not in each for each in found)
    assert names([Path("/x/run"), Path("/y/run"), Path("/z/other")])[2] == "other"


def test_the_command_says_what_it_wrote(fruits: Path, tmp_path: Path) -> None:
    code, out, err = call("export", str(fruits / "run"), "--out", str(tmp_path), "--format", "parquet, lm_eval")
    assert code == 0, err
    place = tmp_path / "lm_eval" / "run"
    assert out.splitlines() == [
        f"samples: 24 in {tmp_path / 'samples.parquet'}",
        *(f"lm_eval: {place / setting / 'scripted'}" for setting in ("0-shot", "2-shot")),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "--format", "csv"], "--format: unknown format 'csv'; known: lm_eval, parquet"),
        (["RUN", "--format", ""], "--format: found none, expected parquet or lm_eval"),
        (["RUN", "RUN"], "found RUN twice; give it once"),
        (["RUN", "--out", "RUN"], "--out: RUN holds a run"),
        (["RUN", "--out", ""], "--out: found an empty text"),
        (["RUN", "--format", "lm_eval", "--scan", "SCAN"], "--scan: adds columns to the table of samples"),
        (["RUN", "--scan", "RUN"], "not a scan, or damaged"),
        (["SCAN"], "SCAN: found no run.json; give a directory that evalkit run has written"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(fruits: Path, tmp_path: Path, arguments: Sequence[str], message: str) -> None:
    places = {"RUN": str(fruits / "run"), "SCAN": str(tmp_path / "none")}
    given = [places.get(each, each) for each in arguments]
    out = [] if "--out" in given else ["--out", str(tmp_path / "out")]
    code, _, err = call("export", *given, *out)
    assert code == 2
    assert len(err.splitlines()) == 1
    for name, place in places.items():
        message = message.replace(name, place)
    assert message in err
    assert not (tmp_path / "out").exists()


def test_runs_that_cannot_be_exported_are_refused(fruits: Path, sums: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    described = stored.described(fruits / "run")
    (unfinished / "run.json").write_text(json.dumps(described | {"results": []}))
    with pytest.raises(StorageError, match="found no finished run"):
        export([unfinished], out=tmp_path / "out")
    (unfinished / "run.json").write_text(json.dumps({"kind": "scan"}))
    with pytest.raises(DataError, match="holds a scan, not a run; give it with --scan"):
        export([unfinished], out=tmp_path / "out")
    (unfinished / "run.json").write_text(json.dumps(described))
    (unfinished / "samples.jsonl").write_text("{}\n")
    for form in ("parquet", "lm_eval"):
        with pytest.raises(DataError, match=r"samples\.jsonl:1: not a sample"):
            export([unfinished], out=tmp_path / "out", formats=[form])
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        export([sums], out=tmp_path / "file")
    corpus = (str(fruits / "corpus.jsonl"),)
    scan(ScanSettings(tasks=(str(fruits / "fruits.yaml"),), corpus=corpus, ngram=13, out=tmp_path / "scan"))
    with pytest.raises(DataError, match=r"has the tasks fruits, and the runs small/addition, small/subtraction"):
        export([sums], out=tmp_path / "out", scans=[tmp_path / "scan"])
    other = store(tmp_path / "other", [sample("q", 1.0, task="fruits")])
    with pytest.raises(DataError, match=r"fruits: the scan has none of the runs' examples, such as 'q'; scan the same"):
        export([other], out=tmp_path / "out", scans=[tmp_path / "scan"])
    with pytest.raises(UsageError, match=r"--scan: found .* twice"):
        export([sums], out=tmp_path / "out", scans=[tmp_path / "scan", tmp_path / "scan"])


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
