"""Scrubbing: what is cut and what is not, every format and nothing else in it changed, whole files or none."""

import bz2
import gzip
import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from evalkit.contamination import documents, scrub, scrub_files, shards
from evalkit.contamination import scan as scanning
from evalkit.contamination.scrub import Counts, Manifest, Rule
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.interfaces import Progress

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


def run_scan(folder: Path, *corpus: Path, test: tuple[str, ...] = (COPY,), name: str = "scan") -> scanning.Outcome:
    settings = scanning.Settings(
        tasks=(),
        corpus=tuple(map(str, corpus)),
        data=str(write_test_set(folder, *test)),
        ngram=13,
        workers=1,
        out=folder / name,
    )
    outcome = scanning.scan(settings)
    assert outcome is not None
    return outcome


def quietly(_: Progress) -> None:
    pass


def run_scrub(folder: Path, *, rule: Rule = scrub.GPT3, test: tuple[str, ...] = (COPY,)) -> Manifest:
    """Scan folder/corpus, scrub it to folder/out."""
    run_scan(folder, folder / "corpus", test=test)
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


def test_lines_without_a_match_stay_byte_for_byte(tmp_path: Path) -> None:
    odd = [
        b'{ "n":1.10, "text" : "clean \\u00e9 \\ud800" , "n":2}\r\n',
        b"\n",
        b"not json\n",
        b'{"text": 3}\n',
        b'{"text": "\xff"}\n',
        b'{"text": "no newline at the end"}',
    ]
    dirty = json.dumps({"text": COPY}).encode() + b"\n"
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_bytes(dirty.join(odd))
    made = run_scrub(tmp_path)
    assert (tmp_path / "out" / "corpus" / "a.jsonl").read_bytes() == b"".join(odd)
    assert (made.totals.unread, made.totals.documents, made.totals.emptied) == (3, 7, 5)


def test_all_else_in_a_line_that_is_cut_stays(tmp_path: Path) -> None:
    before, after = filler(400, seed=1), filler(400, seed=2)
    text = json.dumps(f"{before} {COPY} {after}").encode()
    line = b'\xef\xbb\xbf{"n": 1.10, "id": "d\\u00e9", "text":%s, "meta": {"text": "x", "id": "y"}, "big": 1e999}\r\n'
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_bytes(line % text)
    run_scrub(tmp_path)
    # ASCII stays ASCII; the mark of byte order goes.
    expected = b'{"n": 1.10, "id": "d\\u00e9#%d", "text":%s, "meta": {"text": "x", "id": "y"}, "big": 1e999}\r\n'
    pieces = [json.dumps(piece).encode() for piece in (before[:201], after[199:])]
    assert (tmp_path / "out" / "corpus" / "a.jsonl").read_bytes() == b"".join(
        expected % (number, piece) for number, piece in enumerate(pieces, 1)
    )


