"""Whole corpora scrubbed: clean when scanned again, and the same however often the scrub was stopped."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import atomic
from evalkit.contamination import scrub
from evalkit.interfaces import Progress
from tests.test_scrub import COPY, filler, json_lines, quietly, run_scan, run_scrub
from tests.test_scrub_files import load_lines

FACT = "l'été dernier, « nous » avons vu — enfin ! — la mer: elle était bleue & calme"


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


def test_what_a_killed_scrub_left_half_written_is_removed(planted: Path) -> None:
    run_scan(planted, planted / "corpus")
    scrub.scrub(planted / "scan", planted / "out", on_progress=quietly)
    before = contents(planted / "out")
    (planted / "out" / "corpus" / f".one.jsonl.7{atomic.PARTIAL}").write_bytes(b"half")
    scrub.scrub(planted / "scan", planted / "out", on_progress=quietly)
    assert contents(planted / "out") == before


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
