"""A scan against wc -w, datatrove's n-gram filter, lm-eval's Janitor and plain Python, on one generated corpus.

Words come from the docstrings of Python's standard library, drawn with their followers, with typographic quotes and
dashes. 150 of 3,000 test examples are planted in documents: verbatim, in capitals, with other punctuation or quotes.
Speeds are MB of text for each second of CPU time, medians of rounds in which all take turns; slow peers read a slice.

    python benchmarks/scan.py              200 MB; peers that are not installed are left out and named
    python benchmarks/scan.py --mb 20      a quick look
    pip install datatrove==0.10.1 'xxhash<4' regex spacy lm_eval==0.4.13      the peers
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from evalkit.contamination import engines, findings, index, shard_scan
from evalkit.contamination.corpus import shards
from evalkit.contamination.corpus.documents import Reading, blocks
from evalkit.contamination.normalise import NORMALISERS

EXAMPLES, PLANTED = 3000, 150
EXAMPLE_WORDS = 60
MODULES = """argparse asyncio ast collections csv datetime decimal difflib doctest email functools heapq html http
inspect ipaddress itertools json logging math os pathlib pickle random re shutil socket sqlite3 ssl statistics string
subprocess tarfile tempfile textwrap threading turtle unittest urllib zipfile"""
BIG = 10_000_000  # n-grams of the large index
TIMES = 12  # that worker processes read the corpus


def vocabulary() -> list[str]:
    """Read the words of the standard library's docstrings, in their order; none like `1.2.3`, which is several."""
    split = NORMALISERS["gpt3"].words
    words: list[str] = []
    seen: set[str] = set()  # every number has the docstring of int
    for name in MODULES.split():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for each in [module, *vars(module).values()]:
            text = getattr(each, "__doc__", None)
            if isinstance(text, str) and text not in seen:
                seen.add(text)
                words += [word for word in text.split() if len(split(word)) <= 1]
    return words


class Source:
    """Draws words: six in ten follow the one before as in the docstrings, the others are drawn alone."""

    def __init__(self, words: Sequence[str]) -> None:
        quoted = [f"“{word}”" if i % 31 == 0 else f"{word} —" if i % 37 == 0 else word for i, word in enumerate(words)]
        self.words = np.array([word.replace("'", "’") for word in quoted], dtype=object)
        followers: dict[str, list[int]] = defaultdict(list)
        for i, word in enumerate(words[:-1]):
            followers[word].append(i + 1)
        lists = [followers[word] or [0] for word in words]
        self.count = np.array([len(each) for each in lists])
        self.first = np.cumsum([0, *self.count[:-1]])
        self.follow = np.concatenate([np.array(each) for each in lists])

    def texts(self, count: int, length: int, *, seed: int, following: float = 0.6) -> list[str]:
        """Write `count` texts of `length` words, of which the share `following` are drawn after the one before."""
        draws = np.random.default_rng(seed)
        state = draws.integers(len(self.words), size=count)
        drawn = np.empty((length, count), np.int64)
        for step in range(length):
            drawn[step] = state
            following = self.follow[self.first[state] + (draws.random(count) * self.count[state]).astype(np.int64)]
            state = np.where(draws.random(count) < following, following, draws.integers(len(self.words), size=count))
        return [" ".join(self.words[column]) for column in drawn.T]


def disguise(text: str, how: int) -> str:
    """Write a copy that the paper's normaliser takes for the same."""
    changes: list[Callable[[str], str]] = [
        lambda same: same,
        str.upper,
        lambda plain: re.sub(r"\s+", " -- ", plain),
        lambda plain: plain.replace("’", "'").replace("“", '"').replace("”", '"'),
        lambda plain: plain.replace(" ", "\n "),
    ]
    return changes[how % len(changes)](text)


