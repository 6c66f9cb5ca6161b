"""The longest match of each dirty example, shown in the example and in the corpus as both were written."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evalkit.contamination import passages, shard_scan, surroundings
from evalkit.contamination.corpus import documents, shards
from evalkit.contamination.kernels.matches import FIELDS, Texts
from evalkit.contamination.passages import Passage
from evalkit.contamination.scan import Settings, merge, scan
from evalkit.contamination.surroundings import LongestOfBlocks, LongestOfShards, excerpt
from evalkit.errors import DataError, StorageError
from tests.test_scan import CLEAN, COPY, FILLER, TEXTS, lines, run

WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
TEXT_SET = (("copy", COPY), ("clean", CLEAN), ("short", "far too short"))


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    return write(tmp_path / "test.jsonl", *TEXT_SET)


def write(path: Path, *rows: tuple[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in rows))
    return path


def write_corpus(path: Path, *texts: str) -> Path:
    path.write_bytes(lines(list(texts)))
    return path


def cut(text: str, run: str, *, margin: int = 5) -> tuple[str, str, str]:
    raw, part = text.encode(), run.encode()
    begin = raw.index(part)
    return excerpt(np.frombuffer(raw, np.uint8), begin, begin + len(part), margin=margin)


def scanned(folder: Path, examples: Path, corpus: Path, **changes: object) -> tuple[Passage, ...]:
    run(examples, corpus, out=folder, **changes)
    return passages.load(folder)


def test_example_and_document_are_shown_as_they_were_written(tmp_path: Path, test_set: Path) -> None:
    path = write_corpus(tmp_path / "a.jsonl", *TEXTS)
    [found] = scanned(tmp_path / "scan", test_set, path)
    assert (found.task, found.example, found.words, found.document) == ("texts", "copy", 20, f"{path}:2")
    assert found.in_example == ("", COPY, "")
    assert found.in_document == (f"{FILLER} ", COPY.upper(), f"\n\t{FILLER}")


def test_a_part_of_an_example_is_shown_within_it(tmp_path: Path) -> None:
    examples = write(tmp_path / "test.jsonl", ("e", f"“Alpha”, beta… {WORDS}! — omega é."))
    path = write_corpus(tmp_path / "a.jsonl", f"東京 {WORDS.title()}; and more")
    [found] = scanned(tmp_path / "scan", examples, path, ngram=13)
    assert found.in_example == ("“Alpha”, beta… ", WORDS, "! — omega é.")
    assert found.in_document == ("東京 ", WORDS.title(), "; and more")


def test_parts_of_an_example_stand_one_below_the_other(tmp_path: Path) -> None:
    from evalkit.contamination.index import Part, kernel_fold

    parts = (Part("context", "It is so."), Part("question", "Is it?"), Part("answer", "yes"))
    fold = kernel_fold("gpt3")
    assert passages.in_parts(parts, 2, 3, fold=fold) == ("It is ", "so.\nIs it", "?\nyes")
    assert passages.in_parts(parts, 5, 1, fold=fold) == ("It is so.\nIs it?\n", "yes", "")
    with pytest.raises(ValueError, match="found 6 words, expected 7"):
        passages.in_parts(parts, 5, 2, fold=fold)


def test_the_longest_match_is_shown_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    words = WORDS.split()
    examples = write(tmp_path / "test.jsonl", ("e", WORDS))
    texts = [" ".join(words[:13]), f"a {' '.join(words[1:])}", f"b {' '.join(words[:14])}", f"c {' '.join(words[:14])}"]
    path = write_corpus(tmp_path / "a.jsonl", *texts)
    [found] = scanned(tmp_path / "scan", examples, path, ngram=13)
    assert (found.words, found.document) == (
        14,
        f"{path}:3",
    )  # the first word of the example goes before the first line
    assert found.in_document == ("b ", " ".join(words[:14]), "")


def test_the_document_is_that_of_the_evidence(tmp_path: Path, test_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 256)
    # A lone surrogate is left to Python's json, after the other lines of its block.
    odd = json.dumps({"text": f"\ud800 {COPY}"}).encode() + b"\n"
    (tmp_path / "a.jsonl").write_bytes(lines([FILLER]) + odd + lines([COPY] * 3))
    outcome = run(test_set, tmp_path / "a.jsonl", out=tmp_path / "scan")
    assert outcome.overlaps[0].documents == 4
    [found] = passages.load(tmp_path / "scan")
    assert found.document == f"{tmp_path / 'a.jsonl'}:2"


def test_examples_with_longer_matches_come_first(tmp_path: Path) -> None:
    words = WORDS.split()
    rows = [("short", " ".join(words[:13])), ("clean", CLEAN), ("long", WORDS), ("also", " ".join(words[1:14]))]
    found = scanned(tmp_path / "scan", write(tmp_path / "t.jsonl", *rows), write_corpus(tmp_path / "a.jsonl", WORDS))
    assert [(each.example, each.words) for each in found] == [("long", 15), ("short", 13), ("also", 13)]


def test_what_is_around_a_run_is_cut_at_characters() -> None:
    assert cut("0123456789RUN0123456789", "RUN") == ("…56789", "RUN", "01234…")
    assert cut("56789RUN01234", "RUN") == ("56789", "RUN", "01234")
    assert cut("RUN", "RUN") == ("", "RUN", "")
    assert cut("東京東京東京RUN😀😀😀😀😀😀", "RUN") == ("…京東京東京", "RUN", "😀😀😀😀😀…")
    assert cut("東京RUN😀", "RUN") == ("東京", "RUN", "😀")


def test_a_long_run_keeps_its_ends() -> None:
    fits, whole = "é" * 1000, "é" * 500 + "x" + "東" * 500
    assert cut(fits, fits) == ("", fits, "")
    assert cut(whole, whole) == ("", "é" * 500 + " […] " + "東" * 500, "")
    wide = "a" + " " * 100_000 + "b"
    assert cut(wide, wide)[1] == "a" + " " * 499 + " […] " + " " * 499 + "b"


def test_the_surroundings_are_two_hundred_characters(tmp_path: Path, test_set: Path) -> None:
    long = "é " * 500
    path = write_corpus(tmp_path / "a.jsonl", f"{long}{COPY} {long}")
    [found] = scanned(tmp_path / "scan", test_set, path)
    assert found.in_document is not None
    assert [len(each) for each in found.in_document] == [201, len(COPY), 201]
    assert found.in_document[0] == "…" + "é " * 100


def test_shards_workers_and_order_give_the_same_file(
    tmp_path: Path, test_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "b.jsonl", tmp_path / "a.jsonl.gz"]
    paths[0].write_bytes(lines([*TEXTS, COPY, f"x {COPY} y"]) * 3)
    paths[1].write_bytes(gzip.compress(lines()))
    run(test_set, *paths, out=tmp_path / "one")
    run(test_set, *paths, out=tmp_path / "two", workers=2)
    monkeypatch.setattr(shards, "SHARD_BYTES", 300)
    fields = {"tasks": (), "data": str(test_set), "workers": 1, "out": tmp_path / "parts"}
    for part in ((1, 2), (0, 2)):
        assert scan(Settings(corpus=tuple(map(str, paths)), shard=part, **fields)) is None
    assert not (tmp_path / "parts" / passages.FILE).exists()
    merge(tmp_path / "parts")
    assert len(list((tmp_path / "parts" / "shards").iterdir())) > 3
    one = (tmp_path / "one" / passages.FILE).read_bytes()
    assert len(one.splitlines()) == 1
    assert (tmp_path / "two" / passages.FILE).read_bytes() == one
    assert (tmp_path / "parts" / passages.FILE).read_bytes() == one
    run(test_set, *paths, out=tmp_path / "parts")  # all shards are there
    assert (tmp_path / "parts" / passages.FILE).read_bytes() == one


def test_the_longest_of_all_examples_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "MOST", 3)
    draws = np.random.default_rng(0)
    # Documents of one byte, each with a few matches; columns as the kernel has them.
    found = np.zeros((600, FIELDS), np.int64)
    found[:, 0], found[:, 1] = draws.integers(20, size=600), draws.integers(3, size=600)
    found[:, 2], found[:, 3], found[:, 5] = draws.integers(8, 20, size=600), np.arange(600) // 3, 1
    best: dict[int, tuple[int, ...]] = {}
    for example, word, words, document, *_ in found.tolist():
        if words >= 10:
            best[example] = min(best.get(example, (0,)), (-words, word, document))
    expected = sorted((words, example, word, document) for example, (words, word, document) in best.items())[:3]
    for waiting in (1 << 24, 1):
        monkeypatch.setattr(surroundings, "WAITING", waiting)
        whole = LongestOfShards()
        for first, last in ((0, 50), (50, 60), (60, 200)):
            shard = LongestOfBlocks(np.full(20, 10, np.int32))
            for begin in range(first, last, 5):
                block = found[3 * begin : 3 * begin + 15].copy()
                block[:, 3] -= begin
                text = np.arange(begin, begin + 5).astype(np.uint8) % 128
                shard.add(block, Texts(text, np.arange(6)), np.arange(begin - first, begin - first + 5))
            whole.add(shard.taken(), before=first)
        assert [(-each.words, each.example, each.word, each.document) for each in whole.rows()] == expected
        assert [each.text for each in whole.rows()] == [("", chr(each[3] % 128), "") for each in expected]


def test_of_equal_matches_in_a_block_the_first_line_counts() -> None:
    shard = LongestOfBlocks(np.full(1, 8, np.int32))
    for line in (4, 2, 3):  # lines that the kernel did not understand come after the others of their block
        found = np.array([[0, 0, 9, 0, 0, 1, 0]])
        shard.add(found, Texts(np.frombuffer(b"%d" % line, np.uint8), np.array([0, 1])), np.array([line]))
    [each] = surroundings.rows(shard.taken())
    assert (each.document, each.text[1]) == (2, "2")


def test_kernel_and_excerpt_cut_alike() -> None:
    pads = ["", "a" * 199, "a" * 200, "a" * 201, "é" * 200, "é" * 201, "a" * 900, "😀" * 300, "é" * 100 + "a" * 150]
    runs = ["RUN", "é" * 1000, "x" + "é" * 1000, "R" * 1001, "R" + " " * 5000 + "N", "東" * 1500]
    texts = [(before + run + after, len(before.encode()), run) for before in pads for run in runs for after in pads]
    raw = [text.encode() for text, _, _ in texts]
    offsets = np.cumsum([0, *map(len, raw)])
    found = np.zeros((len(texts), FIELDS), np.int64)
    found[:, 0] = found[:, 3] = np.arange(len(texts))
    found[:, 2] = 8
    found[:, 4] = [begin for _, begin, _ in texts]
    found[:, 5] = [begin + len(run.encode()) for _, begin, run in texts]
    block = LongestOfBlocks(np.full(len(texts), 8, np.int32))
    block.add(found, Texts(np.frombuffer(b"".join(raw), np.uint8), offsets), np.arange(len(texts)))
    for each in surroundings.rows(block.taken()):
        whole = np.frombuffer(raw[each.document], np.uint8)
        assert each.text == excerpt(whole, each.begin, each.end, margin=200)


def test_hostile_text_is_kept_as_it_is(tmp_path: Path) -> None:
    text = f"<script>alert(1)</script> \u202e\x00 {WORDS} =cmd|' /C calc'!A0\u2028"
    [found] = scanned(
        tmp_path / "scan", write(tmp_path / "t.jsonl", ("<b>", text)), write_corpus(tmp_path / "a.jsonl", f"x{text}")
    )
    assert found.example == "<b>"
    assert "".join(found.in_example) == text
    assert found.in_document is not None
    assert "".join(found.in_document) == f"x{text}"


def test_scans_of_earlier_versions_show_the_examples_alone(tmp_path: Path) -> None:
    words = WORDS.split()
    rows = [("short", " ".join(words[:13])), ("clean", CLEAN), ("long", f"so: {WORDS}")]
    examples = write(tmp_path / "t.jsonl", *rows)
    now = scanned(tmp_path / "scan", examples, write_corpus(tmp_path / "a.jsonl", f"a {WORDS}", WORDS))
    (tmp_path / "scan" / passages.FILE).unlink()
    assert passages.load(tmp_path / "scan") == tuple(replace(each, in_document=None) for each in now)
    write(examples, *rows[:2], ("long", "something else"))
    with pytest.raises(DataError, match=r"texts: example 'long' of the scan is not in the data any more; scan again"):
        passages.load(tmp_path / "scan")


def test_shards_of_earlier_versions_are_read(tmp_path: Path, test_set: Path) -> None:
    run(test_set, write_corpus(tmp_path / "a.jsonl", *TEXTS), out=tmp_path / "scan")
    [path] = (tmp_path / "scan" / "shards").iterdir()
    with np.load(path) as file:
        np.savez(tmp_path / "old.npz", **{name: file[name] for name in file.files if not name.startswith("around")})
    old, new = (shard_scan.load(each) for each in (tmp_path / "old.npz", path))
    assert old is not None
    assert new is not None
    assert list(surroundings.rows(old.hits.around)) == []
    assert [each.text[1] for each in surroundings.rows(new.hits.around)] == [COPY.upper()]


def test_what_is_no_finished_scan_is_refused(tmp_path: Path, test_set: Path) -> None:
    with pytest.raises(StorageError, match="found no scan"):
        passages.load(tmp_path)
    run(test_set, write_corpus(tmp_path / "a.jsonl", *TEXTS), out=tmp_path / "scan")
    path = tmp_path / "scan" / passages.FILE
    good = path.read_text()
    for bad in (
        "[1]",
        '{"task": 1',
        good.replace('"in_document": [', '"in_document": [3, '),
        good.replace('"words"', '"w"'),
    ):
        path.write_text(good + bad.strip() + "\n")
        with pytest.raises(StorageError, match=r"passages\.jsonl:2: not a passage; run the scan command again"):
            passages.load(tmp_path / "scan")
    path.write_bytes(b"\xff\n")
    with pytest.raises(StorageError, match=r"passages\.jsonl: not UTF-8"):
        passages.load(tmp_path / "scan")


def test_passages_that_were_cut_short_are_refused(tmp_path: Path) -> None:
    examples = write(tmp_path / "t.jsonl", ("one", COPY), ("two", WORDS))
    assert len(scanned(tmp_path / "scan", examples, write_corpus(tmp_path / "a.jsonl", COPY, WORDS))) == 2
    path = tmp_path / "scan" / passages.FILE
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    with pytest.raises(StorageError, match=r"passages\.jsonl: found 1 passages, expected 2; run the scan again"):
        passages.load(tmp_path / "scan")


def test_a_scan_without_matches_has_no_passages(tmp_path: Path, test_set: Path) -> None:
    assert scanned(tmp_path / "scan", test_set, write_corpus(tmp_path / "a.jsonl", FILLER)) == ()
