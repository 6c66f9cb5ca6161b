"""Metrics that ask again: `told_apart`, whose requests depend on completions, in runs that are stopped and resumed."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from evalkit import encoding, metric_spec, request, task
from evalkit.errors import DataError, StorageError, TaskError, UsageError
from evalkit.interfaces import AsksAgain, LanguageModel, Progress
from evalkit.metrics.told_apart import ToldApart
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Completion, Example, PerToken, Request, Response, TokenScores
from evalkit.run import Outcome, run
from evalkit.settings import Settings
from evalkit.store import Store
from tests.scripted import Dying

LIKELY = "I said so"  # what the scripted model writes, and finds likely
EXAMPLE = Example("e1", {}, (" A person wrote this.",))


def scores(logprob: float, *, tokens: int = 3) -> TokenScores:
    return TokenScores(("a",) * tokens, (logprob,) * tokens, (2,) * tokens, (1.0,) * tokens, (1.0,) * tokens)


def told(human: TokenScores, model: TokenScores, *, by: str = "log-likelihood") -> float:
    [value] = ToldApart(by=by).statistics(EXAMPLE, [Completion("x", 1, "stop"), human, model])  # type: ignore[arg-type]
    return value


def test_a_completion_that_is_likelier_than_the_target_is_told_apart() -> None:
    assert told(scores(-3.0), scores(-1.0)) == 1.0
    assert told(scores(-1.0), scores(-3.0)) == 0.0


def test_ties_count_half_as_do_completions_without_a_score() -> None:
    assert told(scores(-1.0), scores(-1.0)) == 0.5
    assert told(scores(-1.0), scores(-9.0, tokens=1)) == told(scores(-1.0), TokenScores((), (), (), (), ())) == 0.5


def test_the_setting_names_the_detector() -> None:
    # Equal ranks, other probabilities: only one of the two detectors can tell.
    assert told(scores(-3.0), scores(-1.0), by="rank") == 0.5
    assert metric_spec.load("told_apart(by=fast-detectgpt)").name == "told apart by fast-detectgpt"
    with pytest.raises(TaskError, match="told_apart"):
        metric_spec.load("told_apart(by=magic)")


def test_target_and_completion_are_asked_for_without_white_space_around() -> None:
    asked = ToldApart().follow_ups(EXAMPLE, [Completion(" So it was.\n", 3, "stop")], window=32)
    assert asked == (PerToken("A person wrote this.", 32, 16), PerToken("So it was.", 32, 16))


def test_the_share_is_a_proportion() -> None:
    estimate = ToldApart().aggregate([(1.0,), (0.5,), (0.0,), (1.0,)])
    assert (estimate.value, estimate.n) == (0.625, 4)


def test_an_example_without_a_human_text_is_refused() -> None:
    each = task.load("articles")[0]
    with pytest.raises(DataError, match="found no text that a person wrote"):
        request.check(each, [Example("e1", {}, (" ",))])


def test_articles_are_told_apart_by_several_detectors() -> None:
    metrics = task.load("articles")[0].metrics
    assert sum(isinstance(metric_spec.load(name), AsksAgain) for name in metrics) >= 3


def write(asked: Request) -> str | Response:
    """Write different texts, and find them likelier than any other."""
    if isinstance(asked, PerToken):
        likely = asked.text.startswith(LIKELY)
        return scores(-1.0 if likely else -4.0 - len(asked.text) % 3, tokens=len(asked.text.split()))
    seed = getattr(asked, "seed", 0)
    return f" {LIKELY} {seed}" if seed % 5 else ""


class Counting(ScriptedModel):
    """Remembers whose tokens it has counted."""

    def __init__(self) -> None:
        super().__init__(write)
        self.counted: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.counted += texts
        return super().count_tokens(texts)


class Silent(ScriptedModel):
    """Tells no scores of tokens, as a server does."""

    unanswered: ClassVar[tuple[type[Request], ...]] = (PerToken,)


def settings(out: Path, **changes: object) -> Settings:
    return Settings(**{"tasks": ("articles",), "limit": 20, "call_tokens": 2000, "out": out} | changes)  # type: ignore[arg-type]


def evaluate(given: Settings, model: LanguageModel | None = None) -> Outcome:
    return run(given, lambda: model or ScriptedModel(write))


def files(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in ("samples.jsonl", "table.csv", "table.md")}


def test_a_run_generates_and_then_scores_what_was_generated(tmp_path: Path) -> None:
    model = ScriptedModel(write)
    outcome = evaluate(settings(tmp_path), model)
    [result] = [each for each in outcome.results if each.spec == "told_apart(by=log-likelihood)"]
    samples = [encoding.decode_sample(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    empty = sum(not each.responses[0].text for each in samples if isinstance(each.responses[0], Completion))
    assert 0 < empty < 20
    assert result.estimate is not None
    assert result.estimate.value == pytest.approx((20 - empty / 2) / 20)
    asked = [each for batch in model.batches for each in batch]
    kinds = [isinstance(each, PerToken) for each in asked]
    assert kinds == sorted(kinds)  # all completions before any score
    # 20 human articles, each completion once whatever the number of detectors, and the empty one.
    assert sum(kinds) == 20 + (20 - empty) + 1


def test_tokens_of_what_several_metrics_and_seeds_ask_again_are_counted_once(tmp_path: Path) -> None:
    model = Counting()
    evaluate(settings(tmp_path, limit=3, seeds=(0, 1)), model)
    texts = [each.text for batch in model.batches for each in batch if isinstance(each, PerToken)]
    asked = [text for text in texts if text]  # prompts count the empty one too
    assert len(asked) >= 5
    assert [model.counted.count(text) for text in asked] == [1] * len(asked)


def test_scores_of_tokens_are_kept_in_the_store_and_not_in_the_samples(tmp_path: Path) -> None:
    evaluate(settings(tmp_path))
    with Store(tmp_path / "responses.sqlite") as store:
        kept = store.responses(ScriptedModel(write).fingerprint).values()
    assert sum(isinstance(each, TokenScores) for each in kept) > 20
    samples = [encoding.decode_sample(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert {len(each.responses) for each in samples} == {1}


def test_a_run_that_is_stopped_anywhere_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = ScriptedModel(write)
    evaluate(settings(tmp_path / "whole"), whole)
    total = len(whole.batches)
    first = sum(not isinstance(batch[0], PerToken) for batch in whole.batches)
    assert 1 < first < total - 1
    for batches in {1, first - 1, first, first + 1, total - 1}:
        directory = tmp_path / str(batches)
        with pytest.raises(KeyboardInterrupt):
            evaluate(settings(directory), Dying(write, batches))
        rest = ScriptedModel(write)
        evaluate(settings(directory), rest)
        assert len(rest.batches) == total - batches
        assert files(directory) == files(tmp_path / "whole")


def test_a_finished_run_asks_nothing_again(tmp_path: Path) -> None:
    evaluate(settings(tmp_path))
    again = ScriptedModel(write)
    evaluate(settings(tmp_path), again)
    assert again.batches == []


def test_progress_counts_examples_in_both_rounds(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run(settings(tmp_path), lambda: ScriptedModel(write), on_progress=seen.append)
    last = {each.what: (each.done, each.total) for each in seen}
    assert last["answering"] == last["answering again"] == (20, 20)


def test_where_no_metric_asks_again_there_is_one_round(tmp_path: Path) -> None:
    seen: list[Progress] = []
    given = settings(tmp_path, tasks=("arithmetic/2-digit-addition",), limit=3)
    run(given, lambda: ScriptedModel(write), on_progress=seen.append)
    assert {each.what for each in seen} == {"building prompts", "answering"}


def test_a_model_that_tells_no_scores_of_tokens_is_scored_by_the_other_metrics(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = run(settings(tmp_path), lambda: Silent(write), say=said.append)
    assert {each.spec for each in outcome.results} == {"words"}
    assert said[-1].startswith("News articles: not scored by told_apart(by=log-likelihood), ")
    assert said[-1] in outcome.table.notes


def test_a_server_says_that_it_tells_no_scores_of_tokens() -> None:
    from evalkit.models.server import ServerModel

    assert ServerModel.unanswered == (PerToken,)


def test_a_task_without_other_metrics_is_refused_by_such_a_model(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "version: 1\ntitle: Own\ntemplate: arithmetic\nkind: generate\nmax_tokens: 4\nmetrics: [told_apart]\n"
        "source: {generator: arithmetic, split: test, n: 20, kind: 2-digit-addition}\n"
        "columns: {question: question, target: answer}\n"
    )
    model = Silent(write)
    with pytest.raises(UsageError, match="own: found no metric but told_apart, which scripted cannot be scored by"):
        run(settings(tmp_path / "run", tasks=(str(path),)), lambda: model)
    assert model.batches == []


def test_answers_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    import sqlite3

    evaluate(settings(tmp_path))
    with sqlite3.connect(tmp_path / "responses.sqlite") as connection:
        connection.execute(
            "UPDATE responses SET response = json_remove(response, '$.variances') WHERE response LIKE '%variances%'"
        )
    connection.close()
    with pytest.raises(StorageError, match="holds an answer that cannot be read; move it away and run again"):
        evaluate(settings(tmp_path))
