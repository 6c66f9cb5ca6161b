"""Samples that lm_eval logged, read and compared."""

import json
from pathlib import Path

import pytest

from evalkit import stats
from evalkit.contamination.lm_eval_samples import logged_mean, read_lm_eval
from evalkit.errors import DataError
from tests.test_comparison import compared, sample, split


def logged(doc_id: int, **keys: object) -> dict[str, object]:
    return {
        "doc_id": doc_id,
        "doc": {"ind": 100 + doc_id, "question": "1 + 1?"},
        "target": "2",
        "arguments": {"gen_args_0": {"arg_0": "Q: 1 + 1?\nA:", "arg_1": " 2"}},
        "resps": [[["-0.1", "True"]]],
        "filtered_resps": [["-0.1", "True"]],
    } | keys


def write(folder: Path, *lines: object, name: str = "samples_quiz_2024-05-01.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_logged_samples_become_samples(tmp_path: Path) -> None:
    path = write(tmp_path, logged(0, acc=1.0), logged(1, acc=False))
    first, second = read_lm_eval([path], task="quiz", metric="acc", shots=5)
    assert (first.task, first.shots, first.example.id, first.example.targets) == ("quiz", 5, "0", ("2",))
    assert first.prompt is not None
    assert first.prompt.context == "Q: 1 + 1?\nA:"
    assert (first.statistics, second.statistics) == ({"acc": (1.0,)}, {"acc": (0.0,)})


def test_logged_samples_are_compared_without_a_model(tmp_path: Path) -> None:
    path = write(tmp_path, *(logged(i, acc=float(i < 3)) for i in range(6)))
    samples = read_lm_eval([path], task="quiz", metric="acc", shots=0)
    sides = split(["0", "5"], ["1", "2", "3", "4"])
    found = compared(samples, sides, metric_name="acc", metric=logged_mean(samples, "acc"))
    assert (found.all, found.clean) == (stats.wilson(3, n=6), stats.wilson(1, n=2))
    assert (found.metric, found.is_proportion) == ("acc", True)


def test_ids_come_from_a_field_of_the_document_where_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, logged(0, acc=1.0))
    (only,) = read_lm_eval([path], task="quiz", metric="acc", shots=0, id_field="ind")
    assert only.example.id == "100"


def test_older_files_with_arguments_in_lists_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, logged(0, acc=1.0, arguments=[["Q:", " 2"], ["Q:", " 3"]]))
    (only,) = read_lm_eval([path], task="quiz", metric="acc", shots=0)
    assert only.prompt is not None
    assert only.prompt.context == "Q:"


def test_one_of_several_filters_is_read(tmp_path: Path) -> None:
    lines = [
        logged(i, exact_match=float(name == "strict"), filter=name) for name in ("strict", "loose") for i in (0, 1)
    ]
    path = write(tmp_path, *lines)
    samples = read_lm_eval([path], task="quiz", metric="exact_match", shots=0, filter_name="strict")
    assert [each.statistics["exact_match"] for each in samples] == [(1.0,), (1.0,)]
    with pytest.raises(DataError, match=r"jsonl:3: found id '0' again, .*choose one of the filters loose, strict"):
        read_lm_eval([path], task="quiz", metric="exact_match", shots=0)
    with pytest.raises(DataError, match="expected some of filter 'other'; found filters loose, strict"):
        read_lm_eval([path], task="quiz", metric="exact_match", shots=0, filter_name="other")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"doc_id": 1, "doc"', r"jsonl:2: broken JSON"),
        ("[1]", r"jsonl:2: found list, expected an object"),
        ({"doc_id": 1}, r"jsonl:2: found no object 'doc'"),
        (logged(1) | {"doc_id": None}, r"jsonl:2: found no 'doc_id' in the line"),
        (logged(0, acc=1.0), r"jsonl:2: found id '0' again, first at .*jsonl:1; give each example once"),
        (logged(1, acc_norm=1.0), r"jsonl:2: found no metric 'acc'; known: acc_norm"),
        (logged(1, acc=["2", "3"]), r"jsonl:2: acc: found list, expected one number an example"),
        (logged(1, acc=None), r"jsonl:2: acc: found NoneType, expected one number"),
    ],
)
def test_broken_lines_are_named(line: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, logged(0, acc=1.0), line)
    with pytest.raises(DataError, match=message):
        read_lm_eval([path], task="quiz", metric="acc", shots=0)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="quiz: found no samples, expected at least one"):
        read_lm_eval([write(tmp_path)], task="quiz", metric="acc", shots=0)


@pytest.mark.parametrize(
    ("values", "is_proportion", "is_binary"), [([0, 1], True, True), ([0.5, 1], True, False), ([3.5, 1], False, False)]
)
def test_logged_values_say_how_they_are_aggregated(values: list[float], is_proportion: bool, is_binary: bool) -> None:
    metric = logged_mean([sample(str(at), value, metric="m") for at, value in enumerate(values)], "m")
    assert (metric.is_proportion, metric.is_binary) == (is_proportion, is_binary)
    assert metric.aggregate([(value,) for value in values]).value == pytest.approx(sum(values) / 2)
