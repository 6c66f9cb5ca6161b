"""The commands `study detect` and `study analyse` as users type them: what they write, what they refuse."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from evalkit import cli
from evalkit.articles import answers, directory
from evalkit.articles.analysis.simulation import Effects, simulate
from evalkit.articles.records import Study
from evalkit.articles.web.store import Store
from evalkit.interfaces import LanguageModel
from evalkit.models.scripted import ScriptedModel
from tests import studies
from tests.test_detect import judge

ACCURACIES = {"zanzibar": 0.6, "timbuktu": 0.7, "control": 0.8}
EFFECTS = Effects(participant=0.05, neutral=0.1, inattentive=0.1, unfinished=0.1)


def call(*arguments: str) -> tuple[int, str, str]:
    def load(_name: str, **_: object) -> LanguageModel:
        return ScriptedModel(judge)

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(["study", *arguments], load=load)
    return code, out.getvalue(), err.getvalue()


def refused(*arguments: str) -> str:
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    return err


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = studies.study(12, has_control=True)
    directory.save(made, tmp_path / "study")
    return made


@pytest.fixture
def asked(study: Study, tmp_path: Path) -> str:
    path = tmp_path / "answers.csv"
    answers.write_csv(path, simulate(study, ACCURACIES, EFFECTS, participants=20, seed=1))
    return str(path)


@pytest.mark.usefixtures("study")
def test_people_and_detectors_stand_in_one_report(tmp_path: Path, asked: str) -> None:
    place = tmp_path / "study"
    assert call("detect", str(place), "--no-learned")[0] == 0
    code, out, _ = call("analyse", str(place), "--answers", asked)
    assert code == 0
    assert out.endswith(f"report: {place / 'analysis' / 'index.html'}\n")
    told = pandas.read_csv(place / "analysis" / "detectors.csv")
    assert [name for name in told["detector"] if name == "people"] == ["people"] * 3
    page = (place / "analysis" / "index.html").read_text(encoding="utf-8")
    for name in ("summary", "people", "detectors", "figures", "quiz"):
        assert f'<section id="{name}"' in page


@pytest.mark.usefixtures("study")
def test_rows_of_participants_give_the_mean_of_the_table(tmp_path: Path, asked: str) -> None:
    place = tmp_path / "out"
    code, _, _ = call("analyse", str(tmp_path / "study"), "--answers", asked, "--format", "csv", "--out", str(place))
    assert code == 0
    rows, table = pandas.read_csv(place / "participants.csv"), pandas.read_csv(place / "table.csv")
    assert len(rows) == 60
    left = rows[rows["excluded because"].isna()]
    means = 100 * left.groupby("condition")["accuracy"].mean()
    assert [*table["accuracy, %"]] == pytest.approx([means[name] for name in table["model"]])


@pytest.mark.usefixtures("study")
def test_scores_of_detectors_alone_are_a_report(tmp_path: Path) -> None:
    place = tmp_path / "study"
    assert call("detect", str(place), "--no-learned")[0] == 0
    assert call("analyse", str(place), "--format", "md")[0] == 0
    assert "| zanzibar | log-likelihood |" in (place / "analysis" / "table.md").read_text(encoding="utf-8")
    assert not (place / "analysis" / "participants.csv").exists()


@pytest.mark.usefixtures("study")
def test_files_of_an_earlier_analysis_do_not_stay(tmp_path: Path, asked: str) -> None:
    place = tmp_path / "study"
    assert call("analyse", str(place), "--answers", asked, "--format", "csv,md")[0] == 0
    assert (place / "analysis" / "table.md").exists()
    assert call("analyse", str(place), "--answers", asked, "--format", "csv")[0] == 0
    assert not (place / "analysis" / "table.md").exists()


@pytest.mark.usefixtures("study")
def test_a_study_without_answers_or_scores_says_what_to_do(tmp_path: Path) -> None:
    assert "found neither answers of participants nor scores of detectors" in refused(
        "analyse", str(tmp_path / "study")
    )


def test_answers_about_another_study_are_refused(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path / "study", study=replace(study, signature="study|other")) as store:
        store.begin("p1")
    assert "found answers about another study (study|other)" in refused("analyse", str(tmp_path / "study"))


def test_scores_of_another_study_are_refused(tmp_path: Path, study: Study, asked: str) -> None:
    place = tmp_path / "study"
    assert call("detect", str(place), "--no-learned")[0] == 0
    directory.save(replace(study, signature="study|new"), place)
    assert "detectors.json: scores of the study" in refused("analyse", str(place), "--answers", asked)


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("analyse", "STUDY", "--answers", "STUDY/none.csv"), "no such file"),
        (("analyse", "STUDY", "--format", "pdf"), "--format: unknown form 'pdf'"),
        (("analyse", "STUDY", "--out", "STUDY"), "holds a study"),
        (("analyse", "NOWHERE"), "found no such directory, expected study.json"),
        (("analyse", ""), "STUDY: found an empty text"),
        (("detect", "STUDY", "--scorer", ""), "--scorer: found nothing"),
        (("serve", "STUDY", "--port", "99999"), "--port: found 99999"),
        (("build", "--given", "a@0=x.jsonl"), "--given: found 'a@0=x.jsonl'"),
        (("build", "--given", "a\u202eb=x.jsonl"), "expected a name of characters that can be seen"),
        (("build", "--model", ""), "found no writer"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    places = {"STUDY": str(tmp_path / "study"), "NOWHERE": str(tmp_path / "nowhere")}
    given = [each.replace(name, place) for each in arguments for name, place in [*places.items()][:1]]
    assert said in refused(*(places.get(each, each) for each in given))


@pytest.mark.usefixtures("study")
def test_a_run_is_not_kept_in_a_study(tmp_path: Path) -> None:
    err = io.StringIO()
    with redirect_stderr(err):
        code = cli.main(["run", "--task", "articles", "--out", str(tmp_path / "study")])
    assert code == 2
    assert "holds a study" in err.getvalue()


def test_a_group_of_commands_alone_shows_its_help() -> None:
    code, out, err = call()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: evalkit study")
    assert err.count("\n") > 5
