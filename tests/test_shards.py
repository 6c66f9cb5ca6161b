"""The plan: what a corpus is cut into, and that every place names what it should."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from evalkit.contamination.corpus import shards, zstd_frames
from evalkit.errors import DataError

MAGIC = (0xFD2FB528).to_bytes(4, "little")
SKIPPABLE = (0x184D2A5E).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"\xff" * 5


def block(kind: int, length: int, content: bytes, *, is_last: bool) -> bytes:
    return (length << 3 | kind << 1 | is_last).to_bytes(3, "little") + content


# RFC 8878, 3.1.1: descriptor, then window, dictionary id and content size in as many bytes as it says.
FRAMES = {
    "window, no size": MAGIC + b"\x00" + b"\x00" + block(0, 3, b"abc", is_last=True),
    "single segment": MAGIC + b"\x20" + b"\x03" + block(0, 3, b"abc", is_last=True),
    "checksum": MAGIC + b"\x24" + b"\x03" + block(0, 3, b"abc", is_last=True) + b"sums",
    "dictionary and eight bytes of size": MAGIC + b"\xc3" + b"\x00" + bytes(4 + 8) + block(0, 0, b"", is_last=True),
    "two bytes of size": MAGIC + b"\x61" + bytes(1 + 2) + block(0, 0, b"", is_last=True),
    "several blocks": MAGIC
    + b"\x00\x00"
    + block(0, 2, b"ab", is_last=False)
    + block(1, 100_000, b"x", is_last=False)
    + block(2, 4, b"\x28\xb5\x2f\xfd", is_last=True),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_told_by_their_headers(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zst"
    frame = FRAMES[name]
    path.write_bytes(SKIPPABLE + frame + frame + SKIPPABLE + frame)
    begins = [len(SKIPPABLE), len(SKIPPABLE + frame), len(SKIPPABLE + frame + frame + SKIPPABLE)]
    assert zstd_frames.cuts(path, piece=1) == begins


@pytest.mark.parametrize(
    "end",
    [
        b"\x00",
        b"more bytes",
        MAGIC,
        FRAMES["checksum"][:-1],
        FRAMES["several blocks"][:-1],
        SKIPPABLE[:-1],
        MAGIC + b"\x08" + b"\x00" + block(0, 3, b"abc", is_last=True),  # a reserved bit
        MAGIC + b"\x00" + b"\x00" + block(3, 3, b"abc", is_last=True),  # a reserved type
        MAGIC + b"\x00" + b"\x00" + block(0, 1 << 18, bytes(1 << 18), is_last=True),  # more than 128 KiB
        (0xFD2FB527).to_bytes(4, "little") + b"\x00" + b"\x00" + block(0, 3, b"abc", is_last=True),  # zstd 0.7
    ],
)
def test_what_is_odd_is_not_cut(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(FRAMES["checksum"] * 3 + end)
    [shard] = shards.plan([str(path)], shard_bytes=10)
    assert (shard.begin, shard.end) == (0, path.stat().st_size)


def test_a_frame_that_is_too_long_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(FRAMES["checksum"] + FRAMES["several blocks"])
    assert zstd_frames.cuts(path, piece=1) == [len(FRAMES["checksum"])]
    monkeypatch.setattr(zstd_frames, "LONGEST_FRAME", 10)
    assert zstd_frames.cuts(path, piece=1) == []


def test_zstd_pieces_are_about_as_long_as_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    frame = pyarrow.compress(os.urandom(1000), "zstd", asbytes=True)
    path.write_bytes(frame * 100)
    made = shards.plan([str(path)], shard_bytes=10 * len(frame))
    assert [shard.bytes for shard in made] == [10 * len(frame)] * 10
    assert [shard.of for shard in made] == [10] * 10
    assert made[-1].end == made[0].size


@pytest.mark.parametrize("name", ["a.txt.zst", "a.arrow.zst", "a.jsonl.gz"])
def test_what_has_no_lines_or_frames_stays_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FRAMES["checksum"] * 10)
    [shard] = shards.plan([str(tmp_path / name)], shard_bytes=10)
    assert shard.of == 1


def test_text_is_cut_like_lines_where_asked(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", "c.jsonl"):
        (tmp_path / name).write_bytes(b"line\n" * 10)
    made = shards.plan([str(tmp_path)], text_lines=True, shard_bytes=25)
    assert [(shard.path.name, shard.form, shard.begin, shard.end) for shard in made] == [
        ("a.txt", "text-lines", 0, 25),
        ("a.txt", "text-lines", 25, 50),
        ("b.md", "text-lines", 0, 25),
        ("b.md", "text-lines", 25, 50),
        ("c.jsonl", "lines", 0, 25),
        ("c.jsonl", "lines", 25, 50),
    ]
    assert [shard.form for shard in shards.plan([str(tmp_path)])] == ["text", "text", "lines"]


@pytest.mark.parametrize(("name", "form"), [("A.JSON", "array"), ("A.JSONL", "lines")])
def test_an_array_is_told_whatever_the_case_of_its_name(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / name).write_text('[{"text": "one"}]\n')
    [shard] = shards.plan([str(tmp_path / name)])
    assert shard.form == form


@pytest.mark.parametrize(
    ("places", "left"),
    [
        (["c/*"], ["c/sub"]),
        (["c/*", "c/sub/deep"], ["c/sub"]),  # which leaves two.jsonl
        (["c/*", "c/sub"], ["c/sub/note.csv"]),
        (["c/**"], ["c/sub/note.csv"]),
        (["c"], ["c/sub/note.csv"]),
        (["c/*.jsonl"], []),
    ],
)
def test_a_folder_that_a_glob_matches_is_left_out_unless_its_files_are_read(
    tmp_path: Path, places: list[str], left: list[str]
) -> None:
    (tmp_path / "c" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "c" / "empty").mkdir()
    for name in ("one.jsonl", "sub/two.jsonl", "sub/deep/three.jsonl", "sub/note.csv"):
        (tmp_path / "c" / name).write_text('{"text": "a"}\n')
    found = shards.left_out([str(tmp_path / place) for place in places])
    assert [str(path.relative_to(tmp_path)) for path in found] == left


def test_bytes_of_row_groups_are_theirs(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a" * 10, os.urandom(5000).hex()]}), path, row_group_size=1)
    one, other = shards.plan([str(path)])
    assert 0 < one.bytes < 200
    assert other.bytes > 4000
    assert one.bytes + other.bytes < path.stat().st_size


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    [shard] = shards.plan([str(path)])
    assert not shards.has_changed(shard)
    path.write_text("behind")
    os.utime(path, ns=(time.time_ns(), shard.modified + 1))
    assert shards.has_changed(shard)
    path.unlink()
    assert shards.has_changed(shard)


def write_folder(folder: Path, files: int = 3) -> Path:
    folder.mkdir()
    for number in range(files):
        rows = [{"id": row, "text": f"file {number} row {row}"} for row in range(number + 2)]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_dataset_has_a_shard_for_each_of_its_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data")
    made = shards.plan([f"hub:{folder}", f"hub:{folder}@train"])
    sizes = [(folder / f"{number}.jsonl").stat().st_size for number in range(3)]
    assert [(shard.begin, shard.end, shard.of, shard.bytes) for shard in made] == [
        (0, 1, 3, sizes[0]),
        (1, 2, 3, sizes[1]),
        (2, 3, 3, sizes[2]),
    ]
    assert {str(shard.path) for shard in made} == {f"hub:{folder}@train"}
    assert {shard.size for shard in made} == {sum(sizes)}
    assert not any(shard.is_file or shards.has_changed(shard) for shard in made)


def test_another_version_of_a_dataset_makes_other_shards(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data")
    before = shards.plan([f"hub:{folder}"])
    os.utime(folder / "1.jsonl", ns=(time.time_ns(), before[0].modified + 1))
    assert not set(before) & set(shards.plan([f"hub:{folder}"]))


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ("hub:FOLDER@nix", ["nix", "Available splits: ['train']", "expected hub:OWNER/NAME"]),
        ("hub:FOLDER:nix", ["nix", "expected hub:OWNER/NAME"]),
        ("hub:FOLDER@train@v1", ["found a revision of a folder", "leave out @v1"]),
        ("hub:FOLDER/nowhere", ["found no folder", "expected hub:OWNER/NAME"]),
        ("hub:", ["cannot be understood", "expected hub:OWNER/NAME"]),
        ("hub:a:b:c", ["cannot be understood"]),
        ("hub:EMPTY", ["cannot be loaded"]),
    ],
)
def test_a_wrong_dataset_is_one_line(tmp_path: Path, place: str, parts: list[str]) -> None:
    folder = write_folder(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        shards.plan([place.replace("FOLDER", str(folder)).replace("EMPTY", str(tmp_path / "empty"))])
    assert "\n" not in str(raised.value)
    for part in parts:
        assert part in str(raised.value)


def test_an_unreachable_hub_is_one_line() -> None:
    code = (
        "from evalkit.contamination.corpus import shards\nfrom evalkit.errors import DataError\n"
        "try:\n    shards.plan(['hub:owner/name'])\nexcept DataError as error:\n    print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = said.stdout.splitlines()
    assert line.startswith("hub:owner/name@train: no folder here, and the hub cannot be asked for 'owner/name' (")
    assert line.endswith("); check the network, or give files")
    assert said.stderr == ""
