"""The commands on contamination, from their flags to what they print."""

import json
from pathlib import Path

import pytest

from evalkit.contamination.scan_report import read_overlaps
from tests.test_cli import call
from tests.test_scan import CLEAN, COPY, FILLER, lines

# Every sixth word is another one: no eight words in a row are those of COPY.
EDITED = "It is a truth widely acknowledged, that a single woman in possession of a good house must want a wife"
SPACED = " ".join(COPY.replace(" ", ""))


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps({"id": text[:2], "text": text}) + "\n" for text in (COPY, CLEAN)))
    return path


def scan(examples: Path, texts: list[str], *flags: str) -> tuple[int, str, str]:
    corpus = examples.parent / "corpus.jsonl"
    corpus.write_bytes(lines(texts))
    fixed = ("--data", str(examples), "--corpus", str(corpus), "--workers", "1")
    return call("scan", *fixed, "--out", str(examples.parent / "scan"), *flags)


def split(examples: Path, measure: str) -> tuple[int, str, str]:
    return call("split", str(examples.parent / "scan"), "--measure", measure)


def test_an_edited_copy_is_clean_by_n_words_and_dirty_as_a_copy(examples: Path) -> None:
    code, out, err = scan(examples, [f"{FILLER} {EDITED} {FILLER}"], "--edited")
    assert code == 0, err
    assert "1 of them are clean by the rule of N words" in " ".join(out.split())
    [copy, clean] = read_overlaps(examples.parent / "scan" / "overlap.jsonl")
    assert (copy.is_dirty, clean.is_dirty) == (False, False)
    # 17 of COPY's 20 words stand in EDITED in their order.
    assert (copy.edited, clean.edited) == (17 / 20, 0.0)
    assert "1 clean, 1 dirty" in split(examples, "edited")[1]
    assert "2 clean, 0 dirty" in split(examples, "gpt3")[1]


def test_substrings_are_found_across_spaces(examples: Path) -> None:
    code, out, err = scan(examples, [SPACED], "--substrings")
    assert code == 0, err
    assert "50 characters" in out
    [copy, clean] = read_overlaps(examples.parent / "scan" / "overlap.jsonl")
    assert (copy.is_dirty, copy.substrings, clean.substrings) == (False, 3, 0)
    assert "1 clean, 1 dirty" in split(examples, "gpt4")[1]


@pytest.mark.parametrize(("measure", "flag"), [("edited", "--edited"), ("gpt4", "--substrings")])
def test_a_measure_that_the_scan_did_not_look_for_names_its_flag(examples: Path, measure: str, flag: str) -> None:
    assert scan(examples, [COPY])[0] == 0
    code, _, err = split(examples, measure)
    assert (code, err.count("\n")) == (2, 1)
    assert f"scan with {flag}" in err


def test_another_detector_asks_for_another_directory(examples: Path) -> None:
    assert scan(examples, [COPY])[0] == 0
    code, _, err = scan(examples, [COPY], "--edited")
    assert code == 2
    assert "made for another choice of --edited; choose another --out" in err


def test_merge_reports_what_parts_have_scanned(examples: Path) -> None:
    folder = examples.parent / "scan"
    assert "evalkit scan merge" in scan(examples, [COPY], "--shard", "0/1")[1]
    code, out, err = call("scan", "merge", str(folder))
    assert code == 0, err
    assert f"report: {folder / 'index.html'}" in out
    assert [each.is_dirty for each in read_overlaps(folder / "overlap.jsonl")] == [True, False]


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_merge_needs_a_scan(tmp_path: Path, name: str) -> None:
    code, _, err = call("scan", "merge", str(tmp_path / name))
    assert (code, err.count("\n")) == (2, 1)
    assert "found no scan" in err


def test_the_self_test_prints_recall_and_leaves_nothing(examples: Path) -> None:
    corpus = examples.parent / "corpus.jsonl"
    corpus.write_bytes(lines([FILLER] * 50))
    before = set(examples.parent.iterdir())
    code, out, err = call("scan", "--data", str(examples), "--corpus", str(corpus), "--self-test", "--edited")
    assert code == 0, err
    assert "verbatim" in out
    assert "words shuffled: no copy" in out
    assert set(examples.parent.iterdir()) == before


def test_scrub_says_what_is_left_of_common_phrases(examples: Path) -> None:
    assert scan(examples, [COPY] * 300)[0] == 0
    out = examples.parent / "clean"
    code, said, err = call("scrub", str(examples.parent / "scan"), "--out", str(out), "--no-cap")
    assert code == 0, err
    assert "44 more were counted and not kept: scan the new corpus, and scrub it again" in said


@pytest.mark.parametrize("flags", [("--shard", "0/2"), ("--engine", "ray"), ("--out", "x")])
def test_flags_that_a_self_test_does_not_take_are_refused(examples: Path, flags: tuple[str, str]) -> None:
    code, _, err = call("scan", "--data", str(examples), "--corpus", str(examples), "--self-test", *flags)
    assert (code, err.count("\n")) == (2, 1)
    assert "--self-test" in err


def test_a_directory_of_another_corpus_is_refused(examples: Path) -> None:
    assert scan(examples, [COPY])[0] == 0
    other = examples.parent / "other.jsonl"
    other.write_bytes(lines([CLEAN]))
    out = str(examples.parent / "scan")
    code, _, err = call("scan", "--data", str(examples), "--corpus", str(other), "--out", out)
    assert (code, err.count("\n")) == (2, 1)
    assert "made for another --corpus; choose another --out" in err


def test_what_a_folder_holds_beside_the_corpus_is_told(examples: Path) -> None:
    folder = examples.parent / "corpus"
    folder.mkdir()
    (folder / "a.JSONL").write_bytes(lines([COPY]))
    (folder / "b.csv").write_text("text\n")
    (folder / "c.jsonl").symlink_to("nowhere")
    code, out, err = call(
        "scan", "--data", str(examples), "--corpus", str(folder), "--out", str(examples.parent / "scan")
    )
    assert code == 0, err
    assert f"Not read: 2 files of another kind, the first {folder / 'b.csv'}." in " ".join(out.split())
    assert read_overlaps(examples.parent / "scan" / "overlap.jsonl")[0].is_dirty


def test_substrings_are_looked_for_in_texts_without_spaces(tmp_path: Path) -> None:
    text = "".join(chr(0x4E00 + 7 * at) for at in range(60))
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": "zh", "text": text}))
    (tmp_path / "corpus.jsonl").write_bytes(lines([f"{text}。"]))
    fixed = ("--data", str(tmp_path / "test.jsonl"), "--corpus", str(tmp_path / "corpus.jsonl"), "--workers", "1")
    code, _, err = call("scan", *fixed, "--out", str(tmp_path / "words"))
    assert code == 2
    assert "a text without spaces is one" in err
    code, _, err = call("scan", *fixed, "--substrings", "--out", str(tmp_path / "scan"))
    assert code == 0, err
    [found] = read_overlaps(tmp_path / "scan" / "overlap.jsonl")
    assert (found.is_dirty, found.substrings) == (None, 3)
    assert "0 clean, 1 dirty, 0 unscanned" in call("split", str(tmp_path / "scan"), "--measure", "gpt4")[1]
