"""How long it takes to build 2,000 prompts of 50 demonstrations, here and in lm_eval, on the same BoolQ-like file.

python benchmarks/prompts.py

Both draw other demonstrations for each example from a pool of 2,000 and join the texts. lm_eval is timed on a part of
the examples, whose time is scaled to all: it builds one prompt after the other, so its time is proportional. Ours is
timed again with the check that prompt and answer fit the window, which counts the tokens of every prompt and which
lm_eval does not make.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

EXAMPLES, SHOTS, POOL = 2_000, 50, 2_000
WORDS = 60  # of a passage
OF_PEER = 50  # examples that lm_eval is timed on


def write(folder: Path) -> dict[str, Path]:
    """Write made-up passages with questions as SuperGLUE has them."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randrange(2, 9))) for _ in range(5_000)]
    files = {}
    for split, rows in (("train", POOL), ("validation", EXAMPLES)):
        files[split] = folder / f"{split}.jsonl"
        with files[split].open("w") as file:
            for number in range(rows):
                passage = " ".join(draw.choices(vocabulary, k=WORDS))
                question = " ".join(draw.choices(vocabulary, k=8))
                row = {"passage": f"Title {number} -- {passage}.", "question": question, "label": draw.randrange(2)}
                file.write(json.dumps(row) + "\n")
    return files


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(files: dict[str, Path]) -> tuple[Callable[[], object], Callable[[], object]]:
    """Make what builds the texts, and what also checks the window."""
    from evalkit import dataset, fewshot, prompt, task
    from evalkit.models.load import load

    [boolq] = task.load("boolq")
    each = dataset.with_data(boolq, str(files["validation"]), pool=str(files["train"]))
    assert each.pool is not None
    examples, demonstrations = dataset.load(each.source, task=each), dataset.load(each.pool, task=each)
    model = load("nano")

    def build(count: Callable[[Sequence[str]], list[int]], window: int) -> None:
        pool = fewshot.prepare(demonstrations, task=each)
        jobs = [(example, fewshot.draw(pool, example, shots=SHOTS, seed=0)) for example in examples]
        built = prompt.build(each, jobs, shots=SHOTS, count_tokens=count, window=window)
        assert len(built) == EXAMPLES
        assert window < 10**6 or all(found is not None and found.shots_used == SHOTS for found in built)

    return (lambda: build(lambda texts: [1] * len(texts), 10**6)), (lambda: build(model.count_tokens, 2048))


def theirs(files: dict[str, Path], folder: Path) -> Callable[[], object]:
    """Make what builds lm_eval's prompts of the first examples."""
    from lm_eval.api.task import ConfigurableTask

    task = ConfigurableTask(
        config={
            "task": "boolq_here",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {name: str(path) for name, path in files.items()}},
            "output_type": "multiple_choice",
            "training_split": "train",
            "validation_split": "validation",
            "fewshot_split": "train",
            "doc_to_text": "{{passage}}\nQuestion: {{question}}?\nAnswer:",
            "doc_to_target": "label",
            "doc_to_choice": ["no", "yes"],
        },
        cache_dir=str(folder),
    )
    task.sampler.set_rnd(0)
    documents = list(task.eval_docs)[:OF_PEER]
    return lambda: [task.fewshot_context(document, num_fewshot=SHOTS) for document in documents]


def main() -> None:
    """Print medians of one run, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write(folder)
        texts, checked = ours(files)
        peer = theirs(files, folder)
        times: dict[str, list[float]] = {"texts": [], "texts and window": [], "lm_eval": []}
        for _ in range(rounds):
            times["texts"].append(seconds(texts))
            times["texts and window"].append(seconds(checked))
            times["lm_eval"].append(seconds(peer) * EXAMPLES / OF_PEER)
    print(f"{EXAMPLES:,} prompts of {SHOTS} demonstrations, median of {rounds} rounds")
    for what, found in times.items():
        print(f"{what:<18}{statistics.median(found):8.2f} s")
    print(f"lm_eval takes {statistics.median(times['lm_eval']) / statistics.median(times['texts']):.0f} times as long")


if __name__ == "__main__":
    main()
