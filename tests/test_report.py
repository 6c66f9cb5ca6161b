import csv as csv_module
import io
import re
from collections.abc import Callable

import pandas
import pytest

from evalkit.interfaces import Progress
from evalkit.records import Completion, Estimate, Example, Prompt, Result, Sample, Table
from evalkit.report import csv, latex, layout, markdown, notes, progress, table, terminal

HOSTILE = 'a|b & <script>alert("x")</script> \\ $x$ 100% #1 _y_ {z} ~^ `c` [d](e) *f*\nnew–line é'


def result(task: str, shots: int, estimate: Estimate | None, **changes: object) -> Result:
    fields: dict[str, object] = {
        "task": task,
        "title": task.upper(),
        "shots": shots,
        "shots_used": float(shots),
        "model": "nano",
        "metric": "exact match",
        "is_proportion": True,
        "subset": "all",
        "estimate": estimate,
        "skipped": 0,
        "signature": f"{task}|shots:{shots}",
        "spec": "exact_match",
    }
    return Result(**(fields | changes))


ADDITION = [
    result("2d+", 0, Estimate(value=0.58, low=0.5583, high=0.6014, n=2000)),
    result("2d+", 10, Estimate(value=1.0, low=0.998083, high=1.0, n=2000)),
    result("2d-", 0, None, skipped=2000, shots_used=0.0),
    result("2d-", 10, Estimate(value=1 / 3, low=0.1, high=0.9, n=3), shots_used=8.5, skipped=1),
]
HOSTILE_TABLE = Table(
    columns=("task", HOSTILE),
    rows=((HOSTILE, Estimate(value=-1.5, low=-2.25, high=0.001, n=4)), ("[start", None), ("*", 0.5)),
    caption=HOSTILE,
    notes=(HOSTILE,),
)


def addition_table() -> Table:
    return layout.build(ADDITION, notes=notes.write(ADDITION, means=[], signatures=["2d|v1|shots:0,10"], window=2048))


def test_rows_are_tasks_and_columns_are_shots() -> None:
    built = layout.build(ADDITION[:2])
    assert built.columns == ("task", "n", "0 shots, %", "10 shots, %")
    assert built.rows == (("2D+", 2000, Estimate(58.0, 55.83, 60.14, 2000), Estimate(100.0, 99.8083, 100.0, 2000)),)


def test_n_stands_beside_each_number_of_shots_where_it_differs() -> None:
    results = [
        result("t", 0, Estimate(0.5, 0.4, 0.6, 100)),
        result("t", 1, Estimate(0.5, 0.4, 0.6, 99), skipped=1),
    ]
    built = layout.build(results)
    assert built.columns == ("task", "0 shots, %", "n, 0 shots", "1 shot, %", "n, 1 shot")
    assert built.rows[0][2::2] == (100, 99)


def test_subsets_are_rows() -> None:
    built = layout.build([result("t", 0, None), result("t", 0, None, subset="withheld=true")])
    assert [row[:2] for row in built.rows] == [("T", "all"), ("T", "withheld=true")]


def test_labels_hold_nothing_that_acts_on_a_terminal() -> None:
    built = layout.build([result("t", 0, None, title="a\n\x1b[1m\0\u202eé", model="m\x07")], notes=["\x9b"])
    assert built.rows[0][0] == r"a \x1b[1m\x00\u202eé"
    assert r"m\x07" in built.caption
    assert built.notes == (r"\x9b",)


def test_tasks_of_one_title_keep_their_rows() -> None:
    results = [result("a", 0, None, title="Same"), result("b", 0, Estimate(0.5, 0.4, 0.6, 9), title="Same")]
    assert len(layout.build(results).rows) == 2


def test_metrics_with_other_units_are_named_in_a_column() -> None:
    results = [result("t", 0, None), result("t", 0, None, metric="BLEU", is_proportion=False)]
    built = layout.build(results)
    assert built.columns == ("task", "metric", "n", "0 shots")
    assert [row[1] for row in built.rows] == ["exact match, %", "BLEU"]


def test_percent_takes_no_rounding_error_along() -> None:
    assert table.percent(Estimate(value=0.58, low=0.07, high=0.29, n=1)) == Estimate(58.0, 7.0, 29.0, 1)


@pytest.mark.parametrize(("value", "text"), [(97.45, "97.45"), (100, "100.00"), (-0.001, "0.00"), (1e-9, "0.00")])
def test_numbers_have_two_decimals(value: float, text: str) -> None:
    assert table.number(value) == text


