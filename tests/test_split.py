"""From a scan to clean and dirty examples, and to the scores of a stored run on them."""

import json
from pathlib import Path

import pytest

from evalkit import dataset
from evalkit.contamination import items, split
from evalkit.contamination.compare import compare, find
from evalkit.contamination.scan import Settings as ScanSettings
from evalkit.contamination.scan import scan
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.models.scripted import ScriptedModel
from evalkit.run import run
from evalkit.settings import Settings
from evalkit.task import load
from tests.scripted import calculate
from tests.test_cli import call

SMALL = Path(__file__).parent / "small.yaml"
TASK = f"{SMALL}/addition"
NAME = "small/addition"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scan a corpus that holds every third example of the task, and the first half of another."""
    folder = tmp_path_factory.mktemp("scan")
    [task] = load(TASK)
    texts = []
    for number, example in enumerate(dataset.load(task.source, task=task)):
        whole = "".join(part.text for part in items.parts(task, example))
        texts += [f"Before.{whole.upper()}\nAfter."] if number % 3 == 0 else [whole[: len(whole) // 2]]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings = ScanSettings(tasks=(TASK,), corpus=(str(folder / "corpus.jsonl"),), workers=1, out=folder / "scan")
    assert scan(settings) is not None
    return folder / "scan"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    run(Settings(tasks=(TASK,), shots=(0, 2), out=folder), lambda: ScriptedModel(calculate))
    return folder


def test_a_split_is_what_the_corpus_holds(scanned: Path) -> None:
    stored = split.load(scanned)
    [found] = split.splits(stored)
    everything = [overlap.example for overlap in stored.overlaps]
    assert list(found.dirty) == everything[::3]
    assert sorted([*found.clean, *found.dirty, *found.unscanned]) == sorted(everything)
    assert (found.measure, found.threshold, found.unscanned) == ("gpt3(n=8)", 1.0, ())


def test_files_of_a_split_are_run_again(scanned: Path, tmp_path: Path) -> None:
    stored = split.load(scanned)
    found = split.splits(stored)
    split.write(stored, found, tmp_path / "split")
    folder = tmp_path / "split" / "small-addition"
    [manifest] = json.loads((tmp_path / "split" / "manifest.json").read_text())
    assert manifest["counts"] == {"clean": 133, "dirty": 67, "unscanned": 0}
    assert manifest["ids"]["dirty"] == list(found[0].dirty)
    outcome = run(
        Settings(tasks=(TASK,), data=str(folder / "clean.jsonl"), out=tmp_path / "run"),
        lambda: ScriptedModel(calculate),
    )
    assert outcome.results[0].estimate is not None
    assert outcome.results[0].estimate.n == 133


def test_scores_of_a_stored_run_are_compared(scanned: Path, evaluated: Path, tmp_path: Path) -> None:
    outcome = compare([evaluated], scanned, out=tmp_path / "compare")
    assert [(each.task, each.shots) for each in outcome.comparisons] == [(NAME, 0), (NAME, 2)]
    results = json.loads((evaluated / "run.json").read_text())["results"]
    for comparison, result in zip(outcome.comparisons, results, strict=True):
        assert comparison.all is not None
        assert comparison.clean is not None
        assert comparison.dirty is not None
        assert comparison.all.value == result["estimate"]["value"]
        assert (comparison.all.n, comparison.clean.n, comparison.dirty.n) == (200, 133, 67)
        assert comparison.title == result["title"]
    written = {path.name for path in (tmp_path / "compare").iterdir()}
    assert {"index.html", "figures", "comparison.json", "contamination.csv"} < written
    assert {f"table.{form}" for form in ("md", "csv", "tex")} < written


def test_logged_samples_of_lm_eval_are_compared(scanned: Path, tmp_path: Path) -> None:
    stored = split.load(scanned)
    dirty = set(split.splits(stored)[0].dirty)
    (tmp_path / "logged").mkdir()
    rows = [
        {
            "doc_id": overlap.example,
            "doc": {},
            "target": "",
            "resps": [],
            "filtered_resps": [],
            "filter": "none",
            "acc": float(overlap.example in dirty),
        }
        for overlap in stored.overlaps
    ]
    path = tmp_path / "logged" / "samples_small_2026-11-21.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [comparison] = find([tmp_path / "logged"], scanned).comparisons
    assert comparison.clean is not None
    assert comparison.dirty is not None
    assert (comparison.clean.value, comparison.dirty.value) == (0, 1)
    assert "significantly worse on clean" in comparison.flags


def test_other_measures_and_thresholds(scanned: Path) -> None:
    stored = split.load(scanned)
    [whole] = split.splits(stored, measure="token-coverage(n=8)", threshold=0.5)
    assert whole.dirty == split.splits(stored)[0].dirty
    values = split.values(stored, measure="longest-match(n=8)")[NAME]
    assert {values[name] for name in whole.dirty} == {1.0}
    with pytest.raises(UsageError, match="--threshold"):
        split.splits(stored, measure="longest-match(n=8)")
    with pytest.raises(UsageError, match="expected above 0"):
        split.splits(stored, threshold=2.0)
    with pytest.raises(UsageError, match="unknown measure"):
        split.splits(stored, measure="gpt5")
    with pytest.raises(UsageError, match="scan again and keep shorter ones"):
        split.splits(stored, measure="ngram-ratio(n=5)", threshold=0.5)


def test_what_does_not_belong_together_is_refused(scanned: Path, evaluated: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"not a scan|no finished scan|no scan"):
        split.load(evaluated)
    with pytest.raises(StorageError, match="no scan"):
        split.load(tmp_path)
    other = tmp_path / "other"
    run(Settings(tasks=(f"{SMALL}/subtraction",), limit=5, out=other), lambda: ScriptedModel(calculate))
    with pytest.raises(DataError, match="run and scan the same task"):
        compare([other], scanned, out=tmp_path / "compare")
    with pytest.raises(DataError, match="no such file or directory"):
        compare([tmp_path / "nowhere"], scanned, out=tmp_path / "compare")
    (tmp_path / "samples_x.jsonl").write_text('{"doc_id": 1}\n')
    with pytest.raises(DataError, match=r"samples_x\.jsonl"):
        compare([tmp_path / "samples_x.jsonl"], scanned, out=tmp_path / "compare")
    (tmp_path / "samples_x.jsonl").unlink()
    with pytest.raises(DataError, match=r"neither run\.json nor"):
        compare([tmp_path], scanned, out=tmp_path / "compare")


def test_the_commands_say_what_they_wrote(scanned: Path, evaluated: Path, tmp_path: Path) -> None:
    code, out, _ = call("split", str(scanned), "--out", str(tmp_path / "split"))
    assert (code, out.splitlines()[0]) == (
        0,
        "small/addition: 133 clean, 67 dirty, 0 unscanned (gpt3(n=8), threshold 1)",
    )
    code, out, _ = call("compare", str(evaluated), "--scan", str(scanned), "--out", str(tmp_path / "compare"))
    assert code == 0
    assert "significantly" in out or "clean" in out
    code, _, err = call("compare", str(evaluated), "--scan", str(tmp_path))
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_passage_is_the_context(tmp_path: Path) -> None:
    (tmp_path / "q.jinja").write_text("{{ passage }}\nquestion: {{ question }}\nanswer:\n")
    (tmp_path / "q.yaml").write_text(
        "version: 1\ntitle: Q\nsource: {file: q.jsonl}\n"
        "columns: {passage: passage, question: question, target: answer}\n"
        "template: q.jinja\nkind: generate\nmetrics: [exact_match]\n"
    )
    (tmp_path / "q.jsonl").write_text(json.dumps({"passage": "A cat.", "question": "is it?", "answer": "yes"}))
    [item] = items.gather([str(tmp_path / "q.yaml")], data=None)
    assert [(part.name, part.text) for part in item.parts] == [
        ("context", "A cat."),
        ("question", "is it?"),
        ("answer", " yes"),
    ]
