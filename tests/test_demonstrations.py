"""Demonstrations that a corpus holds: counted, scored with and without, and told of where nobody looked for them."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from evalkit import dataset, stats, task
from evalkit.contamination import items
from evalkit.contamination.compare import Outcome, compare, find
from evalkit.contamination.compared import Row
from evalkit.contamination.demonstrations import Demonstrations, judge
from evalkit.contamination.scan import Settings as ScanSettings
from evalkit.contamination.scan import scan
from evalkit.metrics.exact import ExactMatch
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Example, Prompt, Request, Sample, Split
from evalkit.run import run
from evalkit.settings import Settings

SMALL = Path(__file__).parent / "small.yaml"
NAME = "small/addition"
POOL = Split("quiz", "gpt3", 1.0, clean=("a", "b"), dirty=("x", "y"), unscanned=("u",), signature="quiz|gpt3")


NUMBERS = itertools.count()


def sample(right: bool, *shown: str, has_prompt: bool = True) -> Sample:
    prompt = Prompt("Q:", demonstrations=shown, shots_asked=2, tokens=2, window=64) if has_prompt else None
    name = f"{right}-{shown}-{next(NUMBERS)}"
    return Sample("quiz", 2, Example(name, {}, ("yes",)), prompt, (), {"exact_match": (float(right),)})


def judged(samples: Sequence[Sample]) -> Demonstrations | None:
    return judge(samples, POOL, metric_name="exact_match", metric=ExactMatch())


def test_demonstrations_count_as_often_as_they_are_shown() -> None:
    found = judged([sample(True, "a", "x"), sample(True, "x", "y"), sample(True, "u", "b")])
    assert found is not None
    assert (found.shown, found.dirty, found.unscanned) == (6, 3, 1)
    assert found.share == pytest.approx(3 / 5)


def test_prompts_are_scored_with_and_without_dirty_demonstrations() -> None:
    samples = [
        *(sample(right, "a", "b") for right in (True, True, False)),
        *(sample(right, "b", "x") for right in (True, False, False, False)),
        sample(True, "a", "u"),  # whether a dirty one is there is not known
        sample(True),  # shows none
        sample(True, "x", has_prompt=False),
    ]
    found = judged(samples)
    assert found is not None
    assert (found.without, found.having) == (stats.wilson(2, n=3), stats.wilson(1, n=4))


def test_a_dirty_one_beside_an_unscanned_one_is_enough() -> None:
    found = judged([sample(False, "u", "x")])
    assert found is not None
    assert (found.without, found.having) == (None, stats.wilson(0, n=1))


def test_what_is_all_unscanned_has_no_share() -> None:
    found = judged([sample(True, "u")])
    assert found is not None
    assert (found.share, found.without, found.having) == (None, None, None)


def test_zero_shots_have_nothing_to_judge() -> None:
    assert judged([sample(True), sample(False)]) is None


def quiz(folder: Path) -> Path:
    """Write a task with a pool of its own: of ten demonstrations the corpus holds the five even ones."""
    (folder / "quiz.jinja").write_text("Q: {{ question }}\nA:")
    keys = "version: 1\ntitle: Quiz\ncolumns: {question: question, target: answer}\ntemplate: quiz.jinja\n"
    keys += 'kind: generate\nstop: ["\\n"]\nmetrics: [exact_match]\n'
    (folder / "quiz.yaml").write_text(f"{keys}source: {{file: test.jsonl}}\npool: {{file: pool.jsonl}}\n")
    # As the scan groups a pool: the same rows, and so the same ids.
    (folder / f"{items.pool_of('quiz')}.yaml").write_text(f"{keys}source: {{file: pool.jsonl}}\n")
    write(folder / "test.jsonl", [f"which of the rivers of land number {n} runs north to the sea" for n in range(8)])
    pool = [f"how many towns with a harbour has the coast of island {n} in all" for n in range(10)]
    write(folder / "pool.jsonl", pool)
    (folder / "corpus.txt").write_text("\n".join(f"Q: {text}\nA: {n}" for n, text in enumerate(pool) if n % 2 == 0))
    return folder / "quiz.yaml"


def write(path: Path, questions: Sequence[str]) -> None:
    rows = [{"question": text, "answer": str(n)} for n, text in enumerate(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def say_one(_: Request) -> str:
    return " 1\n"


def compared(folder: Path, *tasks: Path, shots: int, data: Path | None = None) -> tuple[Row, Outcome]:
    """Run the first task, scan for all, and compare."""
    other = None if data is None else str(data)
    settings = Settings(tasks=(str(tasks[0]),), data=other, shots=(shots,), out=folder / "run")
    run(settings, lambda: ScriptedModel(say_one))
    scanning = ScanSettings(
        tasks=tuple(map(str, tasks)),
        data=other,
        corpus=(str(folder / "corpus.txt"),),
        workers=1,
        out=folder / "scan",
    )
    assert scan(scanning) is not None
    outcome = find([folder / "run"], folder / "scan")
    [row] = outcome.rows
    return row, outcome


def test_the_pool_of_a_scan_tells_which_demonstrations_are_dirty(tmp_path: Path) -> None:
    given = quiz(tmp_path)
    row, outcome = compared(tmp_path, given, tmp_path / f"{items.pool_of('quiz')}.yaml", shots=1)
    shown = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    [each] = task.load(tmp_path / f"{items.pool_of('quiz')}.yaml")
    even = {example.id for example in dataset.load(each.source, task=each)[::2]}
    dirty = sum(sample["prompt"]["demonstrations"][0] in even for sample in shown)
    assert row.demonstrations is not None
    assert (row.demonstrations.shown, row.demonstrations.dirty, row.demonstrations.unscanned) == (8, dirty, 0)
    assert sum(score.n for score in (row.demonstrations.without, row.demonstrations.having) if score) == 8
    [table] = [table for table in outcome.more if table.caption == "Demonstrations that the corpus contains"]
    assert [line[:6] for line in table.rows] == [("Quiz", "exact match, %", 1, 8, 100 * dirty / 8, 0)]
    compare([tmp_path / "run"], tmp_path / "scan")
    written = json.loads((tmp_path / "scan" / "compare" / "comparison.json").read_text())
    assert written["rows"][0]["demonstrations"]["share"] == dirty / 8


def test_a_pool_that_was_not_scanned_is_told(tmp_path: Path) -> None:
    row, outcome = compared(tmp_path, quiz(tmp_path), shots=1)
    assert (row.demonstrations, row.lacks_pool) == (None, True)
    [note] = [note for note in outcome.table.notes if "demonstrations" in note]
    assert note.startswith("Quiz: demonstrations come from a pool that the scan did not look for; scan with")
    assert "--demonstrations" in note


def test_demonstrations_from_the_test_set_need_no_further_scan(tmp_path: Path) -> None:
    row, _ = compared(tmp_path, quiz(tmp_path), shots=2, data=tmp_path / "pool.jsonl")
    assert row.demonstrations is not None
    assert (row.demonstrations.shown, row.lacks_pool) == (20, False)
    assert 0 < row.demonstrations.dirty < 20


def test_without_demonstrations_nothing_is_said(tmp_path: Path) -> None:
    row, outcome = compared(tmp_path, quiz(tmp_path), shots=0)
    assert (row.demonstrations, row.lacks_pool) == (None, False)
    assert not any("demonstrations" in note for note in outcome.table.notes)


def test_pools_follow_the_tasks_as_groups_of_their_own(tmp_path: Path) -> None:
    given = str(quiz(tmp_path))
    found = items.gather([given], data=None, demonstrations=True)
    assert [item.task for item in found] == ["quiz"] * 8 + ["quiz (demonstrations)"] * 10
    [each] = task.load(given)
    assert each.pool is not None
    assert [item.id for item in found[8:]] == [example.id for example in dataset.load(each.pool, task=each)]
    assert [part.name for part in found[8].parts] == ["question", "answer"]


def test_data_that_demonstrations_come_from_is_not_scanned_twice(tmp_path: Path) -> None:
    given, data = str(quiz(tmp_path)), str(tmp_path / "pool.jsonl")
    assert items.gather([given], data=data, demonstrations=True) == items.gather([given], data=data)


def test_a_group_of_a_pool_is_told_by_its_name() -> None:
    assert items.has_pools([NAME, items.pool_of(NAME)])
    assert not items.has_pools([NAME])
