"""Corpus sketches: the same shingles of the same words, bytes that depend on the corpus alone, and honest answers."""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evalkit.contamination.corpus import shards
from evalkit.contamination.index import Item, Part
from evalkit.contamination.sketch import build as corpus_sketch
from evalkit.contamination.sketch import file as sketch_file
from evalkit.contamination.sketch.build import STRETCH, Built, Scheme, build
from evalkit.contamination.sketch.file import SketchFile
from evalkit.contamination.sketch.query import LEAST, Answer, Asked, ask, take, write
from evalkit.contamination.sketch.runs import MOST, sort
from evalkit.errors import DataError, StorageError, UsageError
from evalkit.text import words
from tests.test_cli import call

draw = random.Random(3)
VOCABULARY = [*(f"w{number}" for number in range(3000)), "Straße", "naïve", "数字", "“quoted”"]


def some(count: int) -> str:
    return " ".join(draw.choices(VOCABULARY, k=count))


LONG = some(50_000)  # more words than a kernel holds at once
DOCUMENTS = ["", "short", some(4), some(5), *(some(draw.randrange(20, 700)) for _ in range(60)), LONG]


def corpus(folder: Path, texts: list[str], name: str = "corpus.jsonl") -> tuple[shards.Shard, ...]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return shards.plan([str(folder / name)], shard_bytes=20_000)


def sketch(folder: Path, texts: list[str], scheme: Scheme | None = None) -> Built:
    return build(corpus(folder, texts), folder / "corpus.sketch", scheme=scheme or Scheme(), workers=1)


def items(*texts: str) -> list[Item]:
    return [Item("texts", str(number), (Part("text", text),)) for number, text in enumerate(texts)]


def answers(built: Built, *texts: str) -> tuple[Answer, ...]:
    return ask(built.path, items(*texts)).answers


def excerpt(text: str, begin: int, count: int) -> str:
    return " ".join(text.split()[begin : begin + count])


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(shingle=3, scale=1), Scheme(shingle=8, scale=16, seed=7)])
def test_all_sampled_shingles_of_an_excerpt_are_found(tmp_path: Path, scheme: Scheme) -> None:
    built = sketch(tmp_path, DOCUMENTS, scheme)
    texts = [excerpt(DOCUMENTS[-2 - number], 0, 300) for number in range(20)]
    texts += [excerpt(LONG, begin, 120) for begin in range(0, 49_000, 700)]
    found = answers(built, *texts)
    assert sum(each.sampled for each in found) > 500
    assert all(each.corpus and each.corpus.value == 1 for each in found if each.sampled)
    assert all(each.together and each.together.value == 1 for each in found if each.sampled)


def test_one_shingle_in_scale_is_sampled() -> None:
    spelled = words(LONG)
    for scale in (1, 4, 16):
        sample = take(items(LONG), Scheme(scale=scale))
        different = len({tuple(spelled[at : at + 5]) for at in range(len(spelled) - 4)})
        # four standard deviations of a binomial
        assert len(sample.hashes) == pytest.approx(different / scale, abs=4 * (different / scale) ** 0.5 * (scale > 1))


