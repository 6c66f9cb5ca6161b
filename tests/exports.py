"""Runs that tests export: one of choices, one of generated answers."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from evalkit import stored
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Generate, LogLikelihood, LogProb, Request, Response, Sample
from evalkit.run import run
from evalkit.settings import Settings
from tests.test_cli import SMALL, call

FRUITS = ("apple", "pear", "fig, ripe")
CHOICE = """
version: 3
title: Fruits
template: ./fruits.jinja
kind: choice
metrics: [accuracy, accuracy(by=sum), accuracy(by=character)]
paper_shots: 2
source: {file: FILE}
columns: {question: question, target: answer, choices: options}
"""


def judge(request: Request) -> Response | str:
    """Answer by a hash of all that is asked, so that whoever asks the same is answered the same."""
    if isinstance(request, Generate):
        return f" It is #### {sha256(request.context.encode()).digest()[0] % 10}.\n\n"
    text = request.context + request.continuation if isinstance(request, LogLikelihood) else request.text
    return LogProb(likelihood(text), tokens=1 + len(text) % 3, bytes=4, is_greedy=False, boundary_merged=False)


def likelihood(text: str) -> float:
    return -(1 + int.from_bytes(sha256(text.encode()).digest()[:3], "big")) / 2**20


def make_fruits(folder: Path) -> Path:
    """Finish a run of a task with choices at 0 and 2 shots; its second example is a copy of a corpus."""
    words = "which of these three fruits would you, being number {}, put into a bag for a long walk?"
    rows = [
        {
            "id": f"q-{number}",
            "question": words.format(number),
            "answer": FRUITS[number % 3],
            "options": list(FRUITS),
        }
        for number in range(12)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "fruits.jinja").write_text("{{ question }}\n\nAnswer:")
    (folder / "fruits.yaml").write_text(CHOICE.replace("FILE", str(folder / "rows.jsonl")))
    (folder / "corpus.jsonl").write_text(json.dumps({"text": f"so {rows[1]['question']} Answer: {FRUITS[1]}"}))
    settings = Settings(tasks=(str(folder / "fruits.yaml"),), shots=(0, 2), out=folder / "run")
    run(settings, lambda: ScriptedModel(judge))
    return folder


def make_sums(folder: Path) -> Path:
    """Finish a run of generated answers with two seeds."""
    code, _, err = call(
        *("run", "--task", SMALL, "--shots", "0,2", "--limit", "5", "--seeds", "1,2", "--out", str(folder))
    )
    assert code == 0, err
    return folder


def samples_of(folder: Path) -> list[Sample]:
    return list(stored.samples(folder))


def logged(out: Path, pattern: str) -> list[dict[str, Any]]:
    [path] = out.rglob(pattern)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