def test_notes_tell_what_did_not_fit() -> None:
    text = "\n".join(addition_table().notes)
    assert "2D-, 0 shots: 2,000 of 2,000 examples do not fit the window of 2,048 tokens" in text
    assert "2D-, 10 shots: 1 of 4 examples" in text
    assert "2D-, 10 shots: 8.50 demonstrations on average" in text
    assert "2D+," not in text


def test_markdown_of_results(golden: Callable[[str, str], None]) -> None:
    golden("table.md", markdown.render(addition_table()))


def test_latex_of_results(golden: Callable[[str, str], None]) -> None:
    golden("table.tex", latex.render(addition_table()))


def test_csv_of_results(golden: Callable[[str, str], None]) -> None:
    golden("table.csv", csv.render(addition_table()))


def test_terminal_text_of_results(golden: Callable[[str, str], None]) -> None:
    golden("table.txt", terminal.render(addition_table()))


def sample(answer: str, context: str) -> Sample:
    return Sample(
        task="2d+",
        shots=0,
        example=Example(id="e<1>", fields={}, targets=(" 143",)),
        prompt=Prompt(context=context, demonstrations=(), shots_asked=0, tokens=9, window=2048),
        responses=(Completion(text=answer, tokens=2, finish="stop"),),
        statistics={"exact_match": (float(answer == " 143"),)},
    )


def test_pandas_reads_the_same_numbers_from_csv() -> None:
    built = addition_table()
    read = pandas.read_csv(io.StringIO(csv.render(built)))
    for at, row in enumerate(built.rows):
        for column, cell in zip(built.columns, row, strict=True):
            if isinstance(cell, Estimate):
                values = [read[f"{column}{part}"][at] for part in ("", " low", " high", " n")]
                assert values == [cell.value, cell.low, cell.high, cell.n]
            elif cell is None:
                assert pandas.isna(read[column][at])
            else:
                assert read[column][at] == cell


def test_csv_keeps_hostile_text() -> None:
    header, first, *_ = csv_module.reader(io.StringIO(csv.render(HOSTILE_TABLE)))
    assert header[:2] == ["task", HOSTILE]
    assert first[0] == HOSTILE


def test_markdown_keeps_its_shape_under_hostile_text() -> None:
    lines = markdown.render(HOSTILE_TABLE).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE_TABLE.rows)
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 3  # bars that no backslash takes the meaning from
        assert not re.search(r"(?<!\\)[<`*]", row)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [  # CommonMark 0.31.2: punctuation alone can be escaped, and underscores count at the edges of words
        ("__init__ of a_b", r"\_\_init\_\_ of a_b"),
        ("1. a", r"1\. a"),
        ("2)", r"2\)"),
        ("3.5 b", "3.5 b"),
        ("---", r"\---"),
        ("-1", "-1"),
        ("## a", r"\## a"),
    ],
)
def test_markdown_escapes_what_would_be_markup_alone(text: str, escaped: str) -> None:
    assert markdown.escape(text) == escaped


def test_terminal_text_is_ascii_where_the_terminal_is() -> None:
    text = terminal.render(addition_table(), encoding="ANSI_X3.4-1968")
    text.encode("ascii")


def test_terminal_cuts_no_number_off() -> None:
    wide = Table(columns=("t" * 150, "n"), rows=(("x", 12345),), caption="wide")
    assert "12,345" in terminal.render(wide)
    assert "t" * 150 in terminal.render(wide)


@pytest.mark.parametrize(
    ("done", "left", "seconds", "text"),
    [
        (0, 100, 5.0, ""),
        (100, 700, 10.0, "10.0 examples/s, 1:10 left"),
        (10, 7190, 10.0, "1.0 examples/s, 1:59:50 left"),
        (2500, 0, 2.0, "1,250.0 examples/s"),
    ],
)
def test_pace(done: int, left: int, seconds: float, text: str) -> None:
    assert progress.pace(done, left, seconds, unit="examples") == text


def test_progress_elsewhere_than_on_a_terminal_is_a_line_every_few_seconds() -> None:
    stream, now = io.StringIO(), [0.0]
    with progress.ProgressDisplay(stream, unit="examples", clock=lambda: now[0]) as display:
        for done in range(400, 1001, 100):
            display(Progress("answering", done, 1000))
            now[0] += 2
    assert stream.getvalue().splitlines() == [
        "answering: 400 of 1,000 examples",
        "answering: 700 of 1,000 examples, 50.0 examples/s, 0:06 left",  # the first 400 were there before
        "answering: 1,000 of 1,000 examples, 50.0 examples/s",
    ]


def test_notes_say_why_a_mean_is_missing() -> None:
    missing = result("2d", 0, None, subset="withheld=true")
    assert any("no mean" in note for note in notes.write(ADDITION, means=[missing], signatures=[], window=2048))
