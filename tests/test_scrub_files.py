"""Scrubbing files: every format and nothing else in it changed, many shards as one."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from evalkit.contamination import scrub_files
from evalkit.contamination.corpus import documents, shards
from evalkit.contamination.scrub import Manifest
from tests.test_scrub import COPY, filler, json_lines, run_scrub


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


@pytest.mark.parametrize("ending", [b"", b"\r"])
def test_a_last_line_without_newline_is_cut_into_lines(tmp_path: Path, ending: bytes) -> None:
    (tmp_path / "corpus").mkdir()
    row = {"id": 7, "text": f"{filler(400, seed=1)} {COPY} {filler(400, seed=2)}"}
    (tmp_path / "corpus" / "a.jsonl").write_bytes(json_lines([row])[:-1] + ending)
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


def zstd_write(path: Path, raw: bytes) -> None:
    with pyarrow.output_stream(str(path), compression="zstd") as out:
        out.write(raw)


def zstd_read(path: Path) -> bytes:
    with pyarrow.input_stream(str(path), compression="zstd") as file:
        return bytes(file.read())


CUT = f"{filler(400, seed=1)} {COPY} {filler(400, seed=2)}".encode()
PIECES = (filler(400, seed=1)[:201].encode(), filler(400, seed=2)[199:].encode())
BOM = b"\xef\xbb\xbf"


def frames(raw: bytes, *, size: int) -> bytes:
    """Compress as zstd frames of so many bytes, which end anywhere in a line."""
    return b"".join(pyarrow.compress(raw[i : i + size], "zstd", asbytes=True) for i in range(0, len(raw), size))


PACKINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[Path], bytes]]] = {
    "a.txt": (bytes, Path.read_bytes),
    "a.txt.gz": (gzip.compress, lambda path: gzip.decompress(path.read_bytes())),
    "a.txt.zst": (lambda raw: frames(raw, size=300), zstd_read),
}


def scrub_text(folder: Path, raw: bytes, name: str = "a.txt") -> tuple[bytes, Manifest]:
    """Give what is left of a file of text whose lines are documents."""
    pack, unpack = PACKINGS[name]
    (folder / "corpus").mkdir()
    (folder / "corpus" / name).write_bytes(pack(raw))
    made = run_scrub(folder, text_lines=True)
    return unpack(folder / "out" / "corpus" / name), made


@pytest.mark.parametrize("name", PACKINGS)
def test_a_line_of_text_is_cut_into_lines_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 300)
    unread = b"caf\xe9 " + COPY.encode() + b"\n"
    clean = [b"clean \xc3\xa9 \r\n", b"\n", b" \t\r\n", b"a lone \r return\n", unread, b"\r\n", b"clean\n"]
    first, second = PIECES
    raw = [BOM + clean[0], CUT + b"\r\n", *clean[1:4], COPY.encode() + b"\n", *clean[4:6], CUT + b"\n", clean[6], CUT]
    # Each piece has its line's end, and the last line none; a line that is nothing but the copy is gone.
    expected = [BOM + clean[0], first, b"\r\n", second, b"\r\n", *clean[1:6], first, b"\n", second, b"\n", clean[6]]
    left, made = scrub_text(tmp_path, b"".join(raw), name)
    assert left == b"".join([*expected, first, b"\n", second])
    totals = made.totals
    assert (totals.documents, totals.unread, totals.untouched, totals.split, totals.emptied) == (7, 1, 3, 3, 1)
    assert len(shards.plan([str(tmp_path / "corpus")], text_lines=True)) > 3 or name == "a.txt.gz"


def test_the_same_text_is_one_document_where_its_lines_are_none(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_bytes(b"clean\n" * 100 + CUT + b"\n")
    made = run_scrub(tmp_path)
    assert made.files[0].written == ("a#1.txt", "a#2.txt")


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (BOM + CUT + b"\n", PIECES[0] + b"\n" + PIECES[1] + b"\n"),  # the mark of byte order goes
        # Further down it is text, as a file that was appended to another has it.
        (b"clean\n" + BOM + CUT, b"clean\n" + BOM + PIECES[0] + b"\n" + PIECES[1]),
        (CUT + b"\r", PIECES[0] + b"\n" + PIECES[1] + b"\r"),
        (CUT + b"\r\r\n", PIECES[0] + b"\r\n" + PIECES[1] + b"\r\r\n"),
    ],
)
def test_odd_ends_and_marks_of_a_line_of_text_do_not_shift_the_cut(tmp_path: Path, line: bytes, left: bytes) -> None:
    assert scrub_text(tmp_path, line)[0] == left


def test_a_file_of_frames_in_many_shards_is_cut_as_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    clean = [{"id": str(i), "text": filler(100 * (i % 9), seed=i)} for i in range(60)]
    odd = {7: b"\n", 20: b"not json\n", 41: b'{"text": 3}\n'}
    dirty = {i: json_lines([{"id": str(i), "text": CUT.decode()}]) for i in (0, 1, 13, 30, 31, 47, 59)}
    lines = [(odd | dirty).get(i, json_lines([row])) for i, row in enumerate(clean)]
    (tmp_path / "corpus").mkdir()
    path = tmp_path / "corpus" / "a.jsonl.zst"
    path.write_bytes(frames(b"".join(lines), size=700))
    assert len(shards.plan([str(path)])) > 5
    made = run_scrub(tmp_path)
    pieces = [[{"id": f"{i}#{j}", "text": piece.decode()} for j, piece in enumerate(PIECES, 1)] for i in range(60)]
    expected = [json_lines(pieces[i]) if i in dirty else line for i, line in enumerate(lines)]
    assert zstd_read(tmp_path / "out" / "corpus" / "a.jsonl.zst") == b"".join(expected)
    totals = made.totals
    assert (totals.documents, totals.unread, totals.untouched, totals.split) == (57, 2, 50, 7)


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


def write_arrow(path: Path, table: pyarrow.Table, *, of: Callable[..., Any]) -> None:
    with of(str(path), table.schema) as out:
        out.write_table(table, max_chunksize=2)


TABLES: dict[str, tuple[Callable[[Path, pyarrow.Table], None], Callable[[Path], pyarrow.Table]]] = {
    "a.parquet": (
        lambda path, table: pyarrow.parquet.write_table(table, path, row_group_size=2),
        lambda path: pyarrow.parquet.ParquetFile(path).read(),
    ),
    "file.arrow": (
        lambda path, table: write_arrow(path, table, of=pyarrow.ipc.new_file),
        lambda path: pyarrow.ipc.open_file(str(path)).read_all(),
    ),
    "stream.arrow": (
        lambda path, table: write_arrow(path, table, of=pyarrow.ipc.new_stream),
        lambda path: pyarrow.ipc.open_stream(path.read_bytes()).read_all(),
    ),
}
CATEGORIES = pyarrow.dictionary(pyarrow.int8(), pyarrow.string())


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kind", [CATEGORIES, pyarrow.string_view(), pyarrow.large_string()])
def test_the_column_that_was_scanned_is_cut_whatever_stands_beside_it(
    tmp_path: Path, name: str, kind: pyarrow.DataType
) -> None:
    write, read = TABLES[name]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    made = table().set_column(1, "text", pyarrow.array([row["text"] for row in ROWS], kind))
    made = made.set_column(0, "id", made.column("id").cast(CATEGORIES))
    beside = ["a body", "b body", "c body", "d body", "e body"]
    write(corpus / name, made.append_column("body", pyarrow.array(beside)))
    run_scrub(tmp_path)
    left = read(tmp_path / "out" / "corpus" / name)
    bodies = [f"{row['id'][0]} body" for row in EXPECTED]
    assert left.to_pylist() == [row | {"body": body} for row, body in zip(EXPECTED, bodies, strict=True)]
    assert left.schema.field("text").type == kind
    assert COPY.encode() not in (tmp_path / "out" / "corpus" / name).read_bytes()


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
