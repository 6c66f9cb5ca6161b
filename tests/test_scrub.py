"""Scrubbing: what is cut and what is not, what is counted, and what is refused."""

import gzip
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.contamination import scan as scanning
from evalkit.contamination import scrub
from evalkit.contamination.scrub import Counts, Manifest, Rule
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.interfaces import Progress
from tests.test_cli import call

# 26 words, so 14 13-grams.
COPY = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec"
COPY += " romeo sierra tango uniform victor whiskey xray yankee zulu"


def filler(size: int, *, seed: int) -> str:
    """Make a text of so many characters, of words that no test set has."""
    draws = random.Random(seed)
    words = "".join("".join(draws.choices("aeioubcdfgé東", k=5)) + " " for _ in range(size // 6 + 1))
    return words[: size - 1] + "."


def write_test_set(folder: Path, *texts: str) -> Path:
    path = folder / "test.jsonl"
    path.write_text("".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts)))
    return path


def run_scan(
    folder: Path,
    *corpus: Path | str,
    test: tuple[str, ...] = (COPY,),
    name: str = "scan",
    text_lines: bool = False,
) -> scanning.Outcome:
    settings = scanning.Settings(
        tasks=(),
        corpus=tuple(map(str, corpus)),
        data=str(write_test_set(folder, *test)),
        ngram=13,
        text_lines=text_lines,
        workers=1,
        out=folder / name,
    )
    outcome = scanning.scan(settings)
    assert outcome is not None
    return outcome


def quietly(_: Progress) -> None:
    pass


def run_scrub(
    folder: Path, *, rule: Rule = scrub.GPT3, test: tuple[str, ...] = (COPY,), text_lines: bool = False
) -> Manifest:
    """Scan folder/corpus, scrub it to folder/out."""
    run_scan(folder, folder / "corpus", test=test, text_lines=text_lines)
    return scrub.scrub(folder / "scan", folder / "out", rule=rule, on_progress=quietly)


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def scrub_lines(
    folder: Path, texts: list[str], *, rule: Rule = scrub.GPT3, test: tuple[str, ...] = (COPY,)
) -> list[str]:
    """Give the texts that are left of a file of JSON lines."""
    (folder / "corpus").mkdir()
    (folder / "corpus" / "a.jsonl").write_bytes(json_lines([{"text": text} for text in texts]))
    run_scrub(folder, rule=rule, test=test)
    left = (folder / "out" / "corpus" / "a.jsonl").read_bytes().splitlines()
    return [json.loads(line)["text"] for line in left]


def cut(document: str, *spans: tuple[int, int], window: int = 2, shortest: int = 1, most: int = 10) -> list[str] | None:
    return scrub.pieces(document, spans, window=window, shortest=shortest, most_pieces=most)


def test_a_span_and_its_windows_are_cut() -> None:
    # The span 56 goes with 34 and 78.
    assert cut("0123456789", (5, 7)) == ["012", "9"]


def test_a_window_ends_where_the_document_does() -> None:
    assert cut("0123456789", (1, 2)) == ["456789"]
    assert cut("0123456789", (8, 10)) == ["012345"]
    assert cut("0123456789", (0, 10)) == []


def test_windows_that_overlap_or_touch_are_one_gap() -> None:
    # Gaps 0-4 and 4-8: nothing is between them, and nothing is no piece.
    assert cut("0123456789", (1, 2), (6, 6), most=1) == ["89"]
    assert cut("0123456789", (6, 7), (2, 3), most=1) == ["9"]


def test_a_span_inside_another_changes_nothing() -> None:
    assert cut("0123456789", (3, 5), (4, 4)) == cut("0123456789", (3, 5))


def test_a_window_counts_characters_and_not_bytes() -> None:
    assert cut("é東𝒳ëöüñ", (3, 4)) == ["é", "ñ"]


def test_pieces_shorter_than_the_shortest_are_dropped() -> None:
    assert cut("0123456789", (4, 5), shortest=2) == ["01", "789"]
    assert cut("0123456789", (4, 5), shortest=3) == ["789"]


def test_a_document_in_too_many_pieces_is_removed_and_short_pieces_count() -> None:
    # 0, 2, 4: three pieces of one character.
    spans = ((1, 2), (3, 4))
    assert cut("01234", *spans, window=0, most=3) == ["0", "2", "4"]
    assert cut("01234", *spans, window=0, most=2) is None
    assert cut("01234", *spans, window=0, most=2, shortest=2) is None


def test_ten_pieces_are_kept_and_eleven_are_not() -> None:
    document = "".join("x" * 300 + "!" for _ in range(11))
    spans = [(301 * i + 300, 301 * i + 301) for i in range(10)]
    paper = {"window": 20, "shortest": 200, "most_pieces": 10}
    # Nine gaps leave ten pieces, ten gaps eleven.
    assert len(scrub.pieces(document, spans[:9], **paper) or []) == 10
    assert scrub.pieces(document, spans, **paper) is None