def generate(megabytes: int) -> tuple[list[str], list[index.Item], set[str]]:
    """Make documents, test examples, and the ids of those that are planted."""
    source = Source(vocabulary())
    texts = source.texts(EXAMPLES, EXAMPLE_WORDS, seed=1)
    items = [index.Item("test", str(i), (index.Part("question", text),)) for i, text in enumerate(texts)]
    documents: list[str] = []
    size, seed = 0, 2
    while size < megabytes * 1_000_000:
        more = source.texts(4096, 430, seed=seed)
        size += sum(len(text.encode()) for text in more)
        documents += more
        seed += 1
    draws = random.Random(0)
    for number, place in enumerate(draws.sample(range(len(documents)), PLANTED)):
        words = documents[place].split(" ")
        at = draws.randrange(len(words))
        documents[place] = " ".join([*words[:at], disguise(texts[number], number), *words[at:]])
    return documents, items, {str(i) for i in range(PLANTED)}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Measure the CPU time of a piece of work, that of its child processes too."""

    def used() -> float:
        return sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )

    begin = used()
    work()
    return used() - begin


def scan_file(path: Path, test: index.Index) -> list[shard_scan.ShardResult]:
    """Scan one file in this process."""
    return [shard_scan.scan(shard, test.looked, text_field=None) for shard in shards.plan([str(path)])]


def read_file(path: Path) -> None:
    """Read all texts of a file, and do nothing with them."""
    for shard in shards.plan([str(path)]):
        for _ in blocks(shard, Reading(), text_field=None):
            pass


def naive(documents: Sequence[str], items: Sequence[index.Item], n: int) -> set[str]:
    """Scan with a set of tuples of words, as anyone would write it first."""
    words = NORMALISERS["gpt3"].words
    grams: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for item in items:
        here = words(item.parts[0].text)
        for i in range(len(here) - n + 1):
            grams[tuple(here[i : i + n])].add(item.id)
    found: set[str] = set()
    for document in documents:
        here = words(document)
        for i in range(len(here) - n + 1):
            found |= grams.get(tuple(here[i : i + n]), set())
    return found


def datatrove_filter(
    documents: Sequence[str], items: Sequence[index.Item], folder: Path, n: int
) -> Callable[[], object]:
    """Make datatrove's decontamination filter, on an index written in its own form."""
    # Imported by name: a peer is no dependency of the project.
    peer = importlib.import_module("datatrove.pipeline.decont.n_grams")
    document = importlib.import_module("datatrove.data").Document
    hashes_of = importlib.import_module("datatrove.utils.hashing").create_hash_func
    words = importlib.import_module("datatrove.utils.text")
    config = peer.NGramsDecontConfig(n_grams=n)
    made = peer.NGramsDecontFilter(str(folder), config=config, language="en")
    hashing = hashes_of(config.hash_config)
    tokenizer = made.tokenizer
    hashes = {
        hashing(" ".join(gram))
        for item in items
        for gram in words.ngrams(
            tokenizer.word_tokenize(words.simplify_text(item.parts[0].text, words.TextNormConfig())), n
        )
    }
    np.array(sorted(hashes), np.uint64).tofile(folder / "test.index.hashes")
    rows = [document(text=text, id=str(i)) for i, text in enumerate(documents)]
    return lambda: [made.filter(row) for row in rows]


def janitor(documents: Sequence[str], items: Sequence[index.Item]) -> Callable[[], object]:
    """Make lm-eval's cleaner in plain Python; the compiled one destroys every document."""
    made = importlib.import_module("lm_eval.decontamination.janitor").Janitor(ngram_n=13)
    for item in items:
        made.register_contaminant_python(item.parts[0].text)
    return lambda: [made.clean_python(document) for document in documents]


def show(name: str, speed: float, base: float, note: str = "") -> None:
    """Print one line."""
    print(f"{name:<44}{speed:>9.1f} MB/CPU-s{speed / base:>10.3f} x wc -w   {note}", flush=True)


def main() -> None:
    """Measure everything, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=200, help="of text")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="evalkit-scan-"))
    try:
        measure(arguments.mb, arguments.rounds, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(documents: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write the corpus in each form."""
    paths = {name: folder / f"corpus.{name}" for name in ("text", "jsonl", "jsonl.zst", "parquet")}
    paths["text"].write_text("\n".join(documents), encoding="utf-8")
    raw = "".join(json.dumps({"id": i, "text": text}, ensure_ascii=False) + "\n" for i, text in enumerate(documents))
    paths["jsonl"].write_text(raw, encoding="utf-8")
    with pyarrow.CompressedOutputStream(str(paths["jsonl.zst"]), "zstd") as file:
        file.write(raw.encode())
    table = pyarrow.table({"text": documents})
    pyarrow.parquet.write_table(table, paths["parquet"], compression="zstd", row_group_size=20_000)
    return paths