def test_shingles_of_one_word_are_all_words(tmp_path: Path) -> None:
    text = " ".join(f"{at} {at % 4000}" for at in range(25_000))  # more words than a kernel holds at once
    built = sketch(tmp_path, [text], Scheme(shingle=1, scale=1))
    places = {(word, at // STRETCH) for at, word in enumerate(words(text))}
    assert built.shingles == sum(min(MOST, count) for count in Counter(word for word, _ in places).values())


def test_what_is_sampled_depends_on_the_words_alone() -> None:
    one = take(items("Ein schöner Tag, um Straßen zu zählen! Oder nicht?"), Scheme(scale=1))
    other = take(items("ein SCHÖNER tag um — strassen zu «zählen» oder nicht"), Scheme(scale=1))
    assert one.hashes.tolist() == other.hashes.tolist()
    assert len(one.hashes) == 5  # shingles of nine words
    assert set(take(items(LONG), Scheme()).hashes.tolist()) != set(take(items(LONG), Scheme(seed=2)).hashes.tolist())


def test_shingles_run_over_the_parts_of_an_example(tmp_path: Path) -> None:
    text = some(40)
    built = sketch(tmp_path, [text], Scheme(scale=1))
    parts = Part("context", excerpt(text, 0, 20)), Part("answer", excerpt(text, 20, 20))
    (answer,) = ask(built.path, [Item("task", "1", parts)]).answers
    assert (answer.sampled, answer.together and answer.together.value) == (len(words(text)) - 4, 1)


def test_containment_is_estimated_without_bias(tmp_path: Path) -> None:
    examples = [some(104) for _ in range(300)]
    # Of 100 shingles the first 40 words hold 36.
    built = sketch(tmp_path, [excerpt(example, 0, 40) for example in examples])
    found = answers(built, *examples)
    shares = [(each.corpus.value, each.corpus.low <= 0.36 <= each.corpus.high) for each in found if each.corpus]
    # sampled shingles: 25 of 100 on average, so a standard error of 0.0055 over 300
    assert np.mean([share for share, _ in shares]) == pytest.approx(0.36, abs=0.02)
    assert np.mean([is_in for _, is_in in shares]) > 0.93


def test_copies_are_told_from_other_texts(tmp_path: Path) -> None:
    copied, other = [some(80) for _ in range(40)], [some(80) for _ in range(40)]
    edited = []
    for text in copied:
        changed = text.split()
        for at in range(4, len(changed), 14):  # 6 of 80 words, 30 of 76 shingles
            changed[at] = "changed"
        edited.append(" ".join(changed))
    built = sketch(tmp_path, [f"{some(200)} {text} {some(200)}" for text in edited])
    found = answers(built, *copied, *other)
    assert [each.is_contained for each in found] == [True] * 40 + [False] * 40
    names = [f"{tmp_path / 'corpus.jsonl'}:{number + 1}" for number in range(40)]
    assert [each.document for each in found] == [*names, *[None] * 40]


def test_shingles_of_many_documents_are_no_copy(tmp_path: Path) -> None:
    text = some(240)
    built = sketch(tmp_path, [excerpt(text, begin, 10) for begin in range(0, 240, 5)])
    (answer,) = answers(built, text)
    assert answer.corpus is not None
    assert answer.together is not None
    assert answer.corpus.value == 1
    assert answer.together.value < 0.25
    assert answer.is_contained is False


def test_shingles_far_apart_in_a_document_are_no_copy(tmp_path: Path) -> None:
    text = some(240)
    built = sketch(tmp_path, [" ".join(f"{excerpt(text, begin, 15)} {some(900)}" for begin in range(0, 240, 10))])
    (answer,) = answers(built, text)
    assert answer.corpus is not None
    assert answer.corpus.value == 1
    assert answer.is_contained is False


def test_a_copy_in_many_documents_is_found_and_bounded(tmp_path: Path) -> None:
    text = some(60)
    built = sketch(tmp_path, [f"{some(5)} {text}" for _ in range(50)], Scheme(scale=1))
    # 56 shingles of the copy in MOST places, and five in each document that hold words before it
    assert built.shingles == MOST * (len(words(text)) - 4) + 50 * 5
    (answer,) = answers(built, text)
    assert answer.is_contained


def test_short_examples_are_neither(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS, Scheme(scale=1))
    asked = ask(built.path, items("", "one", excerpt(LONG, 0, 7), excerpt(LONG, 10, 8), some(8)))
    assert [each.is_contained for each in asked.answers] == [None, None, None, True, False]
    assert asked.answers[0].corpus is None
    ((_, examples, short, contained, *_),) = asked.table.rows
    assert (examples, short, contained) == (5, 3, 1)


def test_a_test_set_without_a_sampled_shingle_is_too_short(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS)
    asked = ask(built.path, items("one", ""))
    assert [(each.sampled, each.is_contained) for each in asked.answers] == [(0, None), (0, None)]
    assert asked.table.rows[0][:5] == ("texts", 2, 2, 0, None)


def test_too_few_sampled_shingles_are_too_few_to_tell(tmp_path: Path) -> None:
    texts = [excerpt(LONG, begin, 20) for begin in range(0, 4000, 20)]
    found = answers(sketch(tmp_path, DOCUMENTS), *texts)
    assert {each.sampled >= LEAST for each in found} == {True, False}
    assert all((each.is_contained is None) == (each.sampled < LEAST) for each in found)


def test_recall_is_stated_for_the_test_set_that_is_asked(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS)
    asked = ask(built.path, items(*(some(100) for _ in range(50)), *(some(8) for _ in range(50))))
    *_, verbatim, edited = asked.table.rows[0]
    askable = sum(each.is_contained is not None for each in asked.answers)
    assert verbatim == pytest.approx(askable)  # of 100
    assert 40 < float(str(edited)) <= askable


def test_the_bytes_depend_on_the_corpus_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = corpus(tmp_path, DOCUMENTS)
    assert len(plan) > 5
    made = build(plan, tmp_path / "one.sketch", scheme=Scheme(), workers=1).path.read_bytes()
    assert build(plan, tmp_path / "two.sketch", scheme=Scheme(), workers=2).path.read_bytes() == made
    monkeypatch.setattr(corpus_sketch, "AT_ONCE", 500)  # many runs a shard, and documents that fill one
    monkeypatch.setattr(sketch_file, "PAGES_A_BATCH", 3)
    assert build(plan, tmp_path / "three.sketch", scheme=Scheme(), workers=1).path.read_bytes() == made
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "corpus.jsonl",
        *sorted(f"{n}.sketch" for n in ("one", "two", "three")),
    ]


def test_parts_of_a_job_array_are_merged(tmp_path: Path) -> None:
    plan = corpus(tmp_path, DOCUMENTS)
    whole = build(plan, tmp_path / "whole.sketch", scheme=Scheme(), workers=1)
    out = tmp_path / "parts.sketch"
    for part in range(3):
        corpus_sketch.sample(plan[part::3], out, scheme=Scheme(), workers=1)
    samples = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts.sketch.parts").glob("*.npz")}
    assert len(samples) == len(plan)
    assert build(plan, out, scheme=Scheme(), workers=1).path.read_bytes() == whole.path.read_bytes()


def test_a_stopped_build_goes_on(tmp_path: Path) -> None:
    plan, out = corpus(tmp_path, DOCUMENTS), tmp_path / "corpus.sketch"
    corpus_sketch.sample(plan[:3], out, scheme=Scheme(), workers=1)
    seen: list[int] = []
    build(plan, out, scheme=Scheme(), workers=1, on_progress=lambda each: seen.append(each.what == "sketching"))
    assert sum(seen) == 1 + len(plan) - 3  # once at first, and after each shard that was left


def test_a_damaged_sample_is_taken_again(tmp_path: Path) -> None:
    plan, out = corpus(tmp_path, DOCUMENTS), tmp_path / "corpus.sketch"
    corpus_sketch.sample(plan, out, scheme=Scheme(), workers=1)
    run, other = sorted((tmp_path / "corpus.sketch.parts").glob("*.npy"))[:2]
    run.write_bytes(run.read_bytes()[:-100])
    other.unlink()
    expected = build(plan, tmp_path / "other.sketch", scheme=Scheme(), workers=1)
    assert build(plan, out, scheme=Scheme(), workers=1).path.read_bytes() == expected.path.read_bytes()


def test_what_could_not_be_read_is_read_at_the_next_start(tmp_path: Path) -> None:
    plan, out = corpus(tmp_path, DOCUMENTS), tmp_path / "corpus.sketch"
    expected = build(plan, tmp_path / "other.sketch", scheme=Scheme(), workers=1)
    away = plan[0].path.rename(tmp_path / "away")
    corpus_sketch.sample(plan, out, scheme=Scheme(), workers=1)
    away.rename(plan[0].path)
    built = build(plan, out, scheme=Scheme(), workers=1)
    assert built.read.failures == ()
    assert out.read_bytes() == expected.path.read_bytes()


def test_a_build_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    plan, out = corpus(tmp_path, DOCUMENTS), tmp_path / "corpus.sketch"
    corpus_sketch.sample(plan, out, scheme=Scheme(), workers=1)
    (tmp_path / "corpus.sketch.parts" / "records.1.partial").write_bytes(b"cut off")
    build(plan, out, scheme=Scheme(), workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.jsonl", "corpus.sketch"]


def test_a_sketch_is_put_together_where_a_build_removes_it(tmp_path: Path) -> None:
    plan, out = corpus(tmp_path, DOCUMENTS), tmp_path / "corpus.sketch"
    seen: set[str] = set()

    def look(_: object) -> None:
        seen.update(path.name for path in tmp_path.iterdir())

    build(plan, out, scheme=Scheme(), workers=1, on_progress=look)
    assert seen == {"corpus.jsonl", "corpus.sketch.parts"}


def test_a_part_of_a_job_array_may_be_empty(tmp_path: Path) -> None:
    corpus_sketch.sample((), tmp_path / "corpus.sketch", scheme=Scheme(), workers=1)


def test_another_scheme_does_not_take_the_samples_of_the_first(tmp_path: Path) -> None:
    plan, out = corpus(tmp_path, DOCUMENTS), tmp_path / "corpus.sketch"
    corpus_sketch.sample(plan, out, scheme=Scheme(seed=2), workers=1)
    expected = build(plan, tmp_path / "other.sketch", scheme=Scheme(), workers=1)
    assert build(plan, out, scheme=Scheme(), workers=1).path.read_bytes() == expected.path.read_bytes()


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 5000])
def test_hashes_are_sorted_as_numpy_does(count: int) -> None:
    draws = np.random.default_rng(count)
    hashes = draws.integers(1 << 60, 1 << 62, count, np.uint64)
    hashes[: count // 3] = hashes[draws.integers(0, max(1, count), count // 3)]
    for begin, past in ((0, 1 << 64), (1 << 60, 1 << 62)):
        values, order = sort(hashes, begin, past)
        assert np.array_equal(order, np.argsort(hashes, kind="stable"))
        assert np.array_equal(values, np.sort(hashes))


def test_an_absent_shingle_is_found_once_in_a_thousand(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS, Scheme(scale=1))
    absent = np.unique(np.random.default_rng(0).integers(0, 1 << 64, 50_000, np.uint64, endpoint=False))
    number, _ = SketchFile(built.path).find(absent)
    # 64 records a page at most on average, of 65,536 values: 49 expected of 50,000
    assert 0 < len(np.unique(number)) < 80


def test_what_could_not_be_read_is_told(tmp_path: Path) -> None:
    plan = corpus(tmp_path, DOCUMENTS)
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write('{"text": 3}\n{"text"\n')
    built = build(shards.plan([str(plan[0].path)]), tmp_path / "c.sketch", scheme=Scheme(), workers=1)
    assert sum(built.read.trouble.values()) == 2
    notes = ask(built.path, items(LONG)).table.notes
    assert sum(f"corpus.jsonl:{len(DOCUMENTS) + line}" in note for note in notes for line in (1, 2)) == 2


def test_what_a_folder_holds_beside_the_corpus_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    plan = corpus(folder, ["a text"])
    (folder / "b.csv").write_text("text\n")
    out = folder / "c.sketch"
    corpus_sketch.sample(plan, out, scheme=Scheme(), workers=1)  # whose files are not told of
    expected = f"Not read: 1 file of another kind, the first {folder / 'b.csv'}."
    code, said, err = call("sketch", str(folder), "--out", str(out), "--workers", "1")
    assert (code, expected in " ".join(said.split())) == (0, True), err
    assert expected in ask(out, items(LONG)).table.notes


def test_one_line_that_could_not_be_read_is_one(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "a text"}\n{"text": 3}\n')
    built = build(shards.plan([str(tmp_path / "c.jsonl")]), tmp_path / "c.sketch", scheme=Scheme(), workers=1)
    (note,) = (note for note in ask(built.path, items(LONG)).table.notes if note.startswith("Not read"))
    assert note.startswith("Not read: 1 line or row with ")
    assert note in built.lines()


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no documents in the corpus, expected at least one"):
        build(corpus(tmp_path, []), tmp_path / "c.sketch", scheme=Scheme(), workers=1)


def test_documents_without_a_shingle_make_a_sketch_that_finds_nothing(tmp_path: Path) -> None:
    built = sketch(tmp_path, ["", "a b"])
    (answer,) = answers(built, excerpt(LONG, 0, 100))
    assert (built.read.documents, built.shingles, answer.is_contained) == (2, 0, False)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    plan = corpus(tmp_path, DOCUMENTS)
    (tmp_path / "c.sketch").write_text("mine")
    with pytest.raises(StorageError, match=r"c\.sketch: there is such a file already"):
        build(plan, tmp_path / "c.sketch", scheme=Scheme(), workers=1)


@pytest.mark.parametrize("scheme", [{"scale": 3}, {"shingle": 0}, {"normaliser": "none"}])
def test_schemes_that_cannot_be_are_refused(scheme: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(scheme))}: found"):
        Scheme(**scheme)


