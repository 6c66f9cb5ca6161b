"""Scans: every format, the same result whatever the order and the workers, and nothing left out in silence."""

import bz2
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from evalkit import cli
from evalkit.contamination import scan_report
from evalkit.contamination.corpus import documents, shards
from evalkit.contamination.scan import Outcome, Settings, scan
from evalkit.errors import DataError, StorageError, UsageError
from tests.test_cli import call

COPY = "It is a truth “universally acknowledged”, that a single man in possession of a good fortune must want a wife"
CLEAN = "no corpus of this test has ever held these fourteen words in a row before now"
SHORT = "far too short"
FILLER = "Call me Ishmael — some years ago, never mind how long precisely, I thought I would sail about a little."
TEXTS = [FILLER, f"{FILLER} {COPY.upper()}\n\t{FILLER}", "", f"é 東京 {FILLER}", COPY.replace(",", " --")]
REPORT = ("matches.parquet", "overlap.jsonl", "passages.jsonl", "table.csv", "table.md", "table.tex", "index.html")


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    rows = [{"id": name, "text": text} for name, text in (("copy", COPY), ("clean", CLEAN), ("short", SHORT))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(texts: list[str] = TEXTS) -> bytes:
    return b"".join(json.dumps({"id": i, "text": text}).encode() + b"\n" for i, text in enumerate(texts))


def write_jsonl(path: Path) -> Path:
    path.write_bytes(lines())
    return path


def zstd(raw: bytes, path: Path) -> None:
    with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
        file.write(raw)


def table() -> pyarrow.Table:
    return pyarrow.table({"number": list(range(5)), "text": [*TEXTS[:2], None, *TEXTS[3:]]})


def write_arrow(path: Path) -> None:
    with pyarrow.ipc.new_file(str(path), table().schema) as file:
        file.write_table(table())


def write_stream(path: Path) -> None:
    with pyarrow.ipc.new_stream(str(path), table().schema) as file:
        file.write_table(table())


FORMATS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": write_jsonl,
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines()[:300]) + gzip.compress(lines()[300:])),
    "a.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(lines())),
    "a.jsonl.zst": lambda path: zstd(lines(), path),
    "lines.json": write_jsonl,
    "array.json": lambda path: path.write_text(json.dumps([{"text": text} for text in TEXTS])),
    "a.parquet": lambda path: pyarrow.parquet.write_table(table(), path, row_group_size=2),
    "large.parquet": lambda path: pyarrow.parquet.write_table(
        table().set_column(1, "text", table()["text"].cast(pyarrow.large_string())), path
    ),
    "a.arrow": write_arrow,
    "stream.arrow": write_stream,
}


def run(test_set: Path, *corpus: Path, out: Path, **changes: object) -> Outcome:
    fields = {"tasks": (), "corpus": tuple(map(str, corpus)), "data": str(test_set), "workers": 1, "out": out}
    outcome = scan(Settings(**(fields | changes)))
    assert outcome is not None
    return outcome


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in REPORT}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_verdicts(tmp_path: Path, test_set: Path, name: str) -> None:
    path = tmp_path / name
    FORMATS[name](path)
    outcome = run(test_set, path, out=tmp_path / "scan")
    assert {overlap.example: overlap.is_dirty for overlap in outcome.overlaps} == {
        "copy": True,
        "clean": False,
        "short": None,
    }
    [copy] = [overlap for overlap in outcome.overlaps if overlap.example == "copy"]
    assert (copy.words, copy.longest, copy.documents, copy.value, copy.parts) == (20, 20, 2, 1.0, ("text",))
    rows = pyarrow.parquet.read_table(tmp_path / "scan" / "matches.parquet").to_pylist()
    assert [(row["example"], row["word"], row["words"], row["document"]) for row in rows] == [
        ("copy", 0, 20, f"{path}:2"),
        ("copy", 0, 20, f"{path}:5"),
    ]
    texts = [
        text.encode()[row["begin"] : row["end"]].decode() for row, text in zip(rows, (TEXTS[1], TEXTS[4]), strict=True)
    ]
    assert texts == [COPY.upper(), COPY.replace(",", " --")]


