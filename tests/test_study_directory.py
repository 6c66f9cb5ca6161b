import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.articles import directory
from evalkit.articles.records import Exclusions
from evalkit.errors import StorageError
from tests.studies import study


def changed(folder: Path, **values: object) -> Path:
    path = folder / directory.FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory.save(study(), tmp_path / "study", built={"settings": {"seed": 0}})
    return tmp_path / "study"


def test_a_study_comes_back_as_it_was(tmp_path: Path) -> None:
    one = replace(study(5, has_control=True), exclusions=Exclusions(True, False, 2.5), title="«Ä» \u2028 1 < 2")
    directory.save(one, tmp_path)
    assert directory.load(tmp_path) == one


def test_what_a_study_was_built_with_comes_back(folder: Path) -> None:
    assert directory.built(folder) == {"settings": {"seed": 0}}


def test_a_study_from_elsewhere_says_nothing_of_how_it_was_built(tmp_path: Path) -> None:
    directory.save(study(), tmp_path)
    assert directory.built(tmp_path) == {}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kind": "run"}, "another kind of file"),
        ({"version": 2}, "found form 2, expected 1"),
        ({"seed": "0"}, "key 'seed'"),
        ({"seed": True}, "key 'seed'"),
        ({"title": None}, "key 'title'"),
        ({"articles": []}, "found no articles"),
        ({"conditions": []}, "found no conditions"),
        ({"conditions": [{}]}, r"key 'conditions\.0\.name'"),
        ({"human_in_a": ["n00", "n00"]}, "the article of quiz A 'n00' twice"),
        ({"human_in_a": ["n99"]}, "'n99' that the study has not"),
        ({"exclusions": {"must_finish": 1}}, r"key 'exclusions\.must_finish'"),
        ({"articles": [{"id": "n00", "title": "", "subtitle": "", "text": "x"}]}, "quiz A has an article 'n02'"),
    ],
)
def test_a_damaged_study_is_refused_in_one_line(folder: Path, values: dict[str, object], complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint) as caught:
        directory.load(changed(folder, **values))
    assert "\n" not in str(caught.value)


def test_an_article_without_a_text_of_a_condition_is_refused(folder: Path) -> None:
    conditions = json.loads((folder / directory.FILE).read_text(encoding="utf-8"))["conditions"]
    del conditions[1]["written"]["n01"]
    with pytest.raises(StorageError, match=r"condition 'timbuktu' and the study differ on whether .* 'n01'"):
        directory.load(changed(folder, conditions=conditions))


def test_what_is_not_json_is_refused(folder: Path) -> None:
    (folder / directory.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(StorageError, match="damaged, found no JSON"):
        directory.load(folder)


@pytest.mark.parametrize(("name", "what"), [("", "found no study"), ("none", "found no such directory")])
def test_a_directory_without_a_study_says_how_to_build_one(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(StorageError, match=rf"{what}, expected study\.json in it; build a study there: evalkit study"):
        directory.load(tmp_path / name)


def test_a_study_that_was_answered_is_not_changed(folder: Path) -> None:
    (folder / directory.ANSWERS).touch()
    with pytest.raises(StorageError, match=r"holds answers\.sqlite"):
        directory.save(study(seed=1), folder)
    assert directory.load(folder) == study()


def test_a_study_that_was_answered_may_be_saved_as_it_is(folder: Path) -> None:
    (folder / directory.ANSWERS).touch()
    directory.save(study(), folder)
    assert directory.built(folder) == {"settings": {"seed": 0}}
