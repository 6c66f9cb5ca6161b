"""`evalkit report`, from finished runs and scans to tables in every form."""

import json
import shutil
from pathlib import Path

import pandas
import pytest

from evalkit import dataset, report_command
from evalkit.contamination import items, split
from evalkit.contamination.compare import find
from evalkit.contamination.comparison_table import MARKS
from evalkit.contamination.scan import Settings as ScanSettings
from evalkit.contamination.scan import scan
from evalkit.errors import DataError, UsageError
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Cell, Estimate, Example, Marked, Prompt, Sample, Table
from evalkit.report import provenance
from evalkit.report import table as tables
from evalkit.report.layout import Layout
from evalkit.report.shown import is_right
from evalkit.report_command import Wanted
from evalkit.run import run
from evalkit.settings import Settings
from evalkit.task import load
from tests.scripted import calculate
from tests.test_cli import call
from tests.test_split import NAME, SMALL, TASK

CORPUS = "corpus.jsonl"


class Model(ScriptedModel):
    def __init__(self, name: str, *, window: int = 2048) -> None:
        """Answer rightly, wrongly now and then, or hardly ever, as the name says."""
        script = {"good": calculate, "same": calculate, "bad": lambda _: " 7\n\nQ:"}[name.partition("-")[0]]
        super().__init__(script, name=name, window=window)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models' runs on 200 sums, and a scan of a corpus that holds every third of them."""
    place = tmp_path_factory.mktemp("report")
    for name in ("good", "same", "bad"):
        run(Settings(tasks=(TASK,), shots=(0, 2), out=place / name), lambda name=name: Model(name))  # type: ignore[misc]
    run(Settings(tasks=(f"{SMALL}/subtraction",), limit=20, out=place / "other"), lambda: Model("good-other"))
    [task] = load(TASK)
    texts = [
        "Before. " + "".join(part.text for part in items.parts(task, example)) + " After."
        for example in list(dataset.load(task.source, task=task))[::3]
    ]
    (place / CORPUS).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert scan(ScanSettings(tasks=(TASK,), corpus=(str(place / CORPUS),), workers=1, out=place / "scan")) is not None
    return place


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    """Write every form of the report of two runs and the scan."""
    out = folder / "written"
    flags = ("--scan", str(folder / "scan"), "--format", "html,csv,latex,md,parquet,json", "--out", str(out))
    code, printed, _ = call("report", str(folder / "good"), str(folder / "bad"), *flags)
    assert code == 0
    assert printed.splitlines()[-1] == f"report: {out / 'index.html'}"
    return out


def wanted(folder: Path, *names: str, **changes: object) -> Wanted:
    return Wanted(tuple(folder / name for name in names), **changes)  # type: ignore[arg-type]


def columns(table: Table, name: str) -> list[Cell]:
    return [row[table.columns.index(name)] for row in table.rows]


def refused(*arguments: str) -> str:
    code, out, error = call("report", *arguments)
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1
    return error


def test_a_report_of_one_run_is_its_own_table(folder: Path) -> None:
    [shown] = report_command.page(wanted(folder, "good")).summary
    results = json.loads((folder / "good" / "run.json").read_text())["results"]
    assert shown.columns == ("task", "n", "0 shots, %", "2 shots, %")
    values = [cell.value / 100 for cell in shown.rows[0][2:] if isinstance(cell, Estimate)]
    assert values == pytest.approx([each["estimate"]["value"] for each in results])
    assert shown.sources == tuple(json.loads((folder / "good" / "run.json").read_text())["signatures"])


def test_the_best_model_is_bold_with_its_ties(folder: Path) -> None:
    shown = report_command.page(wanted(folder, "bad", "good", "same", layout=Layout("models", "shots"))).summary[0]
    assert columns(shown, "model") == ["bad", "good", "same"]
    for name in ("0 shots, %", "2 shots, %"):
        assert [tables.is_best(cell) for cell in columns(shown, name)] == [False, True, True]
    assert any(note.startswith("Bold: the best score") for note in shown.notes)