def test_a_text_file_is_one_document(tmp_path: Path, test_set: Path) -> None:
    (tmp_path / "book.txt").write_text("\ufeff" + "\n\n".join(TEXTS))
    (tmp_path / "book.txt.gz").write_bytes(gzip.compress("\n".join(TEXTS).encode()))
    outcome = run(test_set, tmp_path / "book.txt", tmp_path / "book.txt.gz", out=tmp_path / "scan")
    assert outcome.overlaps[0].documents == 2


def test_a_line_belongs_to_the_shard_it_begins_in(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    for size in (1, 7, 100, 250, 10_000):
        numbers = []
        for shard in shards.plan([str(path)], shard_bytes=size):
            reading = documents.Reading()
            for block in documents.blocks(shard, reading, text_field="text"):
                edges = block.texts.offsets.tolist()
                numbers += [block.texts.data[a:b].tobytes().decode() for a, b in pairwise(edges)]
        assert numbers == TEXTS


def test_lines_longer_than_a_block_are_read(tmp_path: Path, test_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 64)
    outcome = run(test_set, write_jsonl(tmp_path / "a.jsonl"), out=tmp_path / "scan")
    assert outcome.overlaps[0].documents == 2


def test_columns_are_read_in_slices(tmp_path: Path, test_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 64)
    for name in ("a.parquet", "large.parquet", "a.arrow"):
        FORMATS[name](tmp_path / name)
        outcome = run(test_set, tmp_path / name, out=tmp_path / f"scan-{name}")
        assert outcome.overlaps[0].documents == 2


def test_workers_order_and_shards_change_nothing(
    tmp_path: Path, test_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in ("b.jsonl", "a.jsonl.gz", "a.parquet")]
    write_jsonl(paths[0])
    FORMATS["a.jsonl.gz"](paths[1])
    FORMATS["a.parquet"](paths[2])
    run(test_set, *paths, out=tmp_path / "one")
    run(test_set, *paths, out=tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    for part in ((1, 2), (0, 2)):
        fields = {"tasks": (), "data": str(test_set), "workers": 1, "out": tmp_path / "parts"}
        assert scan(Settings(corpus=tuple(map(str, paths)), shard=part, **fields)) is None
    before = {path.stat().st_mtime_ns for path in (tmp_path / "parts" / "shards").iterdir()}
    run(test_set, *paths, out=tmp_path / "parts")
    assert {path.stat().st_mtime_ns for path in (tmp_path / "parts" / "shards").iterdir()} == before  # none again
    assert contents(tmp_path / "one") == contents(tmp_path / "parts")


def test_a_killed_scan_goes_on(tmp_path: Path, test_set: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(12):
        (corpus / f"{number:02}.jsonl").write_bytes(lines() * 400)
    run(test_set, corpus, out=tmp_path / "undisturbed")
    command = [sys.executable, "-m", "evalkit", "scan", "--data", str(test_set), "--corpus", str(corpus)]
    command += ["--out", str(tmp_path / "killed"), "--workers", "2"]
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("shards/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert list((tmp_path / "killed").glob("shards/*.npz"))
    run(test_set, corpus, out=tmp_path / "killed")
    assert contents(tmp_path / "undisturbed") == contents(tmp_path / "killed")


def test_a_changed_file_is_scanned_again(tmp_path: Path, test_set: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([FILLER]))
    assert run(test_set, path, out=tmp_path / "scan").overlaps[0].is_dirty is False
    path.write_bytes(lines())
    assert run(test_set, path, out=tmp_path / "scan").overlaps[0].is_dirty is True


def test_what_cannot_be_read_is_counted_and_located(tmp_path: Path, test_set: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = lines()
    path.write_bytes(good + b'{"text": "broken\n' + b'{"id": 7}\n' + b'{"text": 8}\n\n[1]\n{"text": "\xff"}\n' + good)
    outcome = run(test_set, path, out=tmp_path / "scan")
    assert outcome.overlaps[0].documents == 4
    read = json.loads((tmp_path / "scan" / "run.json").read_text())["read"]
    assert read["documents"] == 10
    assert read["not_read"] == {
        "broken JSON": {"count": 1, "first": [f"{path}:6"]},
        "no text in field 'text'": {"count": 3, "first": [f"{path}:7", f"{path}:8", f"{path}:10"]},
        "bytes that are not UTF-8": {"count": 1, "first": [f"{path}:11"]},
    }
    assert any("1 line or row with broken JSON" in note for note in outcome.table.notes)
    with pytest.raises(DataError, match=r"a\.jsonl:11: bytes that are not UTF-8, found 1 times"):
        run(test_set, path, out=tmp_path / "strict", strict=True)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2"])
def test_a_truncated_file_is_told(tmp_path: Path, test_set: Path, name: str) -> None:
    path = tmp_path / name
    FORMATS[name](path)
    path.write_bytes(path.read_bytes()[:-20])
    write_jsonl(tmp_path / "whole.jsonl")
    outcome = run(test_set, path, tmp_path / "whole.jsonl", out=tmp_path / "scan")
    assert outcome.overlaps[0].is_dirty
    [broken] = json.loads((tmp_path / "scan" / "run.json").read_text())["read"]["broken_off"]
    assert broken["file"] == str(path)
    assert any(f"the rest of {path}" in note for note in outcome.table.notes)


def test_what_stands_before_the_break_is_scanned(tmp_path: Path, test_set: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    more = [f"{number} {FILLER} {hash(number * 7919)}" for number in range(20_000)]
    path.write_bytes(gzip.compress(lines([COPY, *more]))[:-2000])
    outcome = run(test_set, path, out=tmp_path / "scan")
    assert outcome.overlaps[0].is_dirty
    read = json.loads((tmp_path / "scan" / "run.json").read_text())["read"]
    assert read["documents"] > 15_000
    assert len(read["broken_off"]) == 1


def test_a_bomb_ends_its_shard(tmp_path: Path, test_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LONGEST_DOCUMENT", 1 << 23)
    bomb = tmp_path / "bomb.jsonl.gz"
    bomb.write_bytes(gzip.compress(lines() + b'{"text": "' + b"a" * (1 << 24) + b'"}\n'))
    outcome = run(test_set, bomb, out=tmp_path / "scan")
    assert outcome.overlaps[0].is_dirty
    assert any("a line is longer than" in note for note in outcome.table.notes)


def test_the_field_is_found_or_asked_for(tmp_path: Path, test_set: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"title": "x", "abstract": COPY}))
    with pytest.raises(DataError, match=r"found fields 'title', 'abstract'.*--text-field"):
        run(test_set, path, out=tmp_path / "scan")
    outcome = run(test_set, path, out=tmp_path / "other", text_field="abstract")
    assert outcome.overlaps[0].is_dirty


def test_a_directory_of_something_else_is_refused(tmp_path: Path, test_set: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").touch()
    with pytest.raises(StorageError, match=r"thesis\.doc.*not a scan"):
        run(test_set, path, out=tmp_path / "other")
    run(test_set, path, out=tmp_path / "scan")
    with pytest.raises(StorageError, match="another test set"):
        run(test_set, path, out=tmp_path / "scan", ngram=9)


@pytest.mark.parametrize("raw", [b"", b"\n\n", b'{"text": 1}\n', b"\xff\xff"])
def test_nothing_read_is_not_clean(tmp_path: Path, test_set: Path, raw: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(raw)
    with pytest.raises(DataError, match="found no documents in the corpus"):
        run(test_set, tmp_path / "a.jsonl", out=tmp_path / "scan", text_field="text")


def test_two_scans_cannot_write_to_one_directory(tmp_path: Path, test_set: Path) -> None:
    import fcntl

    path = write_jsonl(tmp_path / "a.jsonl")
    run(test_set, path, out=tmp_path / "scan")
    with (tmp_path / "scan" / "scan.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another scan is writing"):
            run(test_set, path, out=tmp_path / "scan")


def test_near_duplicates_in_the_test_set_are_grouped(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(40)]
    texts = {"one": words, "other": [*words[:-1], "last"], "else": words[::-1]}
    test_set = tmp_path / "test.jsonl"
    test_set.write_text(
        "".join(json.dumps({"id": name, "text": " ".join(each)}) + "\n" for name, each in texts.items())
    )
    outcome = run(test_set, write_jsonl(tmp_path / "a.jsonl"), out=tmp_path / "scan")
    [group] = map(json.loads, (tmp_path / "scan" / "near-duplicates.jsonl").read_text().splitlines())
    assert group == {"task": "texts", "examples": ["one", "other"]}
    assert any(note.startswith("2 examples are near-duplicates of others, in 1 group:") for note in outcome.table.notes)


def test_overlaps_are_read_back(tmp_path: Path, test_set: Path) -> None:
    outcome = run(test_set, write_jsonl(tmp_path / "a.jsonl"), out=tmp_path / "scan")
    assert scan_report.read_overlaps(tmp_path / "scan" / "overlap.jsonl") == outcome.overlaps


def test_no_hostile_text_reaches_the_page(tmp_path: Path) -> None:
    words = "<script>alert(1)</script> & \u202e one two three four five six seven eight nine ten eleven twelve"
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": "<b>", "text": words}))
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": words}))
    run(tmp_path / "test.jsonl", tmp_path / "a.jsonl", out=tmp_path / "scan")
    page = (tmp_path / "scan" / "index.html").read_text()
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "\u202e" not in page


def test_the_command_prints_the_table(tmp_path: Path, test_set: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    arguments = ["scan", "--data", str(test_set), "--corpus", str(path), "--out", str(tmp_path / "scan")]
    code, out, err = call(*arguments, "--workers", "1")
    assert code == 0, err
    assert "texts" in out
    assert f"report: {tmp_path / 'scan' / 'index.html'}" in out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--corpus", "nowhere.jsonl"], ["nowhere.jsonl", "no such file"]),
        (["--corpus", "CORPUS", "--ngram", "0"], ["--ngram: found 0, expected 1 to 1000"]),
        (["--corpus", "CORPUS", "--workers", "-1"], ["--workers: found -1"]),
        (["--corpus", "CORPUS", "--shard", "2/2"], ["--shard: found 2/2"]),
        (["--corpus", "CORPUS", "--shard", "x"], ["--shard: found 'x'"]),
        (["--corpus", "CORPUS", "--normaliser", "gpt4"], ["--normaliser: found 'gpt4', expected gpt3 or lm-eval"]),
        (["--corpus", "CORPUS", "--text-field", "body"], ["no text in field 'body'", "--text-field"]),
        ([], ["--corpus"]),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, test_set: Path, arguments: list[str], parts: list[str]) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    given = [str(path) if each == "CORPUS" else each for each in arguments]
    code, _, err = call("scan", "--data", str(test_set), "--out", str(tmp_path / "scan"), *given)
    assert code == 2
    said = [line for line in err.splitlines() if not line.startswith("scanning: ")]
    assert len(said) == 1
    assert said[0].startswith("error: ")
    for part in parts:
        assert part in said[0]


def test_nothing_to_scan_for_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to scan for"):
        scan(Settings(tasks=(), corpus=("x.jsonl",)))
    assert cli.main(["scan", "--corpus", "x.jsonl"]) == 2