def measure(megabytes: int, rounds: int, folder: Path) -> None:
    """Run all sides in turns."""
    documents, items, planted = generate(megabytes)
    size = sum(len(text.encode()) for text in documents) / 1e6
    paths = write(documents, folder)
    test = index.build(items, ngram=13)
    verdicts_alone = index.build(items, ngram=13, kept=13)
    grams = len(test.looked.kernel.places)
    print(f"{len(documents):,} documents, {size:.1f} MB of text, {len(items):,} examples, {grams:,} n-grams")

    sides: dict[str, Callable[[], object]] = {
        "wc -w": lambda: subprocess.run(["wc", "-w", str(paths["text"])], check=True, capture_output=True),
        **{
            f"evalkit, {name}": lambda name=name: scan_file(paths[name], test)
            for name in ("jsonl", "jsonl.zst", "parquet")
        },
        "evalkit, jsonl, --kept 13": lambda: scan_file(paths["jsonl"], verdicts_alone),
        "evalkit, jsonl, reading alone": lambda: read_file(paths["jsonl"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, work in sides.items():
            used = cpu_seconds(work)
            if turn:  # the first one compiles
                seconds[name].append(used)
    speeds = {name: size / statistics.median(used) for name, used in seconds.items()}
    base = speeds["wc -w"]
    for name, speed in speeds.items():
        show(name, speed, base)
    verdicts(paths["jsonl"], test, documents, items, planted, base)
    peers(documents, items, folder, base=base, ours=speeds["evalkit, jsonl"])
    large_index(paths["jsonl"], size, base=base, small=speeds["evalkit, jsonl"])
    two_workers(paths["jsonl"], test, folder)


def verdicts(
    path: Path,
    test: index.Index,
    documents: Sequence[str],
    items: Sequence[index.Item],
    planted: set[str],
    base: float,
) -> None:
    """Compare the verdicts with those of plain Python, on all documents, and time it."""
    files = {}
    for number, shard in enumerate(shards.plan([str(path)])):
        files[shard] = path.with_name(f"{number}.npz")
        shard_scan.save(files[shard], shard_scan.scan(shard, test.looked, text_field=None))
    judged = findings.overlaps(findings.merge(files, test), test)
    dirty = {overlap.example for overlap in judged if overlap.is_dirty}
    reference: set[str] = set()

    def run() -> None:
        reference.update(naive(documents, items, 13))

    used = cpu_seconds(run)
    show("plain Python, a set of tuples", sum(len(text.encode()) for text in documents) / 1e6 / used, base)
    print(
        f"planted examples found: {len(planted & dirty)} of {len(planted)}; others called dirty: "
        f"{len(dirty - planted)}, by plain Python too: {len((dirty - planted) & reference)}; "
        f"verdicts that differ: {len(dirty ^ reference)}"
    )


def peers(documents: Sequence[str], items: Sequence[index.Item], folder: Path, *, base: float, ours: float) -> None:
    """Time the peers on slices that they read within half a minute or so."""
    for name, megabytes, prepare in (
        ("datatrove NGramsDecontFilter", 4, lambda part: datatrove_filter(part, items, folder, 13)),
        ("lm-eval Janitor, Python", 10, lambda part: janitor(part, items)),
    ):
        part = documents[: max(1, megabytes * 1_000_000 // 3000)]
        try:
            work = prepare(part)
        except ImportError as error:
            print(f"{name:<44} not measured: {error}")
            continue
        speed = sum(len(text.encode()) for text in part) / 1e6 / cpu_seconds(work)
        show(name, speed, base, f"evalkit is {ours / speed:,.0f} times as fast")


def large_index(path: Path, size: float, *, base: float, small: float) -> None:
    """Time a scan for ten million n-grams."""
    # Words that no document has: what costs time is the size of the index, not its matches.
    draws = np.random.default_rng(99)
    texts = [
        " ".join(f"x{number}" for number in row) for row in draws.integers(1 << 40, size=(BIG // 500, 505)).tolist()
    ]
    begin = time.perf_counter()
    test = index.build(
        [index.Item("big", str(i), (index.Part("text", text),)) for i, text in enumerate(texts)], ngram=13
    )
    built = time.perf_counter() - begin
    speed = size / statistics.median(cpu_seconds(lambda: scan_file(path, test)) for _ in range(3))
    note = f"{len(test.looked.kernel.places):,} n-grams, built in {built:.0f} s; {speed / small:.2f} of the small index"
    show("evalkit, jsonl, large index", speed, base, note)


def two_workers(path: Path, test: index.Index, folder: Path) -> None:
    """Compare one worker process with two on many times the corpus, in wall time once they have started."""
    plan = shards.plan([str(path)]) * TIMES
    rates = {}
    for workers in (1, 2):
        directory = folder / f"workers{workers}"
        directory.mkdir()
        jobs = [engines.Job(number, shard, directory / f"{number}.npz") for number, shard in enumerate(plan)]
        bench = engines.Bench(directory / "index", test.looked, None, lambda _: None)
        done = [(time.perf_counter(), job.shard.bytes) for job in engines.apart(jobs, bench, workers=workers)]
        rates[workers] = sum(size for _, size in done[workers:]) / 1e6 / (done[-1][0] - done[workers - 1][0])
    print(f"two worker processes: {rates[2]:,.0f} MB/s, one: {rates[1]:,.0f} MB/s, ratio {rates[2] / rates[1]:.2f}")


if __name__ == "__main__":
    main()
