import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from evalkit import encoding
from evalkit.errors import ModelMemoryError, StorageError, TaskError, UsageError
from evalkit.interfaces import LanguageModel, OnResponse, Progress, ignore_response
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Request, Response, Result
from evalkit.run import Outcome, run
from evalkit.settings import Settings
from evalkit.store import Store
from tests.scripted import Dying, calculate

ROOT = Path(__file__).parent.parent
SMALL = ROOT / "tests" / "small.yaml"
REPORT = ("samples.jsonl", "table.md", "table.csv", "table.tex", "index.html")


def settings(out: Path | None, **changes: object) -> Settings:
    fields: dict[str, object] = {
        "tasks": (f"{SMALL}/addition",),
        "shots": (0, 2),
        "limit": 30,
        "call_tokens": 300,
        "out": out,
    }
    return Settings(**(fields | changes))


def evaluate(given: Settings, model: LanguageModel | None = None) -> Outcome:
    return run(given, lambda: model or ScriptedModel(calculate))


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in REPORT}


def rows(outcome: Outcome) -> dict[tuple[str, str, int], Result]:
    return {(result.task, result.subset, result.shots): result for result in outcome.results}


def test_a_run_leaves_every_file(tmp_path: Path) -> None:
    evaluate(settings(tmp_path / "run"))
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert found == {*REPORT, "run.json", "responses.sqlite"}


def test_samples_are_scored_as_the_script_answers(tmp_path: Path) -> None:
    outcome = evaluate(settings(tmp_path))
    samples = [encoding.decode_sample(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [sample.shots for sample in samples] == [0] * 30 + [2] * 30
    assert [encoding.encode_sample(sample) for sample in samples] == (
        (tmp_path / "samples.jsonl").read_text().splitlines()
    )
    for shots in (0, 2):
        right = sum(sample.statistics["exact_match"][0] for sample in samples if sample.shots == shots)
        estimate = rows(outcome)["small/addition", "all", shots].estimate
        assert estimate is not None
        assert (estimate.value, estimate.n) == (right / 30, 30)
        assert 0 < right < 30


def test_a_metric_for_other_answers_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(SMALL.read_text().replace("kind: generate", "kind: rolling"))

    def refuse() -> LanguageModel:
        raise AssertionError("a model is loaded")

    with pytest.raises(TaskError, match="scores requests of kind 'generate', found a task of kind 'rolling'"):
        run(settings(tmp_path / "run", tasks=(f"{path}/addition",), shots=(0,)), refuse)


@pytest.mark.parametrize("batches", [0, 1, 3, 6])
def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path: Path, batches: int) -> None:
    evaluate(settings(tmp_path / "undisturbed"))
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings(tmp_path / "disturbed"), Dying(calculate, batches))
    evaluate(settings(tmp_path / "disturbed"))
    assert contents(tmp_path / "disturbed") == contents(tmp_path / "undisturbed")


def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    first, second = Dying(calculate, 3), ScriptedModel(calculate)
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings(tmp_path), first)
    evaluate(settings(tmp_path), second)
    everything = ScriptedModel(calculate)
    evaluate(settings(tmp_path / "other"), everything)
    assert [*first.batches, *second.batches] == everything.batches  # the plan is the same, whoever carries it out
    again = ScriptedModel(calculate)
    evaluate(settings(tmp_path), again)
    assert again.batches == []