def test_scores_carry_the_signs_that_compare_finds(folder: Path) -> None:
    page = report_command.page(wanted(folder, "good", scans=(folder / "scan",)))
    compared = find([folder / "good"], folder / "scan")
    expected = ["".join(MARKS[flag] for flag in each.flags) for each in compared.comparisons]
    assert all("†" in each for each in expected)  # 133 clean examples are too few
    shown = page.summary[0]
    assert [tables.signs(cell) for cell in shown.rows[0][2:]] == expected
    assert any(note.startswith("† clean subset too small: ") for note in shown.notes)
    assert page.contamination[0].rows == compared.table.rows
    assert [each.rows for each in page.contamination[1:]] == [each.rows for each in compared.more]


def test_captions_say_measure_threshold_n_and_corpus(folder: Path) -> None:
    page = report_command.page(wanted(folder, "good", scans=(folder / "scan",), threshold=0.5))
    [stored] = split.splits(split.load(folder / "scan"))
    corpus = stored.signature.partition("corpus:")[2].partition("|")[0]
    source = f"Contamination: gpt3(n=8), threshold 0.5, N = 8, corpus {corpus}"
    assert page.summary[0].sources[0] == source
    assert {each.sources[0] for each in page.contamination} == {source}


def test_a_scan_leaves_no_report_of_its_own(folder: Path) -> None:
    report_command.page(wanted(folder, "good", scans=(folder / "scan",)))
    assert not (folder / "scan" / "compare").exists()


def test_contamination_tables_of_several_models_name_them(folder: Path) -> None:
    page = report_command.page(wanted(folder, "good", "bad", scans=(folder / "scan",)))
    assert [each.caption.rpartition(": ")[2] for each in page.contamination] == [
        *["good"] * (len(page.contamination) // 2),
        *["bad"] * (len(page.contamination) // 2),
    ]


def test_samples_are_those_of_the_runs_with_what_the_scan_says(folder: Path) -> None:
    page = report_command.page(wanted(folder, "good", "bad", scans=(folder / "scan",)))
    shown = list(page.samples)
    assert shown == list(page.samples)  # they can be read again
    assert [each.model for each in shown] == ["good"] * 400 + ["bad"] * 400
    [found] = split.splits(split.load(folder / "scan"))
    assert {each.sample.example.id for each in shown if each.is_dirty} == set(found.dirty)
    for each in shown:
        assert each.is_right is (each.sample.statistics["exact_match"] == (1.0,))


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        ({"exact_match": (1.0,)}, True),
        ({"f1": (0.0,)}, False),
        ({"f1": (0.5,)}, None),
        ({"words": (1.0,)}, None),  # one word is neither
        ({"brier_score": (0.0,)}, None),  # the best there is
        ({"target_perplexity": (0.0,), "greedy_match": (1.0,)}, True),
    ],
)
def test_right_is_what_a_metric_says_whose_higher_scores_are_better(
    statistics: dict[str, tuple[float, ...]], expected: bool | None
) -> None:
    sample = Sample("t", 0, Example("e", {}, ("x",)), Prompt("Q:", (), 0, 1, 9), (), statistics)
    assert is_right(sample) is expected


def test_without_a_scan_samples_are_neither_clean_nor_dirty(folder: Path) -> None:
    assert {each.is_dirty for each in report_command.page(wanted(folder, "good")).samples} == {None}


