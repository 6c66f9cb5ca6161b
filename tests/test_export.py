"""Runs as a table of samples for other programs, and the command that writes it."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet
import pytest

from evalkit import encoding, export_parquet, stored
from evalkit.contamination.scan import Settings as ScanSettings
from evalkit.contamination.scan import scan
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.export import export
from evalkit.records import Completion, Example, LogProb, Sample
from evalkit.registry import METRICS
from tests.exports import make_fruits, make_sums, samples_of
from tests.test_cli import call
from tests.test_diff import PROMPT, sample, store


@pytest.fixture(scope="module")
def fruits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fruits(tmp_path_factory.mktemp("fruits"))


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sums(tmp_path_factory.mktemp("sums") / "run")


def table_of(*runs: Path, out: Path, **given: Any) -> pandas.DataFrame:
    export(runs, out=out, **given)
    return pandas.read_parquet(out / "samples.parquet")


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


def test_names_that_are_no_utf_8_are_exported(fruits: Path, tmp_path: Path) -> None:
    run = tmp_path / os.fsdecode(b"run-\xff")
    shutil.copytree(fruits / "run", run)
    described = json.loads((run / "run.json").read_text())
    for result in described["results"]:
        result["model"] = "mo\udc80del"
    (run / "run.json").write_text(json.dumps(described))
    out = tmp_path / os.fsdecode(b"out-\xff")
    code, said, err = call("export", str(run), "--out", str(out), "--format", "parquet,lm_eval")
    assert (code, len(said.splitlines())) == (0, 3), err
    table = pyarrow.parquet.read_table((out / "samples.parquet").open("rb")).to_pandas()
    assert set(table["model"]) == {r"mo\udc80del"}
    [path] = out.rglob("*/0-shot/*/results_*.json")
    assert json.loads(path.read_text(encoding="utf-8"))["model_name"] == "mo\udc80del"


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
        (["RUN", "--format", "parquet,,"], "--format: found nothing beside a comma in 'parquet,,'"),
        ([""], "found an empty text, expected the directory of a run"),
        (["RUN", "--scan", ""], "--scan: found an empty text"),
        (["RUN", "--scan", "RUN"], "RUN: holds a run, not a scan; give the directory of a scan"),
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