def test_equal_requests_are_asked_once(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    line = json.dumps({"context": "Q: What is 2 plus 2?\n\nA:", "completion": " 4"})
    data.write_text(f"{line}\n{line}\n")
    model = ScriptedModel(lambda _: " 4")
    outcome = evaluate(settings(tmp_path / "run", data=str(data), shots=(0,), limit=None, seed=0), model)
    keys = [encoding.request_key(request) for batch in model.batches for request in batch]
    assert len(keys) == len(set(keys))
    assert outcome.results[0].estimate is not None
    assert outcome.results[0].estimate.n == 2


def test_too_little_memory_changes_nothing_but_the_batches(tmp_path: Path) -> None:
    small = ScriptedModel(calculate, most_requests=2)
    evaluate(settings(tmp_path / "small"), small)
    evaluate(settings(tmp_path / "large"))
    assert {len(batch) for batch in small.batches} <= {1, 2}
    assert sum(map(len, small.batches)) == 60
    assert contents(tmp_path / "small") == contents(tmp_path / "large")


def test_too_little_memory_for_one_request_is_an_error_that_keeps_the_rest(tmp_path: Path) -> None:
    with pytest.raises(ModelMemoryError, match=r"single request of 39 tokens.*finished answers are kept"):
        evaluate(settings(tmp_path), ScriptedModel(calculate, most_requests=0))


def test_the_halved_budget_is_remembered(tmp_path: Path) -> None:
    refused = []

    class Small(ScriptedModel):
        def answer(self, requests: Sequence[Request], *, on_response: OnResponse = ignore_response) -> list[Response]:
            if len(requests) > 2:
                refused.append(len(requests))
                raise ModelMemoryError("full")
            return super().answer(requests, on_response=on_response)

    evaluate(settings(tmp_path, call_tokens=400), Small(calculate))
    assert refused == sorted(refused, reverse=True)
    assert len(refused) <= 5  # each halving once, not once a batch


def test_the_batches_are_fixed_by_the_settings(tmp_path: Path) -> None:
    first, second = ScriptedModel(calculate), ScriptedModel(calculate)
    evaluate(settings(tmp_path / "a"), first)
    evaluate(settings(tmp_path / "b"), second)
    assert first.batches == second.batches
    assert len(first.batches) > 3


def test_another_seed_is_another_sample_and_other_demonstrations(tmp_path: Path) -> None:
    for seed in (0, 1):
        evaluate(settings(tmp_path / str(seed), seed=seed))
    first, second = ((tmp_path / str(seed) / "samples.jsonl").read_text() for seed in (0, 1))
    ids = [{json.loads(line)["example"]["id"] for line in text.splitlines()} for text in (first, second)]
    assert ids[0] != ids[1]


def test_results_do_not_depend_on_the_limit(tmp_path: Path) -> None:
    evaluate(settings(tmp_path / "few", limit=10))
    evaluate(settings(tmp_path / "many", limit=30))
    few, many = (set((tmp_path / name / "samples.jsonl").read_text().splitlines()) for name in ("few", "many"))
    assert few < many


def test_rows_are_split_by_a_field(tmp_path: Path) -> None:
    outcome = evaluate(settings(tmp_path, by="withheld", limit=200, shots=(0,), call_tokens=5000))
    task = "small/addition"
    whole, read, withheld = (
        rows(outcome)[task, subset, 0].estimate for subset in ("all", "withheld=false", "withheld=true")
    )
    assert whole is not None
    assert read is not None
    assert withheld is not None
    assert read.n + withheld.n == whole.n == 200
    assert read.value * read.n + withheld.value * withheld.n == pytest.approx(whole.value * whole.n)


def test_splitting_a_finished_run_asks_nothing(tmp_path: Path) -> None:
    evaluate(settings(tmp_path))
    model = ScriptedModel(calculate)
    evaluate(settings(tmp_path, by="withheld"), model)
    assert model.batches == []


def test_a_group_has_a_mean_for_each_number_of_shots(tmp_path: Path) -> None:
    tasks = ("small/addition", "small/subtraction")
    outcome = evaluate(settings(tmp_path, tasks=(str(SMALL),)))
    for shots in (0, 2):
        values = [rows(outcome)[task, "all", shots].estimate for task in tasks]
        mean = rows(outcome)["small", "all", shots]
        assert mean.title == "small, mean of 2 tasks"
        assert mean.estimate is not None
        assert mean.estimate.value == pytest.approx(sum(each.value for each in values if each) / 2)
        assert mean.estimate.n == 60
    assert outcome.table.rows[-1][0] == "small, mean of 2 tasks"


def test_the_signature_says_what_the_number_depends_on(tmp_path: Path) -> None:
    outcome = evaluate(settings(tmp_path, demos="fixed"))
    line = rows(outcome)["small/addition", "all", 2].signature
    fields = line.split("|")
    assert fields[:6] == ["small/addition", "v1", "shots:2", "demos:fixed", "seed:0", "n:30"]
    assert [field.split(":")[0] for field in fields[6:]] == ["prompt", "data", "metrics", "window", "model", "evalkit"]
    assert outcome.table.notes[-1] == line.replace("shots:2", "shots:0,2")


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    # A question is 7 words and 16 tokens are kept for the answer.
    outcome = evaluate(settings(tmp_path, window=22))
    result = outcome.results[0]
    assert (result.estimate, result.skipped) == (None, 30)
    assert any("30 of 30 examples do not fit" in note for note in outcome.table.notes)


def test_dropped_demonstrations_are_reported(tmp_path: Path) -> None:
    outcome = evaluate(settings(tmp_path, window=33))  # room for one demonstration of 8 words
    result = rows(outcome)["small/addition", "all", 2]
    assert result.shots_used == 1.0
    assert any("1.00 demonstrations on average" in note for note in outcome.table.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "made with --seed 0, not 1"),
        ({"limit": None}, "made with --limit 30, not unset"),
        ({"shots": (0, 1)}, "made with --shots 0,2, not 0,1"),
        ({"demos": "fixed"}, "made with --demos per-example, not fixed"),
        ({"tasks": (f"{SMALL}/subtraction",)}, "made with "),
    ],
)
def test_a_directory_of_other_settings_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    evaluate(settings(tmp_path))
    before = contents(tmp_path)
    with pytest.raises(StorageError) as error:
        evaluate(settings(tmp_path, **change))
    assert message in str(error.value)
    assert "choose another --out" in str(error.value)
    assert contents(tmp_path) == before


