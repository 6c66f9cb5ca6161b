"""Documents: every one read exactly once wherever files are cut, with its number, and what is not one is counted."""

import bz2
import contextlib
import gzip
import json
import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.contamination.corpus import documents, shards
from evalkit.contamination.corpus.account import Account
from evalkit.contamination.corpus.block import PLACES
from evalkit.contamination.corpus.documents import Reading
from evalkit.contamination.corpus.shards import Shard
from evalkit.errors import DataError

SKIPPABLE = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
SMALL = st.sampled_from([16, 64, 300, 1 << 16])  # bytes of a block


def frame(raw: bytes) -> bytes:
    made: bytes = pyarrow.compress(raw, "zstd", asbytes=True)
    return made


def raw_frame(raw: bytes) -> bytes:
    """A frame of uncompressed blocks of up to three bytes."""
    pieces = [raw[i : i + 3] for i in range(0, len(raw), 3)] or [b""]
    blocks = [
        (len(piece) << 3 | (number == len(pieces) - 1)).to_bytes(3, "little") + piece
        for number, piece in enumerate(pieces)
    ]
    return b"\x28\xb5\x2f\xfd\x00\x00" + b"".join(blocks)


def read(plan: Iterable[Shard], *, text_field: str | None = None) -> tuple[list[tuple[int, bytes]], list[Reading]]:
    """All documents with their line in the file, and the account of each shard."""
    found, readings, lines = [], [], 0
    for shard in plan:
        reading = Reading()
        before = 0
        for block in documents.blocks(shard, reading, text_field=text_field):
            assert before <= reading.position <= shard.bytes
            before = reading.position
            edges = block.texts.offsets.tolist()
            texts = [block.texts.data[a:b].tobytes() for a, b in pairwise(edges)]
            found += [(lines + number, text) for number, text in zip(block.numbers.tolist(), texts, strict=True)]
        assert reading.position == shard.bytes
        lines += reading.lines
        readings.append(reading)
    return found, readings


@contextlib.contextmanager
def block_bytes(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BLOCK_BYTES", size)
        yield


def lines_of(raw: bytes) -> list[tuple[int, bytes]]:
    """What text-lines hold, by Python."""
    lines = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [(number, line.removesuffix(b"\r")) for number, line in enumerate(lines) if line.strip()]


LINE = st.one_of(
    st.text("ab é\r\t\v", max_size=6).map(str.encode),
    st.sampled_from([b"", b" ", b"\r", b"x" * 7, b"x" * 8, b"y" * 40, "東京".encode() * 9]),
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    raw = b"\n".join(draw(st.lists(LINE, max_size=12))) + draw(st.sampled_from([b"", b"\n", b"\n\n"]))
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + raw


@st.composite
def framed(draw: st.DrawFn, raw: bytes) -> bytes:
    """Compress as frames that are cut anywhere, some of them empty, some between frames to be skipped."""
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    make = draw(st.sampled_from([frame, raw_frame]))
    parts = [make(raw[begin:end]) for begin, end in pairwise([0, *cuts, len(raw)])]
    between = draw(st.sampled_from([b"", b"", SKIPPABLE, SKIPPABLE * 2]))
    return between.join(parts) + between


@settings(max_examples=150, deadline=None)
@given(st.data(), texts(), st.integers(1, 60), SMALL)
def test_each_line_of_text_is_read_once_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, raw: bytes, size: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    for name, content in (("a.txt", raw), ("a.txt.zst", data.draw(framed(raw))), ("a.txt.gz", gzip.compress(raw))):
        (folder / name).write_bytes(content)
        with block_bytes(block):
            found, _ = read(shards.plan([str(folder / name)], text_lines=True, shard_bytes=size))
        assert found == lines_of(raw), name


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(st.text(max_size=30), max_size=12), st.booleans(), st.integers(1, 90), SMALL)
def test_each_row_of_frames_is_read_once_wherever_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    rows: list[str],
    has_last_newline: bool,
    size: int,
    block: int,
) -> None:
    path = tmp_path_factory.mktemp("corpus") / "a.jsonl.zst"
    raw = b"\n".join(json.dumps({"text": row}).encode() for row in rows) + (b"\n" if has_last_newline else b"")
    path.write_bytes(data.draw(framed(raw)))
    with block_bytes(block):
        found, _ = read(shards.plan([str(path)], shard_bytes=size), text_field="text")
    assert found == [(number, row.encode()) for number, row in enumerate(rows)]


