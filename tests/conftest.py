"""What several tests share: golden files, a tokenizer that can be counted by hand, small tasks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit import task
from evalkit.records import Example, Source, Task

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may ask the network, whatever is reachable

GOLDEN = Path(__file__).parent / "golden"
SLOWEST = (  # files that begin first, so that no process has one of them left when the others are done
    *("test_run", "test_engines", "test_train", "test_report_command", "test_session", "test_study_browser"),
    *("test_hf", "test_graphs", "test_conformance", "test_detectors_learned", "test_corpus_sketch", "test_kernels"),
    *("test_browser", "test_boolq", "test_cli", "test_scan", "test_example", "test_study_kill", "test_weights"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/golden/NAME, byte for byte."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        assert path.is_file(), f"no golden file {name}; run pytest --update-golden"
        assert text.encode() == path.read_bytes()

    return compare


def count_pieces(texts: Sequence[str]) -> list[int]:
    """Count a start token and the words (with the space before them), other signs and other whitespace of each text."""
    return [1 + len(re.findall(r" ?\w+| ?[^\w\s]|\s", text)) for text in texts]


@pytest.fixture
def addition() -> Task:
    return task.load("arithmetic/2-digit-addition")[0]


@pytest.fixture
def quiz(addition: Task) -> Task:
    """A free-form task on file rows, with a description and one blank line between the parts."""
    return replace(
        addition,
        name="quiz",
        group=None,
        source=Source("file", "quiz.jsonl", {}),
        pool=None,
        template="Question: {{ question }}\nAnswer:",
        description="Answer the questions.",
        separator="\n\n",
        columns={"question": "question", "target": "answer"},
        max_tokens=4,
        metrics=("exact_match",),
    )


def item(number: int, *, target: str = " yes", cluster: str | None = None, text: str | None = None) -> Example:
    """Make an example whose one-word question differs from all others'."""
    return Example(f"id{number}", {"question": text or f"word{number}"}, (target,), cluster=cluster)