def test_a_directory_of_another_model_is_refused(tmp_path: Path) -> None:
    evaluate(settings(tmp_path))
    with pytest.raises(StorageError, match="other weights"):
        evaluate(settings(tmp_path), ScriptedModel(calculate, tokens="bytes"))


def test_changed_data_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    for answer in (4, 5):
        data.write_text(json.dumps({"question": "2 plus 2", "answer": answer}) + "\n")
        if answer == 4:
            evaluate(settings(tmp_path / "run", data=str(data), shots=(0,)))
    with pytest.raises(StorageError, match="another data of small/addition"):
        evaluate(settings(tmp_path / "run", data=str(data), shots=(0,)))


@pytest.mark.parametrize("hashes", ["x", {"modell": "x"}, {"tasks": "x"}, {"tasks": {"a": 1}}])
def test_a_damaged_run_json_is_refused(tmp_path: Path, hashes: object) -> None:
    evaluate(settings(tmp_path))
    described = json.loads((tmp_path / "run.json").read_text())
    if isinstance(hashes, dict):
        hashes = described["hashes"] | hashes
    (tmp_path / "run.json").write_text(json.dumps(described | {"hashes": hashes}))
    with pytest.raises(StorageError, match=r"run\.json: (damaged|not written)"):
        evaluate(settings(tmp_path))


def test_a_directory_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("words")
    with pytest.raises(StorageError, match=r"holds 'thesis.tex' but no run.json"):
        evaluate(settings(tmp_path))


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    evaluate(settings(tmp_path))
    with Store(tmp_path / "responses.sqlite"), pytest.raises(StorageError, match="another run is writing"):
        evaluate(settings(tmp_path))


