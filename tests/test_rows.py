from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from evalkit import rows
from evalkit.errors import DataError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message(tmp_path: Path, reading: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        reading()
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "")


def pairs(tmp_path: Path, source: str | bytes, target: str | bytes) -> list[tuple[str, rows.Row]]:
    return list(rows.read_pairs(write(tmp_path / "a.fr", source), write(tmp_path / "a.en", target)))


def test_a_text_file_is_one_row_as_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path / "story.txt", "\ufeffOnce,\r\n\r\n  upon \u2028 a time\n")
    assert list(rows.read(path)) == [(str(path), {"text": "Once,\r\n\r\n  upon \u2028 a time\n"})]


def test_a_folder_of_text_files_is_read_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.txt", name)
    assert [row for _, row in rows.read(tmp_path)] == [{"text": "a"}, {"text": "b"}]


def test_notes_beside_data_are_not_data(tmp_path: Path) -> None:
    write(tmp_path / "README.txt", "where this is from")
    write(tmp_path / "a.jsonl", '{"question": "q"}\n')
    assert [row for _, row in rows.read(tmp_path)] == [{"question": "q"}]


def test_a_blank_text_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", " \n")
    assert message(tmp_path, lambda: list(rows.read(path))) == "a.txt: found a blank file, expected a document"


def test_a_text_file_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"one\ntwo \xff\n")
    assert "a.txt:2: found the byte 0xff, which is not UTF-8" in message(tmp_path, lambda: list(rows.read(path)))


def test_tabs_stand_between_cells_and_quotes_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'question\tanswer\r\n"Why?"\t"Because," he said.\n\n5" or 6"\t\n')
    assert list(rows.read(path)) == [
        (f"{path}:2", {"question": '"Why?"', "answer": '"Because," he said.'}),
        (f"{path}:4", {"question": '5" or 6"', "answer": ""}),
    ]


def test_cells_quoted_as_in_csv_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    pandas.DataFrame({"question": ["why?"], "answer": ['He said "so".']}).to_csv(path, sep="\t", index=False)
    assert "a.tsv:2: column 'answer': found a quoted cell" in message(tmp_path, lambda: list(rows.read(path)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("question\tanswer\nq\n", "a.tsv:2: found 1 cells, expected 2 as in the first line"),
        ("question\tquestion\nq\tr\n", "a.tsv:1: found column 'question' twice"),
        (b"question\tanswer\nq\t\xff\n", "a.tsv:2: found the byte 0xff, which is not UTF-8"),
    ],
)
def test_broken_tsv_is_named_with_its_place(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = write(tmp_path / "a.tsv", content)
    assert expected in message(tmp_path, lambda: list(rows.read(path)))


def test_pairs_are_the_lines_of_two_files(tmp_path: Path) -> None:
    assert pairs(tmp_path, "\ufeffun\r\n deux \n", "one\ntwo") == [
        (f"{tmp_path}/a.fr:1", {"source": "un", "target": "one"}),
        (f"{tmp_path}/a.fr:2", {"source": " deux ", "target": "two"}),
    ]


def test_only_a_newline_ends_a_line_of_pairs(tmp_path: Path) -> None:
    # str.splitlines would end a line at each of these, and put all later pairs out of step
    odd = "un\u2028deux\x85trois\x0cquatre"
    assert [row["source"] for _, row in pairs(tmp_path, f"{odd}\nb\n", "one\ntwo\n")] == [odd, "b"]


def test_lines_blank_in_both_are_left_out(tmp_path: Path) -> None:
    assert [place for place, _ in pairs(tmp_path, "un\n\ntrois\n", "one\n \nthree\n")] == [
        f"{tmp_path}/a.fr:1",
        f"{tmp_path}/a.fr:3",
    ]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("un\ndeux\n", "one\n", "a.fr: found 2 lines, and 1 in a.en; expected as many, one for each other"),
        ("un\n\n", "one\ntwo\n", "a.fr:2: found a blank line, expected one that goes with a.en:2"),
        ("un\ndeux\n", "one\n \n", "a.en:2: found a blank line, expected one that goes with a.fr:2"),
        ("un\ndeux\n", b"one\n\xfftwo\n", "a.en:2: found the byte 0xff, which is not UTF-8; save the file as UTF-8"),
    ],
)
def test_files_out_of_step_are_refused(tmp_path: Path, source: str | bytes, target: str | bytes, expected: str) -> None:
    assert message(tmp_path, lambda: pairs(tmp_path, source, target)) == expected


def test_a_missing_file_of_pairs_gets_a_suggestion(tmp_path: Path) -> None:
    path = write(tmp_path / "newstest.fr", "un\n")
    assert "newstest.frr: no such file; did you mean 'newstest.fr'?" in message(
        tmp_path, lambda: list(rows.read_pairs(path, tmp_path / "newstest.frr"))
    )


def test_a_folder_in_place_of_a_file_of_pairs_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fr", "un\n")
    assert "cannot be read: Is a directory" in message(tmp_path, lambda: list(rows.read_pairs(path, tmp_path)))