def test_many_frames_make_many_shards(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    rows = [json.dumps({"text": f"{number} {os.urandom(20).hex()}"}).encode() + b"\n" for number in range(2000)]
    raw = b"".join(rows)
    path.write_bytes(b"".join(frame(raw[i : i + 1000]) for i in range(0, len(raw), 1000)))
    plan = shards.plan([str(path)], shard_bytes=path.stat().st_size // 20)
    assert 18 <= len(plan) <= 21
    found, readings = read(plan)
    assert [text for _, text in found] == [json.loads(row)["text"].encode() for row in rows]
    assert all(reading.documents > 0 for reading in readings)


@pytest.mark.parametrize("shard_bytes", [1000, 20])
def test_a_byte_order_mark_may_begin_any_json_line(tmp_path: Path, shard_bytes: int) -> None:
    path = tmp_path / "a.jsonl"  # two files, joined
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "one"}\n' + b"\xef\xbb\xbf" + b'{"text": "two"}\n')
    found, readings = read(shards.plan([str(path)], shard_bytes=shard_bytes), text_field="text")
    assert [text for _, text in found] == [b"one", b"two"]
    assert all(not reading.trouble for reading in readings)


def test_blank_lines_count_and_hold_no_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\n \t\n two \nthree")
    found, [reading] = read(shards.plan([str(path)], text_lines=True))
    assert found == [(0, b"one"), (3, b" two "), (4, b"three")]
    assert (reading.lines, reading.documents, reading.text_bytes, reading.trouble) == (5, 3, 13, {})


def test_lines_that_are_not_utf8_are_counted_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n\xff\ngood\n\xfe\xfe\n")
    found, [reading] = read(shards.plan([str(path)], text_lines=True))
    assert [number for number, _ in found] == [0, 2]
    assert reading.places == {"bytes that are not UTF-8": [1, 3]}


def test_the_first_places_of_a_trouble_are_named_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    # The kernel takes even lines, whose text is not UTF-8; odd ones, not UTF-8 before it is JSON, are asked of Python.
    path.write_bytes(b'{"text": "\xff"}\n[\xff]\n' * 30)
    _, [reading] = read(shards.plan([str(path)]), text_field="text")
    assert reading.trouble == {"bytes that are not UTF-8": 60}
    assert reading.places == {"bytes that are not UTF-8": list(range(PLACES))}


@pytest.mark.parametrize("damage", ["cut", "content", "checksum"])
def test_damaged_frames_are_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.txt.zst"
    frames = [frame(f"{number} {os.urandom(300).hex()}\n".encode()) for number in range(9)]
    if damage == "cut":
        frames[-1] = frames[-1][:-30]
    elif damage == "content":
        frames[4] = frames[4][:30] + bytes(40) + frames[4][70:]
    else:
        frames[4] = frames[4][:4] + bytes([frames[4][4] | 4]) + frames[4][5:] + b"sums"
    path.write_bytes(b"".join(frames))
    plan = shards.plan([str(path)], text_lines=True, shard_bytes=2 * len(frames[0]))
    found, readings = read(plan)
    failures = [reading.failure for reading in readings if reading.failure]
    if damage == "cut":
        assert len(plan) == len(failures) == 1
        assert "runcated" in failures[0]
    else:
        assert len(plan) == 5
        assert all("ZSTD" in failure for failure in failures)
        assert {text.split()[0] for _, text in found} >= {b"0", b"1", b"7", b"8"}


def test_a_bomb_in_a_frame_ends_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(documents, "LONGEST_DOCUMENT", 1 << 16)
    path = tmp_path / "a.txt.zst"
    path.write_bytes(frame(b"one\n") + frame(b"a" * (1 << 20)) + frame(b"\nlast\n"))
    found, [reading] = read(shards.plan([str(path)], text_lines=True))
    assert [text for _, text in found] == [b"one"]
    assert reading.failure == "a line is longer than 65,536 bytes"


def test_a_dataset_is_streamed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    expected = []
    for number in range(3):
        rows = [{"id": row, "text": f"file {number} row {row} é"} for row in range(number * 2000 + 1)]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        expected += [row["text"].encode() for row in rows]
    found, readings = read(shards.plan([f"hub:{folder}"]))
    assert found == list(enumerate(expected))
    assert [reading.lines for reading in readings] == [1, 2001, 4001]


def test_absent_texts_of_a_dataset_are_counted(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x", None, "y"]}), tmp_path / "a.parquet")
    found, [reading] = read(shards.plan([f"hub:{tmp_path}"]))
    assert found == [(0, b"x"), (2, b"y")]
    assert reading.places == {"no value": [1]}


def test_a_dataset_without_the_field_is_told(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"title": ["x"], "summary": ["y"]}), tmp_path / "a.parquet")
    [shard] = shards.plan([f"hub:{tmp_path}"])
    with pytest.raises(DataError, match=r"found fields 'title \(string\)', 'summary \(string\)'.*--text-field"):
        list(documents.blocks(shard, Reading(), text_field=None))
    found, [reading] = read([shard], text_field="body")
    assert (found, reading.lines, reading.trouble) == ([], 1, {"no text in field 'body'": 1})


def test_categories_are_texts(tmp_path: Path) -> None:
    column = pyarrow.array(["one", "two", "one"]).dictionary_encode()
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    found, _ = read(shards.plan([str(tmp_path / "a.parquet")]))
    assert found == [(0, b"one"), (1, b"two"), (2, b"one")]


