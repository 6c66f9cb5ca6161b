"""Whole commands on one task file, one after the other: `evalkit run` and `lm_eval run`, their seconds and peak memory.

Each reads its own kind of task file on the same data, of which it makes the same prompts. Where demonstrations are the
first of the pool, every answer has to be equal; where they are drawn for each example, the two draw others.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from engine_parts.peers import DIFFERENT, Score, Shape, checked, make, why_no_lm_eval
from engine_parts.workloads import NEW, POOL, STOP, Writer, train_tokenizer

ROOT = Path(__file__).resolve().parents[2]
SECONDS_GOAL, MEMORY_GOAL = 5.0, 0.5
BATCH = 8  # of lm_eval
# lm_eval's default sampler draws demonstrations for each example, first_n takes the first of the pool.
SAMPLERS = {"drawn": ("default", "per-example"), "first": ("first_n", "first")}
BOOLQ, ARITHMETIC = "BoolQ form, 5 shots", f"arithmetic form, 10 shots, {NEW} new tokens"
SHOTS = {BOOLQ: 5, ARITHMETIC: 10}
TEMPLATES = {BOOLQ: "{{ passage }}\nquestion: {{ question }}?\nanswer:", ARITHMETIC: "Q: {{ question }}\nA:"}
OURS = {
    BOOLQ: {
        "kind": "choice",
        "choices": ["no", "yes"],
        "metrics": ["accuracy"],
        "columns": {"passage": "passage", "question": "question", "label": "label"},
    },
    ARITHMETIC: {
        "kind": "generate",
        "stop": [STOP],
        "max_tokens": NEW,
        "metrics": ["exact_match"],
        "columns": {"question": "question", "target": "answer"},
    },
}
THEIRS = {
    BOOLQ: {
        "output_type": "multiple_choice",
        "doc_to_target": "label",
        "doc_to_choice": ["no", "yes"],
        "metric_list": [{"metric": "acc"}],
    },
    ARITHMETIC: {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [STOP], "max_gen_toks": NEW, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command took, and what it answered."""

    seconds: float
    peak: float  # bytes
    scores: dict[str, list[Score]]  # question -> answers to its requests


def why_not() -> str | None:
    """Say why whole commands cannot be measured here, if they cannot."""
    for needed in ("pydantic", "typer", "yaml", "jinja2"):
        if importlib.util.find_spec(needed) is None:
            return f"evalkit's command needs {needed}"
    return why_no_lm_eval()