def test_provenance_tells_every_setting_and_the_command(folder: Path) -> None:
    first, second = report_command.page(wanted(folder, "good", scans=(folder / "scan",))).provenance
    assert (first.name, second.name) == ("good", "scan")
    assert first.command == f"evalkit run --task {TASK} --model good --shots 0,2"
    assert second.command == f"evalkit scan --task {TASK} --corpus {folder / CORPUS} --out {folder / 'scan'}"
    assert first.settings["settings shots"] == "[0, 2]"
    assert first.settings[f"hashes tasks {NAME} data"]
    assert first.settings["versions evalkit"]
    assert second.settings["n small/addition"] == "8"
    assert first.signatures[0].startswith("small|v1|shots:0,2") or first.signatures[0].startswith(NAME)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tasks": ["a b", "c"], "shots": [0], "seed": 0, "limit": None}, "evalkit run --task 'a b,c'"),
        ({"columns": [["target", "answer"], ["q", "x"]]}, "evalkit run --columns target=answer,q=x"),
        ({"trust_task_code": True, "call_tokens": 7}, "evalkit run --trust-task-code"),
        ({"seeds": [1, 2], "token_budget": 5}, "evalkit run --seeds 1,2 --token-budget 5"),
    ],
)
def test_commands_have_the_flags_that_differ_from_the_usual(settings: dict[str, object], expected: str) -> None:
    assert provenance.command("run", settings, Settings) == expected


def test_scans_repeat_the_flag_of_the_corpus() -> None:
    settings = {"corpus": ["a", "b"], "is_edited": True, "workers": 3}
    assert provenance.command("scan", settings, ScanSettings) == "evalkit scan --corpus a --corpus b --edited"


def test_every_form_is_written_and_read_back(written: Path) -> None:
    for name in ("table", "contamination", "contamination-2"):
        endings = ("csv", "tex", "md", "parquet", "json")
        assert {path.name for path in written.glob(f"{name}.*")} == {f"{name}.{ending}" for ending in endings}
        found = pandas.read_csv(written / f"{name}.csv")
        other = pandas.read_json(written / f"{name}.json", orient="table", precise_float=True)
        third = pandas.read_parquet(written / f"{name}.parquet")
        assert list(found.columns) == list(other.columns) == list(third.columns)
        for column in third.select_dtypes("number").columns:
            assert found[column].to_list() == pytest.approx(third[column].to_list(), rel=0, abs=0, nan_ok=True)
            assert other[column].astype(float).to_list() == pytest.approx(third[column].to_list(), rel=0, nan_ok=True)


def test_the_page_has_tables_and_origins(written: Path) -> None:
    text = (written / "index.html").read_text()
    for said in ("Contamination: gpt3(n=8)", "Scores on all, dirty and clean examples", "evalkit scan --task"):
        assert said in text


def test_signatures_that_differ_in_the_model_alone_are_one(folder: Path) -> None:
    [line] = report_command.page(wanted(folder, "good", "bad")).summary[0].sources
    models = line.partition("|model:")[2].partition("|")[0].split(",")
    assert [name.partition("@")[0] for name in models] == ["good", "bad"]


def test_many_signatures_are_notes(folder: Path, tmp_path: Path) -> None:
    described = json.loads((folder / "good" / "run.json").read_text())
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "run.json").write_text(
        json.dumps(described | {"signatures": ["a|v1", "b|v1", "c|v1", "d|v1"]})
    )
    shown = report_command.page(wanted(tmp_path, "good")).summary[0]
    assert (shown.notes[-4:], shown.sources) == (("a|v1", "b|v1", "c|v1", "d|v1"), ())


def test_only_the_forms_asked_for_are_written(folder: Path, tmp_path: Path) -> None:
    code, printed, _ = call("report", str(folder / "good"), "--format", "csv", "--out", str(tmp_path / "out"))
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"table.csv", "report-files.json"}
    assert printed.splitlines()[-1] == f"files: {tmp_path / 'out'}"


def test_siunitx_and_plusminus_are_asked_for_by_flags(folder: Path, tmp_path: Path) -> None:
    flags = ("--latex", "siunitx", "--interval", "plusminus", "--out", str(tmp_path / "out"))
    assert call("report", str(folder / "good"), *flags)[0] == 0
    assert "S[table-format=" in (tmp_path / "out" / "table.tex").read_text()