def test_the_default_directory_is_that_of_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directories = [
        evaluate(settings(None, seed=seed, token_budget=budget)).directory
        for seed, budget in ((0, 300), (0, 500), (1, 300))
    ]
    assert directories[0] == directories[1] != directories[2]
    assert directories[0].parts[0] == "reports"
    assert directories[0].name.startswith("small-addition-scripted-")


def test_run_json_says_how_the_run_was_made(tmp_path: Path) -> None:
    evaluate(settings(tmp_path))
    made = json.loads((tmp_path / "run.json").read_text())
    assert made["settings"]["shots"] == [0, 2]
    assert made["hashes"]["model"] == ScriptedModel(calculate).fingerprint
    assert set(made["hashes"]["tasks"]["small/addition"]) == {"task", "template", "data"}
    assert {"evalkit", "python"} <= made["versions"].keys()
    assert len(made["results"]) == 2
    assert made["signatures"][0].startswith("small/addition|v1|shots:0,2|")


def test_progress_counts_examples_and_knows_what_was_done_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings(tmp_path), Dying(calculate, 4))
    seen: list[Progress] = []
    run(settings(tmp_path), lambda: ScriptedModel(calculate), on_progress=seen.append)
    answering = [each.done for each in seen if each.what == "answering"]
    assert 0 < answering[0] < 60
    assert answering == sorted(answering)
    assert answering[-1] == 60


def test_a_window_beyond_the_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--window: found 4096, expected at most the 2048 of scripted"):
        evaluate(settings(tmp_path, window=4096))


@pytest.mark.parametrize(
    "change", [{"shots": (-1,)}, {"shots": ()}, {"limit": 0}, {"window": 0}, {"token_budget": 0}, {"demos": "some"}]
)
def test_settings_that_cannot_be_carried_out_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--"):
        settings(tmp_path, **change)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "small.yaml"
    other.write_bytes(SMALL.read_bytes())
    with pytest.raises(UsageError, match="whose tasks have the same names; rename one") as caught:
        evaluate(settings(tmp_path / "run", tasks=(str(SMALL), f"{other}/addition")))
    assert f"found {SMALL} and {other}" in str(caught.value)


def test_shots_of_the_paper_are_the_tasks_own(tmp_path: Path) -> None:
    outcome = evaluate(settings(tmp_path, shots=(0, "paper"), limit=3))
    assert [result.shots for result in outcome.results] == [0, 5]


COMMAND = ["--task", f"{SMALL}/addition", "--shots", "0,2", "--limit", "60"]


def start(out: Path, *, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.scripted", str(seconds), "run", *COMMAND, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Run the command in a process of its own: the page tells the versions of what is loaded."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    start(out, seconds=0).communicate(timeout=60)
    return contents(out)


def test_a_run_killed_at_random_points_ends_with_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    draws = random.Random(0)
    stored: list[int] = []
    for _ in range(3):
        process = start(tmp_path / "killed", seconds=0.1)
        assert process.stdout is not None
        for _ in range(draws.randint(0, 8)):  # batches, which go on while the signal is under way
            process.stdout.readline()
        time.sleep(draws.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (tmp_path / "killed" / "responses.sqlite").exists():
            with Store(tmp_path / "killed" / "responses.sqlite") as store:
                stored.append(len(store.responses(ScriptedModel(calculate).fingerprint)))
    assert stored == sorted(stored)  # nothing that was kept is ever lost
    assert 0 < stored[-1] < 120
    process = start(tmp_path / "killed", seconds=0)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 0, messages
    assert contents(tmp_path / "killed") == undisturbed


def test_ctrl_c_says_what_is_kept_and_how_to_continue(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    process = start(tmp_path / "run", seconds=0.3)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    last = messages.splitlines()[-1]
    assert last.startswith("interrupted: ")
    assert "of 120 examples answered and kept; the same command continues this run" in last
    assert "Traceback" not in messages
    process = start(tmp_path / "run", seconds=0)
    process.communicate(timeout=60)
    assert contents(tmp_path / "run") == undisturbed
