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
    assert "1 of them are clean by the rule of N words" in out
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
    assert "--edited or --substrings; choose another --out" in err


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
    code, out, err = scan(examples, [FILLER] * 50, "--self-test", "--edited")
    assert code == 0, err
    assert "verbatim" in out
    assert "words shuffled: no copy" in out
    assert not (examples.parent / "scan").exists()


def test_scrub_says_what_is_left_of_common_phrases(examples: Path) -> None:
    assert scan(examples, [COPY] * 300)[0] == 0
    out = examples.parent / "clean"
    code, said, err = call("scrub", str(examples.parent / "scan"), "--out", str(out), "--no-cap")
    assert code == 0, err
    assert "44 more were counted and not kept: scan the new corpus, and scrub it again" in said