def test_a_last_line_without_newline_is_cut_into_lines(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    row = {"id": 7, "text": f"{filler(400, seed=1)} {COPY} {filler(400, seed=2)}"}
    (tmp_path / "corpus" / "a.jsonl").write_bytes(json_lines([row])[:-1])
    run_scrub(tmp_path)
    first, second = (tmp_path / "out" / "corpus" / "a.jsonl").read_bytes().split(b"\n")
    # A number stays one.
    assert json.loads(first)["id"] == json.loads(second)["id"] == 7


@pytest.mark.parametrize("odd", ["\\ud800", "\\udc00 \\ud800\\ud801", "\\ud83d\\ude00"])
@pytest.mark.parametrize("key", ['"text"', '"te\\u0078t"'])
def test_halves_of_pairs_do_not_shift_the_cut(tmp_path: Path, odd: str, key: str) -> None:
    line = '{%s: "%s %s %s %s"}\n' % (key, odd, filler(400, seed=1), COPY, filler(400, seed=2))  # noqa: UP031
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_text('{"text": "first"}\n' + line)
    run_scrub(tmp_path)
    _, before, after = (tmp_path / "out" / "corpus" / "a.jsonl").read_text().splitlines()
    assert json.loads(before)["text"].endswith(filler(400, seed=1)[:201])
    assert json.loads(after)["text"] == filler(400, seed=2)[199:]


def test_a_second_field_with_the_same_text_is_cut_too(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    text = f"{filler(400, seed=1)} {COPY}"
    (tmp_path / "corpus" / "a.jsonl").write_bytes(json_lines([{"text": text, "raw": text, "title": "t"}]))
    run_scrub(tmp_path)
    left = filler(400, seed=1)[:201]
    assert json.loads((tmp_path / "out" / "corpus" / "a.jsonl").read_text()) == {
        "text": left,
        "raw": left,
        "title": "t",
    }


def test_texts_are_read_by_their_row_in_a_file_of_several_shards(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    # An escaped key makes a line that is read after the others of its block.
    odd = {i: json.dumps({"text": f"odd {i}"}).replace("text", "te\\u0078t").encode() + b"\n" for i in (3, 17)}
    lines = [odd.get(i, json_lines([{"text": f"{i} {filler(500, seed=i)}"}])) for i in range(30)]
    path.write_bytes(b"".join(lines))
    plan = shards.plan([str(path)], shard_bytes=3000)
    assert len(plan) > 3
    counts = []
    for shard in plan:
        reading = documents.Reading()
        list(documents.blocks(shard, reading, text_field=None))
        counts.append(reading.lines)
    rows = np.array([0, 3, 4, 16, 17, 29])
    read = scrub_files.read_texts(plan, counts, rows, text_field=None)
    assert [(row, json.loads(lines[row])["text"].encode()) for row in rows.tolist()] == list(read)


ROWS = [
    {"id": "a", "text": f"{filler(400, seed=1)} {COPY} {filler(400, seed=2)}", "more": [1, 2], "none": None},
    {"id": "b", "text": "clean é東", "more": [], "none": None},
    {"id": "c", "text": COPY, "more": [3], "none": None},
    {"id": "d", "text": None, "more": None, "none": None},
    {"id": "e", "text": f"{COPY} {filler(400, seed=3)}", "more": [4], "none": None},
]
EXPECTED = [
    ROWS[0] | {"id": "a#1", "text": filler(400, seed=1)[:201]},
    ROWS[0] | {"id": "a#2", "text": filler(400, seed=2)[199:]},
    ROWS[1],
    ROWS[3],
    ROWS[4] | {"id": "e#1", "text": filler(400, seed=3)[199:]},
]


def zstd_write(path: Path, raw: bytes) -> None:
    with pyarrow.output_stream(str(path), compression="zstd") as out:
        out.write(raw)


def zstd_read(path: Path) -> bytes:
    with pyarrow.input_stream(str(path), compression="zstd") as file:
        return bytes(file.read())


def load_lines(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw.splitlines()]


def table() -> pyarrow.Table:
    made = pyarrow.Table.from_pylist(ROWS)
    return made.replace_schema_metadata({"note": "kept"})


def write_arrow_file(path: Path) -> None:
    with pyarrow.ipc.new_file(str(path), table().schema) as out:
        for batch in table().to_batches(max_chunksize=2):
            out.write_batch(batch)


def write_arrow_stream(path: Path, compression: str | None = None) -> None:
    with (
        pyarrow.output_stream(str(path), compression=compression) as sink,
        pyarrow.ipc.new_stream(sink, table().schema) as out,
    ):
        for batch in table().to_batches(max_chunksize=2):
            out.write_batch(batch)


def read_arrow(path: Path) -> list[dict[str, Any]]:
    return checked(pyarrow.ipc.open_file(str(path)).read_all())


def read_arrow_stream(path: Path, compression: str | None = None) -> list[dict[str, Any]]:
    with pyarrow.input_stream(str(path), compression=compression) as file:
        return checked(pyarrow.ipc.open_stream(file).read_all())


def checked(read: pyarrow.Table) -> list[dict[str, Any]]:
    assert read.schema == table().schema
    assert read.schema.metadata == {b"note": b"kept"}
    rows: list[dict[str, Any]] = read.to_pylist()
    return rows


def read_parquet(path: Path) -> list[dict[str, Any]]:
    found = pyarrow.parquet.ParquetFile(path)
    assert found.metadata.row_group(0).column(1).compression == "GZIP"
    assert found.metadata.row_group(0).column(0).compression == "UNCOMPRESSED"
    return checked(found.read())


FORMATS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], list[dict[str, Any]]]]] = {
    "a.jsonl": (lambda path: path.write_bytes(json_lines(ROWS)), lambda path: load_lines(path.read_bytes())),
    "a.jsonl.gz": (
        lambda path: path.write_bytes(gzip.compress(json_lines(ROWS[:2])) + gzip.compress(json_lines(ROWS[2:]))),
        lambda path: load_lines(gzip.decompress(path.read_bytes())),
    ),
    "a.json.bz2": (
        lambda path: path.write_bytes(bz2.compress(json_lines(ROWS))),
        lambda path: load_lines(bz2.decompress(path.read_bytes())),
    ),
    "a.ndjson.zst": (lambda path: zstd_write(path, json_lines(ROWS)), lambda path: load_lines(zstd_read(path))),
    "a.json": (lambda path: path.write_text(json.dumps(ROWS, indent=1)), lambda path: json.loads(path.read_text())),
    "a.parquet": (
        lambda path: pyarrow.parquet.write_table(
            table(),
            path,
            row_group_size=2,
            compression={"id": "none", "text": "gzip", "more.list.element": "zstd", "none": "snappy"},
        ),
        read_parquet,
    ),
    "file.arrow": (write_arrow_file, read_arrow),
    "stream.arrow": (write_arrow_stream, read_arrow_stream),
    "a.arrow.gz": (lambda path: write_arrow_stream(path, "gzip"), lambda path: read_arrow_stream(path, "gzip")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_as_it_was_read(tmp_path: Path, name: str) -> None:
    write, read = FORMATS[name]
    (tmp_path / "corpus").mkdir()
    write(tmp_path / "corpus" / name)
    before = (tmp_path / "corpus" / name).read_bytes()
    made = run_scrub(tmp_path)
    assert read(tmp_path / "out" / "corpus" / name) == EXPECTED
    assert (tmp_path / "corpus" / name).read_bytes() == before
    totals = made.totals
    assert (totals.documents, totals.unread, totals.untouched, totals.split, totals.emptied) == (4, 1, 1, 2, 1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_a_collision_is_copied(tmp_path: Path, name: str) -> None:
    (tmp_path / "corpus").mkdir()
    FORMATS[name][0](tmp_path / "corpus" / name)
    run_scrub(tmp_path, test=("none of these thirteen words stands in any of the documents of this corpus",))
    assert (tmp_path / "out" / "corpus" / name).read_bytes() == (tmp_path / "corpus" / name).read_bytes()


def test_rows_of_an_array_that_are_not_cut_stay_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    clean = b' {"text": "x, ] }", "n": 1.10}\n'
    (tmp_path / "corpus" / "a.json").write_bytes(
        b"[" + clean + b"," + json_lines([{"text": COPY}]) + b"," + clean + b"]\n"
    )
    run_scrub(tmp_path)
    assert (tmp_path / "out" / "corpus" / "a.json").read_bytes() == b"[" + clean + b"," + clean + b"]\n"


def test_an_array_may_be_left_empty(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.json").write_text(json.dumps([{"text": COPY}]))
    run_scrub(tmp_path)
    assert json.loads((tmp_path / "out" / "corpus" / "a.json").read_text()) == []


def test_pieces_of_a_text_are_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "books").mkdir(parents=True)
    text = f"{filler(400, seed=1)} {COPY} {filler(400, seed=2)}"
    (tmp_path / "corpus" / "books" / "a.b.txt").write_text(text)
    (tmp_path / "corpus" / "books" / "c.txt.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "corpus" / "gone.txt").write_text(COPY)
    (tmp_path / "corpus" / "latin.txt").write_bytes(b"caf\xe9 " + COPY.encode())
    made = run_scrub(tmp_path)
    out = tmp_path / "out" / "corpus"
    names = ["books/a.b#1.txt", "books/a.b#2.txt", "books/c#1.txt.gz", "books/c#2.txt.gz", "latin.txt"]
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == names
    assert sorted(name for each in made.files for name in each.written) == names
    assert (out / names[0]).read_text() == filler(400, seed=1)[:201]
    assert gzip.decompress((out / names[3]).read_bytes()).decode() == filler(400, seed=2)[199:]
    assert made.totals.unread == 1


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Three files with copies in many places, of two examples."""
    corpus = tmp_path / "corpus"
    (corpus / "deep").mkdir(parents=True)
    draws = random.Random(5)
    for name in ("one.jsonl", "deep/two.jsonl", "three.json"):
        texts = []
        for _ in range(40):
            parts = [
                filler(draws.randrange(20, 900), seed=draws.randrange(10**6)) for _ in range(draws.randrange(1, 5))
            ]
            copies = [COPY.title(), COPY.replace(" ", "\n", 4), " ".join(COPY.split()[3:17]), FACT, "", ""]
            texts.append("".join(part + " " + draws.choice(copies) + " " for part in parts))
        rows = [{"id": f"{name}{i}", "text": text} for i, text in enumerate(texts)]
        (corpus / name).write_bytes(json_lines(rows) if name.endswith("l") else json.dumps(rows).encode())
    return tmp_path


FACT = "l'été dernier, « nous » avons vu — enfin ! — la mer: elle était bleue & calme"


def test_what_is_scrubbed_is_clean(planted: Path) -> None:
    test = (COPY, FACT)
    before = run_scan(planted, planted / "corpus", test=test)
    assert all(overlap.is_dirty for overlap in before.overlaps)
    made = scrub.scrub(planted / "scan", planted / "out", rule=replace(scrub.GPT3, cap=None), on_progress=quietly)
    after = run_scan(planted, planted / "out" / "corpus", test=test, name="again")
    assert [overlap.is_dirty for overlap in after.overlaps] == [False, False]
    totals = made.totals
    assert totals.documents == totals.untouched + totals.split + totals.emptied + totals.removed == 120
    assert totals.split > 0
    rows = sum(len(load_lines(path.read_bytes())) for path in (planted / "out" / "corpus").rglob("*.jsonl"))
    rows += len(json.loads((planted / "out" / "corpus" / "three.json").read_text()))
    assert rows == totals.untouched + totals.pieces


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_scrub_that_was_stopped_goes_on(planted: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    run_scan(planted, planted / "corpus")
    with pytest.raises(KeyboardInterrupt):
        scrub.scrub(planted / "scan", planted / "out", on_progress=stop)
    (first,) = [path for path in (planted / "out" / "corpus").rglob("*") if path.is_file()]
    assert "totals" not in json.loads((planted / "out" / "scrub.json").read_text())
    node = first.stat().st_ino
    resumed = scrub.scrub(planted / "scan", planted / "out", on_progress=quietly)
    assert first.stat().st_ino == node  # kept, not written again
    whole = scrub.scrub(planted / "scan", planted / "other", on_progress=quietly)
    assert contents(planted / "out") == contents(planted / "other")
    assert resumed.files == whole.files


def test_a_finished_file_that_is_gone_is_written_again(planted: Path) -> None:
    run_scan(planted, planted / "corpus")
    scrub.scrub(planted / "scan", planted / "out", on_progress=quietly)
    before = contents(planted / "out")
    (planted / "out" / "corpus" / "one.jsonl").unlink()
    (planted / "out" / "corpus" / "three.json").write_bytes(b"cut off")
    scrub.scrub(planted / "scan", planted / "out", on_progress=quietly)
    assert contents(planted / "out") == before


def test_a_text_that_changed_leaves_no_old_piece(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    book = tmp_path / "corpus" / "book.txt"
    book.write_text(f"{filler(400, seed=1)} {COPY} {filler(400, seed=2)}")
    run_scrub(tmp_path)
    book.write_text("clean")
    run_scrub(tmp_path)
    assert contents(tmp_path / "out" / "corpus") == {"book.txt": b"clean"}


def test_progress_ends_at_the_total(planted: Path) -> None:
    seen: list[Progress] = []
    run_scan(planted, planted / "corpus")
    scrub.scrub(planted / "scan", planted / "out", on_progress=seen.append)
    assert len(seen) == 3
    assert seen[-1].done <= seen[-1].total


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