def test_files_that_a_report_no_longer_makes_are_removed(folder: Path, written: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(written, out)
    before = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    (out / "contamination-9.csv").write_text("a stranger's")
    (out / "contamination.tex").write_text("changed by hand")
    report_command.report(wanted(folder, "good"), out=out, forms=("csv",))
    left = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert left == {"table.csv", "report-files.json", "contamination-9.csv", "contamination.tex"}
    assert {"index.html", "contamination.csv", "figures/score-by-shots.pdf"} <= {path.as_posix() for path in before}


@pytest.mark.parametrize("listed", ["", "[]", "{}", '{"files": {"../x.csv": "0"}}', '{"files": {"/etc/x.csv": "0"}}'])
def test_a_list_of_files_that_no_report_wrote_is_refused(folder: Path, tmp_path: Path, listed: str) -> None:
    (tmp_path / "report-files.json").write_text(listed)
    assert "remove it or choose another --out" in refused(str(folder / "good"), "--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["report-files.json"]


def test_without_out_tables_are_printed_and_nothing_is_written(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    code, out, _ = call("report", str(folder / "good"), "--scan", str(folder / "scan"))
    assert code == 0
    assert out.count("Exact match in % of good") == 1
    assert "Scores on all, dirty and clean examples" in out
    assert sorted(folder.rglob("*")) == before


def test_published_figures_stand_beside_marked_scores(folder: Path, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        described = json.loads((folder / name / "run.json").read_text().replace(NAME, "arithmetic/2-digit-addition"))
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(described))
        samples = (folder / name / "samples.jsonl").read_text().replace(NAME, "arithmetic/2-digit-addition")
        (tmp_path / name / "samples.jsonl").write_text(samples)
    [shown] = report_command.page(wanted(tmp_path, "good", "bad", is_published=True)).summary
    assert [tables.is_best(cell) for cell in columns(shown, "good")] == [True, True]
    assert isinstance(columns(shown, "good")[0], Marked)
    assert columns(shown, "175B") == [76.9, 100.0]  # Brown 2020, Table H.1


def test_contamination_tables_have_the_metrics_that_are_shown(folder: Path) -> None:
    page = report_command.page(wanted(folder, "good", scans=(folder / "scan",), metrics=("exact_match",)))
    assert {columns(each, "metric")[0] for each in page.contamination} == {"exact match, %"}


def test_a_metric_may_be_chosen(folder: Path) -> None:
    for name in ("exact match", "exact_match"):
        assert len(report_command.page(wanted(folder, "good", metrics=(name,))).summary[0].rows) == 1
    with pytest.raises(UsageError, match=r"--metric: no run has 'exact_mach'; did you mean 'exact_match'\?"):
        report_command.page(wanted(folder, "good", metrics=("exact_mach",)))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rows", "metrics"), "--rows: found 'metrics', expected tasks, models, shots"),
        (("--rows", "shots"), "--rows, --columns: both are shots, expected two that differ"),
        (("--order", "size"), "--order: found 'size', expected given, name, score"),
        (("--interval", "sd"), "--interval: found 'sd', expected bracket or plusminus"),
        (("--format", "csv"), "--format: found no --out, expected the directory of the files"),
        (("--latex", "plain"), "--latex: found no --out"),
        (("--format", "docx", "--out", "x"), "--format: unknown form 'docx'"),
        (("--format", "", "--out", "x"), "--format: found no form"),
        (("--latex", "tabu", "--out", "x"), "--latex: found 'tabu', expected plain or siunitx"),
        (("--published", "--rows", "models"), "--published: has a layout of its own"),
        (("--published",), "expected one that Table H.1 has scores of"),
        (("--metric", "bleu"), "--metric: no run has 'bleu'"),
        (("--scan", "nowhere"), "nowhere: found no scan"),
    ],
)
def test_flags_that_cannot_be_carried_out_are_refused(folder: Path, flags: tuple[str, ...], said: str) -> None:
    assert said in refused(str(folder / "good"), *flags)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "RUN: found an empty text, expected the directory of a run"),
        (("RUN", "--scan", ""), "--scan: found an empty text, expected the directory of a scan"),
        (("RUN", "--out", ""), "--out: found an empty text"),
        (("RUN", "--scan", "RUN"), "good: holds a run, not a scan; give the directory of a scan"),
        (("RUN", "--out", "x", "--format", "html,,"), "--format: found nothing beside a comma in 'html,,'"),
        (("RUN", "--out", "x", "--latex", ""), "--latex: found ''"),
        (("RUN", "--scan", "SCAN", "--measure", ""), "--measure: unknown measure ''"),
        (("RUN", "--scan", "SCAN", "--measure", "ngram-ratio(n=1001)"), "found n=1001, expected 1000 or less"),
    ],
)
def test_empty_names_and_wrong_places_are_refused(
    folder: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = {"RUN": str(folder / "good"), "SCAN": str(folder / "scan")}
    monkeypatch.chdir(tmp_path)
    assert said in refused(*(places.get(each, each) for each in arguments))
    assert not list(tmp_path.iterdir())


def test_signatures_that_are_no_text_are_told(folder: Path, tmp_path: Path) -> None:
    described = json.loads((folder / "good" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(described | {"signatures": [1]}))
    assert "holds a result or signature that cannot be read" in refused(str(tmp_path))


def test_a_run_given_twice_is_named_as_it_was_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert refused("good", "./good").startswith("error: good: given twice")


def test_flags_of_contamination_need_a_scan(folder: Path) -> None:
    assert "--threshold: found no --scan" in refused(str(folder / "good"), "--threshold", "0.5")
    assert "--measure: found no --scan" in refused(str(folder / "good"), "--measure", "gpt3(n=8)")


def test_runs_and_scans_that_do_not_belong_together_are_refused(folder: Path) -> None:
    scanned = str(folder / "scan")
    assert f"scan: has the tasks {NAME}, and the runs small/subtraction; run and scan the same task" in refused(
        str(folder / "other"), "--scan", scanned
    )
    assert f"--scan: {NAME} is in two scans" in refused(str(folder / "good"), "--scan", scanned, "--scan", scanned)


def test_a_run_that_was_not_scanned_is_noted(folder: Path) -> None:
    page = report_command.page(wanted(folder, "good", "other", scans=(folder / "scan",)))
    assert any(note.startswith("Not scanned: ") for note in page.summary[0].notes)


def test_a_run_that_is_not_finished_is_refused(folder: Path, tmp_path: Path) -> None:
    described = json.loads((folder / "good" / "run.json").read_text())
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text(json.dumps(described | {"results": []}))
    assert "begun: found no finished run; run its command again, to the end" in refused(str(tmp_path / "begun"))
    assert "found no run.json" in refused(str(tmp_path))


def test_a_scans_own_directory_is_not_written_over(folder: Path) -> None:
    assert "holds a run or scan" in refused(str(folder / "good"), "--out", str(folder / "scan"))


def test_data_that_were_not_scanned_are_refused(folder: Path, tmp_path: Path) -> None:
    samples = (folder / "good" / "samples.jsonl").read_text().splitlines()
    first = json.loads(samples[0])
    first["example"]["id"] = "another"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text((folder / "good" / "run.json").read_text())
    (tmp_path / "run" / "samples.jsonl").write_text("\n".join([json.dumps(first), *samples[1:]]) + "\n")
    with pytest.raises(DataError, match="found sample 'another', which the scan does not have"):
        report_command.page(wanted(tmp_path, "run", scans=(folder / "scan",)))


@pytest.mark.parametrize("kept", [0, 7, 100])
def test_samples_that_are_missing_or_too_many_are_told(folder: Path, tmp_path: Path, kept: int) -> None:
    shutil.copytree(folder / "good", tmp_path / "cut")
    lines = (tmp_path / "cut" / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / "samples.jsonl").write_text("".join((lines * 3)[:kept]))
    with pytest.raises(DataError, match=rf"found {kept} samples, expected {len(lines)}"):
        report_command.report(wanted(tmp_path, "cut"), out=tmp_path / "out")