def test_a_broken_parquet_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    found, [good, broken] = read(shards.plan([str(tmp_path)]))
    assert found == [(0, b"one")]
    assert good.failure is None
    assert broken.failure is not None


def test_a_text_full_of_zero_bytes_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one two three".encode("utf-16-le"))
    found, [reading] = read(shards.plan([str(tmp_path / "a.txt")]))
    assert (found, reading.trouble) == ([], {"zero bytes, as UTF-16 has them": 1})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("shard_bytes", [1000, 20])
def test_lines_full_of_zero_bytes_are_no_documents(tmp_path: Path, encoding: str, shard_bytes: int) -> None:
    (tmp_path / "a.txt").write_bytes("one two three\nfour five six\nseven".encode(encoding))
    plan = shards.plan([str(tmp_path / "a.txt")], text_lines=True, shard_bytes=shard_bytes)
    found, readings = read(plan)
    assert found == []
    assert sum(reading.lines for reading in readings) == 3
    assert sum(reading.trouble.get("zero bytes, as UTF-16 has them", 0) for reading in readings) == 3


def test_some_zero_bytes_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\0two\n")
    found, _ = read(shards.plan([str(tmp_path / "a.txt")], text_lines=True))
    assert found == [(0, b"one\0two")]


def sum_up(plan: Iterable[Shard], failures: Iterable[str | None]) -> list[str]:
    account = Account()
    for shard, failure in zip(plan, failures, strict=True):
        account.add(shard, Reading(lines=1, documents=1, failure=failure))
    return list(account.unread())


def test_a_file_that_was_read_on_after_a_failure_lacks_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"line\n" * 3)
    plan = shards.plan([str(path)], text_lines=True, shard_bytes=5)
    assert sum_up(plan, ["damaged", None, "cut off"]) == [
        f"Not read: a part of {path} (damaged); line numbers after it are too low.",
        f"Not read: the rest of {path} (cut off).",
    ]


@pytest.mark.parametrize(
    ("count", "last"),
    [
        (3, "Not read: the rest of {} (bad 2)."),
        (4, "Not read: 1 more file or part of one that broke off."),
        (9, "Not read: 6 more files or parts of them that broke off."),
    ],
)
def test_the_first_failures_are_told_and_the_others_counted(tmp_path: Path, count: int, last: str) -> None:
    for number in range(count):
        (tmp_path / f"{number}.txt").write_text("line\n")
    plan = shards.plan([str(tmp_path)])
    said = sum_up(plan, [f"bad {number}" for number in range(count)])
    assert len(said) == min(count, 4)
    assert said[-1] == last.format(plan[2].path)


def test_a_folder_that_was_left_out_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.csv").write_text("")
    assert list(Account(left_out=(tmp_path / "a.csv", tmp_path / "sub")).unread()) == [
        f"Not read: 1 folder that a glob matches or a link leads to, the first {tmp_path / 'sub'}; "
        "give such a folder by its name.",
        f"Not read: 1 file of another kind, the first {tmp_path / 'a.csv'}.",
    ]


def test_a_dataset_without_rows_has_no_documents(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "a.parquet")
    found, [reading] = read(shards.plan([f"hub:{tmp_path}"]))
    assert (found, reading.lines, reading.failure) == ([], 0, None)


def test_a_dataset_that_changes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "before"}\n')
    [shard] = shards.plan([f"hub:{tmp_path}"])
    path.write_text('{"text": "after it"}\n')
    _, [reading] = read([shard])
    assert reading.failure is not None
    assert "scan again" in reading.failure


def test_a_broken_file_of_a_dataset_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "bro\n')
    found, readings = read(shards.plan([f"hub:{tmp_path}"]))
    assert [text for _, text in found] == [b"good"]
    assert readings[0].failure is None
    assert readings[1].failure


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.bz2", "a.jsonl.zst", "a.parquet", "a.arrow"])
def test_how_far_a_shard_is_grows_to_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 1 << 14)
    rows = [os.urandom(100).hex() for _ in range(20_000)]
    path = tmp_path / name
    table = pyarrow.table({"text": rows})
    raw = b"".join(json.dumps({"text": row}).encode() + b"\n" for row in rows)
    if name == "a.parquet":
        pyarrow.parquet.write_table(table, path)
    elif name == "a.arrow":
        with pyarrow.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table, max_chunksize=1000)
    else:
        pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": frame}.get(path.suffix, bytes)
        path.write_bytes(pack(raw))
    [shard] = shards.plan([str(path)])
    reading = Reading()
    seen = []
    for _ in documents.blocks(shard, reading, text_field=None):
        seen.append(reading.position / shard.bytes)
    assert seen == sorted(seen)
    assert seen[0] < 0.3
    assert 0.4 < seen[len(seen) // 2] < 0.65
    assert reading.position == shard.bytes