@pytest.mark.parametrize("seed", [-1, 1 << 63])
def test_a_seed_that_cannot_be_names_no_flag(seed: int) -> None:
    with pytest.raises(UsageError, match=f"^a sketch's seed: found {seed}, expected 0 to 9223372036854775807$"):
        Scheme(seed=seed)


@pytest.mark.parametrize("workers", [0, -3, 5000])
def test_workers_that_cannot_be_are_refused(tmp_path: Path, workers: int) -> None:
    plan = corpus(tmp_path, DOCUMENTS)
    with pytest.raises(UsageError, match=f"--workers: found {workers}, expected 1 to 1000"):
        build(plan, tmp_path / "c.sketch", scheme=Scheme(), workers=workers)


@pytest.mark.parametrize("part", ["8/8", "0/0"])
def test_a_part_beyond_the_last_is_refused(tmp_path: Path, part: str) -> None:
    corpus(tmp_path, ["a text"])
    code, _, err = call("sketch", str(tmp_path), "--out", str(tmp_path / "c.sketch"), "--shard", part)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--shard: found {part}, expected i/n with i from 0 to n - 1" in err


@pytest.mark.parametrize("share", [0, 1.5])
def test_shares_that_cannot_be_are_refused(tmp_path: Path, share: float) -> None:
    built = sketch(tmp_path, DOCUMENTS)
    with pytest.raises(UsageError, match="--share: found"):
        ask(built.path, items(LONG), share=share)