def test_a_document_without_a_span_stays_whole_however_short() -> None:
    assert cut("", shortest=200) == [""]
    assert cut("short", shortest=200) == ["short"]


@pytest.mark.parametrize("seed", range(200))
def test_pieces_are_in_order_and_with_the_gaps_make_the_document(seed: int) -> None:
    draws = random.Random(seed)
    length, window, shortest = draws.randrange(1, 120), draws.randrange(6), draws.randrange(1, 8)
    document = "".join(chr(0x4E00 + i) for i in range(length))  # each character stands once
    begins = [draws.randrange(length) for _ in range(draws.randrange(1, 7))]
    spans = [(begin, min(length, begin + draws.randrange(1, 9))) for begin in begins]
    gone = {i for begin, end in spans for i in range(begin - window, end + window)}
    found = scrub.pieces(document, spans, window=window, shortest=shortest, most_pieces=length)
    # By definition: the longest stretches of characters that are not gone.
    kept = "".join(" " if i in gone else each for i, each in enumerate(document)).split()
    assert found == [each for each in kept if len(each) >= shortest]


def test_bytes_are_turned_into_characters() -> None:
    # é is 2 bytes, 東 3, 𝒳 4: 1-3, 4-7 and 8-12 of the bytes.
    spans = np.array([[4, 8], [8, 12], [1, 12]])
    assert scrub.in_characters("aéb東c𝒳".encode(), spans) == [(3, 5), (5, 6), (1, 6)]


def test_a_copy_and_200_characters_around_it_are_gone(tmp_path: Path) -> None:
    before, after = filler(500, seed=1), filler(450, seed=2)
    left = scrub_lines(tmp_path, [f"{before} {COPY} {after}"])
    # The blank beside the copy is one of the 200.
    assert left == [before[:301], after[199:]]


def test_a_clean_corpus_is_left_as_it_is(tmp_path: Path) -> None:
    # Janitor 1: its C++ cleaner never asks for the contaminants, and removes all documents.
    texts = [filler(size, seed=size) for size in (100, 1000, 5000)]
    assert scrub_lines(tmp_path, texts) == texts


def test_words_that_differ_late_are_not_the_same(tmp_path: Path) -> None:
    # Janitor 2: words are cut after 11 bytes.
    words = [f"incomprehensibly{letter * 3}" for letter in "abcdefghijklmn"]
    other = filler(400, seed=1) + " " + " ".join(word + "ness" for word in words) + " " + filler(400, seed=2)
    assert scrub_lines(tmp_path, [other], test=(" ".join(words),)) == [other]


def test_twelve_words_are_no_collision(tmp_path: Path) -> None:
    text = f"{filler(300, seed=1)} {' '.join(COPY.split()[:12])} {filler(300, seed=2)}"
    assert scrub_lines(tmp_path, [text]) == [text]


def test_long_words_of_any_script_are_no_trouble(tmp_path: Path) -> None:
    # Janitor 3: the cut after 11 bytes splits a character, and the text cannot be decoded.
    copy = " ".join(f"непревзойдённо{i}" for i in range(14))
    before, after = "ы" * 500 + " ", " " + "東" * 500
    assert scrub_lines(tmp_path, [before + copy.upper() + after], test=(copy,)) == [before[:301], after[-301:]]


def test_a_copy_at_the_very_end_is_found(tmp_path: Path) -> None:
    # Janitor 4: the last n-gram is lost where no white space follows.
    before = filler(500, seed=1) + " "
    assert scrub_lines(tmp_path, [before + " ".join(COPY.split()[-13:])]) == [before[:301]]


def test_punctuation_that_stands_alone_hides_nothing(tmp_path: Path) -> None:
    # Janitor 5: it splits before it removes punctuation.
    before = filler(500, seed=1) + " "
    assert scrub_lines(tmp_path, [before + COPY.replace(" ", " -- ", 6).replace("lima", "& lima |")]) == [before[:301]]


def test_overlapping_ngrams_of_one_copy_are_one_collision(tmp_path: Path) -> None:
    # Janitor 6: it counts 14 13-grams as 14 collisions, and removes the document.
    before, after = filler(500, seed=1), filler(500, seed=2)
    assert len(scrub_lines(tmp_path, [f"{before} {COPY} {after}"], rule=replace(scrub.GPT3, most_pieces=2))) == 2


def test_a_short_clean_document_is_kept(tmp_path: Path) -> None:
    # Janitor 7: what is shorter than the shortest piece is dropped, clean or not.
    assert scrub_lines(tmp_path, ["Hello.", ""]) == ["Hello.", ""]


