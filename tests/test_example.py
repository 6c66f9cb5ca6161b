"""reports/example is what nano's runs and a scan of documents of its kind give today."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from evalkit.cli import main
from evalkit.nano import recipe
from evalkit.nano.corpus import Section, problems, write
from tests.pages import data

EXAMPLE = Path(__file__).parent.parent / "reports" / "example"
TASKS = ",".join(f"arithmetic/{name}" for name in ("2-digit-addition", "1-digit-composite"))
DOCUMENTS, LIMIT = 800, 60
CLOSE = 4.0  # percent: a machine of another kind may answer two examples of sixty otherwise
DECIMAL = re.compile(r"-?\d+\.\d+")


def evalkit(*arguments: str) -> None:
    assert main(arguments) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Make the report in an empty folder; with --update-golden it becomes the one that is committed."""
    folder = tmp_path_factory.mktemp("example")
    section = Section("example", recipe.ALL, (8, 16))
    texts = (write(problems(section, number, seed=recipe.SEED))[0] for number in range(DOCUMENTS))
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # so that the report shows the paths that a reader would type
        Path("corpus.jsonl").write_text(lines)
        evalkit("run", "--task", TASKS, "--shots", "0,1,10", "--limit", str(LIMIT), "--device", "cpu", "--out", "nano")
        evalkit("scan", "--task", TASKS, "--corpus", "corpus.jsonl", "--out", "scan")
        evalkit("report", "nano", "--scan", "scan", "--out", "report")
    if request.config.getoption("--update-golden"):
        shutil.rmtree(EXAMPLE, ignore_errors=True)
        shutil.copytree(folder / "report", EXAMPLE)
    return folder / "report"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_example_has_the_files_of_a_report(made: Path) -> None:
    assert files(EXAMPLE) == files(made)


@pytest.mark.parametrize("name", ["table", "contamination", "contamination-2", "figures/score-by-shots"])
def test_the_tables_of_the_example_are_those_of_today(made: Path, name: str) -> None:
    before, now = (list(csv.reader((folder / f"{name}.csv").open())) for folder in (EXAMPLE, made))
    assert [len(row) for row in now] == [len(row) for row in before]
    for one, other in zip((cell for row in before for cell in row), (cell for row in now for cell in row), strict=True):
        if one != other:
            assert float(one) == pytest.approx(float(other), abs=CLOSE)


@pytest.mark.parametrize("name", ["table.md", "table.tex"])
def test_the_texts_of_the_example_are_those_of_today_but_for_scores(made: Path, name: str) -> None:
    before, now = (DECIMAL.sub("0", (folder / name).read_text()) for folder in (EXAMPLE, made))
    assert now == before


def test_the_page_of_the_example_shows_the_prompts_of_today(made: Path) -> None:
    before, now = (data((folder / "index.html").read_text()) for folder in (EXAMPLE, made))
    assert len(before.records) == len(now.records) == 2 * 3 * LIMIT
    for place in range(0, len(now.records), 50):
        assert before.prompt(place) == now.prompt(place)
