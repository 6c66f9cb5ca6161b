"""What a corpus sketch takes, what it finds of copied and edited examples, and how many clean ones it flags.

python benchmarks/corpus_sketch.py

The corpus and the examples are those of edited_copies.py, made from a seed. A copy is found if its example is said to
be contained, and together in its own document; a clean example is flagged if it is said to be contained in any corpus.
With --minhash, windowed MinHash stands beside, with as many hashes as take a like room and as many as are usual.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from edited_copies import BYTES_A_WORD, DOCUMENT, Trial, arguments, items, make_trial

from evalkit.contamination.corpus import shards
from evalkit.contamination.sketch import minhash
from evalkit.contamination.sketch import query as sketch_query
from evalkit.contamination.sketch.build import Built, Scheme, build

RATES = (0.0, 0.05, 0.1, 0.2)
BANDS = ((12, 15), (16, 23), (24, 31), (32, 63), (64, 127), (128, 200))  # words of an example
SCHEMES = (Scheme(), Scheme(scale=8), Scheme(scale=16), Scheme(shingle=3), Scheme(shingle=8))
WINDOW, STEP = 64, 32  # words
HASHES, LIKE = (16, 128), 0.3  # of MinHash, and the Jaccard similarity that is asked for


def sketch(texts: Sequence[str], scheme: Scheme, folder: Path, name: str) -> Built:
    """Build a sketch of texts in this process."""
    corpus, out = folder / f"{name}.jsonl", folder / f"{name}.sketch"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    out.unlink(missing_ok=True)
    return build(shards.plan([str(corpus)]), out, scheme=scheme, workers=1)


def found(built: Built, texts: Sequence[str]) -> list[int | None]:
    """Say of each text in which line of the corpus it is contained; None where in none."""
    answers = sketch_query.ask(built.path, items(texts)).answers
    return [int((each.document or "").rpartition(":")[2]) - 1 if each.is_contained else None for each in answers]


def by_sketch(trial: Trial, scheme: Scheme, clean: Built, folder: Path, band: tuple[int, int]) -> str:
    """Show recall at each rate, what the table says of it, and the share of clean examples that are flagged."""
    examples = trial.examples(*band)
    texts = [trial.language.spell(example) for example in examples]
    recall, flagged = [], {place for place, line in enumerate(found(clean, texts)) if line is not None}
    for rate in RATES:
        lines = found(sketch(trial.planted(examples, rate), scheme, folder, "planted"), texts)
        recall.append(np.mean([line == place for place, line in enumerate(lines[: trial.count])]))
        flagged |= {place for place, line in enumerate(lines) if line is not None}
    *_, verbatim, edited = sketch_query.ask(clean.path, items(texts[: trial.count])).table.rows[0]
    share = sum(place >= trial.count for place in flagged) / trial.count
    return "".join(f"{each:>8.1%}" for each in recall) + f"{share:>10.2%}{verbatim:>12.1f}{edited:>10.1f}"


def by_minhash(trial: Trial, hashes: int, band: tuple[int, int]) -> str:
    """Show what windows find, each compared with each."""
    examples = trial.examples(*band)
    scheme = minhash.Scheme(hashes=hashes)
    known = minhash.sign(
        minhash.pack([trial.language.spell(each) for each in examples]), scheme, window=WINDOW, step=STEP
    )
    recall, flagged = [], set[int]()
    for rate in (*RATES, None):
        texts = trial.corpus if rate is None else trial.planted(examples, rate)
        windows = minhash.sign(minhash.pack(texts), scheme, window=WINDOW, step=STEP)
        like = {
            (example, int(document))
            for example, row in zip(known.document.tolist(), known.values, strict=True)
            for document in windows.document[(windows.values == row).mean(axis=1) >= LIKE]
        }
        flagged |= {example for example, _ in like if example >= trial.count}
        if rate is not None:
            recall.append(sum((place, place) in like for place in range(trial.count)) / trial.count)
    return "".join(f"{each:>8.1%}" for each in recall) + f"{len(flagged) / trial.count:>10.2%}"


def main() -> None:
    """Make a corpus, and print what sketches of it take, and what they find of examples by their length."""
    options = arguments(__doc__, examples=400, megabytes=100)
    options.add_argument("--minhash", action="store_true", help="compare with windowed MinHash, on 5 MB")
    given = options.parse_args()
    trial = make_trial(given)
    print(f"{given.examples} copies at each rate, and as many clean examples")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sketch(trial.corpus[:100], Scheme(), folder, "warm")
        for scheme in SCHEMES:
            sketch(trial.corpus, scheme, folder, "clean").path.unlink()
            plan, start = shards.plan([str(folder / "clean.jsonl")]), time.process_time()
            clean = build(plan, folder / "clean.sketch", scheme=scheme, workers=1)
            seconds, megabytes = time.process_time() - start, clean.read.text_bytes / 1e6
            size = f"{clean.size / 1e3 / megabytes:.0f} KB for each MB of text"
            print(f"\n{scheme.tag}: {size}, built at {megabytes / seconds:.0f} MB per CPU-second")
            asked = items([trial.language.spell(row) for row in trial.language.write(10_000, 100, trial.draw)])
            start = time.process_time()
            sketch_query.ask(clean.path, asked)
            print(f"10,000 examples of 100 words asked in {time.process_time() - start:.1f} CPU-seconds")
            print(f"{'share of words edited':<22}" + "".join(f"{rate:>8.0%}" for rate in RATES), end="")
            print(f"{'flagged':>10}{'said: 0 %':>12}{'10 %':>10}")
            for band in BANDS:
                name = f"{band[0]} to {band[1]} words"
                print(f"{name:<22}" + by_sketch(trial, scheme, clean, folder, band), flush=True)
    if given.minhash:
        trial = Trial(trial.language, trial.draw, given.examples, trial.corpus[: int(5e6 / BYTES_A_WORD / DOCUMENT)])
        windows = minhash.sign(minhash.pack(trial.corpus), minhash.Scheme(hashes=1), window=WINDOW, step=STEP)
        rate = len(windows.values) / sum(map(len, trial.corpus))
        for hashes in HASHES:
            print(f"\nMinHash {WINDOW}/{STEP}, {hashes} hashes: {4e3 * hashes * rate:.0f} KB for each MB of text")
            for band in BANDS:
                name = f"{band[0]} to {band[1]} words"
                print(f"{name:<22}" + by_minhash(trial, hashes, band), flush=True)


if __name__ == "__main__":
    main()