def test_what_is_stored_is_enough(tmp_path: Path) -> None:
    # Janitor 8: it stores the name of a file where the n-grams should be.
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_bytes(json_lines([{"text": COPY}]))
    run_scan(tmp_path, tmp_path / "corpus")
    (tmp_path / "test.jsonl").unlink()
    made = scrub.scrub(tmp_path / "scan", tmp_path / "out", on_progress=quietly)
    assert made.totals.emptied == 1


def test_a_whole_example_shorter_than_n_is_a_collision(tmp_path: Path) -> None:
    short = " ".join(COPY.split()[:9])
    before = filler(500, seed=1)
    assert scrub_lines(tmp_path, [f"{before} {short}", " ".join(short.split()[:8])], test=(short,)) == [
        before[:301],
        " ".join(short.split()[:8]),
    ]


def boilerplate_corpus() -> tuple[tuple[str, ...], list[str]]:
    """Eleven documents hold the boilerplate, with a word of the example on either side; one holds another example."""
    boilerplate = COPY.split()[:16]
    example = " ".join(["before", *boilerplate, "after", *filler(100, seed=1000).split()])
    texts = [
        f"{filler(300, seed=i)} before {' '.join(boilerplate)} after {filler(300, seed=50 + i)}" for i in range(11)
    ]
    other = " ".join(f"other{i}" for i in range(13))
    return (example, other), [*texts, f"{filler(500, seed=98)} {other}"]


def test_boilerplate_is_left_and_both_counts_are_given(tmp_path: Path) -> None:
    test, texts = boilerplate_corpus()
    left = scrub_lines(tmp_path, texts, test=test)
    assert left == [*texts[:11], texts[11][:301]]
    totals = json.loads((tmp_path / "out" / "scrub.json").read_text())["totals"]
    # Without the cap all 12 documents would be cut.
    assert (totals["matches"], totals["boilerplate"], totals["colliding"], totals["split"]) == (12, 11, 12, 1)


def test_without_a_cap_boilerplate_goes_too(tmp_path: Path) -> None:
    test, texts = boilerplate_corpus()
    left = scrub_lines(tmp_path, texts, test=test, rule=replace(scrub.GPT3, cap=None, shortest=50))
    assert len(left) == 2 * 11 + 1


def test_counts_of_documents_add_up(tmp_path: Path) -> None:
    many = (COPY + " " + filler(500, seed=3) + " ") * 11
    texts = [filler(500, seed=1) + " " + COPY, COPY, many, "clean"]
    assert len(scrub_lines(tmp_path, texts)) == 2
    # Left of the first: all but the copy and the 200 characters before it. Of the third: ten pieces between eleven
    # gaps, the first of which begins the text, and an eleventh at the end.
    assert read_counts(tmp_path) == Counts(
        documents=4,
        untouched=1,
        split=1,
        emptied=1,
        removed=1,
        pieces=1,
        characters_removed=200 + 2 * len(COPY) + len(many),
        matches=13,
        colliding=3,
    )


def read_counts(folder: Path) -> Counts:
    return Counts(**json.loads((folder / "out" / "scrub.json").read_text())["totals"])


def test_dropped_pieces_are_counted(tmp_path: Path) -> None:
    # 300 characters before the copy leave 100, 450 after it leave 250.
    left = scrub_lines(tmp_path, [f"{filler(299, seed=1)} {COPY} {filler(449, seed=2)}"])
    assert [len(each) for each in left] == [250]
    assert read_counts(tmp_path).pieces_dropped == 1


def common_phrase(folder: Path, documents: int) -> None:
    """Write a file of documents that each hold the copy, with 300 characters left before it."""
    (folder / "corpus").mkdir()
    texts = [f"{filler(500, seed=i)} {COPY}" for i in range(documents)]
    (folder / "corpus" / "a.jsonl").write_bytes(json_lines([{"text": text} for text in texts]))