def test_no_sketch_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS)
    raw = built.path.read_bytes()

    def reason(content: bytes) -> str:
        built.path.write_bytes(content)
        with pytest.raises(DataError) as refused:
            answers(built, *(excerpt(LONG, begin, 100) for begin in range(0, 5000, 100)))
        return str(refused.value)

    assert "no sketch, or one that was cut off" in reason(raw[:-1])
    assert "no sketch, or one that was cut off" in reason(b"{}")
    assert "cannot be read (it is empty)" in reason(b"")
    assert "found a damaged sketch" in reason(raw[1:])
    assert "found a damaged sketch" in reason(raw[:-100] + b"?" + raw[-99:])
    # a byte of every few records, since a question reads some pages and leaves others
    broken, records = bytearray(raw), 4 * built.shingles
    broken[:records:64] = bytes(byte ^ 1 for byte in broken[:records:64])
    assert "found a damaged sketch" in reason(bytes(broken))
    built.path.unlink()
    with pytest.raises(DataError, match="No such file"):
        answers(built, LONG)


def test_a_sketch_of_another_scheme_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, out = corpus(tmp_path, DOCUMENTS), tmp_path / "c.sketch"
    tag = Scheme.tag
    monkeypatch.setattr(Scheme, "tag", property(lambda scheme: tag.fget(scheme) + "9"))  # type: ignore[attr-defined]
    built = build(plan, out, scheme=Scheme(), workers=1)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"found a sketch of fracminhash\S+9, expected fracminhash\S+; build it again"):
        answers(built, LONG)


def test_answers_are_written_beside_their_table(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS)
    asked = ask(built.path, items(excerpt(LONG, 0, 100), some(100)))
    write(asked, tmp_path / "answers", sketch=built.path)
    write(asked, tmp_path / "answers", sketch=built.path)
    rows = [json.loads(line) for line in (tmp_path / "answers" / "answers.jsonl").read_text().splitlines()]
    assert [row["contained"] for row in rows] == [True, False]
    assert rows[0]["document"].endswith(f"corpus.jsonl:{len(DOCUMENTS)}")
    assert asked.signature in (tmp_path / "answers" / "table.md").read_text()


def test_answers_do_not_overwrite_another_folder(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS)
    asked: Asked = ask(built.path, items(LONG))
    with pytest.raises(StorageError, match="choose another --out"):
        write(asked, tmp_path, sketch=built.path)


def test_a_sketch_says_what_each_megabyte_of_text_takes(tmp_path: Path) -> None:
    built = sketch(tmp_path, DOCUMENTS)
    expected = f"{built.size / built.read.text_bytes * 1000:,.0f} KB for each MB of text"
    assert any(expected in note for note in ask(built.path, items(LONG)).table.notes)