def compare(shape: Shape, *, examples: int, rounds: int) -> None:
    """Measure both commands on every form and sampler, in turns, and print their lines."""
    if (reason := why_not()) is not None:
        print(f"whole commands are left out: {reason}", flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        cpu = torch.device("cpu")
        make(shape, folder / "model", tokenizer=train_tokenizer(), device=cpu, dtype=torch.float32)
        for form in SHOTS:
            for sampler in SAMPLERS:
                compare_form(folder, shape, form, sampler, examples=examples, rounds=rounds)


def compare_form(folder: Path, shape: Shape, form: str, sampler: str, *, examples: int, rounds: int) -> None:
    """Measure both commands on one task."""
    write_task(folder, form, sampler, examples=examples)
    ours, theirs = [], []
    for number in range(rounds):
        ours.append(evalkit(folder, form, sampler, out=folder / f"ours-{number}-{sampler}-{len(form)}"))
        theirs.append(lm_eval(folder, out=folder / f"theirs-{number}-{sampler}-{len(form)}"))
    own, peer = (statistics.median(run.seconds for run in runs) for runs in (ours, theirs))
    own_peak, peer_peak = (statistics.median(run.peak for run in runs) / 1e6 for runs in (ours, theirs))
    ratio, share = peer / own, own_peak / peer_peak
    print(
        f"{shape.name}, whole command, {form}, demonstrations {sampler}, {examples} examples: evalkit {own:.1f} s, "
        f"{own_peak:,.0f} MB; lm_eval (batch {BATCH}) {peer:.1f} s, {peer_peak:,.0f} MB\n"
        f"    ratio {ratio:.2f}; goal {SECONDS_GOAL:g}: {'met' if ratio >= SECONDS_GOAL else 'MISSED'}; "
        f"memory {share:.2f} of it; goal below {MEMORY_GOAL}: {'met' if share < MEMORY_GOAL else 'MISSED'}\n"
        f"    {_equal(ours[0], theirs[0], form) if sampler == 'first' else 'the two draw other demonstrations'}",
        flush=True,
    )


def _equal(ours: Ran, theirs: Ran, form: str) -> str:
    if ours.scores.keys() != theirs.scores.keys():
        DIFFERENT.append(form)
        return "the two commands DIFFER in the examples that they answered"
    each = len(next(iter(ours.scores.values())))
    own = [score for question in ours.scores for score in ours.scores[question]]
    peer = [score for question in ours.scores for score in theirs.scores[question]]
    return checked(own, peer, each=each)


def write_task(folder: Path, form: str, sampler: str, *, examples: int) -> None:
    """Write the data and both task files, which are JSON and so YAML."""
    is_choice = form == BOOLQ
    files = {}
    for split, count, seed in (("train", POOL, 5), ("validation", examples, 6)):
        writer = Writer(seed)
        rows = [writer.row() if is_choice else writer.problem() for _ in range(count)]
        files[split] = str(folder / f"{split}-{is_choice:d}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "form.jinja").write_text(TEMPLATES[form])
    ours = {
        "version": 1,
        "title": "form",
        "template": "form.jinja",
        "source": {"file": files["validation"]},
        "pool": {"file": files["train"]},
        **OURS[form],
    }
    (folder / "ours.yaml").write_text(json.dumps(ours))
    theirs = {
        "task": "form",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "training_split": "train",
        "validation_split": "validation",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": SAMPLERS[sampler][0]},
        "num_fewshot": SHOTS[form],
        "doc_to_text": TEMPLATES[form],
        **THEIRS[form],
    }
    (folder / "theirs").mkdir(exist_ok=True)
    (folder / "theirs" / "form.yaml").write_text(json.dumps(theirs))


def evalkit(folder: Path, form: str, sampler: str, *, out: Path) -> Ran:
    """Run evalkit's command."""
    command = ["-m", "evalkit", "run", "--task", "ours.yaml", "--model", "model", "--device", "cpu", "--out", str(out)]
    command += ["--shots", str(SHOTS[form]), "--demos", SAMPLERS[sampler][1]]
    seconds, peak = run(command, folder)
    found: dict[str, list[Score]] = {}
    for sample in rows(out / "samples.jsonl"):
        answers = [each["total"] if "total" in each else each["text"] for each in sample["responses"]]
        found[sample["example"]["fields"]["question"]] = answers
    return Ran(seconds, peak, found)


def lm_eval(folder: Path, *, out: Path) -> Ran:
    """Run lm_eval's command with its hf back end."""
    command = ["-m", "lm_eval", "run", "--model", "hf", "--model_args", "pretrained=model,dtype=float32"]
    command += ["--include_path", "theirs", "--tasks", "form", "--device", "cpu", "--batch_size", str(BATCH)]
    command += ["--log_samples", "--output_path", str(out)]
    seconds, peak = run(command, folder)
    found: dict[str, list[Score]] = {}
    for sample in rows(next(out.rglob("samples_*.jsonl"))):
        answers = [one[0] for one in sample["resps"]]
        found[sample["doc"]["question"]] = [each if isinstance(each, str) else float(each[0]) for each in answers]
    return Ran(seconds, peak, found)


def rows(path: Path) -> Iterator[dict]:  # type: ignore[type-arg]  # JSON
    """Read JSON lines."""
    with path.open() as file:
        yield from map(json.loads, file)


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a Python command in a folder; give its seconds and peak memory. Exits with its output where it fails."""
    result, log = folder / "result.json", folder / "log.txt"
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    launcher = [sys.executable, str(Path(__file__).with_name("measure.py")), str(result), str(log)]
    subprocess.run([*launcher, sys.executable, *command], cwd=folder, env=environment, check=True)
    found = json.loads(result.read_text())
    if found["status"]:
        sys.exit(f"python {' '.join(command)} ended with {found['status']}:\n{log.read_text()[-2000:]}")
    return found["seconds"], found["peak"]