def test_what_a_scan_did_not_keep_is_counted_and_goes_with_a_second_scrub(tmp_path: Path) -> None:
    # A scan keeps 256 matches of an example a shard, so one scrub leaves 44 of 300, and the second none.
    rule = replace(scrub.GPT3, cap=None)
    common_phrase(tmp_path, 300)
    first = run_scrub(tmp_path, rule=rule).totals
    assert (first.split, first.untouched, first.unkept) == (256, 44, 44)
    run_scan(tmp_path, tmp_path / "out" / "corpus", name="scan2")
    second = scrub.scrub(tmp_path / "scan2", tmp_path / "out2", rule=rule, on_progress=quietly).totals
    assert (second.split, second.untouched, second.unkept) == (44, 256, 0)
    left = run_scan(tmp_path, tmp_path / "out2" / "corpus", name="scan3")
    assert [(overlap.is_dirty, overlap.documents) for overlap in left.overlaps] == [(False, 0)]


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (256, []),
        (257, ["1 more were counted and not kept: scan the new corpus, and scrub it again"]),
    ],
)
def test_the_command_says_what_may_still_stand(tmp_path: Path, documents: int, said: list[str]) -> None:
    common_phrase(tmp_path, documents)
    run_scan(tmp_path, tmp_path / "corpus")
    code, out, _ = call("scrub", str(tmp_path / "scan"), "--out", str(tmp_path / "out"), "--no-cap")
    assert code == 0
    assert out.splitlines() == [
        f"{documents} documents: {documents - 256} untouched, 256 split into 256 pieces, 0 emptied, 0 removed",
        "256 matches",
        *said,
        f"corpus: {tmp_path / 'out' / 'corpus'}",
    ]


def one_file(folder: Path) -> Path:
    (folder / "corpus").mkdir()
    path = folder / "corpus" / "a.jsonl"
    path.write_bytes(json_lines([{"text": f"{filler(400, seed=1)} {COPY}"}]))
    return path


@pytest.mark.parametrize("name", ["corpus", ".", "corpus/a.jsonl", "corpus/below"])
def test_the_output_may_not_lie_over_the_corpus(tmp_path: Path, name: str) -> None:
    path = one_file(tmp_path)
    before = path.read_bytes()
    run_scan(tmp_path, tmp_path / "corpus")
    with pytest.raises(UsageError, match="corpus"):
        scrub.scrub(tmp_path / "scan", tmp_path / name, on_progress=quietly)
    assert path.read_bytes() == before
    assert list((tmp_path / "corpus").iterdir()) == [path]


def test_a_dataset_of_the_hub_is_refused(tmp_path: Path) -> None:
    one_file(tmp_path)
    place = f"hub:{tmp_path / 'corpus'}"
    run_scan(tmp_path, place)
    with pytest.raises(DataError) as caught:
        scrub.scrub(tmp_path / "scan", tmp_path / "out", on_progress=quietly)
    said = "cannot be written again; download the dataset, then scan and scrub the folder"
    assert str(caught.value) == f"{place}@train: {said}"
    assert not (tmp_path / "out").exists()


def test_a_file_that_changed_since_the_scan_is_refused(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    run_scan(tmp_path, tmp_path / "corpus")
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=r"a\.jsonl: changed since the scan"):
        scrub.scrub(tmp_path / "scan", tmp_path / "out", on_progress=quietly)


def test_a_file_that_was_not_read_to_its_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    raw = gzip.compress(json_lines([{"text": filler(400, seed=i)} for i in range(100)]))
    (tmp_path / "corpus" / "a.jsonl.gz").write_bytes(raw[:-20])
    (tmp_path / "corpus" / "b.jsonl").write_bytes(json_lines([{"text": filler(400, seed=1)}]))
    run_scan(tmp_path, tmp_path / "corpus")
    with pytest.raises(DataError, match="only part of it was scanned"):
        scrub.scrub(tmp_path / "scan", tmp_path / "out", on_progress=quietly)


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    one_file(tmp_path)
    run_scrub(tmp_path)
    with pytest.raises(StorageError, match="other settings"):
        scrub.scrub(tmp_path / "scan", tmp_path / "out", rule=Rule(window=100), on_progress=quietly)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    one_file(tmp_path)
    run_scan(tmp_path, tmp_path / "corpus")
    with pytest.raises(StorageError, match=r"holds '.*' but no scrub\.json"):
        scrub.scrub(tmp_path / "scan", tmp_path / "scan", on_progress=quietly)


def test_only_a_finished_scan_is_scrubbed(tmp_path: Path) -> None:
    one_file(tmp_path)
    with pytest.raises(DataError, match="found no scan"):
        scrub.scrub(tmp_path / "corpus", tmp_path / "out", on_progress=quietly)
    run_scan(tmp_path, tmp_path / "corpus")
    run = json.loads((tmp_path / "scan" / "run.json").read_text())
    (tmp_path / "scan" / "run.json").write_text(json.dumps({**run, "kind": "run"}))
    with pytest.raises(DataError, match="found no scan"):
        scrub.scrub(tmp_path / "scan", tmp_path / "out", on_progress=quietly)
    del run["signature"]
    (tmp_path / "scan" / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match="not finished"):
        scrub.scrub(tmp_path / "scan", tmp_path / "out", on_progress=quietly)


@pytest.mark.parametrize("settings", [{"window": -1}, {"shortest": -1}, {"most_pieces": 0}, {"cap": 0}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Rule(**settings)
